"""What the optimizer's steps do to the loss of the batch, tried on copies of the weights.

It is done only where the size of the first step gives a reason: it takes as long as the steps.
"""

import math
import statistics
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tfinit.diagnostics.measuring.optimizer import Optimizer, inner_optimizer
from tfinit.diagnostics.measuring.parameters import Parameter
from tfinit.diagnostics.measuring.updates import fresh_optimizer
from tfinit.graph.passes import Programs, Work

# A first step gives a reason if it moves most kernels by so much of themselves or would lower the
# loss by so much of itself, were the loss linear: by more than the first, or by less than both.
_MOVES_FAR, _FALLS_FAR = 0.2, 0.5
_QUICK = 0.99  # a rate that gives a reason itself, of one that is not adaptive, momentum gathered
_REPLACES = 1.0  # of what normalizations undo the scale of
_MOVES_LITTLE, _FALLS_LITTLE, _FALLS_BY_NOTHING = 1e-3, 1e-3, 1e-5
_STEPS, _FEW = 20, 5  # with the rate that is given, and with another
_EXAMPLES = 128  # of the batch, at most
_LARGE, _FEWEST = 2**21, 2  # of so many weights on, with another; with the given one as with others
_FALLEN, _SURE = 0.9, 4  # of the loss, after so many steps down: then it is plain that it falls
_LOST, _SOON = 1e3, 3  # times the loss, after so many steps: then it is plain that it does not
# Another rate is looked for where the loss falls by so much in a step, if it were linear, or where
# kernels move by so much; and no larger than anybody takes.
_FALLS_WELL, _MOVES_WELL = 0.1, 0.02
_LARGEST = {True: 0.1, False: 1.0}  # by whether the optimizer is adaptive
_UP, _DOWN = 2, 8  # how many more are tried
# What a trial says: of its last losses, and how far the loss may rise on the way down.
_LAST, _DETOUR = 5, 2.0


@dataclass(frozen=True)
class Trial:
    """Some steps on the batch with one rate, each with the same noise.

    Attributes:
        rate: The learning rate.
        losses: Before the first step, and after each.
        cut: The share of the weights that the last gradient does not reach, of those that the first
            one did.
        steeper: The norm of the last gradient, over that of the first.
    """

    rate: float
    losses: tuple[float, ...]
    cut: float
    steeper: float

    @property
    def finite(self) -> bool:
        """Whether all losses are."""
        return all(map(math.isfinite, self.losses))

    @property
    def falls(self) -> bool:
        """Whether the loss falls with every step."""
        return self.finite and all(later < loss for loss, later in pairwise(self.losses))

    @property
    def peak(self) -> float:
        """The highest loss, against the first."""
        return max(self.losses) / max(abs(self.losses[0]), 1e-30) if self.finite else math.inf

    @property
    def settled(self) -> float:
        """The mean loss of the last steps, against the first."""
        if not self.finite:
            return math.inf
        return statistics.fmean(self.losses[1:][-_LAST:]) / max(abs(self.losses[0]), 1e-30)

    @property
    def thrown_back(self) -> bool:
        """Whether the loss rose above twice its start after it had fallen."""
        if not self.finite or self.peak <= _DETOUR:
            return False
        return min(self.losses[: self.losses.index(max(self.losses))]) < _FALLEN * self.losses[0]

    @property
    def does(self) -> bool:
        """Whether the loss gets lower without a detour."""
        return self.falls or (self.peak <= _DETOUR and self.settled < _FALLEN)


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
        steps = _Steps(model, taken, work)
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


