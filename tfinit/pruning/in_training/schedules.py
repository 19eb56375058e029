"""Pruning schedules: step → (update the mask now?, sparsity).

A schedule is a pure function of the training step, written with `keras.ops`, so that it runs
inside a compiled step on every backend. The names, arguments and values are those of TensorFlow
Model Optimization (TFMOT), and a subclass written for TFMOT works with this base class.
"""

import abc
from typing import Any

import keras
import numpy as np
from keras import ops

from tfinit.arguments import number, whole
from tfinit.errors import InputError

# `first_step` looks this far into a schedule that it knows nothing about.
SEARCHED = 10_000
SEARCHED_ONE_BY_ONE = 1_000
# `last_sparsity` looks as far as float32 counts steps exactly, in pieces.
_LONGEST = 2**24
_AT_ONCE = 2**20


@keras.saving.register_keras_serializable("tfinit")
class PruningSchedule(abc.ABC):
    """When to update the masks, and to which sparsity.

    Derive from it for a schedule of your own: define ``__call__`` and ``get_config``, and register
    the class with Keras so that a saved optimizer finds it.

    ``__call__(step)`` gets the training step, a scalar integer tensor, and returns a boolean tensor
    (update the masks in this step?) and a float32 tensor, the sparsity: the fraction of zeros, 0
    to 1. At sparsity 1 one weight of each tensor still survives.

    Example:
        >>> @keras.saving.register_keras_serializable("example")
        ... class Linear(PruningSchedule):
        ...     def __init__(self, steps):
        ...         self.steps = steps
        ...
        ...     def __call__(self, step):
        ...         sparsity = 0.9 * ops.cast(step, "float32") / self.steps
        ...         return self._should_prune_in_step(step, 0, self.steps, 10), sparsity
        ...
        ...     def get_config(self):
        ...         return {"steps": self.steps}
        >>> Linear(100).first_step()
        10
    """

    @abc.abstractmethod
    def __call__(self, step: Any) -> tuple[Any, Any]:
        """Update the masks in this step? And to which sparsity?"""

    @abc.abstractmethod
    def get_config(self) -> dict[str, Any]:
        """The arguments that make this schedule again."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PruningSchedule":
        """Make the schedule that `get_config` described; TFMOT's nested form will do too."""
        if set(config) == {"class_name", "config"}:
            config = config["config"]
        return cls(**config)

    def first_step(self) -> int | None:
        """The first step, from 1 on, that prunes anything; None if none does.

        Found by calling the schedule: up to step 10,000 if it takes a vector of steps, else up to
        step 1,000. So it needs eager execution, except for the schedules of this module.
        """
        try:
            steps = np.arange(1, SEARCHED + 1, dtype="int32")
            found = np.flatnonzero(np.broadcast_to(self._prunes(steps), steps.shape))
            first = int(steps[found[0]]) if found.size else None
            # It took a vector; did it mean the same by it?
            if self._prunes(np.int32(first or SEARCHED)) == (first is not None):
                return first
        except Exception:  # whatever a user's schedule does with a vector
            pass
        for step in range(1, SEARCHED_ONE_BY_ONE + 1):
            if self._prunes(np.int32(step)):
                return step
        return None

    def in_force(self, step: int) -> float | None:
        """The sparsity of the last update up to a step, from 1 on; None if there was none."""
        step = whole("step", step, 1)
        for last in range(step, 0, -SEARCHED):
            steps = np.arange(max(last - SEARCHED, 0) + 1, last + 1, dtype="int32")
            due = np.flatnonzero(self._due(steps))
            if due.size:
                return float(ops.convert_to_numpy(self(_tensor(steps[due[-1]]))[1]))
        return None

    def _due(self, steps: np.ndarray) -> np.ndarray:
        try:
            due = ops.convert_to_numpy(self(ops.convert_to_tensor(steps))[0])
            if due.shape == steps.shape:
                return due
        except Exception:  # whatever a user's schedule does with a vector
            pass
        return np.array([bool(self(ops.convert_to_tensor(step))[0]) for step in steps])

    def _prunes(self, step: Any) -> np.ndarray:
        update, sparsity = self(ops.convert_to_tensor(step))
        return np.logical_and(ops.convert_to_numpy(update), ops.convert_to_numpy(sparsity) > 0)

    @property
    def last_sparsity(self) -> float:
        """The sparsity of the last update: a mapping of sparsities is reached there, in shares.

        Found by calling the schedule on vectors of steps, so it needs eager execution; `bind` asks
        when the optimizer is built. A schedule that takes a scalar only, or that goes on for ever,
        is asked near step 2**24. Where that is not its end, define this property.

        Raises:
            InputError: that sparsity is not in 0..1.
        """
        step = self._last_update()
        sparsity = float(ops.convert_to_numpy(self(ops.convert_to_tensor(np.int32(step)))[1]))
        if not 0 <= sparsity <= 1:
            raise InputError(
                f"{type(self).__name__} has no last sparsity, which a mapping as `allocation` is "
                f"a share of: at step {step} its sparsity is {sparsity:.4g}, not in 0..1. Let it "
                "end, keep it in 0..1, or define its property `last_sparsity`."
            )
        return sparsity

    def _last_update(self) -> int:
        """The last step that updates the masks; the end of the search, where none is found."""
        try:
            # Last first: a schedule without an end needs but one look.
            last = self._last_update_in(_LONGEST - _AT_ONCE)
            for start in range(0, _LONGEST if last is None else 0, _AT_ONCE):
                found = self._last_update_in(start)
                if found is None and last is not None:
                    break
                last = found
            # It took a vector; did it mean the same by it?
            if last is not None and bool(self(ops.convert_to_tensor(np.int32(last)))[0]):
                return last
        except Exception:  # whatever a user's schedule does with a vector
            pass
        return _LONGEST

    def _last_update_in(self, start: int) -> int | None:
        steps = np.arange(start + 1, start + _AT_ONCE + 1, dtype="int32")
        update = ops.convert_to_numpy(self(ops.convert_to_tensor(steps))[0])
        found = np.flatnonzero(np.broadcast_to(update, steps.shape))
        return int(steps[found[-1]]) if found.size else None

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash(type(self))  # a configuration may hold what cannot be hashed

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"

    # -- TFMOT's protected methods, which subclasses call ----------------------------------------

    def _should_prune_in_step(
        self, step: Any, begin_step: int, end_step: int, frequency: int
    ) -> Any:
        """Whether ``begin_step <= step <= end_step`` and ``frequency`` divides the difference.

        A negative ``end_step`` is no end.
        """
        step = _tensor(step)
        turn = ops.equal(ops.mod(ops.subtract(step, begin_step), frequency), 0)
        due = ops.logical_and(ops.greater_equal(step, begin_step), turn)
        ended = ops.logical_and(ops.greater(step, end_step), ops.greater_equal(end_step, 0))
        return ops.logical_and(due, ops.logical_not(ended))

    def _validate_step(
        self, begin_step: int, end_step: int, frequency: int, allow_negative_1: bool
    ) -> None:
        whole("begin_step", begin_step, 0, floats=True)
        whole("end_step", end_step, -1, floats=True)
        if end_step == -1 and not allow_negative_1:
            raise InputError(
                "`end_step` was -1, but this schedule reaches its sparsity at `end_step` and so "
                f"needs one: a step from `begin_step`, {begin_step}, on."
            )
        if end_step != -1 and end_step < begin_step:
            no_end = ", or -1 for no end" if allow_negative_1 else ""
            raise InputError(
                f"`end_step` must be `begin_step`, {begin_step}, or more{no_end}; "
                f"received {end_step}."
            )
        whole("frequency", frequency, 1, of="steps between updates", floats=True)

    def _validate_sparsity(self, sparsity: float, variable_name: str) -> None:
        number(variable_name, sparsity, least=0, most=1, cure="It is the fraction of zeros.")


