"""The groups of a model: channels that can only be removed together, and who makes them."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfinit.arguments import refused
from tfinit.errors import InputError
from tfinit.graph.channel_values import Channels, Value
from tfinit.graph.channels import Coupling, coupled_groups
from tfinit.graph.layer_kinds import letters_of
from tfinit.variables import all_weights, own_weights, unique_name, walk_layers, weight_name

Filters = str | Sequence[str]
"""Names of layers, or regular expressions for them."""


@dataclass(frozen=True)
class Weight:
    """A weight with axes of channels.

    Attributes:
        layer: What reports call the layer that is called in the model.
        key: Of the weight in that layer.
        variable: The weight.
        owner: The layer that it is of: that layer, or one in it.
        name: What its owner calls it.
        axes: For each axis the channels on it, None for an axis that is not of channels.
    """

    layer: str
    key: str
    variable: Any
    owner: Any
    name: str
    axes: tuple[Value | None, ...]

    @property
    def letters(self) -> str:
        """What each axis is, as `tfinit.graph.layer_kinds.letters_of` says it; "" of no kernel."""
        return letters_of(self.owner, self.name, len(self.axes))


def weights_with_channels(channels: Channels) -> Iterator[Weight]:
    """Every weight of a network that has axes of channels, shared ones once, in data-flow order."""
    seen: set[int] = set()
    for layer in channels.weighted.values():
        owners = {id(v): part for _, part in walk_layers(layer.layer) for v in own_weights(part)}
        variables = all_weights(layer.layer)
        for key, axes in layer.weights.items():
            variable = variables[key]
            if id(variable) not in seen:
                seen.add(id(variable))
                owner = owners[id(variable)]
                yield Weight(layer.name, key, variable, owner, weight_name(variable), axes)


@dataclass(frozen=True)
class Group:
    """Channels that were made together.

    Attributes:
        name: The first of its layers, with a number where another group has that name.
        size: How many they are.
        classes: Channel → the class that speaks for it.
        layers: The layers whose units, filters or heads they are, by their names; of a layer that
            has channels of several groups with what of it they are, ``"attention/num_heads"``.
        called: The names of these layers alone.
        kind: Equal for groups that are on the same axes of the same kinds of layers.
        width: How many columns of a matrix a channel is: 1, for a head its size.
        held: Why they must stay; empty if they may go.
        normalized: The names of the layers that normalize over them.
    """

    name: str
    size: int
    classes: np.ndarray
    layers: tuple[str, ...]
    called: tuple[str, ...]
    kind: tuple[Any, ...]
    width: int
    held: tuple[str, ...]
    normalized: tuple[str, ...] = ()


def find_groups(channels: Channels, weights: Sequence[Weight]) -> list[Group]:
    """The groups that some layer makes, in data-flow order.

    Args:
        channels: What `tfinit.graph.channels.follow` found.
        weights: Its weights with channels.
    """
    found = coupled_groups(channels)
    speaks = channels.representatives()
    number = np.full(len(speaks), -1)  # class → group
    for n, coupling in enumerate(found):
        number[coupling.classes] = n
    number = number[speaks]
    makers: dict[int, dict[str, tuple[str, int]]] = {}  # group → layer → its name, its columns
    across = _across(weights, number)
    for layer in channels.weighted.values():
        counted = {
            argument: np.bincount(number[value.classes] + 1)[1:]
            for argument, value in layer.sizes.items()
        }
        several = len({n for counts in counted.values() for n in np.flatnonzero(counts)}) > 1
        for argument, counts in counted.items():
            told = f"{layer.name}/{argument}" if several else layer.name
            for n in np.flatnonzero(counts).tolist():
                columns = max(1, int(counts[n]) // found[n].size) * across.get((layer.name, n), 1)
                makers.setdefault(n, {})[told] = layer.name, columns
    taken: set[str] = set()
    groups = []
    for n, coupling in enumerate(found):
        if n in makers:
            groups.append(
                Group(
                    unique_name(next(iter(makers[n])), taken),
                    coupling.size,
                    coupling.classes,
                    tuple(makers[n]),
                    tuple(name for name, _ in makers[n].values()),
                    _kind(coupling),
                    min(columns for _, columns in makers[n].values()),
                    coupling.held,
                    coupling.normalized,
                )
            )
    return groups


def _across(weights: Sequence[Weight], number: np.ndarray) -> dict[tuple[str, int], int]:
    """Layer and group → the outputs of the layer for one channel, along its kernel's other axes."""
    found: dict[tuple[str, int], int] = {}
    for weight in weights:
        letters, shape = weight.letters, tuple(weight.variable.shape)
        made = [axis for axis, letter in enumerate(letters) if letter == "o"]
        for axis in made:
            value = weight.axes[axis]
            if value is not None:
                size = math.prod(shape[other] for other in made if other != axis)
                for n in np.unique(number[value.classes]).tolist():
                    found[weight.layer, n] = min(found.get((weight.layer, n), size), size)
    return found


def _kind(coupling: Coupling) -> tuple[Any, ...]:
    return tuple((type(spot.layer).__name__, spot.key, spot.axis) for spot in coupling.spots)


def check_filters(filters: Any) -> tuple[re.Pattern[str], ...] | None:
    """The patterns that the whole name of a layer must match one of; None for all layers.

    Raises:
        InputError: it is something else, is empty, or has what is no regular expression.
    """
    if filters is None:
        return None
    given = [filters] if isinstance(filters, str) else filters
    wanted = "the name of a layer or a regular expression for it, or a list of them, or None"
    if not isinstance(given, list | tuple) or not given:
        raise refused("filters", wanted, filters)
    patterns = []
    for one in given:
        if not isinstance(one, str):
            raise refused("filters", wanted, one)
        try:
            patterns.append(re.compile(one))
        except re.error as error:
            cure = f"It is none: {error}. Write a backslash before what is meant as it is."
            raise refused("filters", wanted, one, cure) from error
    return tuple(patterns)


def chosen_layers(
    patterns: Sequence[re.Pattern[str]] | None, groups: Sequence[Group]
) -> frozenset[str]:
    """The layers that may lose channels.

    Raises:
        InputError: a pattern matches the name of no layer that makes channels.
    """
    names = {
        told: {told, name}
        for group in groups
        for told, name in zip(group.layers, group.called, strict=True)
    }
    if patterns is None:
        return frozenset(names)
    chosen: set[str] = set()
    for pattern in patterns:
        # A name may have what means something in an expression.
        found = {
            told
            for told, own in names.items()
            if pattern.pattern in own or any(map(pattern.fullmatch, own))
        }
        if not found:
            raise InputError(
                f"`filters` has {pattern.pattern!r}, which matches no layer that makes channels. "
                f"These are {list(names)}. An expression must match the whole name, as 'block1_.*'."
            )
        chosen |= found
    return frozenset(chosen)
