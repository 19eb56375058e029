"""Gradients of a Keras 3 model's loss over data, on copies of its variables. TensorFlow."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from tfinit.arguments import array, function, refused, whole
from tfinit.errors import InputError
from tfinit.graph.gradients import dense
from tfinit.probes import require_tensorflow
from tfinit.pruning.scoring.masks import Masks, check_mask
from tfinit.variables import check_same_keys, keras_of, prunable_weights

Scores = dict[str, np.ndarray]
Loss = str | Callable[[Any, Any], Any]


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


def check_backend(score: str) -> None:
    """InputError unless Keras runs on TensorFlow."""
    require_tensorflow(f"{score!r} takes gradients", '"magnitude" or "random"')


def called(model: Any, x: Any) -> Any:
    """The model's output as it would predict; InputError if it cannot be called on ``x``."""
    try:
        return model(x, training=False)
    except Exception as error:
        shapes = [tuple(array.shape) for array in keras.tree.flatten(x)]
        raise InputError(
            f"`model` {model.name!r} cannot be called on inputs of shape {shapes}, `x`: {error}"
        ) from error


class LossGradients(NamedTuple):
    """A model with its data and its loss, checked: what `checked_gradients` returns."""

    model: Any
    weights: dict[str, Any]
    masks: Masks | None
    batches: Callable[[], Iterator[tuple[Any, Any]]]
    loss: Callable[[Any, Any, Any], Any]

    @contextmanager
    def masked(self) -> Iterator[list[Any]]:
        """The weights, with the pruned ones at zero: for this thread, while the block runs."""
        from tfinit.graph.snapshot import apart

        with apart(self.model):
            if self.masks is not None:
                for key, weight in self.weights.items():
                    weight.assign(values_of(weight) * self.masks[key])
            yield [weight.value for weight in self.weights.values()]

    def gradients(self, variables: list[Any]) -> list[Any]:
        """∂L/∂w of the mean loss over all batches."""
        import tensorflow as tf

        def one_batch(x: Any, y: Any) -> list[Any]:
            with tf.GradientTape() as tape:
                value = self.loss(x, y, called(self.model, x))
            self._check_reached(tape)
            return dense(tape.gradient(value, variables), variables)

        return self._mean(one_batch)

    def hessian_times(self, vectors: list[Any], variables: list[Any]) -> list[Any]:
        """H v of the mean loss over all batches: the gradient of g · v, v held fixed."""
        import tensorflow as tf

        def one_batch(x: Any, y: Any) -> list[Any]:
            with tf.GradientTape() as outer:
                with tf.GradientTape() as inner:
                    value = self.loss(x, y, called(self.model, x))
                self._check_reached(inner)
                first = dense(inner.gradient(value, variables), variables)
                along = tf.add_n(
                    [tf.reduce_sum(g * v) for g, v in zip(first, vectors, strict=True)]
                )
            return dense(outer.gradient(along, variables), variables)

        return self._mean(one_batch)

    def _check_reached(self, tape: Any) -> None:
        """InputError if a graph inside the model has its weights, and not their copies."""
        with keras.StatelessScope():  # what they are outside of that of `masked`
            weights = {id(weight.value) for weight in self.weights.values()}
        if any(id(variable) in weights for variable in tape.watched_variables()):
            raise InputError(
                f"`model` {self.model.name!r} computes with its weights in a tf.function inside "
                "it, where masks and gradients do not reach them. Leave the tf.function out (`fit` "
                "compiles the whole step), or call tf.config.run_functions_eagerly(True) first."
            )

    def _mean(self, one_batch: Callable[[Any, Any], list[Any]]) -> list[Any]:
        total, rows = None, 0
        for x, y in self.batches():
            n = int(keras.tree.flatten(x)[0].shape[0])
            parts = [n * g for g in one_batch(x, y)]
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
    score: str, model: Any, x: Any, y: Any, masks: Any, loss: Loss | None, batch_size: int
) -> LossGradients:
    """Check what `before_training.snip` is given, before anything is computed.

    Raises:
        InputError: as `tfinit.pruning.scoring.before_training.snip` tells.
    """
    check_backend(score)
    weights = weights_of(model)
    checked = None if masks is None else checked_masks(masks, weights)
    batch_size = whole("batch_size", batch_size, 1)
    return LossGradients(
        model, weights, checked, _batches(score, x, y, batch_size), _loss(score, model, loss)
    )


def _loss(score: str, model: Any, loss: Loss | None) -> Callable[[Any, Any, Any], Any]:
    """(x, y, output) → scalar, with errors that say what did not fit."""
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

    def value(x: Any, y: Any, output: Any) -> Any:
        try:
            if loss is None:
                total = model.compute_loss(x=x, y=y, y_pred=output, sample_weight=None)
            else:
                total = ops.mean(given(y, output))
        except Exception as error:
            raise InputError(f"The loss cannot be computed from `y`: {error}") from error
        if not np.isfinite(float(total)):
            raise InputError(
                f"The loss is {float(total)} on the data. Look at `x`, `y`, `loss` and the weights."
            )
        return total

    return value


def _batches(
    score: str, x: Any, y: Any, batch_size: int
) -> Callable[[], Iterator[tuple[Any, Any]]]:
    if x is None:
        raise InputError(
            f"{score!r} needs data: pass `x` and `y`, a few hundred training examples "
            "(ten of each class), or use 'synflow', which needs none."
        )
    if hasattr(x, "element_spec"):  # tf.data.Dataset
        if int(x.cardinality()) == -1:
            raise InputError("`x` is a dataset without end. Use x.take(number_of_batches).")
        if not isinstance(x.element_spec, tuple) or len(x.element_spec) < 2:
            raise InputError(f"`x` must be a dataset of batches (x, y), has {x.element_spec}.")
        return lambda: ((_tensors("x", item[0]), _tensors("y", item[1])) for item in x)
    if y is None:
        raise InputError(f"{score!r} needs the targets of `x`: pass `y`.")
    x, y = _numbers("x", x), _numbers("y", y)
    arrays = keras.tree.flatten(x) + keras.tree.flatten(y)
    rows = {np.shape(array)[0] if np.ndim(array) else None for array in arrays}
    count = next(iter(rows))
    if len(rows) != 1 or not count:
        raise InputError(
            "`x` and `y` must have the same number of examples, at least one, along their first "
            f"axis, received shapes {[np.shape(array) for array in arrays]}."
        )
    x, y = _tensors("x", x), _tensors("y", y)

    def cut(start: int) -> tuple[Any, Any]:
        def rows_of(part: Any) -> Any:
            return keras.tree.map_structure(lambda a: a[start : start + batch_size], part)

        return rows_of(x), rows_of(y)

    return lambda: map(cut, range(0, count, batch_size))


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
