"""What a loop is given, checked before it trains: later, an error names a node of a graph."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any

import numpy as np

from tfinit.arguments import check_real, on_host, refused
from tfinit.array_trees import each, flat, with_places
from tfinit.batch_streams import Stream
from tfinit.datasets import Dataset
from tfinit.errors import InputError, reason
from tfinit.given_arrays import check_numbers
from tfinit.training.evaluation_programs import counts_on_replicas, counts_put_back
from tfinit.variables import keras_of, put_back, walk_layers

_SPARSE = "sparse_categorical_crossentropy"
# Losses of Keras that compare number by number, and repeat the smaller of two shapes.
_BY_NUMBER = (
    *("mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error"),
    *("mean_squared_logarithmic_error", "log_cosh", "huber", "huber_loss", "poisson"),
)
_ALIASES = {
    **dict.fromkeys(("mse", "meansquarederror"), "mean_squared_error"),
    **dict.fromkeys(("mae", "meanabsoluteerror"), "mean_absolute_error"),
    **dict.fromkeys(("mape", "meanabsolutepercentageerror"), "mean_absolute_percentage_error"),
    **dict.fromkeys(("msle", "meansquaredlogarithmicerror"), "mean_squared_logarithmic_error"),
    "logcosh": "log_cosh",
    "sparsecategoricalcrossentropy": _SPARSE,
}
_LOOKED_AT = 32  # examples of a stream


def check_kinds(model: Any, data: Any) -> None:
    """Raise InputError unless these are a compiled model of either Keras and a `Dataset`."""
    if keras_of(model) is None:
        raise refused("model", "a Keras model", model)
    if getattr(model, "optimizer", None) is None:
        raise InputError("`model` must be compiled: call model.compile(optimizer, loss).")
    if not isinstance(data, Dataset):
        raise InputError(
            f"`data` must be a tfinit.datasets.Dataset, received {type(data).__name__}. Make one "
            "with tfinit.datasets.from_arrays(train=(x, y), test=(x, y))."
        )


def checked(model: Any, data: Any) -> Dataset:
    """The data as NumPy arrays, checked to fit the model, which is built if it is not.

    Args:
        model: A compiled model of either Keras.
        data: As for `tfinit.training.trainer`. Tensors become arrays.

    Raises:
        InputError: ``model`` is no Keras model, is not compiled, or cannot take the inputs;
            ``data`` is no `Dataset`, a split is not (x, y) or (x, y, weights) of arrays of one
            length, a number is NaN or infinite, a weight negative, the loss cannot be computed of
            such outputs and targets, labels are text, or beyond the outputs that the model has.
    """
    check_kinds(model, data)
    splits = {}
    streamed = isinstance(data.train, Stream)
    for which in ("train", "validation", "test"):
        split = getattr(data, which)
        if which == "train" and streamed:
            split = data.first(_LOOKED_AT)
        if split is not None or which == "train":
            splits[which] = _arrays(which, split)
            _check_text(which, splits[which][1])
            check_numbers(f"`data.{which}`", splits[which])
    forms, outputs = [], None
    for which, split in splits.items():
        form = each(lambda leaf: str(leaf.shape[1:]), split)
        if form not in forms:  # one that is tried already fits
            few, outputs = _tried(model, split)
            _check_labels(model, which, split[1], outputs)
            _check_loss(model, which, few, outputs)
            forms.append(form)
        else:
            _check_labels(model, which, split[1], outputs)
    if streamed:
        del splits["train"]
    return dataclasses.replace(data, **splits)


def overridden(model: Any, method: str) -> bool:
    """Whether a model has a method of its own, as ``"train_step"``, where Keras's models have one.

    Example:
        >>> class Own(keras.Sequential):
        ...     def train_step(self, *args):
        ...         return super().train_step(*args)
        >>> overridden(Own(), "train_step"), overridden(keras.Sequential(), "train_step")
        (True, False)
    """
    if keras_of(model) == "tf_keras":
        import tf_keras

        base = tf_keras.Model
    else:
        import keras

        base = keras.Model
    return method in vars(model) or getattr(type(model), method) is not getattr(base, method)


def finite_weights(model: Any) -> bool:
    """Whether all weights of a model are numbers, its moving statistics included."""
    return all(np.isfinite(np.asarray(weight)).all() for weight in model.weights)


def told(loss: Any) -> str:
    """Losses by name."""
    if isinstance(loss, str):
        return repr(loss)
    if isinstance(loss, Mapping):
        return f"{{{', '.join(f'{name}: {told(one)}' for name, one in loss.items())}}}"
    if isinstance(loss, list | tuple):
        return f"[{', '.join(map(told, loss))}]"
    return str(getattr(loss, "name", None) or getattr(loss, "__name__", loss))


def _tried(model: Any, split: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
    """A few examples and what a model gives for them: as many as no other axis is long, if there
    are so many, so that the loss cannot take one axis for another."""
    few = _few(split, set())
    outputs = _outputs(model, few[0])
    others = {int(length) for one in flat(outputs) for length in getattr(one, "shape", ())[1:]}
    if len(flat(few)[0]) not in others:
        return few, outputs
    few = _few(split, others)
    return few, _outputs(model, few[0])


def _few(split: tuple[Any, ...], others: set[int]) -> tuple[Any, ...]:
    leaves = [leaf for _, leaf in with_places(split)]
    taken = others | {length for leaf in leaves for length in leaf.shape[1:]}
    rows = next((n for n in (3, 2, 5, 7, 11) if n not in taken and n <= len(leaves[0])), 1)
    return tuple(each(lambda leaf: leaf[:rows], part) for part in split)


def _outputs(model: Any, x: Any) -> Any:
    """What a model gives for a few examples; it is built then."""
    try:
        return _undone(model, lambda: model(x, training=False))
    except Exception as error:  # TensorFlow's own too, from inside a model's call
        raise InputError(
            f"`data` does not fit `model`: {reason(error)} Pass inputs of the shapes the model was "
            "made for."
        ) from error


def _check_loss(model: Any, which: str, few: tuple[Any, ...], outputs: Any) -> None:
    """Raise InputError unless the loss of a few examples can be computed."""
    if model.loss is None or overridden(model, "train_step"):
        return
    x, y, weights = (*few, None)[:3]
    try:
        with counts_put_back(model):
            if keras_of(model) == "tf_keras":
                import tensorflow as tf

                if counts_on_replicas(model):
                    return
                targets, by = (each(tf.convert_to_tensor, part) for part in (y, weights))
                model.compute_loss(x, targets, outputs, by)
            else:
                _undone(
                    model,
                    lambda: model.compute_loss(
                        x=x, y=y, y_pred=outputs, sample_weight=weights, training=False
                    ),
                )
    except Exception as error:
        raise _unfit(model, which, y, outputs, reason(error)) from error
    for loss, target, output in _by_output(model.loss, y, outputs):
        shapes = tuple(target.shape), tuple(output.shape)
        if _of_equal_shapes(loss) and shapes[0] != shapes[1] and len(shapes[0]) == len(shapes[1]):
            told = "The loss would repeat the smaller along the larger."
            raise _unfit(model, which, y, outputs, told)


def _undone(model: Any, call: Callable[[], Any]) -> Any:
    """What a call gives; states of layers, and what noise is drawn from, are put back."""
    states = [getattr(layer, "states", None) or [] for _, layer in walk_layers(model)]
    with put_back([*model.non_trainable_variables, *flat(states)] if model.built else []):
        return call()


def _unfit(model: Any, which: str, y: Any, outputs: Any, why: str) -> InputError:
    def shapes(arrays: Any) -> str:
        axes = {
            place: ["n", *map(str, one.shape[1:])] if len(one.shape) else []
            for place, one in with_places(arrays)
        }
        return " and ".join(f"{place} ({', '.join(n)})".strip() for place, n in axes.items())

    return InputError(
        f"`data.{which}` does not fit the loss of `model`, {told(model.loss)}: targets of shape "
        f"{shapes(y)}, outputs of shape {shapes(outputs)}. {why} Give targets of the form of the "
        "outputs, or another loss: class numbers go with sparse_categorical_crossentropy."
    )


def _by_output(loss: Any, y: Any, outputs: Any) -> Iterator[tuple[Any, Any, Any]]:
    """The loss, the targets and the output of each output, where one sees which are which."""
    if isinstance(y, Mapping) and isinstance(outputs, Mapping):
        for key in y.keys() & outputs.keys():
            one = loss.get(key) if isinstance(loss, Mapping) else loss
            yield from _by_output(one, y[key], outputs[key])
    elif isinstance(y, list | tuple) and isinstance(outputs, list | tuple):
        losses = loss if isinstance(loss, list | tuple) else [loss] * len(y)
        if not isinstance(loss, Mapping) and len(losses) == len(y) == len(outputs):
            for one in zip(losses, y, outputs, strict=True):
                yield from _by_output(*one)
    elif hasattr(y, "shape") and hasattr(outputs, "shape"):
        yield loss, y, outputs


def _of_equal_shapes(loss: Any) -> bool:
    """Whether it is a loss of Keras's that compares number by number."""
    if not isinstance(loss, str):
        if not type(loss).__module__.startswith("keras.") and not isinstance(loss, FunctionType):
            return False
        if not str(getattr(loss, "__module__", "keras.")).startswith("keras."):
            return False
    return _name_of(loss) in _BY_NUMBER


