"""What dropout takes from learning: steps that are tried with it, and with all rates at 0.

It is done only where the rates and the widths give a reason: it takes as long as the steps.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from tfinit.diagnostics.measuring.layers import LayerSignals
from tfinit.diagnostics.measuring.settings import Dropped
from tfinit.diagnostics.measuring.steps import Steps
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.overlay import overlaid
from tfinit.graph.passes import Work
from tfinit.variables import walk_layers

# Layers give a reason that add so much variance to what they read, against its square, all
# together; or one that drops so much.
_NOISE, _RATE = 0.05, 0.8
# So many steps at least, as each draws anew, then until so much of the loss is left, and so many at
# most; a loss that is left at more than the last says nothing.
_FEW, _ENOUGH, _MANY, _LEAST = 20, 0.8, 100, 0.95
_WORK = 2**24  # multiplications for an example, at most: else the steps would take minutes


class Undropped(NamedTuple):
    """Steps with the optimizer's rate on the batch; the losses are those where nothing is dropped.

    Attributes:
        steps: How many.
        before: The loss before the first.
        without: After them, if nothing is dropped on the way.
        dropped: After as many in which layers drop, each time anew.
    """

    steps: int
    before: float
    without: float
    dropped: float

    @property
    def left(self) -> float:
        """What dropout leaves of the fall of the loss; at least 0."""
        return max(self.before - self.dropped, 0.0) / (self.before - self.without)


def noise_of(dropped: Dropped) -> float:
    """The variance that a layer adds to a mean of what it reads, over the square of that mean.

    Of n units that are kept with probability 1 - p and then divided by it: p / (1 - p) / n.
    """
    if not dropped.units or not dropped.only_way:
        return 0.0
    return dropped.rate / max(1 - dropped.rate, 1e-9) / dropped.units


def try_without_dropout(
    model: Any,
    rate: float,
    dropped: Sequence[Dropped],
    layers: Sequence[LayerSignals],
    taken: list[tuple[Any, Any]],
    work: Work,
) -> Undropped | None:
    """Steps with dropout and without; None where nothing gives a reason, or it cannot be told.

    Args:
        model: A compiled model, which is not written.
        rate: The learning rate.
        dropped: The layers that drop.
        layers: What was seen of its layers.
        taken: What its variables held when it was measured.
        work: The passes that were run.
    """
    suspicious = sum(map(noise_of, dropped)) >= _NOISE or any(
        d.only_way and d.rate >= _RATE for d in dropped
    )
    if not suspicious or not all(d.rate < 1 for d in dropped) or _is_too_much(model, layers):
        return None
    try:
        return _tried(model, rate, taken, work)
    except Exception:
        # An optimizer of the user's own may need more than its config and variables.
        return None


def _tried(model: Any, rate: float, taken: list[tuple[Any, Any]], work: Work) -> Undropped | None:
    quiet = Steps(model, taken, work, many=True)
    noisy = Steps(model, taken, work, many=True, anew=True)
    walk, steps = quiet.walk(rate), 0
    with _nothing_dropped(model):
        before = loss = quiet.step(walk)[0]
        while (steps < _FEW or loss > _ENOUGH * before) and steps < _MANY and math.isfinite(loss):
            loss, _ = quiet.step(walk)
            steps += 1
    if not 0 < loss < _LEAST * before:
        return None
    walk = noisy.walk(rate)
    for _ in range(steps):
        noisy.step(walk)
    with _nothing_dropped(model):
        own, _ = quiet.passed(walk)
    return Undropped(steps, before, loss, own) if math.isfinite(own) else None


@contextmanager
def _nothing_dropped(model: Any) -> Iterator[None]:
    """All rates are 0, as this thread sees them."""
    with overlaid() as put:
        for layer in _dropping(model):
            put(layer, "rate", 0.0)
        yield


def _dropping(model: Any) -> list[Any]:
    layers = (layer for _, layer in walk_layers(model))
    return [x for x in layers if kind_of(x).channels == "same" and hasattr(x, "seed")]


def _is_too_much(model: Any, layers: Sequence[LayerSignals]) -> bool:
    """Whether the steps would take minutes: by the multiplications for an example, about."""
    if any(kind_of(layer).recurrent for _, layer in walk_layers(model)):
        return True
    each = (math.prod(layer.shape[1:]) * sum(w.fan_in for w in layer.weights) for layer in layers)
    return sum(each) > _WORK
