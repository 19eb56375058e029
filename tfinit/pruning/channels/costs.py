"""What a network costs with some of its channels: multiply-adds, parameters, channels.

A weight has as many entries left as the product of what is left of its axes, and each is used as
often as before, for removing channels moves no position. A Dense layer over places uses its kernel
once for each channel, and attention has products of channels that are in no kernel::

    multiply-adds   Σ over kernels: uses · Π over axes: what is left of the axis
    parameters      Σ over weights:        Π over axes: what is left of the axis
    channels        Σ over groups that may go: the channels left

So a choice costs some multiplications to look at, and no model has to be made.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from tfinit.graph.channel_values import Channels, Value
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.weight_uses import Uses, multiplies_queries
from tfinit.pruning.channels.groups import Group, Weight
from tfinit.variables import all_weights, own_weights, walk_layers

# Name of a group → what is left of an axis with its first k channels removed, in their order.
_Left = tuple[tuple[str, np.ndarray], ...]


class _Term(NamedTuple):
    """A product: a number, and what is left of some axes, each of a fixed part and of groups."""

    factor: float
    axes: tuple[tuple[int, _Left], ...]

    def at(self, removed: Mapping[str, int]) -> float:
        """The product where the first so many channels of each group are removed."""
        value = self.factor
        for fixed, parts in self.axes:
            value *= fixed + sum(int(left[removed.get(name, 0)]) for name, left in parts)
        return value


class Costs:
    """What is left of a network's costs, as a function of how many channels of each group go.

    Args:
        model: The model.
        channels: What `tfinit.graph.channels.follow` found in it.
        weights: Its weights with channels.
        groups: The groups that may lose channels.
        order: Name of group → its channels in the order in which they would be removed.
        uses: How often each kernel is used; None where only parameters and channels are asked for.
        every: How many channels there are, removable or not in this choice.
    """

    def __init__(
        self,
        model: Any,
        channels: Channels,
        weights: Sequence[Weight],
        groups: Sequence[Group],
        order: Mapping[str, np.ndarray],
        uses: Uses | None,
        every: int,
    ) -> None:
        self._speaks = channels.representatives()
        # Class → group, and when it goes.
        self._group = np.full(len(self._speaks), -1)
        self._turn = np.zeros(len(self._speaks), dtype=int)
        self._groups = groups
        self._mixings = channels.mixings
        for n, group in enumerate(groups):
            self._group[group.classes] = n
            self._turn[group.classes[order[group.name]]] = np.arange(group.size)
        self._terms: dict[str, Callable[[], list[_Term]]] = {
            "params": cache(lambda: self._parameters(model, weights)),
            "channels": cache(lambda: self._channels(every)),
        }
        if uses is not None:
            self._terms["macs"] = cache(lambda: self._multiply_adds(model, weights, uses))

    def of(self, kind: str, removed: Mapping[str, int]) -> float:
        """The cost where the first so many channels of each group are removed: by its name."""
        return sum(term.at(removed) for term in self._terms[kind]())

    def share(self, kind: str, removed: Mapping[str, int]) -> float:
        """The same as a fraction of what it is with all channels."""
        return self.of(kind, removed) / (self.of(kind, {}) or 1)

    def _channels(self, every: int) -> list[_Term]:
        others = every - sum(group.size for group in self._groups)
        counted = [
            _Term(1, ((0, ((group.name, np.arange(group.size, -1, -1)),)),))
            for group in self._groups
        ]
        return [*counted, _Term(others, ())]

    def _term(self, weight: Weight, factor: float, axes: Sequence[int] | None = None) -> _Term:
        shape = tuple(weight.variable.shape)
        found = []
        for axis in range(len(shape)) if axes is None else axes:
            value = weight.axes[axis]
            if value is None:
                factor *= shape[axis]
            else:
                found.append(self._left(value))
        return _Term(factor, tuple(found))

    def _left(self, value: Value) -> tuple[int, _Left]:
        """What is left of an axis: of channels that stay, and of each group."""
        classes = self._speaks[value.classes]
        numbers, turns = self._group[classes], self._turn[classes]
        parts = []
        for n in np.unique(numbers[numbers >= 0]).tolist():
            group = self._groups[n]
            gone = np.bincount(turns[numbers == n], minlength=group.size).cumsum()
            parts.append((group.name, gone[-1] - np.concatenate([[0], gone])))
        return int((numbers < 0).sum()), tuple(parts)

    def _parameters(self, model: Any, weights: Sequence[Weight]) -> list[_Term]:
        followed = {id(weight.variable) for weight in weights}
        others = [v for v in all_weights(model).values() if id(v) not in followed]
        rest = sum(math.prod(variable.shape) for variable in others)
        return [*(self._term(weight, 1) for weight in weights), _Term(rest, ())]

    def _multiply_adds(self, model: Any, weights: Sequence[Weight], uses: Uses) -> list[_Term]:
        by_id = {id(weight.variable): weight for weight in weights}
        terms, rest = [], 0
        for layer in (layer for _, layer in walk_layers(model)):
            for variable in own_weights(layer):
                times = uses.kernels.get((id(layer), id(variable)), 0)
                if not times:
                    continue
                if id(variable) in by_id:
                    terms.append(self._used(layer, by_id[id(variable)], times))
                else:
                    rest += times * math.prod(variable.shape)
            products = uses.products.get(id(layer), 0)
            if products:
                terms += self._products(layer, products, by_id)
        return [*terms, _Term(rest, ())]

    def _used(self, layer: Any, weight: Weight, times: int) -> _Term:
        """Of a kernel; of a Dense layer over places, which it uses for each channel beside them."""
        mixing = self._mixings.get((id(layer), ""))
        beside = () if mixing is None else mixing.made.beside
        term = self._term(weight, times / math.prod(map(len, beside)))
        return _Term(term.factor, (*term.axes, *map(self._left, beside)))

    def _products(self, layer: Any, products: int, by_id: Mapping[int, Weight]) -> list[_Term]:
        """Of attention: with projections in proportion to what is left of the queries, its heads.

        Without, to the channels of values, and of queries where these are multiplied with keys.
        """
        for name in kind_of(layer).projections[:1]:
            kernel = getattr(getattr(layer, name), "kernel", None)
            weight = by_id.get(id(kernel))
            if weight is not None:
                made = [axis for axis, letter in enumerate(weight.letters) if letter == "o"]
                whole = math.prod(weight.variable.shape[axis] for axis in made)
                return [self._term(weight, products / whole, made)]
        mixing = self._mixings.get((id(layer), ""))
        if mixing is None or not len(mixing.made):
            return [_Term(products, ())]
        scored = multiplies_queries(layer)
        queries_and_keys, values = len(mixing.taken), len(mixing.made)
        each = products / (values + scored * queries_and_keys / 2)
        terms = [_Term(each, (self._left(mixing.made),))]
        return [*terms, _Term(each / 2, (self._left(mixing.taken),))] if scored else terms


def multiply_adds(model: Any, uses: Uses) -> int:
    """The multiply-adds of one sample, by the uses that were counted of that model."""
    shapes = {id(v): tuple(v.shape) for v in all_weights(model).values()}
    kernels = sum(times * math.prod(shapes[key]) for (_, key), times in uses.kernels.items())
    return kernels + sum(uses.products.values())
