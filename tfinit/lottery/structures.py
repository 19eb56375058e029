"""What an experiment prunes: each weight by itself, or whole channels.

Either knows what is counted, and makes masks of the weights of it; so counts, choices and controls
are the same for both.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from tfinit.arguments import instance
from tfinit.errors import InputError
from tfinit.lottery.config import LotteryConfig
from tfinit.lottery.counts import Counts, Shapes
from tfinit.lottery.network_config import NetworkConfig
from tfinit.lottery.result import LevelResult
from tfinit.pruning.in_training.whole_channels import MaskedAxis, groups_of, placed
from tfinit.pruning.scoring.after_training import Scores, score_trained
from tfinit.pruning.scoring.masks import Masks, keep_globally, keep_layerwise
from tfinit.pruning.scoring.scores import SCORES
from tfinit.variables import unique_name

_Mask = Mapping[str, np.ndarray]
_Change = Callable[[_Mask, int], Masks]


class Structure(Protocol):
    """What an experiment counts, and how a mask comes of it."""

    @property
    def shapes(self) -> Shapes:
        """Key → the shape of all that is counted under it."""

    def alive(self, mask: _Mask) -> dict[str, int]:
        """Key → how many of them a mask leaves."""

    def choose(self, config: NetworkConfig, trained: LevelResult, counts: Counts) -> Masks:
        """The mask of the best, by the configuration's score, so many, inside the result's."""

    def at_initialization(
        self, model: Any, score: str, keep: int, data: tuple[Any, Any], seed: int
    ) -> Masks:
        """The mask of the best, so many in all, of a model that is not trained."""

    def changed(self, mask: _Mask, change: _Change, seed: int) -> Masks:
        """What a control makes of a mask."""


class SingleWeights:
    """Each weight is pruned by itself.

    Args:
        full: The mask that prunes nothing.
    """

    def __init__(self, full: _Mask) -> None:
        self.shapes: Shapes = {key: mask.shape for key, mask in full.items()}

    def alive(self, mask: _Mask) -> dict[str, int]:
        """Key → survivors."""
        return {key: int(np.count_nonzero(m)) for key, m in mask.items()}

    def choose(self, config: NetworkConfig, trained: LevelResult, counts: Counts) -> Masks:
        """The mask of the largest scores, inside the result's."""
        mask = dict(trained.mask)
        return _best(_scores(config, trained, mask), mask, counts)

    def at_initialization(
        self, model: Any, score: str, keep: int, data: tuple[Any, Any], seed: int
    ) -> Masks:
        """The mask of the largest scores, as `prune_at_initialization` finds it."""
        from tfinit.pruning.scoring.at_initialization import prune_at_initialization

        sparsity = 1 - keep / sum(int(np.prod(shape)) for shape in self.shapes.values())
        return prune_at_initialization(model, sparsity, score, *data, seed=seed).masks

    def changed(self, mask: _Mask, change: _Change, seed: int) -> Masks:
        """The mask as the control changes it."""
        return change(mask, seed)


