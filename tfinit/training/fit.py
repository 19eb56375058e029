"""Training with Keras's own ``fit``, where no compiled loop can run."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfinit.arguments import function, instance, one_of, refused, text
from tfinit.datasets import Dataset
from tfinit.errors import InputError, reason
from tfinit.training.augment import Augment
from tfinit.training.checks import checked, finite_weights, overridden
from tfinit.training.evaluation import Evaluations, Evaluator
from tfinit.training.fit_batches import ArrayBatches, stream_batches
from tfinit.training.fit_steps import FitSteps
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
from tfinit.training.noise import set_noise, torch_generators, torch_seeded
from tfinit.training.order import evaluation_steps
from tfinit.training.state import (
    assign_all,
    begin_anew,
    fits,
    optimizers_of,
    state_of,
    values_of,
)
from tfinit.variables import keras_of, walk_layers

_SECONDS = 0.5  # between two reports, so that progress is seen
_TRIED_ROWS = 32  # of the step that tries a `train_step`


class FitLoop:
    """Trains a compiled model of either Keras with ``fit``, on the batches of `CompiledLoop`.

    For what the compiled loops cannot take: PyTorch, tf_keras, a model with a ``train_step`` of its
    own, ``run_eagerly``, a ``tf.distribute`` strategy, batches from a pipeline of the user's own.
    The results are the same up to floating point sums, the loss of each step included. A training
    goes on from a checkpoint to the same bits; of tf_keras only where no layer draws noise, whose
    generators TensorFlow does not show.

    A ``train_step`` of the model's own tells its loss as ``loss``, or as several that end in
    ``loss``, which are added. The model's metrics are begun anew before each step, so that it is
    the loss of that step. One step is made with the loop, and undone: optimizers that it uses
    besides the model's own are built then.

    Args:
        model: A model, compiled with an optimizer and a loss.
        data: As for `CompiledLoop`. ``train`` may be a `tfinit.batch_streams.Stream`: then it
            decides order and batch size, and is repeated as often as needed. From a later step, and
            from a checkpoint, the batches before it are passed over.
        augment: As for `CompiledLoop`. Keras 3 only.
        callbacks: Makes the callbacks of each training.
        before_evaluation: Called before each evaluation.
        why: What to say about the choice of engine.
        evaluate_test: As for `CompiledLoop`.

    Attributes:
        engine: ``"fit"``.
        why: The reason, in a few words.

    Raises:
        InputError: the model is not compiled, data does not fit, or a ``train_step`` of the model's
            own tells no loss.
    """

    engine = "fit"

    def __init__(
        self,
        model: Any,
        data: Dataset,
        augment: Augment | None = None,
        callbacks: Callable[[], list[Any]] = list,
        before_evaluation: Callable[[], None] = lambda: None,
        why: str = "as asked",
        evaluate_test: str = "always",
    ):
        data = checked(model, data)
        instance("augment", augment, Augment, none=True)
        function("callbacks", callbacks)
        function("before_evaluation", before_evaluation)
        text("why", why)
        self._test = one_of("evaluate_test", evaluate_test, EVALUATE_TEST)
        self._legacy = keras_of(model) == "tf_keras"
        self._backend = _backend_of(model)
        self.why = why
        self.model = model
        self._stream: Any = None if isinstance(data.train, tuple) else data.train
        if augment is not None:
            if self._stream is not None or self._legacy:
                raise InputError(
                    "`augment` needs a Keras 3 model and arrays. Augment in your pipeline, or by "
                    "layers of the model as keras.layers.RandomFlip."
                )
            augment.check(data.train[0])
        self._arrays = None
        if self._stream is None:
            self._arrays = ArrayBatches(data.train, augment, self._backend)
        self.rows = None if self._arrays is None else self._arrays.rows
        self._callbacks = callbacks
        self._before_evaluation = before_evaluation
        if not getattr(model.optimizer, "built", False):
            model.optimizer.build(model.trainable_variables)
        jit = getattr(model, "jit_compile", None) is True  # None in tf_keras
        self._evaluate = Evaluator(model, data, jit_compile=jit)
        self._steps = FitSteps(model)
        if overridden(model, "train_step"):
            self._try_out()
        self._fresh = values_of(self._optimizer_state())

    @property
    def names(self) -> tuple[str, ...]:
        """What each evaluation measures: the columns of `Metrics.values`."""
        return self._evaluate.names

    def reset(self) -> None:
        """Put the optimizer back to what it was when the loop was made, masks included."""
        assign_all(self._optimizer_state(), self._fresh)

    def fits(self, partial: Partial) -> bool:
        """Whether a training of this model can go on from there: it names the same variables.

        No training with tf_keras can whose layers draw noise.
        """
        if self._legacy and _draws_noise(self.model):
            return False
        return fits(partial.state, self._state())

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
        """Train up to step ``steps``; arguments, result and errors as for `CompiledLoop`."""
        function("progress", progress, "the number of steps")
        function("checkpoint", checkpoint, "a function")
        instance("resume", resume, Partial, none=True)
        if at is not None and not isinstance(at, Mapping):
            raise refused("at", "a dictionary of steps to functions, or None", at)
        due = set(evaluation_steps(steps, evaluate_every, start).tolist())
        at = dict(at or {})
        begun = start if resume is None else resume.step
        batches = self._batches(steps, batch_size, seed, begun)
        if resume is not None and not self.fits(resume):
            raise InputError(
                "`resume` is of another network, or of another backend: its variables are not "
                "those of this model and its optimizer. Train from the start."
            )
        measured = Evaluations(self.model, lambda: self._evaluate, self._test, resume)
        if resume is None:
            if not self._legacy:
                set_noise(self.model, seed, start)
            if start in at:
                at[start]()
            measured.measure(start)
        else:
            progress(begun - start)
        told = _Told(begun)
        losses: list[float] = []

        def report(step: int) -> None:
            measured.add_losses(np.array(losses, np.float32))
            losses.clear()
            progress(told.now(step))

        def after(made: int, loss: float) -> None:
            step = begun + made
            if not np.isfinite(loss):
                report(step - 1)
                self._synchronize()
                raise Diverged(step, measured.metrics())
            losses.append(loss)
            stop = step in due or step in at
            if not stop and not told.is_due(step):
                return
            report(step)
            if step == steps:  # as fit does after this: averaged weights, if there are some
                self._synchronize()
                self._finalize()
            if stop:
                self._synchronize()
                if not finite_weights(self.model):
                    raise Diverged(step, measured.metrics(), weights=True)
            if step in at:
                at[step]()
            if step in due:
                self._before_evaluation()
                measured.measure(step, end=step == steps)
            if step < steps:
                checkpoint(lambda: measured.partial(step, self._values()))

        def before() -> None:
            if resume is not None:
                assign_all(self._generators(), resume.state)

        with torch_seeded(self._legacy, seed, start):
            if resume is not None:
                assign_all(self._state(), resume.state)
            if begun < steps:
                self._steps(batches, steps - begun, self._callbacks(), after, before)
        return measured.metrics()

    def _batches(self, steps: int, batch_size: int, seed: int, start: int) -> Any:
        if self._arrays is not None:
            return self._arrays(batch_size, start, steps, seed)
        return stream_batches(self._stream, start, steps, self._backend)

    def _state(self) -> dict[str, Any]:
        """All that a training changes, by name."""
        return state_of(self.model) | self._generators()

    def _generators(self) -> dict[str, Any]:
        return torch_generators() if self._backend == "torch" else {}

    def _values(self) -> dict[str, np.ndarray]:
        self._synchronize()
        return values_of(self._state())

    def _optimizer_state(self) -> dict[str, Any]:
        prefixes = ("optimizer",) if self._legacy else tuple(optimizers_of(self.model))
        own = {id(v) for v in self.model.variables}
        return {
            name: variable
            for name, variable in state_of(self.model).items()
            if name.startswith(tuple(f"{p}/" for p in prefixes)) and id(variable) not in own
        }

    def _finalize(self) -> None:
        optimizer = self.model.optimizer
        if hasattr(
            optimizer, "finalize_variable_values"
        ):  # legacy ones of tf_keras have no averages
            optimizer.finalize_variable_values(self.model.trainable_variables)

    def _synchronize(self) -> None:
        # On JAX `fit` keeps the weights outside of the model until somebody asks.
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()

    def _try_out(self) -> None:
        """Make one step and undo it: a model's own `train_step` builds what it needs, and tells."""
        before = values_of(self._state())
        optimizers = {} if self._legacy else optimizers_of(self.model)
        unbuilt = [each for each in optimizers.values() if not each.built]
        rows = 1 if self.rows is None else min(self.rows, _TRIED_ROWS)
        try:
            with torch_seeded(self._legacy, 0, 0):
                self._steps(self._batches(1, rows, 0, 0), 1, [], lambda made, loss: None)
        except InputError:
            raise
        except Exception as error:  # from inside the user's own step
            raise InputError(
                f"`model` has a train_step of its own, which fails: {reason(error)} Try it with "
                "model.fit on a batch of the data."
            ) from error
        finally:
            for name, variable in self._state().items():
                if name in before:
                    variable.assign(before[name])
            for optimizer in unbuilt:
                begin_anew(optimizer)


class _Told:
    """Which steps were reported: at first a few at a time, then twice a second."""

    def __init__(self, step: int):
        self._step, self._began, self._steps = step, time.perf_counter(), 4

    def is_due(self, step: int) -> bool:
        """Whether to report now."""
        seconds = time.perf_counter() - self._began
        if step - self._step >= self._steps:
            if seconds < _SECONDS / 2:
                self._steps *= 2
            return True
        return seconds >= _SECONDS

    def now(self, step: int) -> int:
        """How many steps were made since the last report, which is this one from now on."""
        made, self._step, self._began = step - self._step, step, time.perf_counter()
        return made


def _draws_noise(model: Any) -> bool:
    """Whether a layer of tf_keras has a generator of noise."""
    import tf_keras

    random = tf_keras.__internal__.layers.BaseRandomLayer
    return any(isinstance(layer, random) for _, layer in walk_layers(model))


def _backend_of(model: Any) -> str:
    if keras_of(model) == "tf_keras":
        return "tensorflow"
    import keras

    return keras.backend.backend()
