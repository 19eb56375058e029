"""The channels of a network: which stand or fall together, which are constant, who reads them.

A channel is an index of one axis of a tensor: a unit of a Dense layer, a filter's map of a
convolution. Layers that treat each channel by itself (an activation, BatchNormalization, pooling)
carry it on, so that it has one number, its **class**, on its way from the layer that makes it to
the layers that mix it into others. An addition joins the classes of its branches: they can only be
removed together. So do several calls of one layer, which has one kernel for all of them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np

from tfinit.graph.calls import Nested, Step
from tfinit.graph.channel_rules import rule_of
from tfinit.graph.channel_values import Call, Channels, Shape, Untouchable, Value
from tfinit.graph.keras_internals import arguments_of, functional_of, inputs_of
from tfinit.graph.tracing import outputs_of, trace


def follow(model: Any) -> Channels:
    """The channels of a Sequential or functional model of Keras 3, models inside it followed too.

    Args:
        model: The model. It is left as it was.
    """
    return _Follower(model).channels


class _Follower:
    def __init__(self, model: Any) -> None:
        self.channels = Channels()
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
        rank = len(shape)
        axis = 1 if self.channels.first and rank > 2 else rank - 1
        return self.channels.fresh((shape[axis] or 0) if rank > 1 else 0, axis)

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
        for i, (tensor, value) in enumerate(zip(inputs, now, strict=True)):
            if not str(tensor.dtype).startswith(("float", "bfloat")):
                # It is rounded on its way in.
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
        call = Call(layer, name, taken, shapes, made_shapes[0])
        earlier = self._calls.setdefault(id(layer), [])
        try:
            if id(layer) in self._refused:
                raise Untouchable(self._refused[id(layer)])
            rule = rule_of(layer)
            for outer in around:
                _check_arguments(outer.node, f"{outer.model.name}, which it is in,")
            _check_arguments(node, "it")
            if not all(map(len, call.taken)):
                raise Untouchable("the number of its input's channels is unknown")
            made = [rule(channels, call)]
        except Untouchable as why:
            made = [self._fresh(shape) for shape in made_shapes]
            self._refuse(layer, name, str(why), [*earlier, *taken], made)
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
        for noted in channels.mixings, channels.carriers, channels.weighted, channels.resized:
            noted.pop(id(layer), None)
        self._refused[id(layer)] = channels.barriers[name] = why
        for value in taken:
            channels.hold(value, f"{name} reads them, and of that: {why}")
        for value in made:
            channels.hold(value, f"{name} makes them, and of that: {why}")


def _check_arguments(node: Any, subject: str) -> None:
    """Refuse a call with more than tensors: with ``training=True``, BatchNormalization differs."""
    args, kwargs = arguments_of(node) or ([], {})
    given = {
        name: value
        for name, value in kwargs.items()
        if any(part is not None for part in keras.tree.flatten(value))  # {"x": None}: masks
    }
    if given.get("training") is False:
        del given["training"]
    if given:
        what = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise Untouchable(f"{subject} is called with {what}")
    if len(args) > 1 and len(args) != len(inputs_of(node)):
        raise Untouchable(f"{subject} is called with more than tensors")


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
        spots: Where its channels are in the weights of layers.
    """

    size: int
    classes: np.ndarray
    made: dict[str, np.ndarray]
    read: dict[str, np.ndarray]
    held: tuple[str, ...]
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
    layers = [*channels.mixings.values(), *channels.carriers.values()]
    found = []
    for first in np.unique(group):
        own = group == first
        number = np.full(len(group), -1)  # class → channel of the group
        classes, number[own] = np.unique(speaks[own], return_inverse=True)
        reasons = (root.reason for root in channels.roots if own[root.value.classes].any())
        found.append(
            Coupling(
                len(classes),
                classes,
                _entries(number, ((layer.name, layer.made) for layer in layers)),
                _entries(number, ((layer.name, layer.taken) for layer in layers)),
                tuple(dict.fromkeys(reasons)),
                tuple(_spots(number, channels)),
            )
        )
    return found


def _spots(number: np.ndarray, channels: Channels) -> Iterator[Spot]:
    for layer in channels.weighted.values():
        for key, axes in layer.weights.items():
            for axis, value in enumerate(axes):
                if value is not None and ((entries := number[value.classes]) >= 0).any():
                    yield Spot(layer.layer, layer.name, key, axis, entries)


def _entries(number: np.ndarray, axes: Iterable[tuple[str, Value]]) -> dict[str, np.ndarray]:
    """Name → the number of each channel, of the axes that have any."""
    numbers = ((name, number[value.classes]) for name, value in axes)
    return {name: entries for name, entries in numbers if (entries >= 0).any()}