def _name_of(loss: Any) -> str:
    name = loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))
    return _ALIASES.get(str(name).lower(), str(name))


def _arrays(which: str, split: Any) -> tuple[Any, ...]:
    if not isinstance(split, tuple) or len(split) not in (2, 3):
        received = type(split).__name__
        if isinstance(split, tuple):
            received = f"({', '.join(type(part).__name__ for part in split)})"
        raise InputError(
            f"`data.{which}` must be (x, y) or (x, y, sample weights) of arrays, received "
            f"{received}. What learns its own inputs takes (x, x); a tf.data.Dataset of batches "
            "can be the training split only."
        )

    def array(leaf: Any) -> np.ndarray:
        check_real(f"data.{which}", leaf)
        found = np.asarray(on_host(leaf)) if hasattr(leaf, "shape") else None
        if found is None or found.ndim == 0:
            raise InputError(
                f"`data.{which}` must hold arrays with a row for each example, received "
                f"{type(leaf).__name__}. Convert lists with numpy.asarray."
            )
        return found

    parts = each(array, split)
    rows = {len(leaf) for _, leaf in with_places(parts)}
    if len(rows) > 1 or 0 in rows:
        raise InputError(
            f"`data.{which}` must hold arrays of one length, at least 1, received "
            f"{', '.join(map(str, sorted(rows)))}. Pass one target for each input."
        )
    return parts


