"""`prune_channels` and `channel_plan`: the channels that matter least are removed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfinit import arguments
from tfinit.arguments import mapping, number, one_of, refused, whole
from tfinit.errors import InputError
from tfinit.graph.channel_values import Channels
from tfinit.graph.channels import follow
from tfinit.graph.multiply_adds import UnknownShapes, count_uses
from tfinit.graph.weight_uses import Uses
from tfinit.pruning.channels.allocating import Counts, Limits, Ranking, meet
from tfinit.pruning.channels.costs import Costs
from tfinit.pruning.channels.groups import (
    Filters,
    Group,
    check_filters,
    chosen_layers,
    find_groups,
    weights_with_channels,
)
from tfinit.pruning.channels.plan import ChannelPlan, GroupPlan, Skipped, unfit
from tfinit.pruning.channels.result import ChannelPruning
from tfinit.pruning.channels.scoring import channel_scores, check_channel_score
from tfinit.pruning.compaction.followed import check_model
from tfinit.pruning.scoring.channel_names import ALLOCATIONS, COSTS
from tfinit.pruning.scoring.loss_gradients import Loss
from tfinit.pruning.scoring.scores import AnyScore

_TOLD = {"macs": "multiply-adds", "params": "parameters", "channels": "channels"}


def prune_channels(
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    target: Mapping[str, float] | None = None,
    score: AnyScore = "l2",
    allocation: str | Mapping[str, float] = "global",
    round_to: int = 8,
    protect: float = 0.1,
    filters: Filters | None = None,
    loss: Loss | None = None,
    batch_size: int = 128,
    seed: int = 0,
    sample_weight: Any = None,
) -> ChannelPruning:
    """A smaller model without the channels that matter least: faster in every runtime.

    A unit of a Dense layer, a filter of a convolution is a channel. Layers that are added, or of
    which one treats the channels of the other by themselves, make a **group**: its channels can
    only be removed together, from the axes of all weights that they are on. What is given to the
    model and what it returns keeps all its channels, and so does what goes through a layer that
    cannot be followed; the result lists it.

    The smaller model computes what the given one does with zeros in place of all weights of the
    removed channels (`ChannelPlan.masks`), up to rounding, but where a layer normalizes over
    channels, as LayerNormalization does. Train it on afterwards: pruning costs accuracy, most of
    which comes back.

    Args:
        model: A built Sequential or functional model of Keras 3. It is left as it was.
        x: For scores that need gradients: a few hundred training examples, as ``fit`` takes them.
        y: Their targets.
        target: What is left: ``{"macs": 0.5}`` of the multiply-adds of one sample,
            ``{"params": 0.5}`` of the parameters, or ``{"channels": 0.5}`` of all channels that no
            layer keeps from going. It is met within 0.95 to 1 of it.
        score: How important a channel is: ``"l2"``, ``"l1"``, ``"taylor"`` (needs data and a loss),
            ``"batchnorm"``, ``"random"``, ``"synflow"``, ``"grasp"`` and others before training, a
            `tfinit.pruning.Score`, or a function of what it needs,
            as ``lambda weights, gradients: weights * gradients``. `tfinit.pruning.channels.scoring`
            has the formulas, and how they are summed over the weights of a channel.
        allocation: Where channels go: ``"global"``, wherever they score lowest, divided by the mean
            of their group; ``"isomorphic"``, the same among groups that are alike, each kind of
            which loses the same share; ``"uniform"``, the same share of each group. Or layer → the
            fraction of its channels that is left, in place of ``target``; layers that are not named
            keep all.
        round_to: The channels that are left of a group are a multiple of it, if there are more in
            the group: what kernels of runtimes are fast at. 1: any number. Of heads the columns
            count, so that heads of 64 go one by one.
        protect: The fraction of each group that stays at least. Where ``round_to`` would go below,
            the next multiple stays. One channel stays in any case.
        filters: Names of layers, or regular expressions that match whole names, of the only layers
            that may lose channels. A group of which another layer makes the channels, too, stays.
            Of layers with several, ``".*/num_heads"`` are the heads only.
        loss: For scores that need gradients: a Keras loss, its name or ``(y, output) -> tensor``.
            None: the compiled one.
        batch_size: Rows of one gradient. Bounds memory, changes nothing else.
        seed: Of what is random.
        sample_weight: How much each example counts, as for ``fit``.

    Returns:
        The result, with a new model of the same layers' names, inputs and outputs, compiled alike.

    Raises:
        InputError: an argument is wrong; the target cannot be reached (the least that can is named)
            or not be met within 0.95 to 1 (what is near is named); a filter matches no layer;
            nothing can be removed; the model cannot be followed, data are missing or do not fit, or
            a score is not finite. The model is as it was.

    Example:
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((4,)),
        ...         keras.layers.Dense(4, "relu", use_bias=False, name="hidden"),
        ...         keras.layers.Dense(2, use_bias=False, name="out"),
        ...     ],
        ...     name="net",
        ... )
        >>> model.set_weights([np.diag([3.0, 1.0, 4.0, 2.0]), np.ones((4, 2))])
        >>> pruned = prune_channels(model, target={"macs": 0.5}, round_to=1)
        >>> print(pruned)
        net: 24 → 12 multiply-adds (50.0%), 24 → 12 parameters (50.0%)
          hidden  4 → 2
          out  not touched: the model returns them
        >>> pruned.plan.groups[0].removed
        (1, 3)

    References:
        Fang et al., *DepGraph: Towards Any Structural Pruning*, 2023,
        https://arxiv.org/abs/2301.12900; *Isomorphic Pruning for Vision Models*, 2024,
        https://arxiv.org/abs/2407.04616. Taylor: Molchanov et al., *Importance Estimation for
        Neural Network Pruning*, 2019, https://arxiv.org/abs/1906.10771. Li et al., *Pruning Filters
        for Efficient ConvNets*, 2017, https://arxiv.org/abs/1608.08710.
    """
    plan = channel_plan(
        model,
        x,
        y,
        target=target,
        score=score,
        allocation=allocation,
        round_to=round_to,
        protect=protect,
        filters=filters,
        loss=loss,
        batch_size=batch_size,
        seed=seed,
        sample_weight=sample_weight,
    )
    return plan.apply(model)


def channel_plan(
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    target: Mapping[str, float] | None = None,
    score: AnyScore = "l2",
    allocation: str | Mapping[str, float] = "global",
    round_to: int = 8,
    protect: float = 0.1,
    filters: Filters | None = None,
    loss: Loss | None = None,
    batch_size: int = 128,
    seed: int = 0,
    sample_weight: Any = None,
) -> ChannelPlan:
    """Which channels `prune_channels` would remove; `ChannelPlan.apply` removes them.

    Args:
        model: As for `prune_channels`, as is all that follows.
        x: Training examples.
        y: Their targets.
        target: What is left.
        score: How important a channel is.
        allocation: Where channels go.
        round_to: What the numbers that are left are multiples of.
        protect: The fraction of each group that stays at least.
        filters: The only layers that may lose channels.
        loss: Of the gradients.
        batch_size: Rows of one gradient.
        seed: Of what is random.
        sample_weight: How much each example counts.

    Raises:
        InputError: as `prune_channels` does.

    Example:
        >>> hidden = keras.layers.Dense(16, "relu", name="hidden")
        >>> model = keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(2)])
        >>> channel_plan(model, target={"channels": 0.5}).groups[0].left
        8
    """
    chosen = check_channel_score(score)
    kind, wanted = _check_target(target, allocation)
    if not isinstance(allocation, Mapping):
        one_of("allocation", allocation, ALLOCATIONS, "Or layer → the fraction that is left of it.")
    limits = Limits(
        whole("round_to", round_to, 1),
        number("protect", protect, least=0, most=1),
    )
    patterns = check_filters(filters)
    whole("batch_size", batch_size, 1)
    seed = arguments.seed("seed", seed)
    check_model(model)
    channels = follow(model, reads=False)
    weights = list(weights_with_channels(channels))
    every = find_groups(channels, weights)
    able, skipped = _able(channels, every, chosen_layers(patterns, every))
    data = {"x": x, "y": y, "loss": loss, "batch_size": batch_size, "sample_weight": sample_weight}
    scores = channel_scores(chosen, model, channels, weights, able, data, seed)
    reason = f"none of its weights counts for the score {chosen!r}"
    skipped += [Skipped(group.name, reason) for group in able if group.name not in scores]
    able = [group for group in able if group.name in scores]
    if not any(group.size > 1 for group in able):
        told = "; ".join(f"{one.path}: {one.reason}" for one in skipped[:5])
        raise InputError(f"`model` {model.name!r} has no channels that can be removed. {told}.")
    ranking = Ranking(able, scores, "uniform" if kind is None else str(allocation), limits)
    if kind is None:
        left = _of_layers(allocation, able, every, ranking)
    else:
        uses = _uses(model, x) if kind == "macs" else None
        free = sum(group.size for group in every if not group.held)
        costs = Costs(model, channels, weights, able, ranking.order, uses, free)
        left = meet(
            ranking, wanted, lambda left: costs.share(kind, ranking.removed(left)), _TOLD[kind]
        )
    removed = _removed(channels, able, ranking, left)
    planned = [GroupPlan(g.name, g.size, g.layers, removed[g.name]) for g in able]
    if not any(removed.values()):
        raise InputError(
            "Nothing would be removed: what is asked for leaves all channels. Ask for less, or "
            "give a smaller `round_to` or `protect`."
        )
    return ChannelPlan(tuple(planned), tuple(skipped))


def _check_target(target: Any, allocation: Any) -> tuple[Any, float]:
    """The kind of cost and the fraction of it; None where the allocation says what is left."""
    wanted = ", ".join(f'{{"{kind}": 0.5}}' for kind in COSTS)
    if target is None and isinstance(allocation, Mapping):
        return None, 1.0
    if isinstance(allocation, Mapping):
        raise InputError(
            "`target` and an `allocation` of fractions exclude each other: the fractions say what "
            "is left. Leave `target` out, or name an allocation."
        )
    found = target
    if not isinstance(found, Mapping) or len(found) != 1 or next(iter(found)) not in COSTS:
        raise refused("target", f"one of {wanted}, the fraction that is left", target)
    ((kind, part),) = found.items()
    return kind, number(f"target[{kind!r}]", part, above=0, below=1, cure="It is what is left.")


def _able(
    channels: Channels, groups: Sequence[Group], chosen: frozenset[str]
) -> tuple[list[Group], list[Skipped]]:
    """The groups that may lose channels; of the others, why they may not."""
    skipped = [Skipped(name, why) for name, why in channels.barriers.items()]
    able = []
    for group in groups:
        others = [name for name in group.layers if name not in chosen]
        if group.held:
            skipped.append(Skipped(group.name, "; ".join(group.held)))
        elif not others:
            able.append(group)
        elif len(others) < len(group.layers):
            reason = f"they stand or fall with those of {others[0]}, which `filters` leave out"
            skipped.append(Skipped(group.name, reason))
    return able, skipped


def _uses(model: Any, x: Any) -> Uses:
    try:
        return count_uses(model)
    except UnknownShapes as error:
        if x is None:
            raise InputError(
                f"`target`: the multiply-adds of `model` {model.name!r} depend on the shape of its "
                "input, which it leaves open. Pass examples as `x`, or a target of params."
            ) from error
    return count_uses(model, x)


def _of_layers(
    allocation: Any, groups: Sequence[Group], every: Sequence[Group], ranking: Ranking
) -> Counts:
    """The channels left where an allocation says the fraction for each layer."""
    fractions = mapping("allocation", allocation, "layers to the fractions that are left")
    for layer, fraction in fractions.items():
        number(f"allocation[{layer!r}]", fraction, above=0, most=1, cure="It is what is left.")
    able = {group.name: {*group.layers, *group.called} for group in groups}
    unknown = [layer for layer in fractions if not any(layer in names for names in able.values())]
    if unknown:
        held = {name: g.held[0] for g in every if g.held for name in (*g.layers, *g.called)}
        why = f": {held[unknown[0]]}" if unknown[0] in held else ""
        raise InputError(
            f"`allocation` names {unknown[0]!r}, which has no channels that may go{why}. The "
            f"layers that have are {[name for group in groups for name in group.layers]}."
        )
    left = {}
    for group in groups:
        told = {fraction for layer, fraction in fractions.items() if layer in able[group.name]}
        if len(told) > 1:
            raise InputError(
                f"`allocation` has {sorted(told)} for {', '.join(group.layers)}, whose channels "
                "stand or fall together. Give them the same."
            )
        left[group.name] = ranking.nearest(group.name, told.pop() * group.size if told else None)
    return left


def _removed(
    channels: Channels, groups: Sequence[Group], ranking: Ranking, left: Counts
) -> dict[str, tuple[int, ...]]:
    """The channels that go: name of group → their numbers.

    Where a tensor would lose all of its channels, though their group has others, or would have a
    number of them that it must not have, the most important one of those stays.
    """
    speaks = channels.representatives()
    live = np.ones(len(speaks), dtype=bool)
    importance = np.zeros(len(speaks), dtype=int)
    for group in groups:
        order = group.classes[ranking.order[group.name]]
        importance[order] = np.arange(group.size)
        live[order[: group.size - left[group.name]]] = False
    changed = True
    while changed:
        changed = False
        for value, size, _ in unfit(channels):
            owners = speaks[value.classes]
            if live[owners].sum() == size and not live[owners].all():
                gone = owners[~live[owners]]
                live[gone[np.argmax(importance[gone])]] = changed = True
    return {g.name: tuple(np.flatnonzero(~live[g.classes]).tolist()) for g in groups}