class WholeChannels:
    """Channels go as a whole, from all weights that they are on, with those coupled to them.

    What is counted are the channels of each group of channels that stand or fall together; its key
    is that of the first weight that makes them. The score of a channel is the sum of those of the
    weights that are left of it. A control is given, and changes, a mask of channels.

    Args:
        model: A Sequential or functional model.
        weights: Key → variable: the weights that have masks.

    Raises:
        InputError: the model cannot be followed, or keeps all its channels.
    """

    def __init__(self, model: Any, weights: Mapping[str, Any]) -> None:
        self._sizes = {key: tuple(weight.shape) for key, weight in weights.items()}
        places = {id(weight): place for place, weight in enumerate(weights.values())}
        groups, _ = groups_of(model, lambda weight: id(weight.variable) in places)
        keys = list(weights)
        self._axes: dict[str, list[tuple[str, MaskedAxis]]] = {}
        self.shapes: dict[str, int] = {}
        taken: set[str] = set()
        for size, axes, _ in placed(groups, places):
            name = unique_name(keys[axes[0].weight], taken)
            self.shapes[name] = size
            self._axes[name] = [(keys[axis.weight], axis) for axis in axes]
        if not self.shapes:
            raise InputError(
                "`structure` 'channels': all channels of the network are given to it, returned by "
                "it, normalized over, or on a kernel that is frozen. Use structure 'weights'."
            )

    def alive(self, mask: _Mask) -> dict[str, int]:
        """Key of each group → the channels of which something is left."""
        return {key: int(m.sum()) for key, m in self.living(mask).items()}

    def living(self, mask: _Mask) -> Masks:
        """Key of each group → which of its channels a mask leaves something of."""
        return {key: counts > 0 for key, counts in self._summed(mask).items()}

    def masks(self, channels: _Mask) -> Masks:
        """The mask that leaves some channels of each group, and nothing of the others."""
        found = {key: np.ones(shape, dtype=bool) for key, shape in self._sizes.items()}
        for name, axes in self._axes.items():
            kept = np.append(np.asarray(channels[name], dtype=bool), True)  # entries of no channel
            for key, axis in axes:
                along = [1] * found[key].ndim
                along[axis.axis] = -1
                found[key] &= kept[axis.entries(self.shapes[name])].reshape(along)
        return found

    def choose(self, config: NetworkConfig, trained: LevelResult, counts: Counts) -> Masks:
        """The mask of the channels of the largest scores; one of each group stays.

        Of all channels together (allocation "global") the scores are divided by the mean of their
        group, as kernels of another size have other sums.
        """
        mask = dict(trained.mask)
        return self._chosen(_scores(config, trained, mask), mask, counts)

    def at_initialization(
        self, model: Any, score: str, keep: int, data: tuple[Any, Any], seed: int
    ) -> Masks:
        """The mask of the channels of the largest scores, in as many rounds as the score has.

        With n channels in all, n · (keep / n)^(k / T) are left after round k of T.
        """
        from tfinit.pruning.scoring.scorer import scorer

        scored = scorer(score, model, *data, seed=seed)
        every = sum(self.shapes.values())
        rounds = SCORES[score].rounds
        mask = self.masks({name: np.ones(size, dtype=bool) for name, size in self.shapes.items()})
        for k in range(1, rounds + 1):
            left = max(keep, round(every * (keep / every) ** (k / rounds)))
            mask = self._chosen(scored(mask), mask, left)
        return mask

    def _chosen(self, scores: Scores, mask: Masks, counts: Counts) -> Masks:
        """The mask of the channels, inside another, whose weights' scores have the largest sums."""
        scores = {key: np.where(alive, scores[key], 0) for key, alive in mask.items()}
        summed, living = self._summed(scores), self.living(mask)
        if isinstance(counts, int):
            for key, score in summed.items():
                mean = np.abs(score).mean()
                summed[key] = score = score / mean if mean else score
                best = np.argmax(np.where(living[key], score, -np.inf))
                score[best] = np.inf
        return self.masks(_best(summed, living, counts))

    def changed(self, mask: _Mask, change: _Change, seed: int) -> Masks:
        """The mask of the channels as the control changes them."""
        return self.masks(change(self.living(mask), seed))

    def _summed(self, values: _Mask) -> Scores:
        """Key of each group → of each channel the sum of the values at its entries."""
        found = {}
        for name, axes in self._axes.items():
            size = self.shapes[name]
            found[name] = np.zeros(size)
            for key, axis in axes:
                value = np.asarray(values[key])
                others = tuple(other for other in range(value.ndim) if other != axis.axis)
                sums = value.sum(axis=others, dtype="float64")
                entries = axis.entries(size)
                found[name] += np.bincount(entries, sums, minlength=size)[:size]
        return found


def _scores(config: NetworkConfig, trained: LevelResult, mask: Masks) -> Scores:
    score = instance("config", config, LotteryConfig).score
    return score_trained(score, trained.rewind, trained.final, mask, trained.seed)


def _best(scores: Scores, mask: Masks, counts: Counts) -> Masks:
    if isinstance(counts, int):
        return keep_globally(scores, mask, counts)
    return keep_layerwise(scores, mask, counts)
