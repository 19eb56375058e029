"""How many weights survive each pruning: known before anything is trained."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from tfinit.errors import InputError
from tfinit.lottery.config import LotteryConfig
from tfinit.pruning.scoring.masks import survivors

Counts = dict[str, int] | int  # survivors of each weight, or of all together
# Of each weight; a number alone is the length of a vector.
Shapes = Mapping[str, tuple[int, ...] | int]


def fractions_of(config: LotteryConfig, keys: Sequence[str]) -> dict[str, float]:
    """The fraction to prune in each weight; the last of ``keys`` is the output layer's."""
    unknown = sorted(config.layer_prune_fractions.keys() - set(keys))
    if unknown:
        raise InputError(f"`layer_prune_fractions` names {unknown}; the weights are {list(keys)}.")
    fractions = dict.fromkeys(keys, config.prune_fraction)
    fractions[keys[-1]] = config.output_prune_fraction
    return fractions | config.layer_prune_fractions


def with_outputs(
    config: LotteryConfig, keys: Sequence[str], outputs: Sequence[str]
) -> LotteryConfig:
    """The experiment with the fraction of the output layer for those of a network that has others.

    Args:
        config: The experiment.
        keys: The weights, in their order.
        outputs: Those of the output layers.

    Example:
        >>> config = with_outputs(LotteryConfig(), ["body", "left", "right"], ["left", "right"])
        >>> fractions_of(config, ["body", "left", "right"])
        {'body': 0.2, 'left': 0.1, 'right': 0.1}
    """
    if config.structure == "channels":  # of which an output has none
        return config
    if config.allocation != "uniform" or list(outputs) == list(keys[-1:]):
        return config
    own = dict.fromkeys(outputs, config.output_prune_fraction)
    own = {keys[-1]: config.prune_fraction} | own | config.layer_prune_fractions
    return dataclasses.replace(config, layer_prune_fractions=own)


def next_counts(
    config: LotteryConfig, alive: Mapping[str, int], shapes: Shapes | None = None
) -> Counts:
    """How many survive the next pruning.

    With an allocation other than "uniform" and "global", all weights together are to be as sparse
    as with "global"; each gets the sparsity that the allocation gives it then, but never has more
    survivors than before.

    Of whole channels one stays of each group.

    Args:
        config: The experiment.
        alive: Key → how many are alive.
        shapes: Key → shape, where the allocation may ask for it.

    Example:
        >>> config = LotteryConfig(prune_fraction=0.5, allocation=lambda key, shape, sparsity: 0.75)
        >>> next_counts(config, {"a": 8, "b": 1}, {"a": (2, 4), "b": (2, 2)})
        {'a': 2, 'b': 1}
    """
    if config.structure == "channels":
        return _next_channels(config, alive)
    if config.allocation == "global":
        return survivors(sum(alive.values()), config.prune_fraction)
    if config.allocation == "uniform":
        fractions = fractions_of(config, list(alive))
        return {key: survivors(n, fractions[key]) for key, n in alive.items()}
    from tfinit.pruning.in_training.selection import keep_count
    from tfinit.pruning.scoring.sparsities import sparsities

    known = {key: _shape((shapes or alive)[key]) for key in alive}
    sizes = _sizes(known)
    wanted = survivors(sum(alive.values()), config.prune_fraction)
    found = sparsities(config.allocation, 1 - wanted / sum(sizes.values()), known)
    return {key: min(n, int(keep_count(sizes[key], found[key]))) for key, n in alive.items()}


def _next_channels(config: LotteryConfig, alive: Mapping[str, int]) -> Counts:
    if config.allocation == "global":
        return max(survivors(sum(alive.values()), config.prune_fraction), len(alive))
    return {key: max(survivors(n, config.prune_fraction), 1) for key, n in alive.items()}


def _shape(shape: tuple[int, ...] | int) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def _sizes(shapes: Shapes) -> dict[str, int]:
    return {key: math.prod(_shape(shape)) for key, shape in shapes.items()}


def last_level(config: LotteryConfig, shapes: Shapes) -> tuple[int, int]:
    """The last level at which a weight is pruned, and how many survive there.

    Of few weights a fraction rounds to none: of two, a fifth. From there on each level would train
    the same ticket again. It is ``config.levels`` where that is not reached.

    Args:
        config: The experiment.
        shapes: Key → shape. Of the counts nothing else decides, no training either.

    Example:
        >>> config = LotteryConfig(levels=40, prune_fraction=0.5, output_prune_fraction=0.5)
        >>> last_level(config, {"fc/kernel": 8, "output/kernel": 4})  # 12, 6, 3, 2, 2, …
        (3, 2)
    """
    alive = _sizes(shapes)
    for level in range(config.levels):
        after = next_counts(config, alive, shapes)
        after = {"all": after} if isinstance(after, int) else after
        if sum(after.values()) == sum(alive.values()):
            return level, sum(alive.values())
        alive = after
    return config.levels, sum(alive.values())


def ends_early(config: LotteryConfig, shapes: Shapes) -> str:
    """That an experiment ends before the last of its levels, and why; empty where it does not."""
    level, left = last_level(config, shapes)
    if level == config.levels:
        return ""
    rounds = "of so few the fraction to prune rounds to none, and " if left else ""
    return (
        f"The experiment ends at level {level} of {config.levels}, with {left} of "
        f"{sum(_sizes(shapes).values())} {config.structure}: {rounds}further levels would train "
        "the same tickets again"
    )


def check_prunes(config: LotteryConfig, shapes: Shapes) -> int:
    """The `last_level`, where there is one beyond the dense network.

    Raises:
        InputError: even the first level would prune nothing.
    """
    level, _ = last_level(config, shapes)
    if level == 0:
        raise InputError(
            f"`prune_fraction` {config.prune_fraction:g} of the "
            f"{sum(_sizes(shapes).values())} {config.structure} rounds to none in every layer, so "
            "each level would train the dense network again. Raise it: 0.2 prunes a fifth at each "
            "level."
        )
    return level
