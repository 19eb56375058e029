"""What the optimizer's steps do to the loss of the batch, tried on copies of the weights.

It is done only where the size of the first step gives a reason: it takes as long as the steps.
"""

import math
import statistics
from dataclasses import dataclass
from typing import Any

from tfinit.diagnostics.measuring.optimizer import Optimizer
from tfinit.diagnostics.measuring.parameters import Parameter
from tfinit.diagnostics.measuring.steps import Steps, Trial
from tfinit.graph.passes import Work

# A first step gives a reason if it moves most kernels by so much of themselves or would lower the
# loss by so much of itself, were the loss linear: by more than the first, or by less than both.
_MOVES_FAR, _FALLS_FAR = 0.2, 0.5
_QUICK = 0.99  # a rate that gives a reason itself, of one that is not adaptive, momentum gathered
_REPLACES = 1.0  # of what normalizations undo the scale of
_MOVES_LITTLE, _FALLS_LITTLE, _FALLS_BY_NOTHING = 1e-3, 1e-3, 1e-5
# Another rate is looked for where the loss falls by so much in a step, if it were linear, or where
# kernels move by so much; and no larger than anybody takes.
_FALLS_WELL, _MOVES_WELL = 0.1, 0.02
_LARGEST = {True: 0.1, False: 1.0}  # by whether the optimizer is adaptive


@dataclass(frozen=True)
class Rates:
    """What rates do to the loss of the batch.

    Attributes:
        given: With the optimizer's rate; None where only its first step is known, which moves
            little.
        cure: With another, with which the loss falls; None if none was found.
        slow: With the optimizer's rate, where it is one whose steps grow with the gradient and the
            first one hardly lowers the loss; else None.
    """

    given: Trial | None
    cure: Trial | None
    slow: Trial | None = None


@dataclass(frozen=True)
class FirstStep:
    """What is known of the first step before it is tried.

    Attributes:
        optimizer: Which makes it.
        parameters: The weights that it moves.
        loss: Of the batch.
        drawn: Whether the weights look as they were drawn.
        normalized: Whether normalizations undo the scale of all of them: then a large step makes
            the next ones smaller.
    """

    optimizer: Optimizer
    parameters: tuple[Parameter, ...]
    loss: float
    drawn: bool
    normalized: bool

    @classmethod
    def of(cls, found: Any) -> "FirstStep":
        """That of a measurement."""
        undone = found.structure.is_normalized_throughout
        return cls(found.optimizer, found.parameters, found.loss, found.drawn, undone)

    @property
    def ratio(self) -> float | None:
        """How far it moves most kernels, against themselves; None where that cannot be told."""
        ratios = [
            p.update_ratio
            for p in self.parameters
            if len(p.shape) > 1 and p.update_ratio is not None
        ]
        return statistics.median(ratios) if ratios else None

    @property
    def moved(self) -> float:
        """The same once the step is as it stays; of one that grows with the gradient, against
        weights of the usual variance 1 / inputs where they are smaller, as they grow to that."""
        ratios = [
            p.update_ratio * (1 if self.optimizer.adaptive else min(1, _size(p)))
            for p in self.parameters
            if len(p.shape) > 1 and p.update_ratio is not None
        ]
        return (statistics.median(ratios) if ratios else 0.0) * self.optimizer.gathered

    @property
    def size(self) -> float:
        """How large most kernels are, against weights of variance 1 / inputs."""
        return statistics.median([_size(p) for p in self.parameters if len(p.shape) > 1] or [1.0])

    @property
    def is_of_one_layer(self) -> bool:
        """Whether there is one kernel, of which no other keeps the rate small."""
        return sum(len(p.shape) > 1 for p in self.parameters) == 1

    @property
    def share(self) -> float | None:
        """How much lower the loss would be, against itself, if it were linear in the weights."""
        if self.optimizer.decrease is None or not math.isfinite(self.loss):
            return None
        return self.optimizer.decrease / max(abs(self.loss), 1e-30)

    @property
    def is_far(self) -> bool:
        """Whether it may be too large a step."""
        if self.ratio is None or self.share is None:
            return False
        if self.normalized:
            return self.ratio >= _REPLACES
        falls_far = not self.optimizer.adaptive and abs(self.share) >= _FALLS_FAR
        return self.ratio >= _MOVES_FAR or falls_far or self.is_quick

    @property
    def is_quick(self) -> bool:
        """Whether the rate is one that fits few networks, whatever the first step does."""
        optimizer = self.optimizer
        return optimizer.name == "SGD" and abs(optimizer.rate) * optimizer.gathered >= _QUICK

    @property
    def is_short(self) -> bool:
        """Whether it may be too small a step for a network that is to learn from scratch."""
        if self.ratio is None or not self.share or not self.drawn:
            return False
        if abs(self.share) * self.optimizer.gathered >= _FALLS_LITTLE:
            return False
        return self.moved < _MOVES_LITTLE or (self.optimizer.adaptive and self.is_of_one_layer)

    @property
    def is_in_vain(self) -> bool:
        """Whether it grows with the gradient, and that is next to none."""
        slow = not self.optimizer.adaptive and self.is_short
        return slow and abs(self.share or 0.0) * self.optimizer.gathered < _FALLS_BY_NOTHING


def try_rates(
    model: Any, first: FirstStep, taken: list[tuple[Any, Any]], work: Work
) -> Rates | None:
    """Steps with the optimizer's rate, and with another; None where nothing gives a reason.

    Args:
        model: A compiled model, which is not written.
        first: Its first step.
        taken: What its variables held when it was measured.
        work: The passes that were run.
    """
    optimizer, ratio, share = first.optimizer, first.ratio, first.share
    slopes = [p.gradient for p in first.parameters if p.gradient is not None]
    if not ratio or not share or not all(map(math.isfinite, slopes)):
        return None
    if not first.is_far and not first.is_short:
        return None
    try:
        steps = Steps(model, taken, work, many=first.is_far or first.is_in_vain)
        given = None
        if first.is_far:
            count = steps.count * 3 // 2 if first.is_quick else steps.count
            given = steps.trial(optimizer.rate, count, to_the_end=first.is_quick)
            if given.does:
                return Rates(given, None)
        in_vain = given is None and first.is_in_vain
        by_moves = optimizer.adaptive and not first.is_of_one_layer
        by = _MOVES_WELL / ratio if by_moves else _FALLS_WELL / abs(share)
        largest, rate = _LARGEST[optimizer.adaptive], abs(optimizer.rate) * by
        if given is not None:
            largest, rate = min(largest, abs(given.rate) / 3), min(rate, abs(given.rate) / 10)
        slow = steps.trial(optimizer.rate, steps.count, to_the_end=True) if in_vain else None
        return Rates(given, steps.one_that_falls(min(rate, largest), largest), slow)
    except Exception:
        # An optimizer of the user's own may need more than its config and variables.
        return None


def _size(parameter: Parameter) -> float:
    return parameter.rms * math.sqrt(math.prod(parameter.shape[:-1]))
