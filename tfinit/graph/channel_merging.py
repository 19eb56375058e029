"""Channels of several branches, or of a branch and a number, put together one by one."""

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any

import keras
import numpy as np

from tfinit.graph.channel_values import (
    Call,
    Channels,
    Rule,
    Shape,
    Untouchable,
    Value,
    side_by_side,
)
from tfinit.graph.keras_internals import is_symbolic

Function = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where((a == 0) | (b == 0), 0.0, a * b)  # of 0 and whatever depends on the input


def _quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.where(b == 0, np.nan, np.where(a == 0, 0.0, a / b))


def _power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.power(a, b)


def _concatenate(channels: Channels, call: Call) -> Value:
    """Side by side along the channels; one after the other along positions, of all channels."""
    axis = call.layer.axis % len(call.shapes[0])
    first, *others = call.taken
    if any(value.axis != first.axis for value in others):
        raise Untouchable("its branches have their channels on different axes")
    if axis == first.axis:
        return side_by_side(call.taken)
    same = np.ones(len(first), dtype=bool)
    for value in others:
        channels.join(first, value)
        same &= value.constants == first.constants
    return first.having(np.where(same, first.constants, np.nan))


def _merge(function: Function) -> Callable[[Channels, Call], Value]:
    """The rule of a layer or operation that merges branches channel by channel.

    Branches may be broadcast: along positions, of one channel to all, and numbers to everything.
    """

    def rule(channels: Channels, call: Call) -> Value:
        if call.kwargs:
            raise Untouchable(f"it is called with {', '.join(call.kwargs)}")
        if not all(map(len, call.taken)):
            raise Untouchable("the number of its input's channels is unknown")
        if len(call.taken) < 2 and len(call.args) < 2:
            raise Untouchable("it merges a single tensor")
        branches, shapes = _aligned(call)
        branches = _facing(channels, call, branches)
        widest = max(branches, key=len)
        others = [value for value in branches if value is not widest]
        if any(value.axis != widest.axis for value in others):
            raise Untouchable("it merges channels of different axes")
        if call.made_shape[widest.axis] != len(widest):
            raise Untouchable(f"it merges shapes {call.shapes}")
        if function is _quotient and is_symbolic(call.args[1]):
            # A channel that is masked is 0: nothing is to be divided by it.
            channels.hold(call.value_of(call.args[1]), f"{call.name} divides by them")
        _join(channels, call, widest, others)
        if function is np.add and len({shape[-1] for shape in shapes}) > 1:
            guard_addition(channels, call, widest)
        numbers = _numbers(channels, call, widest)
        if any(np.isnan(number).any() for number in numbers if number is not None):
            channels.hold_beside(widest, f"{call.name} has a number of its own for each")
        made = iter(value.constants for value in branches)
        parts = [next(made) if part is None else part for part in numbers]
        with np.errstate(invalid="ignore", over="ignore"):
            merged = reduce(function, np.broadcast_arrays(*parts, widest.constants)[:-1])
        return widest.having(np.where(np.isfinite(merged), merged, np.nan))

    return rule


def _aligned(call: Call) -> tuple[list[Value], list[Shape]]:
    """The branches and their shapes with as many axes each: layers put them after the batch."""
    rank = max(map(len, call.shapes))
    branches, shapes = [], []
    for value, shape in zip(call.taken, call.shapes, strict=True):
        missing = rank - len(shape)
        if missing and not isinstance(call.layer, keras.Layer):
            raise Untouchable(f"it merges shapes {call.shapes}")
        moved = (replace(each, axis=each.axis + missing) for each in value.all())
        first, *beside = moved
        branches.append(replace(first, beside=tuple(beside)))
        shapes.append((shape[0], *[1] * missing, *shape[1:]))
    return branches, shapes


