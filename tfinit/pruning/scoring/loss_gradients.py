"""Gradients of a Keras 3 model's loss over data, on copies of its variables."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from tfinit.arguments import array, function, refused, whole
from tfinit.errors import InputError, reason
from tfinit.graph.calling import call
from tfinit.graph.gradients import (
    Program,
    hessian_times,
    reading,
    require_gradients,
    value_and_gradients,
)
from tfinit.graph.keras_internals import losses_of
from tfinit.graph.snapshot import apart
from tfinit.pruning.scoring.masks import Masks, check_mask
from tfinit.variables import check_same_keys, keras_of, prunable_weights

Scores = dict[str, np.ndarray]
Loss = str | Callable[[Any, Any], Any]
Batch = tuple[Any, Any, Any]  # x, y, sample_weight


def weights_of(model: Any) -> dict[str, Any]:
    """The weights that get a score; InputError for a model of tf_keras, too."""
    if keras_of(model) == "tf_keras":
        raise InputError(
            "`model` is of tf_keras, scores are of Keras 3 models. Build it with `keras`."
        )
    return prunable_weights(model)


def values_of(variable: Any) -> np.ndarray:
    """A copy in NumPy, float32 at least."""
    values = np.array(ops.convert_to_numpy(variable))
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)


def checked_masks(masks: Mapping[str, np.ndarray] | None, weights: dict[str, Any]) -> Masks:
    """The masks as boolean arrays, ones for None; InputError if they do not fit the weights."""
    if masks is None:
        return {key: np.ones(tuple(w.shape), bool) for key, w in weights.items()}
    check_same_keys("masks", masks, weights)
    return {key: check_mask(key, masks[key], tuple(w.shape)) for key, w in weights.items()}


def called(model: Any, x: Any) -> Any:
    """The model's output as it would predict; InputError if it cannot be called on ``x``."""
    try:
        return model(x, training=False)
    except Exception as error:
        shapes = [tuple(array.shape) for array in keras.tree.flatten(x)]
        raise InputError(
            f"`model` {model.name!r} cannot be called on inputs of shape {shapes}, `x`: "
            f"{reason(error)}"
        ) from error


class LossGradients:
    """A model with its data and its loss, checked: what `checked_gradients` returns.

    Args:
        model: A built Keras 3 model.
        weights: Key → variable, for those by which gradients are taken.
        batches: Gives all batches (x, y, sample_weight).
        loss: Of x, y, sample_weight and the model's output, the mean loss of a batch.
    """

    def __init__(
        self,
        model: Any,
        weights: dict[str, Any],
        batches: Callable[[], Iterator[Batch]],
        loss: Callable[[Any, Any, Any, Any], Any],
    ) -> None:
        self.model, self.weights = model, weights
        self._batches, self._loss = batches, loss
        variables = list(weights.values())
        self._gradients = Program(self._gradients_of, variables, model.variables)
        self._products = Program(self._products_of, variables, model.variables)

    @contextmanager
    def masked(self, masks: Masks | None) -> Iterator[list[Any]]:
        """The weights, with the pruned ones at zero: for this thread, while the block runs."""
        with apart(self.model) as snapshot:
            if masks is not None:
                for key, weight in self.weights.items():
                    weight.assign(values_of(weight) * masks[key])
            yield snapshot.differentiable(list(self.weights.values()))

    def gradients(self) -> list[Any]:
        """∂L/∂w of the mean loss over all batches, in a block of `masked`."""
        return self._mean(self._gradients)

    def hessian_times(self, vectors: list[Any]) -> list[Any]:
        """H v of the mean loss over all batches: the gradient of g · v, v held fixed."""
        return self._mean(lambda *batch: (None, self._products(vectors, *batch)))

    def _gradients_of(self, values: list[Any], *batch: Any) -> tuple[Any, list[Any]]:
        return value_and_gradients(self._loss_of(batch), values, watched=self._check_reached)

    def _products_of(self, values: list[Any], vectors: list[Any], *batch: Any) -> list[Any]:
        return hessian_times(self._loss_of(batch), values, vectors, watched=self._check_reached)

    def _loss_of(self, batch: tuple[Any, ...]) -> Callable[[list[Any]], Any]:
        x, y, sample_weight = batch

        def value(values: list[Any]) -> Any:
            with reading(list(self.weights.values()), values):
                return self._loss(x, y, sample_weight, called(self.model, x))

        return value

    def _check_reached(self, watched: Any) -> None:
        """InputError if a graph inside the model has its weights, and not their copies."""
        with keras.StatelessScope():  # what they are outside of that of `masked`
            weights = {id(weight.value) for weight in self.weights.values()}
        if any(id(variable) in weights for variable in watched):
            raise InputError(
                f"`model` {self.model.name!r} computes with its weights in a tf.function inside "
                "it, where masks and gradients do not reach them. Leave the tf.function out (`fit` "
                "compiles the whole step), or call tf.config.run_functions_eagerly(True) first."
            )

    def _mean(self, one_batch: Callable[..., tuple[Any, list[Any]]]) -> list[Any]:
        total, rows = None, 0
        for batch in self._batches():
            n = int(keras.tree.flatten(batch[0])[0].shape[0])
            value, found = one_batch(*batch)
            if value is not None and not math.isfinite(float(value)):
                raise InputError(
                    f"The loss is {float(value)} on the data. Look at `x`, `y`, `loss` and the "
                    "weights."
                )
            parts = [n * g for g in found]
            total = parts if total is None else [a + b for a, b in zip(total, parts, strict=True)]
            rows += n
        if total is None or not rows:
            raise InputError("`x` has no examples. Pass at least one batch.")
        return [g / rows for g in total]