@keras.saving.register_keras_serializable("tfinit")
class ConstantSparsity(PruningSchedule):
    """The same sparsity at every update.

    ::

        sparsity(step) = target_sparsity
        update at begin_step, begin_step + frequency, ... up to and including end_step

    Args:
        target_sparsity: Fraction of zeros, 0 to 1. At 1, one weight of each tensor survives.
        begin_step: First step that may update the masks, 0 or more.
        end_step: Last step that may; -1 for no end.
        frequency: Steps between updates.

    Raises:
        InputError: An argument is out of its range.

    Example:
        >>> ConstantSparsity(0.5, begin_step=10, frequency=5).first_step()
        10
    """

    def __init__(
        self, target_sparsity: float, begin_step: int, end_step: int = -1, frequency: int = 100
    ):
        self.target_sparsity = number("target_sparsity", target_sparsity)
        self.begin_step = whole("begin_step", begin_step, of="steps", floats=True)
        self.end_step = whole("end_step", end_step, of="steps", floats=True)
        self.frequency = whole("frequency", frequency, of="steps", floats=True)
        self._validate_step(self.begin_step, self.end_step, self.frequency, True)
        self._validate_sparsity(self.target_sparsity, "target_sparsity")

    def __call__(self, step: Any) -> tuple[Any, Any]:
        """Update the masks in this step? And to which sparsity?"""
        update = self._should_prune_in_step(step, self.begin_step, self.end_step, self.frequency)
        return update, ops.convert_to_tensor(self.target_sparsity, "float32")

    def first_step(self) -> int | None:
        """The first step, from 1 on, that prunes anything; None if none does."""
        return next(iter(updates(self)), None) if self.target_sparsity > 0 else None

    @property
    def last_sparsity(self) -> float:
        """The sparsity once the schedule is done: ``target_sparsity``."""
        return self.target_sparsity

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {
            "target_sparsity": self.target_sparsity,
            "begin_step": self.begin_step,
            "end_step": self.end_step,
            "frequency": self.frequency,
        }