def _facing(channels: Channels, call: Call, branches: list[Value]) -> list[Value]:
    """The branches with channels on the same axes, the last of them first; what else stays."""
    axes = [{value.axis for value in branch.all()} for branch in branches]
    shared = set.intersection(*axes)
    if not shared:
        return branches
    found = []
    for branch in branches:
        branch = branch.facing(max(shared))
        for value in branch.beside:
            if value.axis not in shared:
                channels.hold(value, f"{call.name} merges them with what has none there")
        kept = tuple(value for value in branch.beside if value.axis in shared)
        found.append(replace(branch, beside=kept))
    return found


def _join(channels: Channels, call: Call, widest: Value, others: list[Value]) -> None:
    """Join the channels of branches, axis by axis; one channel may be spread over all."""
    for value in others:
        for one in widest.all():
            [other] = [each for each in value.all() if each.axis == one.axis]
            if len(one) == len(other):
                channels.join(one, other)
            else:
                for each in min(one, other, key=len), *([] if one.axis == widest.axis else [one]):
                    channels.hold(each, f"{call.name} spreads it over all channels")


def _numbers(channels: Channels, call: Call, widest: Value) -> list[Any]:
    """Each part of an operation: None for a branch, the number of each channel for a constant."""
    if all(map(is_symbolic, keras.tree.flatten(call.args))):
        return [None] * len(call.taken)
    return [None if is_symbolic(arg) else _number(channels, call, widest, arg) for arg in call.args]


def _number(channels: Channels, call: Call, widest: Value, given: Any) -> Any:
    array = np.asarray(keras.ops.convert_to_numpy(given), dtype="float64")
    if array.size == 1:
        return array.reshape(1)
    if call.shapes[0] != call.made_shape:
        raise Untouchable(f"it spreads its input of shape {call.shapes[0]} over an array")
    axis = widest.axis - len(call.made_shape)  # from the end, as arrays are broadcast
    if -axis <= array.ndim and array.shape[axis] > 1:
        channels.hold(widest, f"{call.name} has a number of its own for each")
    return np.array([np.nan])


def _deciding(channels: Channels, call: Call) -> list[Value]:
    """Comparisons and what is made of them, as masks: nothing is known of it but that it stays."""
    for value in call.taken:
        channels.hold(value, f"{call.name} compares them")
    made = [channels.fresh(shape[-1] or 0, len(shape) - 1) for shape in call.made_shapes]
    for value in made:
        channels.hold(value, f"{call.name} makes them")
    return made


def _average(channels: Channels, call: Call) -> Value:
    total = _merge(np.add)(channels, call)
    return total.having(total.constants / len(call.taken))


def _scaled_sum(channels: Channels, call: Call) -> Value:
    """x + scale · y, of Keras's Inception-ResNet."""
    return _merge(lambda x, y: x + call.layer.scale * y)(channels, call)


def guard_addition(channels: Channels, call: Call, made: Value) -> None:
    """Keep clear of a fault of Keras on TensorFlow, with channels first.

    Its ``ops.add`` adds a bias along the last axis if that is as long as there are channels.
    """
    last = len(call.made_shape) - 1
    if made.axis == last or keras.config.backend() != "tensorflow":
        return
    width = call.made_shape[last]
    if width in (None, len(made)):
        raise Untouchable("Keras adds its bias along the last axis, if that is as long")
    channels.unfit.append(
        (made, width, f"Keras would add the bias of {call.name} along the last axis, as long then")
    )


RULES: dict[str, Rule] = {
    "concatenate": _concatenate,
    "add": _merge(np.add),
    "subtract": _merge(np.subtract),
    "multiply": _merge(_product),
    "divide": _merge(_quotient),
    "power": _merge(_power),
    "average": _average,
    "maximum": _merge(np.maximum),
    "minimum": _merge(np.minimum),
    "scaled_sum": _scaled_sum,
    "deciding": _deciding,
}
OWN_ARGUMENTS = RULES.keys() - {"concatenate"}