def finite_scores(score: str, scores: Scores) -> Scores:
    """The scores; InputError if one of them is not finite."""
    for key, values in scores.items():
        if not np.isfinite(values).all():
            raise InputError(
                f"The {score!r} score of {key!r} is not finite. Look at the loss and the weights "
                "of `model`: something in them overflows, or is not a number."
            )
    return scores


def checked_gradients(
    score: str,
    model: Any,
    x: Any,
    y: Any,
    sample_weight: Any,
    loss: Loss | None,
    batch_size: int,
    weights: dict[str, Any],
) -> LossGradients:
    """Check what `before_training.snip` is given, before anything is computed.

    ``weights`` are those by which gradients are taken: key → variable.

    Raises:
        InputError: as `tfinit.pruning.scoring.before_training.snip` tells.
    """
    require_gradients(repr(score), '"magnitude" or "random"')
    batch_size = whole("batch_size", batch_size, 1)
    value = _loss(score, model, loss)
    needs_y = loss is not None or losses_of(model) is not None
    batches = _batches(score, x, y, sample_weight, batch_size, needs_y)
    return LossGradients(model, weights, batches, value)


def checked_loss(
    what: str, model: Any, x: Any, y: Any, loss: Loss | None, batch_size: int
) -> Callable[[], float]:
    """What gives the mean loss over all examples as the model is when it is called.

    Raises:
        InputError: as `checked_gradients`.
    """
    batch_size = whole("batch_size", batch_size, 1)
    of_batch = _loss(what, model, loss)
    batches = _batches(what, x, y, None, batch_size, loss is not None or bool(losses_of(model)))

    def value() -> float:
        total, rows = 0.0, 0
        for x, y, weights in batches():
            count = int(keras.tree.flatten(x)[0].shape[0])
            total += count * float(of_batch(x, y, weights, call(model, x)))
            rows += count
        return total / rows

    return value


def _loss(score: str, model: Any, loss: Loss | None) -> Callable[[Any, Any, Any, Any], Any]:
    """(x, y, sample_weight, output) → scalar, with errors that say what did not fit."""
    given: Any = None
    if loss is None:
        if not getattr(model, "compiled", False):
            raise InputError(
                f"{score!r} needs a loss, and `model` {model.name!r} is not compiled. Pass "
                "`loss`, or call model.compile(optimizer, loss)."
            )
    else:
        try:
            given = keras.losses.get(loss)
        except (ValueError, TypeError) as error:
            raise InputError(f"`loss` must be a Keras loss: {error}") from error
        function("loss", given, "(y, output)")

    def value(x: Any, y: Any, sample_weight: Any, output: Any) -> Any:
        try:
            if given is not None:
                return _weighted(given, y, output, sample_weight)
            _check_has_loss(score, model)
            return model.compute_loss(x=x, y=y, y_pred=output, sample_weight=sample_weight)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"The loss cannot be computed from `y`: {reason(error)}") from error

    return value


def _weighted(loss: Any, y: Any, output: Any, sample_weight: Any) -> Any:
    """The mean of a loss over a batch, each example counted as it weighs, as Keras does it."""
    if sample_weight is None:
        return ops.mean(loss(y, output))
    if isinstance(loss, keras.losses.Loss):
        return ops.mean(loss(y, output, sample_weight))
    values = loss(y, output)
    if keras.tree.is_nested(sample_weight) or len(values.shape) == 0:
        raise InputError(
            "`loss` returns one number for the batch, or `sample_weight` has several arrays: they "
            "do not fit. Let `loss` return one number for each example, or compile the model with "
            "its losses and leave `loss` out."
        )
    weights = ops.cast(sample_weight, values.dtype)
    return ops.mean(values * ops.reshape(weights, (-1, *(1,) * (len(values.shape) - 1))))


