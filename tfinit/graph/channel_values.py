"""What is known of a network's channels: their classes, constants, and the layers on their way."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any

import keras
import numpy as np

from tfinit.graph.keras_internals import is_symbolic

Shape = tuple[int | None, ...]


class Untouchable(Exception):
    """A layer whose channels cannot be followed; the message says why."""


@dataclass(frozen=True)
class Value:
    """The channels of one tensor.

    Attributes:
        classes: The class of each channel.
        constants: What a channel is for every input and at every position, where that is known
            from the weights alone; NaN where it depends on the input.
        axis: The axis of the tensor that they are on; the batch is axis 0.
        beside: Channels on other axes of the tensor: those of a Dense layer over places, beside the
            channels that it treats alike. None of them is known to be constant.
    """

    classes: np.ndarray
    constants: np.ndarray
    axis: int
    beside: tuple["Value", ...] = ()

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def constant(self) -> np.ndarray:
        """True for the channels that do not depend on the input."""
        return np.isfinite(self.constants)

    def having(self, constants: np.ndarray) -> "Value":
        """The same channels, of other constants."""
        return replace(self, constants=constants)

    def unknown(self) -> "Value":
        """The same channels, none known to be constant."""
        return self.having(np.full(len(self), np.nan))

    def alone(self) -> "Value":
        """These channels without those beside them."""
        return replace(self, beside=())

    def all(self) -> tuple["Value", ...]:
        """The channels on each axis, by themselves."""
        return (self.alone(), *self.beside)

    def facing(self, axis: int) -> "Value":
        """The same channels, those on an axis before those beside them; as they are if none are."""
        found = [value for value in self.beside if value.axis == axis]
        if not found:
            return self
        rest = tuple(value.unknown() for value in self.all() if value.axis != axis)
        return replace(found[0], beside=rest)

    def at(self, channels: Any) -> "Value":
        """Some of the channels, by their numbers or as a slice: in another order, or repeated."""
        return replace(self, classes=self.classes[channels], constants=self.constants[channels])


def side_by_side(values: Sequence[Value]) -> Value:
    """The channels of several tensors one after the other, on the axis of the first."""
    return Value(
        np.concatenate([value.classes for value in values]),
        np.concatenate([value.constants for value in values]),
        values[0].axis,
    )


@dataclass(frozen=True)
class Call:
    """One call of a layer in a model, as the rules of `channel_rules` see it.

    Attributes:
        layer: The layer or operation.
        name: What reports call it: its name, after those of the models that it is in.
        taken: What it is given.
        shapes: The shapes of what it is given, with the batch axis; None where unknown.
        made_shape: The shape of what it makes, or of the first of several.
        args: The positional arguments of the call, with Keras's symbolic tensors.
        kwargs: Those by name that are not None.
        tensors: The symbolic tensors that `taken` is known of, in its order.
        made_shapes: The shapes of all that it makes.
    """

    layer: Any
    name: str
    taken: list[Value]
    shapes: list[Shape]
    made_shape: Shape
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    tensors: list[Any] = field(default_factory=list)
    made_shapes: list[Shape] = field(default_factory=list)

    def value_of(self, tensor: Any) -> Value:
        """What is known of one of the symbolic tensors among its arguments."""
        return next(v for t, v in zip(self.tensors, self.taken, strict=True) if t is tensor)

    def bound(self) -> dict[str, Any]:
        """The arguments by the names of the layer's ``call``, but those that are None."""
        given = signature(self.layer.call).bind(*self.args, **self.kwargs).arguments
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Mixing:
    """A layer that makes new channels as weighted sums of others: Dense or a convolution.

    Attributes:
        layer: The layer.
        name: What reports call it.
        taken: The channels that it reads. Constant are those that are so in each of its calls.
        made: The channels that it makes, alike.
        uses: ``uses[i, j]``: channel i has a weight that is not zero in channel j.
        foldable: The channels that it reads whose constant can be moved into its bias exactly.
        differing: The channels that it reads of which that is true in some of its calls, but which
            are not the same constant in all.
    """

    layer: Any
    name: str
    taken: Value
    made: Value
    uses: np.ndarray
    foldable: np.ndarray
    differing: np.ndarray


@dataclass(frozen=True)
class Carrier:
    """A layer with weights for each channel: BatchNormalization, DepthwiseConv."""

    layer: Any
    name: str
    taken: Value
    made: Value


