"""The channels of a network: which stand or fall together, which are constant, who reads them.

A channel is an index of one axis of a tensor: a unit of a Dense layer, a filter's map of a
convolution. Layers that treat each channel by itself (an activation, BatchNormalization, pooling)
carry it on, so that it has one number, its **class**, on its way from the layer that makes it to
the layers that mix it into others. An addition joins the classes of its branches: they can only be
removed together. So do several calls of one layer, which has one kernel for all of them. A Dense
layer over places, behind a Permute, leaves the channels where they are, beside those that it makes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np

from tfinit.graph.calls import Nested, Step
from tfinit.graph.channel_rules import check_arguments, rule_of
from tfinit.graph.channel_values import Call, Channels, Shape, Untouchable, Value
from tfinit.graph.keras_internals import arguments_of, functional_of, inputs_of
from tfinit.graph.tracing import outputs_of, trace


def follow(model: Any, reads: bool = True) -> Channels:
    """The channels of a Sequential or functional model of Keras 3, models inside it followed too.

    Args:
        model: The model. It is left as it was.
        reads: Whether its weights are looked at, for channels that are dead or constant already.
    """
    return _Follower(model, reads).channels


class _Follower:
    def __init__(self, model: Any, reads: bool) -> None:
        self.channels = Channels(reads)
        self._graph = trace(model, composites=False)
        self._known: dict[int, Value] = {}  # of the graph's values
        self._calls: dict[int, list[Value]] = {}  # id of layer → what its calls took and made
        self._refused: dict[int, str] = {}  # id of layer → why
        self.channels.first = any(
            getattr(step.op, "data_format", None) == "channels_first" for step in self._graph.steps
        )
        for value, tensor in zip(self._graph.inputs, functional_of(model).inputs, strict=True):
            self._known[value] = self._fresh(tensor.shape)
            self.channels.values.append(self._known[value])
            self.channels.hold(self._known[value], "the model is given them")
        nested = self._graph.nested
        ahead = nested[::-1]
        for i, (step, node) in enumerate(zip(self._graph.steps, self._graph.nodes, strict=True)):
            while ahead and ahead[-1].start <= i:
                self._enter(ahead.pop())
            self._follow(step, node, [call for call in nested if call.start <= i < call.stop])
        while ahead:
            self._enter(ahead.pop())
        for value in self._graph.outputs:
            self.channels.hold(self._known[value], "the model returns them")

    def _fresh(self, shape: Shape) -> Value:
        axis = self._axis(shape)
        return self.channels.fresh((shape[axis] or 0) if len(shape) > 1 else 0, axis)

    def _axis(self, shape: Shape) -> int:
        """Where channels are looked for in a tensor."""
        return 1 if self.channels.first and len(shape) > 2 else len(shape) - 1

    def _fitting(self, number: int, shape: Shape, reader: str) -> Value:
        """What is known of a value, as one of this shape: models inside may declare another."""
        value = self._known[number]
        if value.axis < len(shape) and shape[value.axis] in (len(value) or None, None):
            return value
        reason = f"{reader} takes them in another shape"
        self.channels.hold(value, reason)
        value = self._known[number] = self._fresh(shape)
        self.channels.hold(value, reason)
        return value

    def _enter(self, call: Nested) -> None:
        """Join what a model inside is given over its calls, as it has one size of inputs."""
        inputs = functional_of(call.model).inputs
        name = call.model.name
        now = [
            self._fitting(number, tuple(tensor.shape), name)
            for number, tensor in zip(call.inputs, inputs, strict=True)
        ]
        for number, value in zip(call.inputs, now, strict=True):
            self.channels.hold_beside(value, f"{name} is given them along with others")
            self._known[number] = value.alone()
        now = [value.alone() for value in now]
        for i, (tensor, value) in enumerate(zip(inputs, now, strict=True)):
            if not _is_float(tensor):  # it is rounded on its way in
                now[i] = self._known[call.inputs[i]] = value.having(np.full(len(value), np.nan))
        entry = self.channels.entries.setdefault(id(call.model), now)
        for first, value in zip(entry, now, strict=True):
            if len(first) == len(value) and first.axis == value.axis:
                self.channels.join(first, value)
            else:
                for each in first, value:
                    self.channels.hold(each, f"{name} is given channels of several kinds")

    def _follow(self, step: Step, node: Any, around: list[Nested]) -> None:
        layer, channels = step.op, self.channels
        name = "/".join([*(outer.model.name for outer in around), layer.name])
        shapes = [tuple(tensor.shape) for tensor in inputs_of(node)]
        made_shapes = [tuple(tensor.shape) for tensor in outputs_of(node)]
        taken = [
            self._fitting(number, shape, name)
            for number, shape in zip(step.inputs, shapes, strict=True)
        ]
        args, kwargs = _arguments(node)
        call = Call(
            *(layer, name, taken, shapes, made_shapes[0], args, kwargs),
            *(inputs_of(node), made_shapes),
        )
        earlier = self._calls.setdefault(id(layer), [])
        try:
            if id(layer) in self._refused:
                raise Untouchable(self._refused[id(layer)])
            for outer in around:
                check_arguments(*_arguments(outer.node), f"{outer.model.name}, which it is in,")
            found = rule_of(layer)(channels, call)
            made = found if isinstance(found, list) else [found]
            made = [
                value.facing(self._axis(shape)) if value.beside else value
                for value, shape in zip(made, made_shapes, strict=True)
            ]
        except Untouchable as why:
            made = [self._fresh(shape) for shape in made_shapes]
            self._refuse(layer, name, str(why), [*earlier, *taken], made)
            if any(map(_is_float, [*inputs_of(node), *outputs_of(node)])):  # not words, not masks
                channels.barriers[name] = str(why)
        earlier += [*taken, *made]
        channels.values += made
        self._known.update(zip(step.outputs, made, strict=True))
        for outer in around:
            channels.inside.setdefault(id(outer.model), []).extend([*taken, *made])

    def _refuse(
        self, layer: Any, name: str, why: str, taken: list[Value], made: list[Value]
    ) -> None:
        """Let a layer that cannot be followed, and what its calls take and make, stay as it is."""
        channels = self.channels
        for noted in channels.carriers, channels.weighted, channels.resized:
            noted.pop(id(layer), None)
        for of, part in list(channels.mixings):
            if of == id(layer):
                del channels.mixings[of, part]
        self._refused[id(layer)] = why
        for value in taken:
            channels.hold(value, f"{name} reads them, and of that: {why}")
        for value in made:
            channels.hold(value, f"{name} makes them, and of that: {why}")


def _is_float(tensor: Any) -> bool:
    return str(tensor.dtype).startswith(("float", "bfloat"))


def _arguments(node: Any) -> tuple[list[Any], dict[str, Any]]:
    """What a layer is called with, but for what is None, as masks are."""
    args, kwargs = arguments_of(node) or ([], {})
    given = {
        name: value
        for name, value in kwargs.items()
        if any(part is not None for part in keras.tree.flatten(value))  # {"x": None}: masks
    }
    if given.get("training") is False:
        del given["training"]
    return args, given


class Spot(NamedTuple):
    """An axis of a weight, some entries of which are channels of a group.

    Attributes:
        layer: The layer.
        name: What reports call it.
        key: Of the weight in the layer.
        axis: The axis.
        entries: For each entry of the axis, which channel of the group it is; -1 if of none.
    """

    layer: Any
    name: str
    key: str
    axis: int
    entries: np.ndarray


@dataclass(frozen=True)
class Coupling:
    """A group of channels: those that were made together, and the axes of layers that they are on.

    An array says for each entry of a layer's axis which channel of the group it is, or -1 if it is
    of another group. Entries of one number can only be removed together.

    Attributes:
        size: How many channels it has.
        classes: Channel → a class that speaks for it.
        made: Name of layer, as in `Channels` → of its output axis. BatchNormalization and
            DepthwiseConv, which have weights for each channel, are here and in `read`.
        read: Name of layer → of its input axis.
        held: Why they must stay; empty if they may go.
        normalized: The layers that normalize over them: LayerNormalization takes its mean over all
            channels, so that to cut some is not the same as to set them to zero.
        spots: Where its channels are in the weights of layers.
    """

    size: int
    classes: np.ndarray
    made: dict[str, np.ndarray]
    read: dict[str, np.ndarray]
    held: tuple[str, ...]
    normalized: tuple[str, ...]
    spots: tuple[Spot, ...]


def coupled_groups(channels: Channels) -> list[Coupling]:
    """The groups of coupled channels of a network, in data-flow order.

    To remove a channel of a group, remove its entries from every axis that the group is on.

    Args:
        channels: What `follow` found.

    Returns:
        For each group, which layers' output axes and which layers' input axes it is on.
    """
    speaks = channels.representatives()
    group = speaks.copy()  # class → the first class of its group
    for source in channels.sources:
        members = np.unique(group[source.classes])
        group[np.isin(group, members)] = members.min(initial=len(group))
    firsts, group = np.unique(group, return_inverse=True)
    number = np.zeros(len(group), dtype=int)  # class → channel of its group
    classes = []
    for first in range(len(firsts)):
        own = group == first
        found, number[own] = np.unique(speaks[own], return_inverse=True)
        classes.append(found)

    def parted(value: Value) -> Iterator[tuple[int, np.ndarray]]:
        """Each group that an axis is on, and which of its channels each entry is."""
        of = group[value.classes]
        for first in np.unique(of).tolist():
            yield first, np.where(of == first, number[value.classes], -1)

    made, read = ([{} for _ in firsts] for _ in range(2))
    for layer in [*channels.mixings.values(), *channels.carriers.values()]:
        for axes, value in (made, layer.made), (read, layer.taken):
            for first, entries in parted(value):
                axes[first][layer.name] = entries
    spots: list[list[Spot]] = [[] for _ in firsts]
    for layer in channels.weighted.values():
        for key, axes in layer.weights.items():
            for axis, value in enumerate(axes):
                for first, entries in parted(value) if value is not None else ():
                    spots[first].append(Spot(layer.layer, layer.name, key, axis, entries))
    held: list[dict[str, None]] = [{} for _ in firsts]
    normalized: list[dict[str, None]] = [{} for _ in firsts]
    for root in channels.roots:
        for first in np.unique(group[root.value.classes]).tolist():
            if root.normalizer:
                normalized[first][root.normalizer] = None
            else:
                held[first][root.reason] = None
    return [
        Coupling(
            *(len(classes[i]), classes[i], made[i], read[i]),
            *(tuple(held[i]), tuple(normalized[i]), tuple(spots[i])),
        )
        for i in range(len(firsts))
    ]
