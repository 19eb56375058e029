"""The compiled loop: many training steps in one program, on data in memory. TensorFlow only."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfinit.arguments import flag, function, instance, refused
from tfinit.datasets import Dataset
from tfinit.errors import InputError, MissingPackage, first_line
from tfinit.graph.layer_kinds import kind_of
from tfinit.moved import former_names
from tfinit.training.augment import Augment
from tfinit.training.checks import checked, finite_weights
from tfinit.training.evaluation import Evaluator
from tfinit.training.metrics import (
    Checkpoint,
    Diverged,
    Metrics,
    MetricsRecorder,
    Partial,
    Progress,
    no_checkpoint,
    silent,
)
from tfinit.training.order import batch_indices, evaluation_steps
from tfinit.training.state import fits, state_of
from tfinit.variables import walk_layers

try:
    import tensorflow as tf
except ModuleNotFoundError as error:
    raise MissingPackage("tfinit.training's compiled loop", "TensorFlow", "tensorflow") from error

_BUFFER = 1024  # steps that one call can make; how many it does make is a number, not a shape
_SECONDS = 0.5  # what a call should take, so that progress is seen and Ctrl-C heard
# What XLA says to a model that it cannot compile.
_REJECTED = (
    tf.errors.InvalidArgumentError,
    tf.errors.UnimplementedError,
    tf.errors.NotFoundError,
    tf.errors.InternalError,
    tf.errors.FailedPreconditionError,
)


def warm_up() -> None:
    """Let TensorFlow find its devices and compile once, in processes that run nothing else.

    With a GPU, ask for deterministic kernels: a run that goes on must end with the same bits.
    """
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()
        # XLA has a switch of its own, and reads it when it first compiles. Without it, each process
        # times XLA's kernels and may choose others. A network with overlapping max-pooling cannot
        # be compiled so: it trains without XLA.
        flags = os.environ.get("XLA_FLAGS", "")
        if "deterministic_ops" not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true"
    tf.function(lambda: tf.zeros(()), jit_compile=True)()


def choose_xla(model: Any) -> tuple[bool, str]:
    """Whether XLA should compile a model's training, and why. By rule: trying would take minutes.

    On CPU, XLA's convolutions are several times slower than TensorFlow's own (oneDNN), forward and
    most of all backward, and large ones compile for minutes. Everything else it makes faster; on a
    GPU (an H100) the loop ran 27 times as fast with XLA as without on LeNet-300-100, 6 times on
    Conv-2 and 7 times on ResNet-20.
    """
    if tf.config.list_logical_devices("GPU"):
        return True, "a GPU"
    for _, layer in walk_layers(model):
        if kind_of(layer).convolution:
            return False, "convolutions on CPU, which XLA makes slower"
    return True, "no convolutions"


def leading(x: Any) -> int:
    """Number of examples in an array, or in a list or dictionary of arrays."""
    return len(tf.nest.flatten(x)[0])


class CompiledLoop:
    """Trains a compiled Keras 3 model on data in memory, many steps a call.

    The loop runs the model's own pieces (``model(x, training=True)``, ``compute_loss``,
    ``optimizer.apply``), so what it computes is what ``fit`` computes, up to the order of floating
    point sums: learning-rate schedules, weight decay, BatchNormalization, Dropout, losses of
    layers, sample weights, mixed precision. The noise of Dropout and the like is that of a ``fit``
    with ``jit_compile`` where XLA compiles: from one seed, XLA and TensorFlow's own kernels draw
    different numbers. It is traced once: weights, masks, optimizer state and
    the number of steps are values, so training again from other weights compiles nothing.

    Args:
        model: A Keras 3 model on the TensorFlow backend, compiled with an optimizer and a loss.
            One that is not built is built here.
        data: Training, validation and test split. Inputs may be a list or dictionary of arrays,
            and a split may have sample weights as its third part.
        augment: Random flips and crops of the training images.
        xla: Whether XLA compiles the program. None: by `choose_xla`; and where XLA rejects a
            model, the same program runs without it.

    Attributes:
        engine: ``"xla"`` or ``"graph"``.
        why: The reason, in a few words.

    Raises:
        InputError: not a model of Keras 3 on TensorFlow, not compiled, or data that does not fit.

    Example:
        >>> data = tfinit.datasets.load("digits")
        >>> layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
        >>> model = keras.Sequential(layers)
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile(keras.optimizers.Adam(0.01), loss)
        >>> metrics = CompiledLoop(model, data)(200, 60, seed=0, evaluate_every=100)
        >>> metrics.step.tolist(), metrics.values["test_accuracy"][-1] > 0.8
        ([0, 100, 200], True)
    """

    def __init__(
        self,
        model: Any,
        data: Dataset,
        augment: Augment | None = None,
        xla: bool | None = None,
    ):
        import keras

        if keras.backend.backend() != "tensorflow":
            raise InputError(
                "The compiled loop needs Keras on the TensorFlow backend, "
                f"received {keras.backend.backend()!r}. Use tfinit.training.trainer(model, data), "
                "which falls back to fit, or set KERAS_BACKEND=tensorflow."
            )
        data = checked(model, data)
        xla = flag("xla", xla, none=True)
        instance("augment", augment, Augment, none=True)
        if augment is not None:
            augment.check(data.train[0])
        self.model = model
        self.rows = leading(data.train[0])
        self._data, self._augment = data, augment
        optimizer = model.optimizer
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        self._seeds = [v for v in model.variables if v.name == "seed_generator_state"]
        self._fresh = [np.array(v.numpy()) for v in optimizer.variables]
        xla, self.why = choose_xla(model) if xla is None else (xla, "as asked")
        self._may_be_rejected = xla
        self._train = tf.nest.map_structure(tf.constant, tuple(data.train))
        self._make(xla)
        self._calls = 4  # steps of the next call

    def _make(self, xla: bool) -> None:
        self.engine = "xla" if xla else "graph"
        self._run = tf.function(_program(self.model, self._train, self._augment), jit_compile=xla)
        self._evaluate = Evaluator(self.model, self._data, None, xla)

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
        progress: Progress = silent,
        *,
        start: int = 0,
        at: Mapping[int, Callable[[], None]] | None = None,
        resume: Partial | None = None,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> Metrics:
        """Train up to step ``steps``, from the present weights and optimizer state.

        Args:
            steps: The step to end with, at least 1.
            batch_size: Rows a step.
            seed: Decides the order of the data, and the streams of Dropout and the like.
            evaluate_every: Steps between evaluations; before the first step and after the last
                one it evaluates too.
            progress: Called with the number of steps done since the last call.
            start: The step to begin at: the data goes on from there.
            at: Step → called once that step is done, with the model as it is then.
            resume: Go on from there, to the same bits (with a GPU: after `warm_up`). ``at`` is not
                called for steps done.
            checkpoint: Called now and then with a function that gives the `Partial` to resume
                from.

        Returns:
            The metrics. The model holds the final weights.

        Raises:
            InputError: ``batch_size`` does not fit the data, a number is not whole or too small,
                or ``resume`` is of another network.
            Diverged: a loss was not finite; or a weight at an evaluation or a step of ``at``. The
                model holds the weights after that chunk.
        """
        function("progress", progress, "the number of steps")
        function("checkpoint", checkpoint, "a function")
        instance("resume", resume, Partial, none=True)
        if at is not None and not isinstance(at, Mapping):
            raise refused("at", "a dictionary of steps to functions, or None", at)
        indices = batch_indices(self.rows, batch_size, steps, seed, start)
        if resume is not None and not self.fits(resume):
            raise InputError(
                "`resume` is of another network: its variables are not those of this model and "
                "its optimizer. Train from the start."
            )
        due = set(evaluation_steps(steps, evaluate_every, start).tolist())
        at = dict(at or {})
        record = MetricsRecorder(self._evaluate.names, resume)
        if resume is None:
            step = start
            for n, state in enumerate(self._seeds):
                state.assign(np.random.SeedSequence([seed, n, start]).generate_state(2))
            if start in at:
                at[start]()
            record.row(start, self._guarded(self._evaluate))
        else:
            step = resume.step
            for name, variable in state_of(self.model).items():
                variable.assign(resume.state[name])
            progress(step - start)
        stops = np.array(sorted(due | {s for s in at if start < s < steps}))
        while step < steps:
            stop = min(step + self._calls, int(stops[stops > step][0]))
            losses = self._steps(indices[step - start : stop - start], step, stop, seed)
            if not np.isfinite(losses).all():
                raise Diverged(step + int(np.argmin(np.isfinite(losses))) + 1, record.metrics())
            record.add_losses(losses)
            progress(stop - step)
            step = stop
            if step == steps:  # as fit does: averaged weights, where the optimizer keeps some
                self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
            if (step in due or step in at) and not finite_weights(self.model):
                raise Diverged(step, record.metrics(), weights=True)
            if step in at:
                at[step]()
            if step in due:
                record.row(step, self._evaluate())
            if step < steps:
                checkpoint(lambda: record.partial(step, _read(state_of(self.model))))  # noqa: B023
        return record.metrics()

    @property
    def names(self) -> tuple[str, ...]:
        """What each evaluation measures: the columns of `Metrics.values`."""
        return self._evaluate.names

    def fits(self, partial: Partial) -> bool:
        """Whether a training of this model can go on from there: it names the same variables."""
        return fits(partial.state, state_of(self.model))

    def _steps(self, indices: np.ndarray, start: int, stop: int, seed: int) -> np.ndarray:
        """Make some steps; returns their losses. Learns how many make a call of half a second."""
        count, batch_size = indices.shape
        buffer = np.zeros((_BUFFER, batch_size), np.int32)
        buffer[:count] = indices
        arguments = [tf.constant(buffer), tf.constant(count)]
        if self._augment is not None:
            draws = np.zeros((_BUFFER, batch_size, 3), np.int32)
            draws[:count] = self._augment.draw(batch_size, start, stop, seed)
            arguments.append(tf.constant(draws))
        began = time.perf_counter()
        losses = self._guarded(self._run, *arguments).numpy()[:count]
        if time.perf_counter() - began < _SECONDS / 2 and count == self._calls:
            self._calls = min(2 * self._calls, _BUFFER)
        return losses

    def _guarded(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call a program of `_make`; if XLA rejects it, make and call it without."""
        if not self._may_be_rejected:
            return call(*arguments)
        name = "_run" if call is self._run else "_evaluate"
        try:
            result = call(*arguments)
        except _REJECTED as error:
            # Compiling comes before running: no variable has changed.
            self._may_be_rejected = False
            self.why = f"XLA rejects the model: {first_line(error)}"
            self._make(xla=False)
            return getattr(self, name)(*arguments)
        self._may_be_rejected = name != "_run"
        return result