def _check_has_loss(score: str, model: Any) -> None:
    """InputError unless there is something to compute; on JAX, Keras would take zero for it."""
    own = type(model).compute_loss
    if losses_of(model) is None and not model.losses and own is keras.Model.compute_loss:
        raise InputError(
            f"{score!r} needs a loss, and `model` {model.name!r} was compiled without one and adds "
            "none: what a `train_step` of its own computes is not seen. Pass `loss`."
        )


def _batches(
    score: str, x: Any, y: Any, sample_weight: Any, batch_size: int, needs_y: bool
) -> Callable[[], Iterator[Batch]]:
    if x is None:
        raise InputError(
            f"{score!r} needs data: pass `x` and `y`, a few hundred training examples "
            "(ten of each class), or use 'synflow', which needs none."
        )
    if _is_stream(x):
        return _of_stream(score, x, y, sample_weight, needs_y)
    if y is None and needs_y:
        raise InputError(f"{score!r} needs the targets of `x`: pass `y`.")
    given = {"x": x, "y": y, "sample_weight": sample_weight}
    given = {name: _numbers(name, part) for name, part in given.items() if part is not None}
    arrays = keras.tree.flatten(list(given.values()))
    rows = {np.shape(array)[0] if np.ndim(array) else None for array in arrays}
    count = next(iter(rows))
    if len(rows) != 1 or not count:
        raise InputError(
            f"{' and '.join(f'`{name}`' for name in given)} must have the same number of examples, "
            "at least one, along their first axis, received shapes "
            f"{[np.shape(array) for array in arrays]}."
        )
    tensors = {name: _tensors(name, part) for name, part in given.items()}

    def cut(start: int) -> Batch:
        def rows_of(part: Any) -> Any:
            return keras.tree.map_structure(lambda a: a[start : start + batch_size], part)

        x, y, weights = (rows_of(tensors[n]) if n in tensors else None for n in _PARTS)
        return x, y, weights

    return lambda: map(cut, range(0, count, batch_size))


_PARTS = ("x", "y", "sample_weight")


def _is_stream(x: Any) -> bool:
    """True of what gives batches: tf.data, PyDataset, PyTorch's DataLoader."""
    return (
        hasattr(x, "element_spec")
        or isinstance(x, keras.utils.PyDataset)
        or any(c.__module__.startswith("torch.utils.data") for c in type(x).__mro__)
    )


def _of_stream(
    score: str, x: Any, y: Any, sample_weight: Any, needs_y: bool
) -> Callable[[], Iterator[Batch]]:
    if y is not None or sample_weight is not None:
        raise InputError("`x` gives batches, with their targets and weights. Leave the others out.")
    if hasattr(x, "element_spec") and int(x.cardinality()) == -1:
        raise InputError("`x` is a dataset without end. Use x.take(number_of_batches).")
    by_index = isinstance(x, keras.utils.PyDataset)
    if by_index and x.num_batches is None:
        raise InputError("`x` is a dataset without end. Give it `num_batches`.")

    def batches() -> Iterator[Batch]:
        for item in (x[i] for i in range(x.num_batches)) if by_index else x:
            item = tuple(item) if isinstance(item, list) else item
            if needs_y and not (isinstance(item, tuple) and len(item) > 1):
                raise InputError(
                    f"{score!r} needs the targets of `x`: it must give batches (x, y), gave "
                    f"{type(item).__name__}."
                )
            parts = keras.utils.unpack_x_y_sample_weight(item)
            found = [
                None if part is None else _tensors(name, part)
                for name, part in zip(_PARTS, parts, strict=True)
            ]
            yield found[0], found[1], found[2]

    return batches


def _numbers(name: str, arrays: Any) -> Any:
    """Arrays of numbers in NumPy, in the structure that was passed."""
    if not keras.tree.flatten(arrays):
        raise refused(name, "an array, or a list or dictionary of arrays", arrays)
    return keras.tree.map_structure(lambda part: array(name, part, "biufUS"), arrays)


def _tensors(name: str, arrays: Any) -> Any:
    """Arrays as tensors; InputError if one is not finite."""

    def tensor(part: Any) -> Any:
        part = ops.convert_to_tensor(part)
        # NumPy's default is not Keras's: float64 data would not meet float32 targets.
        if keras.backend.standardize_dtype(part.dtype) == "float64":
            part = ops.cast(part, keras.config.floatx())
        if keras.backend.is_float_dtype(keras.backend.standardize_dtype(part.dtype)) and not bool(
            ops.all(ops.isfinite(part))
        ):
            raise InputError(f"`{name}` has NaN or infinite values. Remove or replace them.")
        return part

    return keras.tree.map_structure(tensor, arrays)
