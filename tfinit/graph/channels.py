"""The channels of a network: which stand or fall together, which are constant, who reads them.

A channel is an index of the last axis of a tensor: a unit of a Dense layer, a filter's map of a
convolution. Layers that treat each channel by itself (an activation, BatchNormalization, pooling)
carry it on, so that it has one number, its **class**, on its way from the layer that makes it to
the layers that mix it into others. An addition joins the classes of its branches: they can only be
removed together.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfinit.graph.keras_internals import calls_in


class Untouchable(Exception):
    """A layer whose channels cannot be followed; the message says why."""


@dataclass(frozen=True)
class Value:
    """The channels of one tensor.

    Attributes:
        classes: The class of each channel.
        constants: What a channel is for every input and at every position, where that is known
            from the weights alone; NaN where it depends on the input.
    """

    classes: np.ndarray
    constants: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def constant(self) -> np.ndarray:
        """True for the channels that do not depend on the input."""
        return np.isfinite(self.constants)


@dataclass(frozen=True)
class Call:
    """One call of a layer in a model, as the rules of `layer_rules` see it.

    Attributes:
        layer: The layer or operation.
        taken: What it is given.
        shapes: The shapes of what it is given, with the batch axis; None where unknown.
    """

    layer: Any
    taken: list[Value]
    shapes: list[tuple[int | None, ...]]


@dataclass(frozen=True)
class Mixing:
    """A layer that makes new channels as weighted sums of others: Dense or a convolution.

    Attributes:
        layer: The layer.
        taken: The channels that it reads.
        made: The channels that it makes.
        uses: ``uses[i, j]``: channel i has a weight that is not zero in channel j.
        foldable: The channels that it reads whose constant can be moved into its bias exactly.
    """

    layer: Any
    taken: Value
    made: Value
    uses: np.ndarray
    foldable: np.ndarray


@dataclass(frozen=True)
class Root:
    """Channels that must stay, whatever their weights are, and why."""

    value: Value
    reason: str


@dataclass
class Channels:
    """All channels of a model.

    Attributes:
        values: What is known of every tensor, in data-flow order.
        mixings: The layers that mix channels, in data-flow order.
        carriers: What layers with weights for each channel take and make: BatchNormalization and
            DepthwiseConv.
        roots: The channels that must stay.
        barriers: Name → why: the layers that could not be followed.
    """

    values: list[Value] = field(default_factory=list)
    mixings: list[Mixing] = field(default_factory=list)
    carriers: list[tuple[Any, Value, Value]] = field(default_factory=list)
    roots: list[Root] = field(default_factory=list)
    barriers: dict[str, str] = field(default_factory=dict)
    _parents: list[int] = field(default_factory=list)

    def fresh(self, n: int, constants: np.ndarray | None = None) -> Value:
        """`n` new channels, each in a class of its own."""
        classes = np.arange(len(self._parents), len(self._parents) + n)
        self._parents.extend(classes.tolist())
        return Value(classes, np.full(n, np.nan) if constants is None else constants)

    def join(self, first: Value, second: Value) -> None:
        """Let the channels of two tensors, in pairs, stand or fall together."""
        for a, b in zip(first.classes.tolist(), second.classes.tolist(), strict=True):
            a, b = self._oldest(a), self._oldest(b)
            self._parents[max(a, b)] = min(a, b)

    def _oldest(self, a: int) -> int:
        while self._parents[a] != a:
            a = self._parents[a]
        return a

    def representatives(self) -> np.ndarray:
        """Class → the class that speaks for all that are joined with it."""
        found = np.array(self._parents, dtype=int)
        while (found[found] != found).any():
            found = found[found]
        return found

    def mix(self, call: Call, made: Value, uses: np.ndarray, foldable: np.ndarray) -> None:
        """Note that a layer mixes channels."""
        self.mixings.append(Mixing(call.layer, call.taken[0], made, uses, foldable))

    def hold(self, value: Value, reason: str) -> None:
        """Note that channels must stay."""
        self.roots.append(Root(value, reason))


def follow(functional: Any) -> Channels:
    """The channels of a functional model of Keras 3.

    Args:
        functional: The model; of a Sequential its ``_functional``.
    """
    from tfinit.graph.channel_rules import rule_of

    channels = Channels()
    known: dict[int, Value] = {}  # id of tensor → its channels
    nodes = nodes_of(functional)
    calls: dict[int, int] = {}
    for node in nodes:
        calls[id(node.operation)] = calls.get(id(node.operation), 0) + 1
    for tensor in functional.inputs:
        known[id(tensor)] = channels.fresh(_width(tensor))
        channels.values.append(known[id(tensor)])
        channels.hold(known[id(tensor)], "the model is given them")
    for node in nodes:
        layer = node.operation
        call = Call(
            layer,
            [known[id(tensor)] for tensor in node.input_tensors],
            [tuple(tensor.shape) for tensor in node.input_tensors],
        )
        try:
            if calls[id(layer)] > 1 and getattr(layer, "weights", None):
                raise Untouchable(f"it is called {calls[id(layer)]} times")
            _check_arguments(node)
            rule = rule_of(layer)
            if not all(map(len, call.taken)):
                raise Untouchable("the number of its input's channels is unknown")
            made = [rule(channels, call)]
        except Untouchable as why:
            channels.barriers[layer.name] = str(why)
            for value in call.taken:
                channels.hold(value, f"{layer.name} reads them, and of that: {why}")
            made = [channels.fresh(_width(tensor)) for tensor in node.outputs]
            for value in made:
                channels.hold(value, f"{layer.name} makes them, and of that: {why}")
        for tensor, value in zip(node.outputs, made, strict=True):
            known[id(tensor)] = value
            channels.values.append(value)
    for tensor in functional.outputs:
        channels.hold(known[id(tensor)], "the model returns them")
    return channels


def nodes_of(functional: Any) -> list[Any]:
    """Keras's records of the calls in a functional model, in data-flow order, without inputs."""
    return calls_in(functional)


def _width(tensor: Any) -> int:
    """How many channels a tensor has; 0 if that is unknown."""
    return (tensor.shape[-1] or 0) if len(tensor.shape) > 1 else 0


def _check_arguments(node: Any) -> None:
    """Refuse a call with more than tensors: with ``training=True``, BatchNormalization differs."""
    arguments = node.arguments
    given = {name: value for name, value in arguments.kwargs.items() if value is not None}
    if given.get("training") is False:
        del given["training"]
    if given:
        raise Untouchable(
            "it is called with " + ", ".join(f"{name}={value!r}" for name, value in given.items())
        )
    if len(arguments.args) > 1 and len(arguments.args) != len(node.input_tensors):
        raise Untouchable("it is called with more than tensors")
