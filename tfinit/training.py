"""Training for a given number of steps, as one compiled program per chunk of steps.

The data stays in memory, batches are gathered by index inside the program, and their order is a
function of (seed, epoch), so that two runs, or a run and its repetition, see the same batches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tfinit.datasets import Dataset, Split
from tfinit.errors import InputError, MissingPackage, WorkError
from tfinit.variables import walk_layers

try:
    import tensorflow as tf
except ModuleNotFoundError as error:
    raise MissingPackage("tfinit.training", "TensorFlow", "tensorflow") from error

METRICS = ("validation_loss", "validation_accuracy", "test_loss", "test_accuracy")
_EVALUATION_ROWS = 2048  # rows of one evaluation call: bounds memory, not the result

Progress = Callable[[int], None]


def _silent(done: int) -> None:
    """No progress shown."""


@dataclass(frozen=True)
class Metrics:
    """What was measured during one training: one row per evaluation.

    Attributes:
        step: Steps done when the row was measured, from 0 (untrained) to the last.
        values: Name of each metric → its column. Names are `METRICS`; losses are means over the
            split, accuracies fractions.
    """

    step: np.ndarray
    values: dict[str, np.ndarray]

    @property
    def early_stop(self) -> int:
        """Row of the smallest validation loss, the first of equal ones."""
        return int(np.argmin(self.values["validation_loss"]))


class Diverged(WorkError):
    """The loss stopped being a number.

    Attributes:
        step: The first step, counted from 1, whose loss is NaN or infinite.
    """

    def __init__(self, step: int):
        super().__init__(
            f"the loss is not finite at step {step}. Lower the learning rate, or look at the data."
        )
        self.step = step


def wake_up() -> None:
    """Let TensorFlow find its devices and compile once, for processes that are all ours.

    With a GPU, ask for deterministic kernels: a run that goes on must end with the same bits.
    """
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()
    tf.function(lambda: tf.zeros(()), jit_compile=True)()


def check_batch_size(batch_size: int, rows: int) -> None:
    """Raise InputError unless a batch of ``batch_size`` fits into ``rows`` examples."""
    if not 1 <= batch_size <= rows:
        raise InputError(
            f"`batch_size` must be in 1..{rows}, the number of training examples; "
            f"received {batch_size}."
        )


def batch_indices(rows: int, batch_size: int, steps: int, seed: int) -> np.ndarray:
    """Which rows each step trains on.

    Every epoch is a new permutation of all rows, drawn from (seed, epoch) alone, cut into whole
    batches; the rest of the permutation is left out.

    Args:
        rows: Number of training examples.
        batch_size: Rows a step.
        steps: Number of steps.
        seed: Any non-negative integer.

    Returns:
        int32 array of shape (steps, batch_size).

    Raises:
        InputError: ``batch_size`` is not in 1..rows.

    Example:
        >>> batch_indices(rows=4, batch_size=2, steps=2, seed=0).shape
        (2, 2)
    """
    check_batch_size(batch_size, rows)
    per_epoch = rows // batch_size
    epochs = -(-steps // per_epoch)
    order = [
        np.random.default_rng([seed, epoch]).permutation(rows)[: per_epoch * batch_size]
        for epoch in range(epochs)
    ]
    flat = np.concatenate(order).astype(np.int32) if order else np.zeros(0, np.int32)
    return flat.reshape(-1, batch_size)[:steps]


def evaluation_steps(steps: int, every: int) -> np.ndarray:
    """The steps at which to evaluate: 0, every ``every`` steps, and the last one."""
    return np.unique([*range(0, steps, every), steps])


def _uses_xla(model: Any) -> bool:
    # XLA's convolutions on CPU are several times slower than TensorFlow's own.
    if tf.config.list_logical_devices("GPU"):
        return True
    return not any("Conv" in type(layer).__name__ for _, layer in walk_layers(model))


class Evaluator:
    """Loss and accuracy of a compiled model on the validation and test split. Both Kerases.

    Args:
        model: A model compiled with a loss.
        data: What to evaluate on. Labels are class numbers.
        loss: (labels, predictions) → mean loss, as a tensor.
        jit_compile: Whether XLA compiles the forward pass.
    """

    def __init__(
        self, model: Any, data: Dataset, loss: Callable[[Any, Any], Any], jit_compile: bool
    ):
        self._splits = {}
        for name in ("validation", "test"):
            x, y = getattr(data, name)
            self._splits[name] = [
                (tf.constant(x[i : i + _EVALUATION_ROWS]), tf.constant(y[i : i + _EVALUATION_ROWS]))
                for i in range(0, len(x), _EVALUATION_ROWS)
            ]

        @tf.function(jit_compile=jit_compile)
        def measure(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            predictions = model(x, training=False)
            right = tf.argmax(predictions, axis=-1, output_type=y.dtype) == y
            return loss(y, predictions), tf.reduce_sum(tf.cast(right, tf.int32))

        self._measure = measure

    def __call__(self) -> list[float]:
        """The present values of `METRICS`."""
        row = []
        for parts in self._splits.values():
            rows = sum(len(y) for _, y in parts)
            measured = [(self._measure(x, y), len(y)) for x, y in parts]
            row.append(sum(float(loss) * n for (loss, _), n in measured) / rows)
            row.append(sum(int(right) for (_, right), _ in measured) / rows)
        return row


class CompiledLoop:
    """Trains a compiled Keras 3 model on data in memory, many steps a call.

    The loop runs the model's own pieces (``model(x, training=True)``, ``compute_loss``,
    ``optimizer.apply``), so what it computes is what ``fit`` computes, up to the order of floating
    point sums. It is traced once: weights, masks and optimizer state are variables, so training
    again from other weights compiles nothing. XLA compiles it, except for convolutions on CPU.

    Args:
        model: A built Keras 3 model on the TensorFlow backend, compiled with an optimizer and a
            loss. One input, one output of class scores.
        data: Training, validation and test split.

    Raises:
        InputError: not a model of Keras 3 on TensorFlow, or not compiled.
    """

    def __init__(self, model: Any, data: Dataset):
        import keras

        if keras.backend.backend() != "tensorflow":
            raise InputError(
                "The compiled loop needs Keras on the TensorFlow backend, "
                f"received {keras.backend.backend()!r}. Set KERAS_BACKEND=tensorflow."
            )
        if not getattr(model, "compiled", False):
            raise InputError("`model` must be compiled: call model.compile(optimizer, loss).")
        self.model = model
        self.rows = len(data.train[0])
        optimizer = model.optimizer
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        self._seeds = [v for v in model.variables if v.name == "seed_generator_state"]
        self._fresh = [np.array(v.numpy()) for v in optimizer.variables]
        xla = _uses_xla(model)
        self._run = _compile(model, data.train, xla)
        self._evaluate = Evaluator(
            model, data, lambda y, p: model.compute_loss(y=y, y_pred=p, training=False), xla
        )

    def reset(self) -> None:
        """Put the optimizer back to what it was when the loop was made, masks included."""
        for variable, value in zip(self.model.optimizer.variables, self._fresh, strict=True):
            variable.assign(value)

    def __call__(
        self,
        steps: int,
        batch_size: int,
        seed: int,
        evaluate_every: int,
        progress: Progress = _silent,
    ) -> Metrics:
        """Train for ``steps`` steps, from the present weights and optimizer state.

        Args:
            steps: Number of steps, at least 1.
            batch_size: Rows a step.
            seed: Decides the order of the data, and the streams of Dropout and the like.
            evaluate_every: Steps between evaluations; before the first step and after the last
                one it evaluates too.
            progress: Called with the number of steps done since the last call.

        Returns:
            The metrics. The model holds the final weights.

        Raises:
            InputError: ``batch_size`` does not fit the data.
            Diverged: a loss was not finite. The model holds the weights after that chunk.
        """
        indices = batch_indices(self.rows, batch_size, steps, seed)
        for n, state in enumerate(self._seeds):
            state.assign(np.random.SeedSequence([seed, n]).generate_state(2))
        at = evaluation_steps(steps, evaluate_every)
        rows = [self._evaluate()]
        for start, stop in pairwise(at):
            losses = self._run(tf.constant(indices[start:stop])).numpy()
            if not np.isfinite(losses).all():
                raise Diverged(int(start + np.argmin(np.isfinite(losses))) + 1)
            rows.append(self._evaluate())
            progress(int(stop - start))
        return _as_metrics(at, rows)


def _compile(model: Any, train: Split, jit_compile: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    """The program that trains on the rows (steps, batch_size) and returns the loss of each step."""
    x_all, y_all = (tf.constant(part) for part in train)
    optimizer = model.optimizer

    @tf.function(jit_compile=jit_compile)
    def run(indices: tf.Tensor) -> tf.Tensor:
        losses = tf.TensorArray(tf.float32, size=indices.shape[0], element_shape=())
        for step in tf.range(indices.shape[0]):
            x, y = tf.gather(x_all, indices[step]), tf.gather(y_all, indices[step])
            with tf.GradientTape() as tape:
                predictions = model(x, training=True)
                loss = model.compute_loss(x=x, y=y, y_pred=predictions, training=True)
                scaled = optimizer.scale_loss(loss)
            weights = model.trainable_variables
            optimizer.apply(tape.gradient(scaled, [w.value for w in weights]), weights)
            losses = losses.write(step, tf.cast(loss, tf.float32))
        return losses.stack()

    return run


class FitLoop:
    """Trains a compiled tf_keras model with ``fit``, on the same batches as `CompiledLoop`.

    Args:
        model: A built tf_keras model, compiled with an optimizer and a loss object.
        data: Training, validation and test split.
        callbacks: Makes the callbacks of each training.
        before_evaluation: Called before each evaluation.
    """

    def __init__(
        self,
        model: Any,
        data: Dataset,
        callbacks: Callable[[], list[Any]] = list,
        before_evaluation: Callable[[], None] = lambda: None,
    ):
        self.model = model
        self.rows = len(data.train[0])
        self._train = tuple(tf.constant(part) for part in data.train)
        self._callbacks = callbacks
        self._before_evaluation = before_evaluation
        model.optimizer.build(model.trainable_variables)
        self._fresh = [v.numpy() for v in model.optimizer.variables]
        self._evaluate = Evaluator(model, data, model.loss, jit_compile=False)

    def reset(self) -> None:
        """Put the optimizer back to what it was when the loop was made."""
        for variable, value in zip(self.model.optimizer.variables, self._fresh, strict=True):
            variable.assign(value)

    def __call__(
        self,
        steps: int,
        batch_size: int,
        seed: int,
        evaluate_every: int,
        progress: Progress = _silent,
    ) -> Metrics:
        """Train for ``steps`` steps; arguments, result and errors as for `CompiledLoop`."""
        import tf_keras

        indices = batch_indices(self.rows, batch_size, steps, seed)
        at = evaluation_steps(steps, evaluate_every)
        x, y = self._train
        batches = tf.data.Dataset.from_tensor_slices(indices).map(
            lambda rows: (tf.gather(x, rows), tf.gather(y, rows))
        )
        rows = [self._evaluate()]
        due = {int(stop): int(stop - start) for start, stop in pairwise(at)}

        def after_batch(batch: int, logs: dict[str, float]) -> None:
            # The mean of the epoch so far: not finite from the first such loss on.
            if not np.isfinite(logs["loss"]):
                raise Diverged(batch + 1)
            if batch + 1 in due:
                self._before_evaluation()
                rows.append(self._evaluate())
                progress(due[batch + 1])

        watch = tf_keras.callbacks.LambdaCallback(on_batch_end=after_batch)
        self.model.fit(batches, verbose=0, callbacks=[*self._callbacks(), watch])
        return _as_metrics(at, rows)


def _as_metrics(steps: np.ndarray, rows: list[list[float]]) -> Metrics:
    return Metrics(steps, dict(zip(METRICS, np.array(rows).T, strict=True)))
