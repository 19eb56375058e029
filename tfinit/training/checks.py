"""What a loop is given, checked before it trains: later, an error names a node of a graph."""

import dataclasses
from typing import Any

import numpy as np

from tfinit.arguments import check_real, refused
from tfinit.array_trees import each, with_places
from tfinit.batch_streams import Stream
from tfinit.datasets import Dataset
from tfinit.errors import InputError, reason
from tfinit.variables import keras_of

_SPARSE = "sparse_categorical_crossentropy"


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
            length, labels are text, or beyond the outputs that the model has for them.
    """
    check_kinds(model, data)
    splits = {}
    for which in ("train", "validation", "test"):
        split = getattr(data, which)
        if which == "train" and isinstance(split, Stream):
            continue
        if split is not None or which == "train":
            splits[which] = _arrays(which, split)
    if splits:
        units = outputs_of(model, next(iter(splits.values()))[0])
        for which, split in splits.items():
            _check_labels(model, which, split[1], units)
    elif not model.built:
        raise InputError("`model` is not built. Call it on a batch of the data, model(x), first.")
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


def outputs_of(model: Any, x: Any) -> int | None:
    """How many numbers a model gives for an example; None if it has several outputs.

    Raises:
        InputError: the model cannot take such an input.
    """
    import keras

    try:
        output = model(keras.tree.map_structure(lambda a: a[:1], x), training=False)
    except Exception as error:  # TensorFlow's own too, from inside a model's call
        raise InputError(
            f"`data` does not fit `model`: {reason(error)} Pass inputs of the shapes the model was "
            "made for."
        ) from error
    shape = getattr(output, "shape", None)
    return int(shape[-1]) if shape else None


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
        found = np.asarray(leaf) if hasattr(leaf, "shape") else None
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


def _check_labels(model: Any, which: str, y: Any, units: int | None) -> None:
    if y is None and model.loss is not None and not overridden(model, "train_step"):
        raise InputError(
            f"`data.{which}` has None for targets, and the model was compiled with a loss that "
            "compares them with its outputs. Pass targets, or compile it without a loss where its "
            "layers add theirs."
        )
    if not isinstance(y, np.ndarray):
        return
    if y.dtype.kind in "OSU":
        raise InputError(
            f"`data.{which}` has labels of {y.dtype}. Number the classes from 0, as "
            "numpy.unique(y, return_inverse=True)[1] does."
        )
    loss = model.loss
    name = loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))
    if name != _SPARSE or units is None or y.dtype.kind not in "iu":
        return
    if hasattr(loss, "get_config") and loss.get_config().get("ignore_class") is not None:
        return
    if y.min() < 0 or y.max() >= units:
        raise InputError(
            f"`data.{which}` has labels from {y.min()} to {y.max()}, and the model has outputs for "
            f"0 to {units - 1}. Number the classes from 0, as numpy.unique(y, return_inverse=True)"
            "[1] does, or give the last layer an output for each."
        )
