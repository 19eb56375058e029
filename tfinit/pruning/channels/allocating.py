"""How many channels of each group go, so that what is left costs what was asked for.

The channels of a **scope** compete with each other, and each scope loses the same share s of its
channels, the least important first. ``"uniform"``: each group is a scope; ``"global"``: all groups
are one; ``"isomorphic"`` (Fang et al. 2024): groups on the same axes of the same kinds of layers
are. Where groups compete their scores are divided by their mean, as kernels of another size
have other sums. Then each group keeps the nearest number that `Limits` allows.

What is left shrinks as s grows, so that s is found by bisection: the smallest with which the
network costs at most the target. Where one more channel of the ranking lets several groups lose
a whole multiple at once, they lose them one by one; and where that leaves less than 0.95 of the
target, the groups of the highest scores get some back.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfinit.errors import InputError
from tfinit.pruning.channels.groups import Group

CLOSE = 0.95  # of the target, at least, is left

Counts = dict[str, int]  # name of group → channels left


@dataclass(frozen=True)
class Limits:
    """Which numbers of channels a group may be left with.

    Attributes:
        round_to: What they are multiples of, counted in columns: a head is as many as its size.
        protect: The fraction that stays at least.
    """

    round_to: int
    protect: float

    def allowed(self, size: int, width: int = 1) -> list[int]:
        """The numbers for a group, from the least to all.

        Example:
            >>> Limits(8, 0.3).allowed(32), Limits(8, 0.1).allowed(20), Limits(8, 0.5).allowed(6)
            ([16, 24, 32], [8, 16, 20], [3, 4, 5, 6])
        """
        unit = self.round_to // math.gcd(self.round_to, width)
        least = max(1, math.ceil(self.protect * size - 1e-9))
        if size <= unit:
            return list(range(least, size + 1))
        return [*range(-(-least // unit) * unit, size, unit), size]


class Ranking:
    """The channels of groups in the order in which they would go.

    Args:
        groups: The groups.
        scores: Name of group → the score of each channel.
        allocation: `"uniform"`, `"global"` or `"isomorphic"`.
        limits: What each may be left with.

    Attributes:
        order: Name of group → its channels, the least important first.
        allowed: Name of group → the numbers of channels that it may be left with.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        scores: Mapping[str, np.ndarray],
        allocation: str,
        limits: Limits,
    ) -> None:
        self.order = {g.name: np.argsort(scores[g.name], kind="stable") for g in groups}
        self.allowed = {g.name: limits.allowed(g.size, g.width) for g in groups}
        self._sizes = {g.name: g.size for g in groups}
        self._sorted: dict[str, np.ndarray] = {}  # name → scores of their group's mean, ascending
        scopes: dict[object, list[str]] = {}
        for group in groups:
            own = np.sort(scores[group.name])
            mean = np.abs(own).mean()
            self._sorted[group.name] = own / mean if mean else own
            scope = {"uniform": group.name, "isomorphic": group.kind}.get(allocation)
            scopes.setdefault(scope, []).append(group.name)
        self._scopes: list[tuple[int, dict[str, np.ndarray]]] = []
        for names in scopes.values():
            ends = np.cumsum([self._sizes[name] for name in names])
            pooled = np.concatenate([self._sorted[name] for name in names])
            places = np.empty(len(pooled), dtype=int)
            places[np.argsort(pooled, kind="stable")] = np.arange(len(pooled))
            parts = np.split(places, ends[:-1])
            self._scopes.append((len(pooled), dict(zip(names, parts, strict=True))))

    def shares(self) -> np.ndarray:
        """The shares of the channels to remove at which one more of some scope goes."""
        sizes = {size for size, _ in self._scopes}
        return np.unique(np.concatenate([np.arange(size + 1) / size for size in sizes]))

    def left(self, share: float) -> Counts:
        """How many channels of each group are left where each scope loses that share."""
        found = {}
        for size, places in self._scopes:
            gone = math.floor(share * size + 1e-9)
            for name, own in places.items():
                left = self._sizes[name] - int(np.searchsorted(own, gone))
                found[name] = _nearest(self.allowed[name], left)
        return {name: found[name] for name in self._sizes}

    def nearest(self, name: str, left: float | None) -> int:
        """The number of channels of a group that is nearest, of those allowed; None: all."""
        return self._sizes[name] if left is None else _nearest(self.allowed[name], left)

    def score_of(self, name: str, left: int) -> float:
        """The score of the channel that goes next, of a group with so many left."""
        return float(self._sorted[name][self._sizes[name] - left])

    def removed(self, left: Mapping[str, int]) -> Counts:
        """How many channels of each group are removed."""
        return {name: self._sizes[name] - left[name] for name in self._sizes}


