"""The rules of an optimizer, bound to the variables that it trains."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from tfinit.errors import InputError
from tfinit.graph.keras_internals import is_sharded
from tfinit.graph.layer_kinds import PRUNABLE_NAMES, letters_of
from tfinit.pruning.in_training.rules import PruningRule, is_layers, weights_of
from tfinit.pruning.in_training.whole_channels import (
    ChannelGroups,
    MaskedGroup,
    by_group,
    check_fit,
    placed,
)
from tfinit.pruning.scoring.allocation import check_allocation
from tfinit.variables import (
    all_weights,
    own_weights,
    prunable_weights,
    walk_layers,
    weight_name,
)


@dataclasses.dataclass(frozen=True)
class Group:
    """A rule bound to the variables of an optimizer.

    Attributes:
        rule: The settings.
        indices: Which of the optimizer's variables, in its order.
        keys: What `allocation` may call each of them: a key that no other has, model's key, path,
            index.
        shapes: Their shapes.
        input_axes: The axis along which m:n counts.
        final: The sparsity at which a mapping as allocation is reached; None for another.
        sharded: Whether one of them lies in parts on several devices.
        channels: What is masked together, weights by their places in `indices`; empty where each
            weight is by itself.
    """

    rule: PruningRule
    indices: tuple[int, ...]
    keys: tuple[tuple[str, ...], ...]
    shapes: tuple[tuple[int, ...], ...]
    input_axes: tuple[int, ...]
    final: float | None = None
    sharded: bool = False
    channels: tuple[MaskedGroup, ...] = ()

    def by_index(self) -> PruningRule:
        """The rule with its weights named by index: what a loaded optimizer finds again."""
        allocation = self.rule.allocation
        if isinstance(allocation, Mapping) and not self.channels:
            allocation = {
                str(index): value
                for index, names in zip(self.indices, self.keys, strict=True)
                for name, value in allocation.items()
                if name in names
            }
        # A loaded copy gets the masks from the file: it has nothing to say about its start.
        start = self.rule.start or ("random" if self.rule.regrow else None)
        changes = {"allocation": allocation, "start": start}
        if self.rule.channels:
            changes["structure"] = ChannelGroups(self.channels)
        return self.rule.with_scope(list(self.indices), **changes)


def bind(rules: Iterable[PruningRule], variables: list[Any], eligible: list[bool]) -> list[Group]:
    """Find the variables of each rule; a variable belongs to the first rule that names it.

    Args:
        rules: The rules, in order.
        variables: What the optimizer trains.
        eligible: Whether each of them may carry a mask when the rule names none.

    Raises:
        InputError: a rule names a variable that is not there, or a rule that prunes finds none.
    """
    free = dict.fromkeys(range(len(variables)))
    groups = []
    for rule in rules:
        named = _chosen(rule, variables, eligible)
        mine = {index: key for index, key in named.items() if index in free}
        channels: tuple[MaskedGroup, ...] = ()
        if rule.channels:
            mine, channels = _channels(rule, mine, variables)
        if not mine and rule.prunes:
            raise InputError(_why_nothing(rule, named, variables))
        _check_axes(rule, [variables[i] for i in mine])
        for index in mine:
            del free[index]
        final = None
        if isinstance(rule.allocation, Mapping):
            if rule.channels:
                by_group(rule.allocation, channels)
            else:
                _check_names(rule.allocation, mine, variables)
            # Now, as a schedule cannot be asked for a number while a step is traced.
            final = None if rule.schedule is None else rule.schedule.last_sparsity
        axes = _input_axes(rule.scope)
        groups.append(
            Group(
                rule,
                tuple(mine),
                _names(mine, variables),
                tuple(tuple(variables[i].shape) for i in mine),
                tuple(axes.get(id(variables[i]), _last_input(variables[i])) for i in mine),
                final,
                any(is_sharded(variables[i]) for i in mine),
                channels,
            )
        )
    return groups


def _names(mine: dict[int, str], variables: list[Any]) -> tuple[tuple[str, ...], ...]:
    """What each variable may be called. Two may have a path in common, as of two models."""
    often = Counter(mine.values())
    return tuple(
        (key if often[key] == 1 else str(i), key, variables[i].path, str(i))
        for i, key in mine.items()
    )


def _why_nothing(rule: PruningRule, named: dict[int, str], variables: list[Any]) -> str:
    """Why a rule has no variable, and the cure."""
    if rule.channels:
        return (
            "There is nothing to prune by `structure='channels'`: all channels are given to the "
            "model, returned by it, normalized over, or on a kernel that is not trained, not "
            "allowed by `policy` or pruned by a rule before this one. "
            "tfinit.pruning.channel_plan says of each why it must stay."
        )
    if named:
        return (
            f"There is nothing to prune for a rule: the rules before it have all that its `scope` "
            f"names, {list(named.values())}. The first rule that names a weight has it: put the "
            "narrower first."
        )
    trains = f"The optimizer trains {[v.path for v in variables]}."
    if callable(rule.scope) and not is_layers(rule.scope):
        return f"There is nothing to prune: the function `scope` is true for no variable. {trains}"
    allowed = " and allowed by `policy`" if rule.policy is not None else ""
    return (
        f"There is nothing to prune: no trainable kernel or embedding is in `scope`{allowed}. "
        f"{trains} Unfreeze a layer, choose a wider scope, or give a custom layer a "
        "`get_prunable_weights()` method."
    )


def _check_axes(rule: PruningRule, variables: list[Any]) -> None:
    """Raise unless all of a rule's variables have the axes that its pattern needs."""
    name, least, words = "block_size", 2, "two axes"
    if rule.sparsity_m_by_n is not None:
        name, least, words = "sparsity_m_by_n", 1, "an axis"
    elif rule.block_size == (1, 1):
        return
    short = [v.path for v in variables if len(v.shape) < least]
    if short:
        raise InputError(
            f"`{name}` needs weights of {words} or more, and `scope` names {short} too. Choose "
            f"others, as with scope=lambda v: len(v.shape) >= {least}, or give these a rule of "
            "their own."
        )


