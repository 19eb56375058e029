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
from tfinit.diagnostics.measuring.signals import array_of
from tfinit.diagnostics.measuring.updates import fresh_optimizer
from tfinit.graph.passes import Programs, Work

# A first step gives a reason if it moves most kernels by so much of themselves or would lower the
# loss by so much of itself, were the loss linear: by more than the first, or by less than both.
_MOVES_FAR, _FALLS_FAR = 0.2, 0.5
_QUICK = 0.99  # a rate that gives a reason itself, of one that is not adaptive, momentum gathered
_REPLACES = 1.0  # of what normalizations undo the scale of
_MOVES_LITTLE, _FALLS_LITTLE = 1e-3, 1e-3
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
    """

    rate: float
    losses: tuple[float, ...]
    cut: float

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
    """

    given: Trial | None
    cure: Trial | None


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
        gathered = self.optimizer.gathered
        return abs(self.share) * gathered < _FALLS_LITTLE and self.ratio * gathered < _MOVES_LITTLE


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
        steps = _Steps(model, taken, work, many=first.is_far)
        given = None
        if first.is_far:
            count = steps.count * 3 // 2 if first.is_quick else steps.count
            given = steps.trial(optimizer.rate, count, to_the_end=first.is_quick)
            if given.does:
                return Rates(given, None)
        by = _MOVES_WELL / ratio if optimizer.adaptive else _FALLS_WELL / abs(share)
        largest, rate = _LARGEST[optimizer.adaptive], abs(optimizer.rate) * by
        if given is not None:
            largest, rate = min(largest, abs(given.rate) / 3), min(rate, abs(given.rate) / 10)
        rate = min(rate, largest)
        return Rates(given, steps.one_that_falls(rate, largest))
    except Exception:
        # An optimizer of the user's own may need more than its config and variables.
        return None


class _Steps:
    """Steps on copies of the weights of a model.

    Args:
        model: The model.
        taken: What its variables hold.
        work: The passes of a step.
        many: Whether many steps will be made.
    """

    def __init__(
        self, model: Any, taken: list[tuple[Any, Any]], work: Work, many: bool = False
    ) -> None:
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
        # A graph is traced where there are many steps of a small network.
        on_tensorflow = keras.backend.backend() == "tensorflow" and not model.run_eagerly
        self._compiles, self._compiled = many and on_tensorflow and not large, None
        self._copies: list[Any] = []
        self._optimizer: Any = None
        self._fresh: list[np.ndarray] = []

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
        self._begin(rate)
        losses: list[float] = []
        first: set[int] = set()
        while True:
            loss, reached = self._next()
            first = reached if not losses else first
            losses.append(loss)
            if (
                len(losses) > count
                or not math.isfinite(loss)
                or _is_plain(losses, falling, to_the_end)
            ):
                break
        return Trial(rate, tuple(losses), 1 - len(reached & first) / max(len(first), 1))

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

    def _begin(self, rate: float) -> None:
        """Put the weights back, and let an optimizer begin with a rate."""
        import keras

        # Of their own memory, which PyTorch would share.
        arrays = [np.array(keras.ops.convert_to_numpy(value)) for _, value in self._trained]
        if self._compiled is None:
            self._copies = [
                keras.Variable(array, dtype=v.dtype, name=v.name)
                for array, (v, _) in zip(arrays, self._trained, strict=True)
            ]
            self._optimizer = fresh_optimizer(inner_optimizer(self._model), rate)
            self._optimizer.build(self._copies)
            self._fresh = [keras.ops.convert_to_numpy(v) for v in self._optimizer.variables]
            return
        for variable, array in zip(
            [*self._copies, *self._optimizer.variables], [*arrays, *self._fresh], strict=True
        ):
            variable.assign(array)
        self._optimizer.learning_rate = rate

    def _next(self) -> tuple[float, set[int]]:
        """The loss, and which weights its gradient reaches; then a step is made."""
        if self._compiles:
            self._compiled, self._compiles = self._in_graph(), False
        if self._compiled is not None:
            loss, any_of = self._compiled()
            return float(loss), {*np.flatnonzero(any_of).tolist()}
        loss, gradients = self._passed([copy.value for copy in self._copies])
        self._step(gradients)
        reached = (n for n, g in enumerate(gradients) if g is not None and np.any(array_of(g)))
        return loss, {*reached}

    def _step(self, gradients: list[Any]) -> None:
        import keras

        slopes = [
            keras.ops.zeros_like(copy) if g is None else keras.ops.cast(g, copy.dtype)
            for g, copy in zip(gradients, self._copies, strict=True)
        ]
        self._optimizer.apply(slopes, self._copies)

    def _in_graph(self) -> Any:
        """One step that is traced once for all rates; None of a model that cannot be traced."""
        from tfinit.graph.passes import backend
        from tfinit.graph.snapshot import apart, streams_left

        held = self._held([copy.value for copy in self._copies])
        try:
            with streams_left(self._model), apart(self._model, self._taken):
                return backend().compiled(held, self._work, self._step)
        except Exception:  # code of the user's own that runs eagerly alone
            return None

    def _held(self, values: list[Any]) -> list[tuple[Any, Any]]:
        put = {id(v): value for (v, _), value in zip(self._trained, values, strict=True)}
        return [(v, put.get(id(v), value)) for v, value in self._taken]

    def _passed(self, values: list[Any]) -> tuple[float, list[Any]]:
        """The loss with these weights, and its gradients."""
        # They import Keras.
        from tfinit.graph.passes import forward_and_backward
        from tfinit.graph.snapshot import apart, streams_left

        with streams_left(self._model), apart(self._model, self._held(values)) as snapshot:
            passed = forward_and_backward(snapshot, self._work, _unseen, _unseen, self._programs)
        gradients = [g if g is None else g / self._work.scale for g in passed.gradients]
        return float(passed.number), gradients


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


def _unseen(point: Any, tensor: Any) -> None:
    """Nothing is looked at."""