class _Steps:
    """Steps on copies of the weights of a model.

    Args:
        model: The model.
        taken: What its variables hold.
        work: The passes of a step.
    """

    def __init__(self, model: Any, taken: list[tuple[Any, Any]], work: Work) -> None:
        import keras

        self._model, self._taken = model, taken
        trained = {id(variable) for variable in model.trainable_variables}
        self._trained = [(v, value) for v, value in taken if id(v) in trained]
        asked = [variable for variable, _ in self._trained]
        apart = -(-len(keras.tree.flatten(work.x)[0]) // _EXAMPLES)  # they may be sorted
        x, y = keras.tree.map_structure(
            lambda part: part if part is None else part[::apart], (work.x, work.y)
        )
        self._work = work._replace(x=x, y=y, asked=asked, probe=lambda *see: nullcontext())
        large = sum(math.prod(variable.shape) for variable in asked) >= _LARGE
        self.count, self._few = (_FEW, _FEWEST) if large else (_STEPS, _FEW)
        self._programs: Programs = {}
        self._first: tuple[float, list[Any]] | None = None

    def trial(
        self, rate: float, count: int, falling: bool = False, to_the_end: bool = False
    ) -> Trial:
        """Some steps; fewer where it is plain what comes.

        Args:
            rate: The learning rate.
            count: How many steps.
            falling: Whether to end where the loss does not fall.
            to_the_end: Whether to go on where it does.
        """
        import keras

        optimizer = fresh_optimizer(inner_optimizer(self._model), rate)
        # Of their own memory, which PyTorch would share.
        arrays = [np.array(keras.ops.convert_to_numpy(value)) for _, value in self._trained]
        copies = [
            keras.Variable(array, dtype=v.dtype, name=v.name)
            for array, (v, _) in zip(arrays, self._trained, strict=True)
        ]
        optimizer.build(copies)
        losses: list[float] = []
        first, steep = set[int](), 0.0
        while True:
            loss, gradients = self._passed([copy.value for copy in copies], not losses)
            reached = {n for n, g in enumerate(gradients) if g is not None and _is_any(g)}
            first, steep = (first, steep) if losses else (reached, _norm(gradients))
            losses.append(loss)
            if (
                len(losses) > count
                or not math.isfinite(loss)
                or _is_plain(losses, falling, to_the_end)
            ):
                break
            slopes = [
                keras.ops.zeros_like(copy) if g is None else keras.ops.cast(g, copy.dtype)
                for g, copy in zip(gradients, copies, strict=True)
            ]
            optimizer.apply(slopes, copies)
        cut = 1 - len(reached & first) / max(len(first), 1)
        return Trial(rate, tuple(losses), cut, _norm(gradients) / max(steep, 1e-30))

    def one_that_falls(self, near: float, largest: float) -> Trial | None:
        """The largest rate near one with which the loss falls, of 1, 3, 10, 30 …"""
        place = math.floor(2 * math.log10(near)) if near > 0 else 0
        found = None
        for up in range(_UP):
            if _rate_at(place + up) > largest:
                break
            trial = self.trial(_rate_at(place + up), self._few, falling=True)
            if not trial.falls:
                break
            found = trial
        for down in range(1, _DOWN + 1):
            if found is not None:
                break
            trial = self.trial(_rate_at(place - down), self._few, falling=True)
            found = trial if trial.falls else None
        return found

    def _passed(self, values: list[Any], first: bool) -> tuple[float, list[Any]]:
        """The loss with these weights, and its gradients."""
        # They import Keras.
        from tfinit.graph.passes import forward_and_backward
        from tfinit.graph.snapshot import apart, streams_left

        if first and self._first is not None:
            return self._first
        put = {id(v): value for (v, _), value in zip(self._trained, values, strict=True)}
        held = [(v, put.get(id(v), value)) for v, value in self._taken]
        with streams_left(self._model), apart(self._model, held) as snapshot:
            passed = forward_and_backward(snapshot, self._work, _unseen, _unseen, self._programs)
        gradients = [g if g is None else g / self._work.scale for g in passed.gradients]
        found = float(passed.number), gradients
        self._first = self._first or found
        return found


def _is_plain(losses: list[float], falling: bool, to_the_end: bool) -> bool:
    if len(losses) > _SOON and max(losses) > _LOST * abs(losses[0]):
        return True
    if all(later < loss for loss, later in pairwise(losses)):
        plain = len(losses) > _SURE and losses[-1] < _FALLEN * losses[0]
        return plain and not falling and not to_the_end
    return falling


def _rate_at(place: int) -> float:
    """1, 3, 10, 30 … and 0.3, 0.1 …"""
    return float(f"{'13'[place % 2]}e{place // 2}")


def _size(parameter: Parameter) -> float:
    return parameter.rms * math.sqrt(math.prod(parameter.shape[:-1]))


def _norm(gradients: list[Any]) -> float:
    import keras

    sums = [float(keras.ops.sum(keras.ops.square(g))) for g in gradients if g is not None]
    return math.sqrt(sum(sums))


def _is_any(gradient: Any) -> bool:
    import keras

    return bool(keras.ops.any(gradient != 0))


def _unseen(point: Any, tensor: Any) -> None:
    """Nothing is looked at."""
