"""The compiled loop: many training steps in one program, on data in memory."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfinit.arguments import flag, function, instance, one_of, refused
from tfinit.datasets import Dataset
from tfinit.errors import InputError, first_line
from tfinit.moved import former_names
from tfinit.training.augment import Augment
from tfinit.training.checks import checked, finite_weights
from tfinit.training.evaluation import Evaluations, Evaluator
from tfinit.training.evaluation_programs import rows_of
from tfinit.training.judged import EVALUATE_TEST
from tfinit.training.metrics import (
    Checkpoint,
    Diverged,
    Metrics,
    Partial,
    Progress,
    no_checkpoint,
    silent,
)
from tfinit.training.noise import set_noise
from tfinit.training.order import batch_indices, evaluation_steps
from tfinit.training.state import assign_all, fits, state_of, values_of

_BUFFER = 1024  # steps that one call can make; how many it does make is a number, not a shape
_SECONDS = 0.5  # what a call should take, so that progress is seen and Ctrl-C heard


def warm_up() -> None:
    """Let the backend find its devices and compile once, in processes that run nothing else.

    With a GPU, ask for deterministic kernels: a run that goes on must end with the same bits.
    """
    import keras

    if keras.backend.backend() == "jax":
        from tfinit.training.jax_program import warm_up as warm
    else:
        from tfinit.training.tensorflow_program import warm_up as warm
    warm()


def choose_xla(model: Any) -> tuple[bool, str]:
    """Whether XLA should compile a model's training, and why. By rule: trying would take minutes.

    On JAX it always does. On CPU, XLA's convolutions are several times slower than TensorFlow's own
    (oneDNN), forward and most of all backward, and large ones compile for minutes. Everything else
    it makes faster; on a GPU (an H100) the loop ran 27 times as fast with XLA as without on
    LeNet-300-100, 6 times on Conv-2 and 7 times on ResNet-20.
    """
    import keras

    if keras.backend.backend() == "jax":
        return True, "JAX"
    from tfinit.training import tensorflow_program

    return tensorflow_program.choose_xla(model)


class CompiledLoop:
    """Trains a compiled Keras 3 model on data in memory, many steps a call: TensorFlow and JAX.

    The loop runs the model's own pieces (its forward pass, ``compute_loss``, the optimizer's
    ``apply`` or, on JAX, ``stateless_apply``), so what it computes is what ``fit`` computes, up to
    the order of floating point sums: learning-rate schedules, weight decay, BatchNormalization,
    Dropout, losses of layers, sample weights, mixed precision. The noise of Dropout and the like is
    that of a ``fit`` with ``jit_compile`` where XLA compiles: from one seed, XLA and TensorFlow's
    own kernels draw different numbers. It is traced once: weights, masks, optimizer state and
    the number of steps are values, so training again from other weights compiles nothing.

    Args:
        model: A Keras 3 model on the TensorFlow or JAX backend, compiled with an optimizer and a
            loss. One that is not built is built here.
        data: Training, validation and test split. Inputs may be a list or dictionary of arrays,
            and a split may have sample weights as its third part.
        augment: Random flips and crops of the training images.
        xla: Whether XLA compiles the program, which on JAX it does. None: by `choose_xla`; and
            where XLA rejects a model, the same program runs without it.
        evaluate_test: ``"always"``: every evaluation is on the test split too. ``"needed"``: the
            first, the last and that of the smallest validation loss; others have NaN there.

    Attributes:
        engine: ``"xla"`` or ``"graph"``.
        why: The reason, in a few words.

    Raises:
        InputError: not a model of Keras 3 on TensorFlow or JAX, not compiled, data that does not
            fit, or ``xla`` is False on JAX.

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
        evaluate_test: str = "always",
    ):
        import keras

        backend = keras.backend.backend()
        if backend not in ("tensorflow", "jax"):
            raise InputError(
                "The compiled loop needs Keras on the TensorFlow or JAX backend, received "
                f"{backend!r}. Use tfinit.training.trainer(model, data), which falls back to fit, "
                "or set KERAS_BACKEND."
            )
        data = checked(model, data)
        xla = flag("xla", xla, none=True)
        if backend == "jax" and xla is False:
            raise InputError("`xla` False: on JAX, XLA compiles all. Pass True or None.")
        instance("augment", augment, Augment, none=True)
        self._test = one_of("evaluate_test", evaluate_test, EVALUATE_TEST)
        if augment is not None:
            augment.check(data.train[0])
        self.model = model
        self.rows = rows_of(data.train[0])
        self._data, self._augment = data, augment
        optimizer = model.optimizer
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        self._fresh = [np.array(v.numpy()) for v in optimizer.variables]
        xla, self.why = choose_xla(model) if xla is None else (xla, "as asked")
        self.engine = "xla" if xla else "graph"
        if backend == "jax":
            from tfinit.training.jax_program import JaxProgram

            self._program: Any = JaxProgram(model, data.train, augment)
        else:
            from tfinit.training.tensorflow_program import TensorFlowProgram

            self._program = TensorFlowProgram(model, data.train, augment, xla)
        self._may_be_rejected = xla and backend == "tensorflow"
        self._evaluate = Evaluator(model, data, jit_compile=xla)
        self._calls = 4  # steps of the next call

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
        measured = Evaluations(self.model, lambda: self._evaluate, self._test, resume)
        if resume is None:
            step = start
            set_noise(self.model, seed, start)
            if start in at:
                at[start]()
            self._guarded(lambda: measured.measure(start))
        else:
            step = resume.step
            assign_all(state_of(self.model), resume.state)
            progress(step - start)
        stops = np.array(sorted(due | {s for s in at if start < s < steps}))
        while step < steps:
            stop = min(step + self._calls, int(stops[stops > step][0]))
            losses = self._steps(indices[step - start : stop - start], step, stop, seed)
            if not np.isfinite(losses).all():
                raise Diverged(step + int(np.argmin(np.isfinite(losses))) + 1, measured.metrics())
            measured.add_losses(losses)
            progress(stop - step)
            step = stop
            if step == steps:  # as fit does: averaged weights, where the optimizer keeps some
                self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
            if (step in due or step in at) and not finite_weights(self.model):
                raise Diverged(step, measured.metrics(), weights=True)
            if step in at:
                at[step]()
            if step in due:
                measured.measure(step, end=step == steps)
            if step < steps:
                checkpoint(lambda: measured.partial(step, values_of(state_of(self.model))))  # noqa: B023
        return measured.metrics()

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
        draws = None
        if self._augment is not None:
            draws = np.zeros((_BUFFER, batch_size, 3), np.int32)
            draws[:count] = self._augment.draw(batch_size, start, stop, seed)
        began = time.perf_counter()
        losses = self._guarded(lambda: self._program(buffer, count, draws), last=True)
        if time.perf_counter() - began < _SECONDS / 2 and count == self._calls:
            self._calls = min(2 * self._calls, _BUFFER)
        return losses

    def _guarded(self, call: Callable[[], Any], last: bool = False) -> Any:
        """Call a program; if XLA rejects it, call it without: the last of them was compiled."""
        if not self._may_be_rejected:
            return call()
        from tfinit.training.tensorflow_program import REJECTED

        try:
            result = call()
        except REJECTED as error:
            # Compiling comes before running: no variable has changed.
            self._may_be_rejected = False
            self.engine, self.why = "graph", f"XLA rejects the model: {first_line(error)}"
            self._program.without_xla()
            self._evaluate = Evaluator(self.model, self._data, jit_compile=False)
            return call()
        self._may_be_rejected = not last
        return result


__getattr__ = former_names(__name__, {"wake_up": "warm_up"})
