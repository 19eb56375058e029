"""Single steps of Keras's own `fit`: seen one by one, each with its own loss."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tfinit.errors import InputError, WorkError
from tfinit.graph.keras_internals import steps_per_execution
from tfinit.graph.overlay import overlaid
from tfinit.training.checks import overridden
from tfinit.variables import keras_of


class FitSteps:
    """Runs `fit` so that it calls back after each step, with the loss of that step.

    The ``loss`` that `fit` tells is a mean since the epoch's start. So the metric that makes it is
    begun anew before each step; and of a model with a ``train_step`` of its own every metric, since
    it may tell any of them.

    Args:
        model: A compiled model of either Keras.
    """

    def __init__(self, model: Any):
        import keras

        self._model = model
        self._legacy = keras_of(model) == "tf_keras"
        self._on_jax = not self._legacy and keras.backend.backend() == "jax"
        self._own = overridden(model, "train_step")
        self._means: list[Any] = []
        self._function: Any = None  # the compiled step, where it is not the model's

    def __call__(
        self,
        batches: Any,
        steps: int,
        callbacks: list[Any],
        after: Callable[[int, float], None],
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """Make so many steps.

        Args:
            batches: What `fit` takes.
            steps: How many.
            callbacks: Those of `fit`.
            after: Called with the number of each step, from 1, and its loss, once it is done.
            before: Called before the first step, with its batch at hand: on PyTorch, to begin to
                read batches draws a number too.

        Raises:
            WorkError: `fit` stopped before.
        """
        if not self._legacy:  # of tf_keras there are none before the first step
            found = self._model.metrics
            self._means = found if self._own else [m for m in found if m.name == "loss"]
        made = 0

        def ended(step: int, loss: float) -> None:
            nonlocal made
            made = step
            after(step, loss)

        with self._one_by_one():
            self._model.fit(
                batches,
                steps_per_epoch=steps,
                epochs=1,
                shuffle=False,
                verbose=0,
                callbacks=[*callbacks, self._watch(ended, before)],
            )
        if made < steps:
            raise WorkError(
                f"fit stopped after {made} of {steps} steps. Leave `stop_training` of the model as "
                "it is, and let the data give as many batches."
            )

    def _watch(self, after: Callable[[int, float], None], before: Callable[[], None]) -> Any:
        def began(batch: int, logs: Any = None) -> None:
            if batch == 0:
                before()
            if not self._on_jax:  # where metrics have their values outside of the model
                self._forget()

        def ended(batch: int, logs: Any = None) -> None:
            after(batch + 1, loss_in(logs or {}))

        if self._legacy:
            import tf_keras

            return tf_keras.callbacks.LambdaCallback(on_batch_begin=began, on_batch_end=ended)
        import keras

        return keras.callbacks.LambdaCallback(on_train_batch_begin=began, on_train_batch_end=ended)

    def _forget(self) -> None:
        """Begin the mean of losses anew."""
        if self._legacy:
            self._model.reset_metrics()
        for metric in self._means:
            metric.reset_state()

    @contextmanager
    def _one_by_one(self) -> Iterator[None]:
        """Let `fit` call back after every step, whatever ``steps_per_execution`` says."""
        model = self._model
        if self._legacy:
            counter = steps_per_execution(model)
            kept = int(counter.numpy())
            counter.assign(1)
            try:
                yield
            finally:
                counter.assign(kept)
            return
        if model.steps_per_execution == 1 and not self._on_jax:
            yield
            return
        # What is compiled for this is kept here: the model keeps its own.
        with overlaid() as put:
            put(model, "steps_per_execution", 1)
            put(model, "train_function", self._function)
            if self._on_jax:
                put(model, "train_step", self._forgetting(model.train_step))
            yield
            self._function = model.train_function

    def _forgetting(self, train_step: Callable[..., Any]) -> Callable[..., Any]:
        """A step of JAX that begins the means anew."""
        import keras

        def step(state: tuple[Any, ...], data: Any) -> Any:
            *others, metrics = state
            variables = self._model.metrics_variables
            pairs = list(zip(variables, metrics, strict=True))
            with keras.StatelessScope(state_mapping=pairs) as scope:
                self._forget()
            reset = [scope.get_current_value(v) for v in variables]
            begun = [old if new is None else new for new, old in zip(reset, metrics, strict=True)]
            return train_step((*others, begun), data)

        return step


def loss_in(logs: Mapping[str, Any]) -> float:
    """The loss in what a step tells: ``loss``, or the sum of all whose names end in it.

    Raises:
        InputError: there is none.

    Example:
        >>> loss_in({"generator_loss": 1.5, "discriminator_loss": 2.0, "accuracy": 0.5})
        3.5
    """
    if "loss" in logs:
        return float(logs["loss"])
    losses = [float(value) for name, value in logs.items() if name.endswith("loss")]
    if not losses:
        raise InputError(
            f"`model` has a train_step of its own, which tells of {sorted(logs) or 'nothing'}: "
            "none of it is a loss. Let it return a dictionary with 'loss', as "
            "{'loss': self.loss_tracker.result()}."
        )
    return sum(losses)
