"""Whether what the diagnosis predicted came true. Pure: curves in, words out."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

LEARNS, FAILS, SLOW = "learns", "fails", "slow"
LEARNED, LEARNING, STUCK, OUT = "learned", "learning", "stuck", "diverged"

_JUDGED_FROM = 200  # steps: before, nobody is called stuck
_GOOD = 0.95  # training accuracy of a network that has learned
_SLOWLY = 0.25  # share of the steps: what has learned by then was quick
# A cost that is still above this share of knowing nothing (log of the number of classes, or the
# initial cost where that is lower) is stuck.
_STUCK = 0.9


class Course(NamedTuple):
    """How a training went so far.

    Attributes:
        step: Steps done.
        over: Whether it ended.
        diverged_at: The step whose loss was not finite, or None.
        cost: Training cost at the points of the curve; None where not finite.
        accuracy: Training accuracy there.
        classes: Number of classes.
        steps: The steps of these points.
        last: The step at which it ends.
    """

    step: int
    over: bool
    diverged_at: int | None
    cost: Sequence[float | None]
    accuracy: Sequence[float | None]
    classes: int
    steps: Sequence[int]
    last: int

    @property
    def quick(self) -> bool:
        """Whether it had learned within the first quarter of its steps."""
        early = (
            a for a, s in zip(self.accuracy, self.steps, strict=True) if s <= self.last * _SLOWLY
        )
        return any(accuracy is not None and accuracy >= _GOOD for accuracy in early)


def outcome_of(course: Course) -> str | None:
    """`LEARNED`, `LEARNING`, `STUCK` or diverged (`OUT`); None while it is too early to say."""
    if course.diverged_at is not None:
        return OUT
    cost, accuracy = course.cost[-1], course.accuracy[-1]
    if accuracy is not None and accuracy >= _GOOD and cost is not None:
        return LEARNED
    if course.step < _JUDGED_FROM and not course.over:
        return None
    first = course.cost[0]
    nothing = math.log(course.classes)
    start = nothing if first is None else min(first, nothing)
    if cost is None or cost > _STUCK * start:
        return STUCK
    return LEARNING


def judge(course: Course, predicts: str | None, kinds: Sequence[str] = ()) -> dict[str, Any] | None:
    """The outcome beside the prediction.

    A severe finding predicts that it fails: stuck or diverged. None predicts that it learns;
    "slow", that it does not within the first quarter of its steps. What is only on its way (stuck
    or learning so far) makes nothing true or false before the end, where a network that still
    learns has learned something: then "learns" was right.

    Args:
        course: The training so far.
        predicts: `LEARNS`, `FAILS` or `SLOW`; None: nothing was predicted.
        kinds: The kinds of the findings that it was predicted from.

    Returns:
        ``outcome``, ``came_true`` (None while open, or where nothing was predicted) and
        ``text``; None while nothing can be said.
    """
    outcome = outcome_of(course)
    if outcome is None:
        return None
    happened = {
        OUT: f"diverged at step {course.diverged_at}",
        LEARNED: f"learned: accuracy {_percent(course.accuracy[-1])} at step {course.step}",
        LEARNING: f"learns: cost {_cost(course)} at step {course.step}, "
        f"accuracy {_percent(course.accuracy[-1])}",
        STUCK: f"is stuck: cost {_cost(course)} at step {course.step}, "
        f"{math.log(course.classes):.3g} is knowing nothing",
    }[outcome]
    came_true = None
    if outcome in (OUT, LEARNED) or course.over:
        if predicts == FAILS:
            came_true = outcome in (OUT, STUCK)
        elif predicts == LEARNS:
            came_true = outcome in (LEARNED, LEARNING)
        elif predicts == SLOW:
            came_true = outcome != OUT and not course.quick
    predicted = {
        FAILS: f"Predicted to fail ({', '.join(kinds)})",
        LEARNS: "Predicted to learn",
        SLOW: f"Predicted to learn slowly ({', '.join(kinds)})",
        None: "Not predicted",
    }[predicts]
    word = {True: " It came true.", False: " It did not come true.", None: ""}[came_true]
    return {
        "outcome": outcome,
        "came_true": came_true,
        "text": f"{predicted}; it {happened}.{word}",
    }


def _percent(accuracy: float | None) -> str:
    return "unknown" if accuracy is None else f"{100 * accuracy:.1f}%"


def _cost(course: Course) -> str:
    cost = course.cost[-1]
    return "not finite" if cost is None else f"{cost:.3g}"
