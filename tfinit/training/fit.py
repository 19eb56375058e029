"""Training with Keras's own ``fit``, where the compiled loop cannot run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from tfinit.arguments import function, instance, refused, text
from tfinit.datasets import Dataset
from tfinit.errors import InputError
from tfinit.graph.keras_internals import steps_per_execution
from tfinit.training.augment import Augment
from tfinit.training.checks import checked, finite_weights, outputs_of
from tfinit.training.metrics import (
    Diverged,
    Metrics,
    MetricsRecorder,
    Progress,
    has_classes,
    metric_names,
    silent,
)
from tfinit.training.order import batch_indices, evaluation_steps
from tfinit.variables import keras_of

_EVALUATION_ROWS = 1000


class FitLoop:
    """Trains a compiled model of either Keras with ``fit``, on the batches of `CompiledLoop`.

    For what the compiled loop cannot take: backends other than TensorFlow, tf_keras, a model with
    a ``train_step`` of its own, ``run_eagerly``, a ``tf.data.Dataset`` as the training split. The
    results are the same up to floating point sums; per-step losses are not recorded, since ``fit``
    tells running means, and a training cannot be left in the middle.

    Args:
        model: A model, compiled with an optimizer and a loss.
        data: As for `CompiledLoop`. ``train`` may be a ``tf.data.Dataset`` of batches: then it
            decides order and batch size, and is repeated as often as needed.
        augment: As for `CompiledLoop`. Keras 3 only.
        callbacks: Makes the callbacks of each training.
        before_evaluation: Called before each evaluation.
        why: What to say about the choice of engine.

    Attributes:
        engine: ``"fit"``.
        why: The reason, in a few words.

    Raises:
        InputError: the model is not compiled, or data does not fit.
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
    ):
        data = checked(model, data)
        instance("augment", augment, Augment, none=True)
        function("callbacks", callbacks)
        function("before_evaluation", before_evaluation)
        text("why", why)
        self._legacy = keras_of(model) == "tf_keras"
        self.why = why
        self.model = model
        self._stream = None
        if not isinstance(data.train, tuple):
            self._stream = data.train
        if augment is not None:
            if self._stream is not None or self._legacy:
                raise InputError(
                    "`augment` needs a Keras 3 model and arrays. Augment in your tf.data pipeline."
                )
            augment.check(data.train[0])
        self._train, self._augment = data.train, augment
        self.rows: Any = None if self._stream is not None else _rows(data.train[0])
        self._callbacks = callbacks
        self._before_evaluation = before_evaluation
        if not getattr(model.optimizer, "built", False):
            model.optimizer.build(model.trainable_variables)
        self._optimizer_variables = model.optimizer.variables
        self._fresh = [np.array(v) for v in self._optimizer_variables]
        self._splits = [s for s in (data.validation, data.test) if s is not None]
        self._outputs = outputs_of(model, self._splits[0][0]) if self._splits else None
        self._names = metric_names(data, self._outputs)
        self._measure = None
        if self._legacy:
            from tfinit.training.compiled import Evaluator

            self._measure = Evaluator(model, data, _loss_of(model), False)

    def reset(self) -> None:
        """Put the optimizer back to what it was when the loop was made."""
        for variable, value in zip(self._optimizer_variables, self._fresh, strict=True):
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
        resume: None = None,
        checkpoint: Any = None,
    ) -> Metrics:
        """Train up to step ``steps``; arguments, result and errors as for `CompiledLoop`.

        ``resume`` and ``checkpoint`` are taken and not used: ``fit`` starts anew.
        """
        function("progress", progress, "the number of steps")
        if at is not None and not isinstance(at, Mapping):
            raise refused("at", "a dictionary of steps to functions, or None", at)
        due = evaluation_steps(steps, evaluate_every, start)
        done_before = dict(zip(due[1:].tolist(), due[:-1].tolist(), strict=True))
        at = dict(at or {})
        record = MetricsRecorder(self._names)
        self._set_noise(seed, start)
        if start in at:
            at[start]()
        record.row(start, self._evaluate())

        def after_batch(batch: int, logs: dict[str, float] | None) -> None:
            # The mean of the epoch so far: not finite from the first such loss on.
            step = start + batch + 1
            if not np.isfinite((logs or {}).get("loss", 0.0)):
                raise Diverged(step, record.metrics())
            if step == steps:  # as fit does after this: averaged weights, if there are some
                self._synchronize()
                self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
            if step in done_before or step in at:
                self._synchronize()
                if not finite_weights(self.model):
                    raise Diverged(step, record.metrics(), weights=True)
            if step in at:
                at[step]()
            if step in done_before:
                self._before_evaluation()
                record.row(step, self._evaluate())
                progress(step - done_before[step])

        callbacks = [*self._callbacks(), self._watch(after_batch)]
        batches = self._batches(steps, batch_size, seed, start)
        with self._step_by_step(), torch_seeded(self._legacy, seed, start):
            self.model.fit(
                batches, steps_per_epoch=steps - start, epochs=1, verbose=0, callbacks=callbacks
            )
        return record.metrics()

    @contextmanager
    def _step_by_step(self) -> Iterator[None]:
        """Let `fit` call back after every step, whatever ``steps_per_execution`` says."""
        model = self.model
        if self._legacy:
            counter = steps_per_execution(model)
            kept = int(counter.numpy())
            counter.assign(1)
            try:
                yield
            finally:
                counter.assign(kept)
            return
        kept = model.steps_per_execution
        if kept == 1:
            yield
            return
        # The number is part of the compiled function.
        model.steps_per_execution, model.train_function = 1, None
        try:
            yield
        finally:
            model.steps_per_execution, model.train_function = kept, None

    def _watch(self, after_batch: Callable[..., None]) -> Any:
        if self._legacy:
            import tf_keras

            return tf_keras.callbacks.LambdaCallback(on_batch_end=after_batch)
        import keras

        return keras.callbacks.LambdaCallback(on_train_batch_end=after_batch)

    def _batches(self, steps: int, batch_size: int, seed: int, start: int) -> Any:
        if self._stream is not None:
            return self._stream.repeat().take(steps - start)
        indices = batch_indices(self.rows, batch_size, steps, seed, start)
        if self._augment is not None or not _on_tensorflow(self._legacy):
            draws = None
            if self._augment is not None:
                draws = self._augment.draw(batch_size, start, steps, seed)
            return self._generated(indices, draws)
        import tensorflow as tf

        train = tf.nest.map_structure(tf.constant, self._train)
        return tf.data.Dataset.from_tensor_slices(indices).map(
            lambda rows: tf.nest.map_structure(lambda a: tf.gather(a, rows), train)
        )

    def _generated(self, indices: np.ndarray, draws: np.ndarray | None) -> Iterator[tuple]:
        import keras

        for n, rows in enumerate(indices):
            batch = keras.tree.map_structure(lambda a, rows=rows: a[rows], self._train)
            if draws is not None and self._augment is not None:
                batch = (self._augment.apply_numpy(batch[0], draws[n]), *batch[1:])
            yield batch

    def _set_noise(self, seed: int, start: int) -> None:
        if self._legacy:
            return
        states = [v for v in self.model.variables if v.name == "seed_generator_state"]
        for n, state in enumerate(states):
            state.assign(np.random.SeedSequence([seed, n, start]).generate_state(2))

    def _synchronize(self) -> None:
        # On JAX `fit` keeps the weights outside of the model until somebody asks.
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()

    def _evaluate(self) -> list[float]:
        if self._measure is not None:
            return self._measure()
        import keras

        row = []
        for split in self._splits:
            rows = _rows(split[0])
            total, right = 0.0, 0
            for piece in np.array_split(np.arange(rows), -(-rows // _EVALUATION_ROWS)):
                part = keras.tree.map_structure(lambda a, p=piece: a[p], tuple(split))
                x, y, weight = (*part, None)[:3]
                output = self.model(x, training=False)
                loss = self.model.compute_loss(
                    x=x, y=y, y_pred=output, sample_weight=weight, training=False
                )
                total += float(keras.ops.convert_to_numpy(loss)) * len(piece)
                if has_classes(y, self._outputs):
                    guess = np.argmax(keras.ops.convert_to_numpy(output), axis=-1)
                    right += int((guess == y).sum())
            row.append(total / rows)
            if has_classes(split[1], self._outputs):
                row.append(right / rows)
        return row


def _loss_of(model: Any) -> Any:
    """The one loss of a tf_keras model, which may be a name, a function or an object."""
    import tf_keras

    if not isinstance(model.loss, str) and not callable(model.loss):
        raise InputError(
            f"`model` is of tf_keras and has as its loss {model.loss!r}. There, tfinit trains "
            "models with one output and one loss; a Keras 3 model may have several."
        )
    loss = tf_keras.losses.get(model.loss)
    if isinstance(loss, tf_keras.losses.Loss):
        return loss

    class Mean(tf_keras.losses.Loss):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return loss(y_true, y_pred)

    return Mean()


def _rows(x: Any) -> int:
    while not hasattr(x, "shape"):
        x = next(iter(x.values() if isinstance(x, dict) else x))
    return len(x)


@contextmanager
def torch_seeded(legacy: bool, seed: int, start: int) -> Iterator[None]:
    """On PyTorch, Dropout draws from the generator of the process, not from the layer's seed."""
    if not legacy:
        import keras

        if keras.backend.backend() == "torch":
            import torch

            drawn = np.random.SeedSequence([seed, 0, start]).generate_state(1)
            with torch.random.fork_rng():
                torch.manual_seed(int(drawn[0]))
                yield
            return
    yield


def _on_tensorflow(legacy: bool) -> bool:
    if legacy:
        return True
    import keras

    return keras.backend.backend() == "tensorflow"