@dataclass(frozen=True)
class Weighted:
    """Where channels are in the weights and in the configuration of a layer.

    To take channels away, take their entries from every axis that they are on, and give the layer's
    configuration the numbers that are left.

    Attributes:
        layer: The layer.
        name: What reports call it.
        weights: Key of a weight in the layer, as `tfinit.variables.all_weights` says it → for each
            axis the channels on it, None for an axis that is not of channels. Weights that are not
            here have none.
        sizes: Argument of the configuration → the channels that it counts; ``"layer.config.units"``
            and ``"output_shape.1"`` for one inside another.
    """

    layer: Any
    name: str
    weights: Mapping[str, tuple[Value | None, ...]]
    sizes: Mapping[str, Value]


@dataclass(frozen=True)
class Root:
    """Channels that must stay for the outputs to stay the same, whatever their weights are.

    Attributes:
        value: The channels.
        reason: Why.
        normalizer: The layer that normalizes over them. Such channels may be cut all the same: the
            network is whole without them, but what is left of them is normalized otherwise.
    """

    value: Value
    reason: str
    normalizer: str = ""


@dataclass
class Channels:
    """All channels of a model.

    Attributes:
        values: What is known of every tensor, in data-flow order.
        sources: The values whose channels no other value had before.
        mixings: Id of layer, and part of it → a layer that mixes channels, in data-flow order.
        carriers: Id of layer → a layer with weights for each channel.
        weighted: Id of layer → where channels are in its weights; of each of these two.
        resized: Id of layer → what a layer makes that is told the size: Reshape.
        reads: Whether weights are looked at; otherwise all count as ones.
        first: Convolutions find channels on the first axis after the batch.
        entries: Id of a model inside the model → what it is given.
        inside: Id of a model inside the model → what is known of its tensors.
        roots: The channels that must stay.
        unfit: Values, the number of channels that they must not have, and why.
        barriers: Name → why: the layers that could not be followed.
    """

    reads: bool = True
    values: list[Value] = field(default_factory=list)
    sources: list[Value] = field(default_factory=list)
    mixings: dict[tuple[int, str], Mixing] = field(default_factory=dict)
    carriers: dict[int, Carrier] = field(default_factory=dict)
    weighted: dict[int, Weighted] = field(default_factory=dict)
    resized: dict[int, Value] = field(default_factory=dict)
    first: bool = False
    entries: dict[int, list[Value]] = field(default_factory=dict)
    inside: dict[int, list[Value]] = field(default_factory=dict)
    unfit: list[tuple[Value, int, str]] = field(default_factory=list)
    roots: list[Root] = field(default_factory=list)
    barriers: dict[str, str] = field(default_factory=dict)
    _parents: list[int] = field(default_factory=list)

    def fresh(self, n: int, axis: int) -> Value:
        """`n` new channels, each in a class of its own, none constant."""
        classes = np.arange(len(self._parents), len(self._parents) + n)
        self._parents.extend(classes.tolist())
        self.sources.append(Value(classes, np.full(n, np.nan), axis))
        return self.sources[-1]

    def array(self, variable: Any) -> np.ndarray:
        """A weight as `array_of` says it, or ones in place of it."""
        return array_of(variable) if self.reads else np.ones(tuple(variable.shape))

    def nonzero(self, variable: Any, *kept: int) -> np.ndarray:
        """Along these axes of a weight, in this order: is any of it not zero."""
        if not self.reads:
            return np.ones([variable.shape[axis] for axis in kept], dtype=bool)
        array = keras.ops.convert_to_numpy(variable) != 0
        array = np.moveaxis(array, kept, range(len(kept)))
        return array.any(axis=tuple(range(len(kept), array.ndim)))

    def join(self, first: Value, second: Value) -> None:
        """Let the channels of two tensors, in pairs, stand or fall together."""
        self.pair(first.classes, second.classes)

    def pair(self, first: np.ndarray, second: np.ndarray) -> None:
        """Let classes stand or fall together with those at the same places of another array."""
        other = first != second
        for a, b in set(zip(first[other].tolist(), second[other].tolist(), strict=True)):
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

    def along(self, axis: int, call: Call, tensor: Any = None, carries: bool = False) -> Value:
        """The channels of a call's input, on the axis that the layer takes for that of channels.

        Where channels are on another axis, those on this axis are all new, and must stay.

        Args:
            axis: The axis.
            call: The call.
            tensor: Which input, if it is not the first.
            carries: Whether the layer carries channels on other axes on; otherwise they must stay.
        """
        value = call.taken[0] if tensor is None else call.value_of(tensor)
        shape = call.shapes[0] if tensor is None else tuple(tensor.shape)
        axis %= len(shape)
        value, reason = value.facing(axis), f"{call.name} reads along another axis"
        if value.axis == axis:
            if not carries:
                self.hold_beside(value, reason)
            return value if carries else value.alone()
        size = shape[axis]
        if not size:
            raise Untouchable("the number of its input's channels is unknown")
        turned = self.fresh(size, axis)
        self.hold(turned, reason)
        if not carries:
            self.hold(value, reason)
            return turned
        return replace(turned, beside=tuple(each.unknown() for each in value.all()))

    def given(self, call: Call, *names: str) -> dict[str, Any]:
        """The arguments of a call by name, of a layer that is called with more than tensors.

        Args:
            call: The call.
            names: The arguments that are of channels. Of the others only masks may be set; what
                they are made of must stay.

        Raises:
            Untouchable: Another one is set.
        """
        given = call.bound()
        for name, value in given.items():
            if name in names or value is False:
                continue
            if not name.endswith("mask"):
                raise Untouchable(f"it is called with {name}={value!r}")
            for part in keras.tree.flatten(value):
                if is_symbolic(part):
                    self.hold(call.value_of(part), f"{call.name} is given them as a mask")
        return given

    def mix(
        self,
        call: Call,
        taken: Value,
        made: Value,
        uses: np.ndarray,
        foldable: np.ndarray | None = None,
        part: str = "",
    ) -> None:
        """Note that a layer mixes channels.

        Args:
            call: Its call.
            taken: The channels that it reads.
            made: Those that it makes.
            uses: See `Mixing`.
            foldable: Alike; only those that are 0 if it is not given.
            part: Which part of the layer, if it mixes several times.
        """
        if foldable is None:
            foldable = taken.constants == 0
        differing = np.zeros(len(taken), dtype=bool)
        first = self.mixings.get((id(call.layer), part))
        if first is not None:
            self.join(first.taken, taken)
            self.join(first.made, made)
            same = first.taken.constants == taken.constants
            both = first.taken.constant & taken.constant
            either = first.differing | first.foldable | foldable
            foldable = first.foldable & foldable & same
            differing = either & ~foldable
            taken = first.taken.having(np.where(both, first.taken.constants, np.nan))
            both = first.made.constant & made.constant
            made = first.made.having(np.where(both, first.made.constants, np.nan))
        self.mixings[id(call.layer), part] = Mixing(
            call.layer, call.name, taken, made, uses, foldable, differing
        )

    def carry(self, call: Call, taken: Value, made: Value) -> None:
        """Note that a layer has weights for each channel."""
        first = self.carriers.setdefault(
            id(call.layer), Carrier(call.layer, call.name, taken, made)
        )
        self.join(first.taken, taken)
        self.join(first.made, made)

    def weigh(
        self,
        call: Call,
        weights: Mapping[str, tuple[Value | None, ...]],
        sizes: Mapping[str, Value],
    ) -> None:
        """Note where channels are in the weights of a layer; of several calls they are joined."""
        new = Weighted(call.layer, call.name, dict(weights), dict(sizes))
        first = self.weighted.setdefault(id(call.layer), new)
        for key, axes in new.weights.items():
            for one, other in zip(first.weights[key], axes, strict=True):
                if one is not None and other is not None:
                    self.join(one, other)

    def resize(self, call: Call, made: Value) -> None:
        """Note that a layer is told how many channels it makes."""
        first = self.resized.setdefault(id(call.layer), made)
        if len(first) != len(made):
            raise Untouchable("it is called several times, for different numbers of channels")
        self.join(first, made)

    def hold(self, value: Value, reason: str) -> None:
        """Note that channels must stay, and those beside them."""
        self.roots.extend(Root(each, reason) for each in value.all())

    def hold_beside(self, value: Value, reason: str) -> None:
        """Note that the channels beside others must stay."""
        self.roots.extend(Root(each, reason) for each in value.beside)

    def normalize(self, call: Call, value: Value) -> None:
        """Note that a layer normalizes over channels."""
        self.roots.append(Root(value, f"{call.name} normalizes over them", call.name))


Rule = Callable[[Channels, Call], Value | list[Value]]
"""Makes the channels of a layer's output, or of each of several."""


def array_of(variable: Any) -> np.ndarray:
    """A weight as float64: constants are folded in more digits than the network has."""
    return keras.ops.convert_to_numpy(variable).astype("float64")