def _nearest(allowed: Sequence[int], left: float) -> int:
    """Of the numbers that are allowed, that which is nearest; of two the larger."""
    after = min(bisect_left(allowed, left), len(allowed) - 1)
    before = max(after - 1, 0)
    return allowed[before] if left - allowed[before] < allowed[after] - left else allowed[after]


def meet(ranking: Ranking, target: float, share: Callable[[Counts], float], what: str) -> Counts:
    """The channels left with which a cost is from 0.95 to 1 of the target.

    Args:
        ranking: The channels.
        target: The fraction of the cost that is to be left.
        share: Of the channels left, the fraction of the cost that is.
        what: What it is, for errors: ``"multiply-adds"``.

    Raises:
        InputError: it cannot be met. It names what can be had.
    """
    seen: list[float] = []
    target += 1e-12  # 0.3 is a little less than three tenths

    def cost(left: Counts) -> float:
        seen.append(share(left))
        return seen[-1]

    shares = ranking.shares()
    least = cost(ranking.left(1.0))
    if least > target:
        raise InputError(
            f"`target`: {target:g} of the {what} cannot be reached, the least that can be had is "
            f"{_shown(least)}. A smaller `protect` or `round_to`, or more layers in `filters`, "
            "allow less."
        )
    low, high = 0, len(shares) - 1  # more than the target with the one, not with the other
    while high - low > 1:
        middle = (low + high) // 2
        if cost(ranking.left(shares[middle])) > target:
            low = middle
        else:
            high = middle
    left = _one_by_one(ranking, ranking.left(shares[low]), ranking.left(shares[high]), target, cost)
    left = _given_back(ranking, left, target, cost)
    if cost(left) < CLOSE * target:
        left = max(_exchanged(ranking, left, target, cost), key=cost, default=left)
    if cost(left) < CLOSE * target:
        above = min(each for each in seen if each > target)
        raise InputError(
            f"`target`: {target:g} of the {what} cannot be met within {CLOSE} to 1 of it: near it "
            f"are {_shown(cost(left))} and {_shown(above)}. Ask for one of them, or give a smaller "
            "`round_to`."
        )
    return left


def _shown(part: float) -> str:
    """A fraction in four digits, rounded up: asked for like that it can be had."""
    return f"{math.ceil(part * 1e4 - 1e-6) / 1e4:.4g}"


def _one_by_one(
    ranking: Ranking,
    more: Counts,
    less: Counts,
    target: float,
    cost: Callable[[Counts], float],
) -> Counts:
    """The first on the way from more channels to less that costs at most the target."""
    left = dict(more)
    changed = [name for name in more if more[name] != less[name]]
    for name in sorted(changed, key=lambda name: ranking.score_of(name, more[name])):
        if cost(left) <= target:
            break
        left[name] = less[name]
    return left


def _given_back(
    ranking: Ranking, left: Counts, target: float, cost: Callable[[Counts], float]
) -> Counts:
    """With channels given back to the groups where they score highest, as far as there is room."""
    fits = True
    while fits and cost(left) < CLOSE * target:
        fits = False
        able = [name for name in left if _more(ranking, left, name)]
        highest = sorted(able, key=lambda name: -ranking.score_of(name, left[name] + 1))
        for name in highest:
            larger = _with(ranking, left, name, 1)
            if cost(larger) <= target:
                left, fits = larger, True
                break
    return left


def _exchanged(
    ranking: Ranking, left: Counts, target: float, cost: Callable[[Counts], float]
) -> Iterator[Counts]:
    """Choices of at most the target, each with more of one group and less of others, until one is
    close."""
    for name in sorted(left, key=lambda name: left[name] - ranking.allowed[name][-1]):
        trial = left
        while _more(ranking, trial, name):
            trial = _with(ranking, trial, name, 1)
            found = _taken_away(ranking, trial, name, target, cost)
            if found is not None:
                found = _given_back(ranking, found, target, cost)
                yield found
                if cost(found) >= CLOSE * target:
                    return


def _taken_away(
    ranking: Ranking, left: Counts, but: str, target: float, cost: Callable[[Counts], float]
) -> Counts | None:
    """With less of all groups but one, where they score lowest, until the cost is the target."""
    while cost(left) > target:
        able = [name for name in left if name != but and left[name] > ranking.allowed[name][0]]
        if not able:
            return None
        lowest = min(able, key=lambda name: ranking.score_of(name, left[name]))
        left = _with(ranking, left, lowest, -1)
    return left


def _more(ranking: Ranking, left: Counts, name: str) -> bool:
    return left[name] < ranking.allowed[name][-1]


def _with(ranking: Ranking, left: Counts, name: str, steps: int) -> Counts:
    """With a group at another of the numbers that it may have."""
    allowed = ranking.allowed[name]
    return left | {name: allowed[allowed.index(left[name]) + steps]}