@keras.saving.register_keras_serializable("tfinit")
class PolynomialDecay(PruningSchedule):
    """From one sparsity to another, fast at first and then ever slower.

    ::

        t = (step - begin_step) / (end_step - begin_step), kept in [0, 1]
        sparsity(step) = final_sparsity + (initial_sparsity - final_sparsity) * (1 - t) ** power
        update at begin_step, begin_step + frequency, ... up to and including end_step

    The last update is the last of these steps; the masks reach ``final_sparsity`` only if
    ``frequency`` divides ``end_step - begin_step``. Where the two are equal, t is 0 before that
    step and 1 from it on.

    Args:
        initial_sparsity: Fraction of zeros at ``begin_step``, 0 to 1.
        final_sparsity: Fraction of zeros from ``end_step`` on, 0 to 1. At 1, one weight of each
            tensor survives.
        begin_step: First step that may update the masks, 0 or more.
        end_step: Last step that may, ``begin_step`` or more.
        power: Exponent, above 0.
        frequency: Steps between updates.

    Raises:
        InputError: An argument is out of its range.

    Example:
        >>> schedule = PolynomialDecay(0.0, 0.8, begin_step=0, end_step=100, frequency=50)
        >>> [round(float(schedule(step)[1]), 2) for step in (0, 50, 100)]
        [0.0, 0.7, 0.8]

    References:
        Zhu and Gupta, *To prune, or not to prune: exploring the efficacy of pruning for model
        compression*, 2017.
    """

    def __init__(
        self,
        initial_sparsity: float,
        final_sparsity: float,
        begin_step: int,
        end_step: int,
        power: float = 3,
        frequency: int = 100,
    ):
        self.initial_sparsity = number("initial_sparsity", initial_sparsity)
        self.final_sparsity = number("final_sparsity", final_sparsity)
        self.begin_step = whole("begin_step", begin_step, of="steps", floats=True)
        self.end_step = whole("end_step", end_step, of="steps", floats=True)
        self.power = number("power", power, above=0)
        self.frequency = whole("frequency", frequency, of="steps", floats=True)
        self._validate_step(self.begin_step, self.end_step, self.frequency, False)
        self._validate_sparsity(self.initial_sparsity, "initial_sparsity")
        self._validate_sparsity(self.final_sparsity, "final_sparsity")

    def __call__(self, step: Any) -> tuple[Any, Any]:
        """Update the masks in this step? And to which sparsity?"""
        step = _tensor(step)
        past = ops.subtract(step, self.begin_step)
        # In this order of operations the float32 values are TFMOT's, bit for bit.
        if self.end_step > self.begin_step:
            t = ops.cast(past, "float32") / (self.end_step - self.begin_step)
            t = ops.clip(t, 0.0, 1.0)
        else:  # TFMOT divides by zero
            t = ops.cast(ops.greater_equal(past, 0), "float32")
        change = self.initial_sparsity - self.final_sparsity
        sparsity = change * ops.power(1.0 - t, self.power) + self.final_sparsity
        update = self._should_prune_in_step(step, self.begin_step, self.end_step, self.frequency)
        return update, sparsity

    def first_step(self) -> int | None:
        """The first step, from 1 on, that prunes anything; None if none does."""
        # Only an end of the polynomial can be zero, so two updates are enough to look at.
        for step in list(updates(self)[:2]):
            started, ended = step > self.begin_step, step >= self.end_step
            initial, final = not ended and self.initial_sparsity, self.final_sparsity
            if (started and not ended and (initial or final)) or (final if ended else initial):
                return step
        return None

    @property
    def last_sparsity(self) -> float:
        """The sparsity once the schedule is done: ``final_sparsity``."""
        return self.final_sparsity

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {
            "initial_sparsity": self.initial_sparsity,
            "final_sparsity": self.final_sparsity,
            "begin_step": self.begin_step,
            "end_step": self.end_step,
            "power": self.power,
            "frequency": self.frequency,
        }


def updates(schedule: ConstantSparsity | PolynomialDecay) -> range:
    """The steps from 1 on at which the schedule updates the masks, in order."""
    first = schedule.begin_step or schedule.frequency  # step 0 comes before the first step
    last = schedule.end_step if schedule.end_step >= 0 else max(first, 2**31)
    return range(first, last + 1, schedule.frequency)


def _tensor(step: Any) -> Any:
    """The step as an integer tensor; one of 64 bits stays one."""
    # Keras makes a Python integer int32, which a step beyond that would not fit.
    wide = isinstance(step, int) and abs(step) > 2**31 - 1
    return ops.convert_to_tensor(step, "int64" if wide else None)