def _read(variables: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.array(v.numpy()) for name, v in variables.items()}


def _program(model: Any, train: tuple, augment: Augment | None) -> Callable[..., tf.Tensor]:
    """The program: trains on the first ``count`` of the rows of indices, returns their losses."""
    optimizer = model.optimizer

    def run(indices: Any, count: Any, draws: Any = None) -> tf.Tensor:
        losses = tf.TensorArray(tf.float32, size=indices.shape[0], element_shape=())
        # Not `for step in tf.range(count)`: XLA builds the bounds of that into its program, and
        # would compile one for each number of steps.
        step: Any = tf.constant(0)
        while step < count:
            rows = indices[step]
            batch = tf.nest.map_structure(lambda a: tf.gather(a, rows), train)  # noqa: B023
            x, y, weight = (*batch, None)[:3]
            if draws is not None and augment is not None:
                x = augment.apply(x, draws[step])
            with tf.GradientTape() as tape:
                predictions = model(x, training=True)
                loss = model.compute_loss(
                    x=x, y=y, y_pred=predictions, sample_weight=weight, training=True
                )
                scaled = optimizer.scale_loss(loss)
            weights = model.trainable_variables
            optimizer.apply(tape.gradient(scaled, [w.value for w in weights]), weights)
            losses = losses.write(step, tf.cast(loss, tf.float32))
            step += 1
        return losses.stack()

    return run


__getattr__ = former_names(__name__, {"wake_up": "warm_up"})
