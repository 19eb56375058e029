"""How many weights survive each pruning: known before anything is trained."""

from collections.abc import Mapping, Sequence

from tfinit.errors import InputError
from tfinit.lottery.config import LotteryConfig
from tfinit.pruning.scoring.masks import survivors

Counts = dict[str, int] | int  # survivors of each weight, or of all together


def fractions_of(config: LotteryConfig, keys: Sequence[str]) -> dict[str, float]:
    """The fraction to prune in each weight; the last of ``keys`` is the output layer's."""
    unknown = sorted(config.layer_prune_fractions.keys() - set(keys))
    if unknown:
        raise InputError(f"`layer_prune_fractions` names {unknown}; the weights are {list(keys)}.")
    fractions = dict.fromkeys(keys, config.prune_fraction)
    fractions[keys[-1]] = config.output_prune_fraction
    return fractions | config.layer_prune_fractions


def next_counts(config: LotteryConfig, alive: Mapping[str, int]) -> Counts:
    """How many survive the next pruning, from key → how many are alive."""
    if config.allocation == "global":
        return survivors(sum(alive.values()), config.prune_fraction)
    fractions = fractions_of(config, list(alive))
    return {key: survivors(n, fractions[key]) for key, n in alive.items()}


def last_level(config: LotteryConfig, sizes: Mapping[str, int]) -> tuple[int, int]:
    """The last level at which a weight is pruned, and how many survive there.

    Of few weights a fraction rounds to none: of two, a fifth. From there on each level would train
    the same ticket again. It is ``config.levels`` where that is not reached.

    Args:
        config: The experiment.
        sizes: Key → number of weights. Of the counts nothing else decides, no training either.

    Example:
        >>> config = LotteryConfig(levels=40, prune_fraction=0.5, output_prune_fraction=0.5)
        >>> last_level(config, {"fc/kernel": 8, "output/kernel": 4})  # 12, 6, 3, 2, 2, …
        (3, 2)
    """
    alive = dict(sizes)
    for level in range(config.levels):
        after = next_counts(config, alive)
        after = {"all": after} if isinstance(after, int) else after
        if sum(after.values()) == sum(alive.values()):
            return level, sum(alive.values())
        alive = after
    return config.levels, sum(alive.values())


def ends_early(config: LotteryConfig, sizes: Mapping[str, int]) -> str:
    """That an experiment ends before the last of its levels, and why; empty where it does not."""
    level, left = last_level(config, sizes)
    if level == config.levels:
        return ""
    rounds = "of so few the fraction to prune rounds to none, and " if left else ""
    return (
        f"The experiment ends at level {level} of {config.levels}, with {left} of "
        f"{sum(sizes.values())} weights: {rounds}further levels would train the same tickets again"
    )


def check_prunes(config: LotteryConfig, sizes: Mapping[str, int]) -> int:
    """The `last_level`, where there is one beyond the dense network.

    Raises:
        InputError: even the first level would prune nothing.
    """
    level, _ = last_level(config, sizes)
    if level == 0:
        raise InputError(
            f"`prune_fraction` {config.prune_fraction:g} of the {sum(sizes.values())} weights "
            "rounds to none in every layer, so each level would train the dense network again. "
            "Raise it: 0.2 prunes a fifth at each level."
        )
    return level
