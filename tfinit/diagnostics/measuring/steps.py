"""Steps of the optimizer on copies of a model's weights, and what became of the loss."""

import math
import statistics
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tfinit.diagnostics.measuring.optimizer import inner_optimizer
from tfinit.diagnostics.measuring.signals import array_of
from tfinit.diagnostics.measuring.updates import fresh_optimizer
from tfinit.graph.passes import Programs, Work

_STEPS, _FEW = 20, 5  # with the rate that is given, and with another
_EXAMPLES = 128  # of the batch, at most
_LARGE, _FEWEST = 2**21, 2  # of so many weights on, with another; with the given one as with others
_FALLEN, _SURE = 0.9, 4  # of the loss, after so many steps down: then it is plain that it falls
_LOST, _SOON = 1e3, 3  # times the loss, after so many steps: then it is plain that it does not
_UP, _DOWN = 2, 8  # how many more are tried
# What a trial says: of its last losses, and how far the loss may rise on the way down.
_LAST, _DETOUR = 5, 2.0
_SEED = "seed_generator_state"  # of Keras's seeds


@dataclass(frozen=True)
class Trial:
    """Some steps on the batch with one rate, each with the same noise.

    Attributes:
        rate: The learning rate.
        losses: Before the first step, and after each.
        cut: The share of the weights that the last gradient does not reach, of those that the first
            one did.
        steeper: The largest entry of the last gradient, over that of the first.
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


class Steps:
    """Steps on copies of the weights of a model.

    Args:
        model: The model.
        taken: What its variables hold.
        work: The passes of a step.
        many: Whether many steps will be made.
        anew: Whether layers draw other numbers in each step.
    """

    def __init__(
        self,
        model: Any,
        taken: list[tuple[Any, Any]],
        work: Work,
        many: bool = False,
        anew: bool = False,
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
        self._noise = int(anew)  # how far seeds are from where they were
        # A graph is traced where there are many steps of a small network.
        on_tensorflow = keras.backend.backend() == "tensorflow" and not model.run_eagerly
        self._compiles, self._compiled = many and on_tensorflow and not large, None
        self._walk: Walk | None = None

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
        if self._compiled is None or self._walk is None:
            self._walk = self.walk(rate)
        else:
            self._walk.begin(rate)
        losses: list[float] = []
        first = np.empty(0)
        while True:
            loss, largest = self.step(self._walk)
            first = first if losses else largest
            losses.append(loss)
            if (
                len(losses) > count
                or not math.isfinite(loss)
                or _is_plain(losses, falling, to_the_end)
            ):
                break
        left = np.count_nonzero((largest != 0) & (first != 0))
        steeper = float(np.max(largest, initial=0.0) / max(np.max(first, initial=0.0), 1e-30))
        return Trial(rate, tuple(losses), 1 - left / max(int(np.count_nonzero(first)), 1), steeper)

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

    def walk(self, rate: float) -> "Walk":
        """Where the model is, before a first step."""
        return Walk(self._model, self._trained, rate)

    def step(self, walk: "Walk") -> tuple[float, np.ndarray]:
        """The loss, and the largest entry of each gradient; then a step is made.

        Args:
            walk: Which weights: the same in all steps.
        """
        if self._compiles:
            self._compiled, self._compiles = self._in_graph(walk), False
        if self._compiled is not None:
            loss, largest = self._compiled()
            return float(loss), np.asarray(largest)
        loss, gradients = self.passed(walk)
        walk.step(gradients)
        self._noise += self._noise > 0
        arrays = (None if g is None else array_of(g) for g in gradients)
        return loss, np.array([0.0 if g is None else np.max(np.abs(g)) for g in arrays])

    def _in_graph(self, walk: "Walk") -> Any:
        """One step that is traced once for all rates; None of a model that cannot be traced."""
        import keras

        from tfinit.graph.passes import backend
        from tfinit.graph.snapshot import apart, streams_left

        held = self._held(walk)
        seeds = {
            id(v): keras.Variable(value, dtype=v.dtype, trainable=False, name=_SEED)
            for v, value in held
            if self._noise and v.name == _SEED
        }
        held = [(v, seeds[id(v)].value if id(v) in seeds else value) for v, value in held]

        def then(gradients: list[Any]) -> None:
            walk.step(gradients)
            for seed in seeds.values():
                seed.assign(_later(seed, seed.value, 1))

        try:
            with streams_left(self._model), apart(self._model, self._taken):
                return backend().compiled(held, self._work, then)
        except Exception:  # code of the user's own that runs eagerly alone
            return None

    def _held(self, walk: "Walk") -> list[tuple[Any, Any]]:
        put = {id(v): copy.value for (v, _), copy in zip(self._trained, walk.copies, strict=True)}
        return [(v, put.get(id(v), _later(v, value, self._noise))) for v, value in self._taken]

    def passed(self, walk: "Walk") -> tuple[float, list[Any]]:
        """The loss with the weights of a walk, and its gradients."""
        # They import Keras.
        from tfinit.graph.passes import forward_and_backward
        from tfinit.graph.snapshot import apart, streams_left

        # Layers that have no seed draw from PyTorch's stream, which is put back at the end of all.
        left = nullcontext() if self._noise else streams_left(self._model)
        with left, apart(self._model, self._held(walk)) as snapshot:
            passed = forward_and_backward(snapshot, self._work, _unseen, _unseen, self._programs)
        gradients = [g if g is None else g / self._work.scale for g in passed.gradients]
        return float(passed.number), gradients


class Walk:
    """Copies of a model's weights, and an optimizer that moves them.

    Args:
        model: The model, compiled.
        trained: The variables, and what they hold.
        rate: The learning rate.
    """

    def __init__(self, model: Any, trained: list[tuple[Any, Any]], rate: float) -> None:
        import keras

        self._trained = trained
        self._optimizer = fresh_optimizer(inner_optimizer(model), rate)
        self.copies = [
            keras.Variable(array, dtype=v.dtype, name=v.name)
            for array, (v, _) in zip(self._arrays(), trained, strict=True)
        ]
        self._optimizer.build(self.copies)
        self._fresh = [keras.ops.convert_to_numpy(v) for v in self._optimizer.variables]

    def begin(self, rate: float) -> None:
        """Put the weights back, and let the optimizer begin with another rate."""
        variables = [*self.copies, *self._optimizer.variables]
        for variable, array in zip(variables, [*self._arrays(), *self._fresh], strict=True):
            variable.assign(array)
        self._optimizer.learning_rate = rate

    def step(self, gradients: list[Any]) -> None:
        """Along gradients; None is one of zeros."""
        import keras

        slopes = [
            keras.ops.zeros_like(copy) if g is None else keras.ops.cast(g, copy.dtype)
            for g, copy in zip(gradients, self.copies, strict=True)
        ]
        self._optimizer.apply(slopes, self.copies)

    def _arrays(self) -> list[np.ndarray]:
        import keras

        # Of their own memory, which PyTorch would share.
        return [np.array(keras.ops.convert_to_numpy(value)) for _, value in self._trained]


def _later(variable: Any, value: Any, noise: int) -> Any:
    """What a seed is some draws later; of another variable, its value."""
    if not noise or variable.name != _SEED:
        return value
    import keras

    return value + keras.ops.convert_to_tensor(np.array([0, noise]), dtype=value.dtype)


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
