"""What is no schedule, and what one does that may not be expected: errors and warnings."""

from collections.abc import Iterable, Iterator
from numbers import Real
from typing import Any

from tfinit.errors import InputError
from tfinit.pruning.in_training.schedules import (
    SEARCHED,
    SEARCHED_ONE_BY_ONE,
    ConstantSparsity,
    PolynomialDecay,
    PruningSchedule,
    updates,
)

# So far from its end a schedule may stop without a word: a few hundred steps do not divide evenly.
_SHORT = 0.01
# No training is shorter, so a schedule that begins by this step needs no warning.
_SOON = 10


def told_of_timing(rules: Iterable[Any]) -> Iterator[str]:
    """What may not be expected of when some `PruningRule` prune: sentences for warnings."""
    rules = [rule for rule in rules if rule.prunes]
    first = {i: step for i, r in enumerate(rules) if (step := r.first_step()) is not None}
    if first and min(first.values()) > _SOON:
        soonest = min(first, key=first.__getitem__)
        yield late(rules[soonest].schedule, first[soonest])
    for rule in rules:
        if rule.sparsity_m_by_n is not None:  # its schedule is not asked
            continue
        if rule.schedule.first_step() is None:
            told = never_prunes(rule.schedule)
            yield f"With `regrow` the masks of step 1 stay. {told}" if rule.regrow else told
        elif short := falls_short(rule.schedule):
            yield short


def never_prunes(schedule: Any) -> str:
    """Why `first_step` found no step, and the cure: sentences for a warning."""
    if type(schedule) not in (ConstantSparsity, PolynomialDecay):
        return (
            "The schedule prunes nothing in its first training steps, as far as was looked: up to "
            f"step {SEARCHED_ONE_BY_ONE:,}, or {SEARCHED:,} if it takes a vector of steps."
        )
    never = "The schedule never prunes: "
    begin, end, frequency = schedule.begin_step, schedule.end_step, schedule.frequency
    if not updates(schedule):  # it begins at step 0, before the first that is trained
        cure = f"a `frequency` of {end} or less" if end else "a later `begin_step` and `end_step`"
        return (
            f"{never}with `begin_step` 0 the first update comes at step {frequency}, the "
            f"`frequency`, and `end_step` is {end}. Set {cure}."
        )
    if isinstance(schedule, ConstantSparsity):
        return f"{never}its `target_sparsity` is 0."
    if schedule.initial_sparsity == schedule.final_sparsity == 0:
        return f"{never}its `initial_sparsity` and `final_sparsity` are 0."
    if schedule.final_sparsity == 0:
        return f"{never}its only update, at `end_step`, {end}, is to `final_sparsity`, 0."
    return (
        f"{never}its only update, at `begin_step`, {begin}, is to `initial_sparsity`, 0; the next "
        f"would come `frequency`, {frequency}, steps later, after `end_step`, {end}. Set a "
        f"`frequency` of {end - begin} or less."
    )


def late(schedule: Any, first: int) -> str:
    """What training before the ``first`` step that prunes means: sentences for a warning."""
    told = f"The first pruning comes before training step {first}: shorter training prunes nothing."
    if type(schedule) not in (ConstantSparsity, PolynomialDecay):
        return told
    if not schedule.begin_step:
        cure = "a smaller `frequency`"
    elif first == schedule.begin_step:
        cure = "an earlier `begin_step`"
    else:
        cure = "an earlier `begin_step` or a smaller `frequency`"
    return f"{told} Give the schedule {cure} to start sooner."


def falls_short(schedule: Any) -> str | None:
    """That the last update of a `PolynomialDecay` is 1% or more from its end; None if it is not."""
    if type(schedule) is not PolynomialDecay or not updates(schedule):
        return None
    last, span = updates(schedule)[-1], schedule.end_step - schedule.begin_step
    left = 1 - (last - schedule.begin_step) / span if span else 0.0
    final = schedule.final_sparsity
    reached = final + (schedule.initial_sparsity - final) * left**schedule.power
    if abs(reached - final) < _SHORT:
        return None
    divisor = next(n for n in range(schedule.frequency, 0, -1) if span % n == 0)
    return (
        f"The schedule ends at a sparsity of {reached:.1%}, not at its `final_sparsity`, "
        f"{final:.1%}: the last update is at step {last}, since `frequency`, "
        f"{schedule.frequency}, does not divide the {span} steps from `begin_step` to `end_step`. "
        f"Set one that does, such as {divisor}."
    )


def check_schedule(value: Any, name: str = "pruning_schedule") -> PruningSchedule:
    """Return ``value`` if it is a schedule, or say what it is instead.

    A ``ConstantSparsity`` or ``PolynomialDecay`` of TFMOT becomes the one of tfinit.

    Args:
        value: What was passed as the schedule.
        name: The argument it was passed as.

    Raises:
        InputError: It is no schedule. The message says what was probably meant.

    Example:
        >>> check_schedule(ConstantSparsity(0.5, 0))
        ConstantSparsity(target_sparsity=0.5, begin_step=0, end_step=-1, frequency=100)
    """
    if isinstance(value, PruningSchedule):
        return value
    if any(c.__module__.startswith("tensorflow_model_optimization.") for c in type(value).__mro__):
        return _from_tfmot(value, name)
    if isinstance(value, dict):
        if "class_name" in value and "config" in value:
            cure = "It looks like a saved schedule: keras.saving.deserialize_keras_object loads it."
        else:
            cure = (
                "If it holds the arguments of the call, unpack it with two stars, as in "
                "prune_low_magnitude(model, **pruning_params)."
            )
        raise InputError(
            f"`{name}` must be a PruningSchedule, received a dict with the keys "
            f"{list(value)}. {cure}"
        )
    if isinstance(value, type) and issubclass(value, PruningSchedule):
        raise InputError(
            f"`{name}` must be a PruningSchedule, received the class {value.__name__} itself. "
            f"Make one: {value.__name__}(...)."
        )
    received = f"{type(value).__module__}.{type(value).__name__}"
    if isinstance(value, Real) and not isinstance(value, bool):
        received = repr(value)
    raise InputError(
        f"`{name}` must be a PruningSchedule, received {received}. For a fixed sparsity use "
        "ConstantSparsity(0.5, begin_step=0); for a schedule of your own derive from "
        "tfinit.pruning.PruningSchedule."
    )


def _from_tfmot(value: Any, name: str) -> PruningSchedule:
    cls = type(value)
    ours = {"ConstantSparsity": ConstantSparsity, "PolynomialDecay": PolynomialDecay}
    if not cls.__module__.startswith("tensorflow_model_optimization.") or cls.__name__ not in ours:
        raise InputError(
            f"`{name}` must be a PruningSchedule of tfinit, received {cls.__name__}, which derives "
            "from TFMOT's. Derive it from tfinit.pruning.PruningSchedule, which has the same "
            "methods."
        )
    return ours[cls.__name__].from_config(value.get_config())