def _check_names(allocation: Mapping[str, float], mine: dict[int, str], variables: list) -> None:
    """Raise unless a mapping names weights of its rule, each of them once."""
    names = _names(mine, variables)
    if not {name for each in names for name in each}.issuperset(allocation):
        check_allocation(allocation, list(mine.values()))
    for each in names:
        given = sorted(name for name in set(each) if name in allocation)
        if len(given) > 1:
            raise InputError(f"`allocation` names one weight twice, as {given}. Keep one of them.")


def _chosen(rule: PruningRule, variables: list[Any], eligible: list[bool]) -> dict[int, str]:
    """Index → key of the variables that a rule names, in the optimizer's order."""
    scope = rule.scope
    if scope is None:
        return {
            i: v.path
            for i, v in enumerate(variables)
            if eligible[i] and (not rule.prunes or weight_name(v) in PRUNABLE_NAMES)
        }
    if is_layers(scope):
        found = all_weights(scope) if rule.channels else weights_of(scope, rule.policy)
        keys = {id(v): key for key, v in found.items()}
        return {i: keys[id(v)] for i, v in enumerate(variables) if id(v) in keys}
    if callable(scope):
        return {i: v.path for i, v in enumerate(variables) if scope(v)}
    paths = [v.path for v in variables]
    unknown = sorted(
        str(s) for s in scope if not (0 <= s < len(paths) if isinstance(s, int) else s in paths)
    )
    if unknown:
        raise InputError(
            f"`scope` names {unknown}, which this optimizer does not train. Its variables are "
            f"{paths}."
        )
    return {i: p for i, p in enumerate(paths) if p in scope or i in scope}


def _channels(
    rule: PruningRule, named: dict[int, str], variables: list[Any]
) -> tuple[dict[int, str], tuple[MaskedGroup, ...]]:
    """The groups of channels that a rule masks, and those of its weights that they are on."""
    if isinstance(rule.structure, ChannelGroups):
        groups = rule.structure.groups
        places = {  # in the scope, of which each names one
            next(n for n, name in enumerate(rule.scope) if name in (i, variables[i].path)): i
            for i in named
        }
        check_fit(groups, {n: variables[i].shape for n, i in places.items()})
    else:
        groups, _ = rule.groups()
        places = {id(variables[i]): i for i in named}
        if rule.policy is not None:
            allowed = weights_of(rule.scope, rule.policy)
            for key, weight in prunable_weights(rule.scope).items():
                if key not in allowed:
                    places.pop(id(weight), None)
    groups = placed(groups, places)
    used = sorted({axis.weight for group in groups for axis in group.axes})
    order = {index: place for place, index in enumerate(used)}
    return {index: named[index] for index in used}, placed(groups, order)


def _input_axes(scope: Any) -> dict[int, int]:
    """id(variable) → last input axis, where the layer knows better than the shape."""
    if not is_layers(scope):
        return {}
    layers = [scope] if isinstance(scope, keras.layers.Layer) else scope
    found = {}
    for top in layers:
        for _, layer in walk_layers(top):
            for weight in own_weights(layer):
                letters = letters_of(layer, weight_name(weight), len(weight.shape))
                if "i" in letters:
                    found[id(weight)] = letters.rindex("i")
    return found


def _last_input(variable: Any) -> int:
    # (in, out), (*window, in, out); a vector has but one axis.
    return max(len(variable.shape) - 2, 0)