def _check_text(which: str, y: Any) -> None:
    for place, leaf in with_places(y):
        if leaf.dtype.kind in "OSU":
            where = f" in y{place}" if place else ""
            raise InputError(
                f"`data.{which}` has labels of {leaf.dtype}{where}. Number the classes from 0, as "
                "numpy.unique(y, return_inverse=True)[1] does."
            )


def _check_labels(model: Any, which: str, y: Any, outputs: Any) -> None:
    if y is None and model.loss is not None and not overridden(model, "train_step"):
        raise InputError(
            f"`data.{which}` has None for targets, and the model was compiled with a loss that "
            "compares them with its outputs. Pass targets, or compile it without a loss where its "
            "layers add theirs."
        )
    for loss, target, output in _by_output(model.loss, y, outputs):
        if _name_of(loss) != _SPARSE or target.dtype.kind not in "iu" or not output.shape:
            continue
        if hasattr(loss, "get_config") and loss.get_config().get("ignore_class") is not None:
            continue
        units = int(output.shape[-1])
        if target.min() < 0 or target.max() >= units:
            raise InputError(
                f"`data.{which}` has labels from {target.min()} to {target.max()}, and the model "
                f"has outputs for 0 to {units - 1}. Number the classes from 0, as numpy.unique(y, "
                "return_inverse=True)[1] does, or give the last layer an output for each."
            )
