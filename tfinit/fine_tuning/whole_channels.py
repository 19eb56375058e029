"""The channels that `tfinit prune --channels` removes: at once, or by and by."""

from typing import Any

from tfinit.array_trees import each, flat
from tfinit.errors import InputError
from tfinit.fine_tuning.config import PruneConfig
from tfinit.pruning.channels.plan import ChannelPlan
from tfinit.pruning.channels.pruning import channel_plan
from tfinit.pruning.channels.scoring import SCORES as CHANNEL_SCORES
from tfinit.pruning.in_training.channel_targets import maskable
from tfinit.pruning.in_training.rules import PruningRule
from tfinit.pruning.in_training.schedules import ConstantSparsity, PolynomialDecay
from tfinit.saved_data import Examples
from tfinit.training.order import epoch_order

_SCORED = 1024  # examples, of which channels are scored by gradients


def planned(config: PruneConfig, model: Any, train: Examples) -> ChannelPlan:
    """Which channels are to go; those of a gradual pruning say how many of each group.

    A score that needs gradients takes them of the first examples of the first epoch's order.

    Raises:
        InputError: as `tfinit.pruning.channel_plan` does; or channels that are to go by and by
            cannot be masked.
    """
    first = epoch_order(len(flat(train[0])[0]), config.seed, 0)[:_SCORED]
    x, y, weights = (each(lambda part: part[first], parts) for parts in train)
    filters = list(config.filters) or None
    maskable = _maskable(config, model) if config.gradual else []
    plan = channel_plan(
        model,
        x,
        y,
        target=config.fraction_left(),
        score=config.channel_score,
        allocation=config.channel_allocation,
        round_to=config.round_to,
        protect=config.protect,
        filters=filters or maskable or None,
        batch_size=config.batch_size,
        seed=config.seed,
        sample_weight=weights,
    )
    never = [group.name for group in plan.groups if group.removed and group.name not in maskable]
    if config.gradual and never:
        raise InputError(
            f"`gradual`: channels of {never[0]!r} cannot be masked while it trains, as a layer "
            "normalizes over them, or a kernel is frozen. Leave --gradual out, or name others in "
            f"--filters: {', '.join(maskable)}."
        )
    return plan


def _maskable(config: PruneConfig, model: Any) -> list[str]:
    """The layers whose channels can be masked while a model trains."""
    rule = PruningRule(
        ConstantSparsity(0.5, 2), model, structure="channels", score=config.channel_score
    )
    return maskable(model, rule.groups()[0])


def by_and_by(plan: ChannelPlan, config: PruneConfig, end: int, frequency: int) -> dict[str, Any]:
    """The settings of a `SparseOptimizer` by which as many channels go as in a plan.

    Args:
        plan: What `planned` made.
        config: What to do.
        end: The step from which on they are all gone, as near as updates allow.
        frequency: Steps from one update to the next.
    """
    gone = {group.name: len(group.removed) / group.channels for group in plan.groups}
    share = sum(len(g.removed) for g in plan.groups) / sum(g.channels for g in plan.groups)
    begin = 2 if CHANNEL_SCORES[config.channel_score][0].needs_steps else 0  # after a gradient
    end = begin + max(1, (end - begin) // frequency) * frequency
    return {
        "schedule": PolynomialDecay(0.0, share, begin, end, frequency=frequency),
        "structure": "channels",
        "score": config.channel_score,
        "allocation": {name: fraction for name, fraction in gone.items() if fraction},
    }
