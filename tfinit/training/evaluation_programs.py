"""How a model is measured on each backend: a program, called for each part of a split."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tfinit.array_trees import each, flat
from tfinit.graph.keras_internals import given_metrics
from tfinit.variables import keras_of

Logs = dict[str, Any]
Split = tuple[Any, ...]


class _InTensorFlow:
    """Keras 3 and tf_keras on TensorFlow: one program, called for each part."""

    by_keras = False

    def __init__(self, model: Any, loss: Any, jit_compile: bool):

        self._model, self._loss = model, loss
        self.counts = _is_compiled(model)
        self._legacy = keras_of(model) == "tf_keras"
        self._function = self._measure
        if not getattr(model, "run_eagerly", False):
            self._function = self._compiled(jit_compile)
        self._rejects = jit_compile

    def parts(self, split: Split, rows: int) -> list[Split]:
        """The split, cut, on the device."""
        import tensorflow as tf

        return _cut(split, rows, tf.constant)

    def first(self, few: Split) -> tuple[Any, Logs]:
        """What the model gives for some examples, and its logs."""
        [part] = self.parts(few, rows_of(few))
        _, _, outputs, logs = self._all(*part)
        return outputs, logs

    def __call__(self, parts: list[Split]) -> tuple[list[tuple], Logs]:
        """Loss and number of right rows of each part, and the logs of all."""
        logs: Logs = {}
        if self.counts:
            self._model.reset_metrics()
        measured = []
        for part in parts:
            loss, right, logs = self._call(part)
            measured.append((loss, right))
        return measured, logs

    def _call(self, part: Split) -> tuple[Any, Any, Logs]:
        if not (self.counts and self._rejects):
            return self._function(*part)
        import tensorflow as tf

        self._rejects = False
        try:
            return self._function(*part)
        except (tf.errors.OpError, ValueError):  # XLA cannot compile a metric: it has not run
            self._function = self._compiled()
            return self._function(*part)

    def _compiled(self, jit_compile: bool | None = None) -> Callable[..., Any]:
        import tensorflow as tf

        # As in the `fit` of both: tf_keras rewrites the code of layers, Keras 3 does not.
        return tf.function(self._measure, jit_compile=jit_compile, autograph=self._legacy)

    def _measure(self, x: Any, y: Any = None, weight: Any = None) -> tuple[Any, Any, Logs]:
        loss, right, _, logs = self._all(x, y, weight)
        return loss, right, logs

    def _all(self, x: Any, y: Any = None, weight: Any = None) -> tuple[Any, Any, Any, Logs]:
        import tensorflow as tf

        model = self._model
        predictions = model(x, training=False)
        right = tf.zeros((), tf.int32)
        y_shape, shape = getattr(y, "shape", ()), getattr(predictions, "shape", ())
        if len(y_shape) == 1 and len(shape) == 2 and tf.as_dtype(y.dtype).is_integer:
            hits = tf.argmax(predictions, axis=-1, output_type=y.dtype) == y
            right = tf.reduce_sum(tf.cast(hits, tf.int32))
        if self._loss is not None:
            loss = self._loss(y, predictions, weight)
        elif self._legacy:
            loss = model.compute_loss(x, y, predictions, weight)
        else:
            loss = _loss_of(model, x, y, predictions, weight)
        logs = model.compute_metrics(x, y, predictions, weight) if self.counts else {}
        return loss, right, predictions, logs


class _InTorch:
    """Keras 3 on PyTorch, without gradients."""

    by_keras = False

    def __init__(self, model: Any, loss: Any, jit_compile: bool):
        self._model, self._loss = model, loss
        self.counts = _is_compiled(model)

    def parts(self, split: Split, rows: int) -> list[Split]:
        """The split, cut, on the device."""
        import keras

        return _cut(split, rows, keras.ops.convert_to_tensor)

    def first(self, few: Split) -> tuple[Any, Logs]:
        """What the model gives for some examples, and its logs."""
        [part] = self.parts(few, rows_of(few))
        with self._evaluating():
            _, _, outputs, logs = self._all(*part)
        return outputs, logs

    def __call__(self, parts: list[Split]) -> tuple[list[tuple], Logs]:
        """Loss and number of right rows of each part, and the logs of all."""
        logs: Logs = {}
        measured = []
        if self.counts:
            self._model.reset_metrics()
        with self._evaluating():
            for part in parts:
                loss, right, _, logs = self._all(*part)
                measured.append((loss, right))
        return measured, logs

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        import torch

        training = self._model.training
        self._model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self._model.train(training)

    def _all(self, x: Any, y: Any = None, weight: Any = None) -> tuple[Any, Any, Any, Logs]:
        model = self._model
        predictions = model(x, training=False)
        if self._loss is not None:
            loss = self._loss(y, predictions, weight)
        else:
            loss = _loss_of(model, x, y, predictions, weight)
        logs = model.compute_metrics(x, y, predictions, weight) if self.counts else {}
        return loss, _right(y, predictions), predictions, logs


class _InJax:
    """Keras 3 on JAX: one program of values, which changes no variable."""

    by_keras = False

    def __init__(self, model: Any, loss: Any, jit_compile: bool):
        import jax

        self._model, self._loss = model, loss
        self.counts = _is_compiled(model)
        self._function = self._measure
        if not getattr(model, "run_eagerly", False):
            self._function = jax.jit(self._measure)
        self._counts: list[Any] | None = None  # what counting begins with

    def parts(self, split: Split, rows: int) -> list[Split]:
        """The split, cut, on the device."""
        import keras

        return _cut(split, rows, keras.ops.convert_to_tensor)

    def first(self, few: Split) -> tuple[Any, Logs]:
        """What the model gives for some examples, and its logs."""
        model = self._model
        [(x, y, weight)] = [(*part, None, None)[:3] for part in self.parts(few, rows_of(few))]
        predictions = model(x, training=False)
        if self._loss is None:
            _loss_of(model, x, y, predictions, weight)
        else:
            self._loss(y, predictions, weight)
        logs = model.compute_metrics(x, y, predictions, weight) if self.counts else {}
        return predictions, logs

    def __call__(self, parts: list[Split]) -> tuple[list[tuple], Logs]:
        """Loss and number of right rows of each part, and the logs of all."""
        model = self._model
        if self._counts is None:
            if _is_compiled(model):
                model.reset_metrics()  # put back by who called
            self._counts = [v.value for v in model.metrics_variables]
        weights = [v.value for v in model.trainable_variables]
        fixed = [v.value for v in model.non_trainable_variables]
        measured, counts, logs = [], self._counts, {}
        for part in parts:
            loss, right, counts, logs = self._function(weights, fixed, counts, *part)
            measured.append((loss, right))
        return measured, logs

    def _measure(
        self, weights: Any, fixed: Any, counts: Any, x: Any, y: Any = None, weight: Any = None
    ) -> tuple[Any, Any, Any, Logs]:
        import keras

        model = self._model
        if self._loss is not None:
            predictions, _ = model.stateless_call(weights, fixed, x, training=False)
            return self._loss(y, predictions, weight), _right(y, predictions), counts, {}
        # As `test_step` of Keras on JAX.
        _, (loss, predictions, _, after) = model.compute_loss_and_updates(
            weights, fixed, counts, x, y, weight, training=False
        )
        if not self.counts:
            return loss, _right(y, predictions), counts, {}
        counts = after
        variables = model.metrics_variables
        scope = keras.StatelessScope(list(zip(variables, counts, strict=True)))
        with scope:
            logs = model.compute_metrics(x, y, predictions, weight)
        now = [scope.get_current_value(v) for v in variables]
        counts = [c if n is None else n for n, c in zip(now, counts, strict=True)]
        return loss, _right(y, predictions), counts, logs


class _ByKeras:
    """As Keras's ``evaluate``, of either Keras: a model with a ``test_step`` of its own, or whose
    metrics count on several devices.
    """

    by_keras = True

    def __init__(self, model: Any):
        self._model = model

    def parts(self, split: Split, rows: int) -> list[Split]:
        """The whole split."""
        self._rows = rows
        return [split]

    def first(self, few: Split) -> tuple[Any, Logs]:
        """No outputs, and the logs of some examples."""
        self._rows = rows_of(few)
        return None, self([few])[1]

    def __call__(self, parts: list[Split]) -> tuple[list[tuple], Logs]:
        """Nothing of our own, and the logs of the split."""
        x, y, weight = (*parts[0], None, None)[:3]
        logs = self._model.evaluate(
            x, y, sample_weight=weight, batch_size=self._rows, verbose=0, return_dict=True
        )
        return [], logs


def program_of(model: Any, loss: Any, jit_compile: bool) -> Any:
    """What measures a model, with a loss of its own or one that is given."""
    if loss is None and (_has_own_test_step(model) or counts_on_replicas(model)):
        return _ByKeras(model)
    if keras_of(model) == "tf_keras":
        return _InTensorFlow(model, loss, jit_compile)
    import keras

    kinds = {"tensorflow": _InTensorFlow, "jax": _InJax, "torch": _InTorch}
    return kinds[keras.backend.backend()](model, loss, jit_compile)


def counts_on_replicas(model: Any) -> bool:
    """Whether metrics count where a strategy of tf.distribute has them: only in Keras's own loops.

    In tf_keras to compute a loss is to count it.
    """
    strategy = getattr(model, "distribute_strategy", None)
    if strategy is None or type(strategy).__name__ == "_DefaultDistributionStrategy":
        return False
    return keras_of(model) == "tf_keras" or any(given_metrics(model))


def _is_compiled(model: Any) -> bool:
    return getattr(model, "optimizer", None) is not None


def _has_own_test_step(model: Any) -> bool:
    if not _is_compiled(model):
        return False
    module = importlib.import_module(keras_of(model) or "keras")
    return type(model).test_step is not module.Model.test_step


def _loss_of(model: Any, x: Any, y: Any, predictions: Any, weight: Any) -> Any:
    return model.compute_loss(x=x, y=y, y_pred=predictions, sample_weight=weight, training=False)


def _right(y: Any, predictions: Any) -> Any:
    """How many of the largest outputs are at their class; 0 where targets are no classes."""
    from keras import ops

    y_shape, shape = getattr(y, "shape", ()), getattr(predictions, "shape", ())
    if len(y_shape) != 1 or len(shape) != 2 or "int" not in str(y.dtype):
        return 0
    hits = ops.equal(ops.cast(ops.argmax(predictions, axis=-1), y.dtype), y)
    return ops.sum(ops.cast(hits, "int32"))


@contextmanager
def counts_put_back(model: Any) -> Iterator[None]:
    """Let a model's metrics count, and put back what they had counted; new ones have nothing."""
    if not _is_compiled(model) or counts_on_replicas(model):  # `fit` counts from 0 each step
        yield
        return
    kept = [(v, array_of(v)) for metric in model.metrics for v in metric.variables]
    known = {id(v) for v, _ in kept}
    try:
        yield
    finally:
        for variable, value in kept:
            variable.assign(value)
        for metric in model.metrics:
            if any(id(v) not in known for v in metric.variables):
                metric.reset_state()


def rows_of(arrays: Any) -> int:
    """Number of examples in arrays of any structure."""
    return len(next(a for a in flat(arrays) if a is not None))


def array_of(value: Any) -> np.ndarray:
    """A copy of a tensor or variable, wherever it lies."""
    if hasattr(value, "detach"):  # of PyTorch
        value = value.detach().cpu()
    return np.array(value)


def _cut(split: Split, rows: int, tensor: Callable[[np.ndarray], Any]) -> list[Split]:
    total = rows_of(split)
    pieces = np.array_split(np.arange(total), -(-total // rows))
    return [tuple(each(lambda a, p=piece: tensor(a[p]), split)) for piece in pieces]
