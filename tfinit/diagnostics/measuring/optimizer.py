"""The optimizer that a model is compiled with: its rate, its decay, what it cuts off."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tfinit.graph.keras_internals import schedule_of

# Where a schedule is asked for its rate, beside the steps that it names itself.
_STEPS = (0, 1, 2, 4, *(2**n * 5 for n in range(18)))
_NAMED = ("warmup_steps", "initial_decay_steps", "decay_steps", "first_decay_steps")
# Optimizers whose step does not grow with the gradient.
_ADAPTIVE = frozenset(
    ["Adam", "AdamW", "Adamax", "Nadam", "RMSprop", "Lion", "Adafactor", "Lamb", "Muon", "Adagrad"]
)


@dataclass(frozen=True)
class Optimizer:
    """What is known of an optimizer.

    Attributes:
        name: Its class, ``"SGD"``.
        rate: Its learning rate; of a schedule, the largest.
        first: The rate of its first step.
        scheduled: Whether the rate is a schedule.
        worth: How many steps at `rate` all steps of a schedule together are worth; infinite where
            the rate stays.
        warms_up: Whether a schedule begins with less than half of its largest rate.
        adaptive: Whether its step is as large for a small gradient as for a large one.
        momentum: Of SGD and RMSprop; else 0.
        settles: What is left of the first step once the mean square of gradients that stay has been
            gathered: √(1 - rho) of RMSprop, whose mean begins at 0; else 1.
        weight_decay: What it takes off each weight beside the gradient, for each unit of rate.
        clips: The setting that cuts gradients off, ``"clipnorm"``; "" of none.
        clip: What it cuts them off at.
        steps: How many steps it has made.
        decrease: How much lower the loss would be after the first step at `rate` if it were linear
            in the weights; None where it cannot be told.
    """

    name: str
    rate: float
    first: float
    scheduled: bool
    worth: float
    warms_up: bool
    adaptive: bool
    momentum: float
    settles: float
    weight_decay: float
    clips: str
    clip: float
    steps: int
    decrease: float | None

    @property
    def gathered(self) -> float:
        """How many times the first step a step becomes when the gradient stays."""
        return self.settles / (1 - self.momentum if 0 < self.momentum < 1 else 1.0)


def inner_optimizer(model: Any) -> Any:
    """The optimizer that moves a model's weights: not what scales its loss, or prunes; or None."""
    optimizer = getattr(model, "optimizer", None)
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


def largest_rate(optimizer: Any) -> float:
    """The learning rate of an optimizer; of a schedule, the largest."""
    return _largest(_schedule(optimizer))


def _largest(rates: dict[int, float]) -> float:
    finite = [rate for rate in rates.values() if math.isfinite(rate)] or [*rates.values()]
    return max(finite, key=abs)


def _schedule(optimizer: Any) -> dict[int, float]:
    """Step → its learning rate, for the first step and, of a schedule, for some of the others."""
    schedule = schedule_of(optimizer)
    if schedule is None:
        return {0: float(optimizer.learning_rate)}
    named = [getattr(schedule, name, None) for name in _NAMED]
    bounds = getattr(schedule, "boundaries", None) or []
    steps = {*_STEPS, *(int(n) for n in [*named, *bounds] if isinstance(n, int | float))}
    steps |= {n + 1 for n in list(steps)}
    return {step: float(schedule(step)) for step in sorted(steps)}


def _worth(rates: dict[int, float]) -> float:
    """The sum of the rates of all steps, over the largest of them."""
    if len(rates) == 1 or not all(map(math.isfinite, rates.values())):
        return math.inf
    summed = sum(
        (later - step) * (rates[step] + rates[later]) / 2 for step, later in pairwise(rates)
    )
    return abs(summed / (_largest(rates) or math.inf))


def optimizer_of(model: Any, decrease: float | None) -> Optimizer | None:
    """What is known of a model's optimizer; None without one, or of one that does not say."""
    optimizer = inner_optimizer(model)
    if optimizer is None:
        return None
    try:
        rates = _schedule(optimizer)
        rate, first = _largest(rates), next(iter(rates.values()))
        steps = int(optimizer.iterations)
    except Exception:
        # An optimizer of the user's own may have no rate that is one number.
        return None
    clips = next((c for c in _CLIPS if getattr(optimizer, c, None) is not None), "")
    return Optimizer(
        name=type(optimizer).__name__,
        rate=rate,
        first=first,
        scheduled=schedule_of(optimizer) is not None,
        worth=_worth(rates),
        warms_up=abs(first) < abs(rate) / 2,
        adaptive=type(optimizer).__name__ in _ADAPTIVE,
        momentum=_number(getattr(optimizer, "momentum", 0.0)),
        settles=_settles(optimizer),
        weight_decay=_number(getattr(optimizer, "weight_decay", 0.0)),
        clips=clips,
        clip=_number(getattr(optimizer, clips)) if clips else 0.0,
        steps=steps,
        decrease=decrease,
    )


_CLIPS = ("clipnorm", "global_clipnorm", "clipvalue")


def _settles(optimizer: Any) -> float:
    rho = _number(getattr(optimizer, "rho", 0.0))
    return math.sqrt(1 - rho) if type(optimizer).__name__ == "RMSprop" and 0 < rho < 1 else 1.0


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
