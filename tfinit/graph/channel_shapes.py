"""Channels through layers that move, repeat or leave out positions."""

import math
from dataclasses import replace

import keras
import numpy as np

from tfinit.graph.channel_mixing import own_axis
from tfinit.graph.channel_values import Call, Channels, Rule, Untouchable, Value


def _pooling(channels: Channels, call: Call) -> Value:
    """Pooling, cropping, upsampling: positions go or come, channels stay."""
    taken = own_axis(channels, call)
    if len(call.made_shape) < len(call.shapes[0]):  # global pooling leaves no positions
        return replace(taken, axis=1)
    return taken


def _zero_padding(channels: Channels, call: Call) -> Value:
    taken = own_axis(channels, call)
    # Zeros around any other constant make it none.
    return taken.having(np.where(taken.constants == 0, 0.0, np.nan))


def _reduction(channels: Channels, call: Call) -> Value:
    """The mean, greatest, least or sum over some axes: of positions."""
    taken, op, rank = call.taken[0], call.layer, len(call.shapes[0])
    axes = range(rank) if op.axis is None else [axis % rank for axis in np.ravel(op.axis).tolist()]
    if taken.axis in axes or 0 in axes:
        raise Untouchable("it reduces the channels to one, or the batch")
    if not op.keepdims:
        taken = replace(taken, axis=taken.axis - sum(axis < taken.axis for axis in axes))
    return taken.having(np.where(taken.constants == 0, 0.0, np.nan))


def _repeating(channels: Channels, call: Call) -> Value:
    """RepeatVector: (batch, channels) at each of n positions."""
    return replace(call.taken[0], axis=2)


def _moving(channels: Channels, call: Call) -> Value:
    """Permute, transposes, expand_dims: the axis of channels may become another."""
    sizes = range(2, len(call.shapes[0]) + 2)
    made = call.layer.compute_output_spec(keras.KerasTensor(tuple(sizes))).shape
    if made[0] != sizes[0]:
        raise Untouchable("it moves the axis of the batch")

    def moved(value: Value) -> Value:
        beside = tuple(map(moved, value.beside))
        return replace(value, axis=made.index(sizes[value.axis]), beside=beside)

    return moved(call.taken[0])


def _slicing(channels: Channels, call: Call) -> Value:
    """x[:, 0]: some positions of each channel, or some channels of all, which then stay."""
    taken, [shape] = call.value_of(call.args[0]), call.shapes
    if not len(taken):
        raise Untouchable("the number of its input's channels is unknown")
    key = call.args[1]
    key = list(key) if isinstance(key, tuple | list) else [key]
    if not all(part is Ellipsis or part is None or isinstance(part, int | slice) for part in key):
        raise Untouchable("it is indexed with an array")
    if Ellipsis not in key:
        key.append(Ellipsis)
    before = key.index(Ellipsis)
    named = sum(part is not None for part in key) - 1
    key[before : before + 1] = [slice(None)] * (len(shape) - named)
    read, axis = 0, -1  # axes of the input that are passed, and of the output
    for part in key:
        if part is None:
            axis += 1
            continue
        axis += isinstance(part, slice)
        if read == 0 and part != slice(None):
            raise Untouchable("it takes some examples of the batch")
        if read == taken.axis:
            if not isinstance(part, slice):
                raise Untouchable("it takes one of the channels")
            if part != slice(None):
                channels.hold(taken, f"{call.name} takes some of them by their numbers")
            return replace(taken.at(part), axis=axis)
        read += 1
    raise AssertionError("the axis of channels is one of the input's")


def _reshape(channels: Channels, call: Call) -> Value:
    made = _flattening(channels, call)
    channels.resize(call, made)
    return made


def _flattening(channels: Channels, call: Call) -> Value:
    """Flatten, Reshape: all entries stay in their order."""
    taken, shape, made = call.taken[0], call.shapes[0], call.made_shape
    last = len(shape) - 1
    if taken.axis == last and made[-1] == shape[-1] and len(made) > 1:
        return replace(taken, axis=len(made) - 1)
    sizes = [size for size in shape[1:] if size is not None]
    made_sizes = [size for size in made[1:] if size is not None]
    unknown = len(sizes) < last or len(made_sizes) < len(made) - 1
    if unknown or math.prod(sizes) != math.prod(made_sizes):
        raise Untouchable("the shape of its input is unknown")
    others = [size if i == taken.axis else 1 for i, size in enumerate(sizes, 1)]
    entries = np.broadcast_to(np.arange(len(taken)).reshape(others), sizes)
    if getattr(call.layer, "data_format", None) == "channels_first":  # Flatten's
        entries = np.moveaxis(entries, 0, -1)
    return _spread(channels, taken, entries.reshape(made_sizes))


def _spread(channels: Channels, taken: Value, entries: np.ndarray) -> Value:
    """The channels of a tensor whose entries, but for the batch, are those of given channels.

    They are on an axis of which each entry is of one channel, or else on that where convolutions
    look for them, and what is in one entry of that axis is joined.
    """
    found = []
    for axis in reversed(range(entries.ndim)):
        rows = np.moveaxis(entries, axis, 0).reshape(entries.shape[axis], -1)
        if (rows == rows[:, :1]).all():
            return Value(taken.classes[rows[:, 0]], taken.constants[rows[:, 0]], axis + 1)
        found.append((axis, rows))
    axis, rows = found[-1 if channels.first else 0]
    made = Value(taken.classes[rows[:, 0]], taken.constants[rows[:, 0]], axis + 1)
    classes, constants = taken.classes[rows], taken.constants[rows]
    channels.pair(np.broadcast_to(classes[:, :1], classes.shape), classes)
    return made.having(
        np.where((constants == constants[:, :1]).all(axis=1), constants[:, 0], np.nan)
    )


RULES: dict[str, Rule] = {
    "pooling": _pooling,
    "zero_padding": _zero_padding,
    "reduction": _reduction,
    "repeating": _repeating,
    "slicing": _slicing,
    "flatten": _flattening,
    "reshape": _reshape,
    "moving": _moving,
}
OWN_ARGUMENTS = {"slicing"}
