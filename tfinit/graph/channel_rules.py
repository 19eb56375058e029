"""What each kind of layer does to the channels that it is given.

A rule makes the channels of the layer's output, or raises `Untouchable`. Which a layer has is in
the table of `layer_kinds`; a subclass has none, as it may compute anything.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any

import keras
import numpy as np

from tfinit.graph.channel_values import Call, Channels, Shape, Untouchable, Value
from tfinit.graph.elementwise import applied, elementwise
from tfinit.graph.layer_kinds import kind_of
from tfinit.variables import all_weights

Rule = Callable[[Channels, Call], Value]


def rule_of(layer: Any) -> Rule:
    """The rule for a layer or operation.

    Raises:
        Untouchable: There is none, or the layer is set up in a way that it is not for.
    """
    rule = kind_of(layer, exactly=True).channels
    if not rule:
        what = (
            "a model inside the model" if isinstance(layer, keras.Model) else type(layer).__name__
        )
        raise Untouchable(f"what it does to channels is not known ({what})")
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        raise Untouchable("it is quantized or has LoRA weights")
    return RULES[rule]


def array_of(variable: Any) -> np.ndarray:
    """A weight as float64: constants are folded in more digits than the network has."""
    return keras.ops.convert_to_numpy(variable).astype("float64")


def constants_in(layer: Any, constants: np.ndarray) -> np.ndarray:
    """What constant input channels add to each channel of a Dense or convolution layer.

    Args:
        layer: Its kernel is (*window, inputs, outputs).
        constants: One for each input channel; 0 for those that do not count.

    Returns:
        Σ over the window and the inputs of kernel · constant, one number for each output.
    """
    rows = np.flatnonzero(constants)
    kernel = keras.ops.convert_to_numpy(layer.kernel)[..., rows, :].astype("float64")
    return constants[rows] @ kernel.sum(axis=tuple(range(kernel.ndim - 2)))


def _own_axis(channels: Channels, call: Call) -> Value:
    """The channels that a layer reads, on the axis that it takes for theirs."""
    axis = 1 if getattr(call.layer, "data_format", None) == "channels_first" else -1
    return channels.along(axis, call)


def _mixing(channels: Channels, call: Call) -> Value:
    """Dense and convolutions: y_j = activation(Σ_i w_ij · x_i + b_j)."""
    layer = call.layer
    if getattr(layer, "groups", 1) != 1:
        raise Untouchable(f"it has {layer.groups} groups")
    taken = _own_axis(channels, call)
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    uses = (kernel != 0).any(axis=tuple(range(kernel.ndim - 2)))
    # At the border zeros stand in for a constant, which then is none to the next layer.
    foldable = taken.constant
    if _pads(layer, call.shapes[0], taken.axis):
        foldable = foldable & (taken.constants == 0)
    constant = ~uses[~foldable].any(axis=0)
    sums = constants_in(layer, np.where(foldable, taken.constants, 0.0))
    if layer.use_bias:
        sums = sums + array_of(layer.bias)
    made = channels.fresh(len(sums), taken.axis)
    try:
        function = elementwise(layer.activation)
    except Untouchable as why:
        channels.hold(made, f"of {call.name}: {why}")
    else:
        constants = np.where(constant, sums, np.nan)
        made = made.having(applied(function, constants, layer.compute_dtype))
    # It may be given a bias, for constants.
    if layer.use_bias or taken.constants[foldable].any():
        _guard_bias(channels, call, made)
    channels.mix(call, taken, made, uses, foldable)
    weights = {"kernel": (*[None] * (kernel.ndim - 2), taken, made)}
    if layer.use_bias:
        weights["bias"] = (made,)
    channels.weigh(call, weights, {"units" if hasattr(layer, "units") else "filters": made})
    return made


def _depthwise(channels: Channels, call: Call) -> Value:
    """y_(i·m + k) = activation(w_ik · x_i + b): each input channel makes m of its own."""
    layer, taken = call.layer, _own_axis(channels, call)
    kernel = array_of(layer.kernel)  # (*window, inputs, multiplier)
    window = tuple(range(kernel.ndim - 2))
    unused = ~(kernel != 0).any(axis=window)
    foldable = taken.constant
    if _pads(layer, call.shapes[0], taken.axis):
        foldable = foldable & (taken.constants == 0)
    constants = np.where(foldable, taken.constants, 0.0)[:, None] * kernel.sum(axis=window)
    constants = np.where(unused | foldable[:, None], constants, np.nan).reshape(-1)
    if layer.use_bias:
        constants = constants + array_of(layer.bias)
    function = elementwise(layer.activation)
    made = Value(
        np.repeat(taken.classes, layer.depth_multiplier),
        applied(function, constants, layer.compute_dtype),
        taken.axis,
    )
    weights = {"kernel": (*[None] * (kernel.ndim - 2), taken, None)}
    if layer.use_bias:
        _guard_bias(channels, call, made)
        weights["bias"] = (made,)
    channels.carry(call, taken, made)
    channels.weigh(call, weights, {})
    return made


def _guard_bias(channels: Channels, call: Call, made: Value) -> None:
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


def _pads(layer: Any, shape: Shape, axis: int) -> bool:
    """True if a convolution's or depthwise convolution's window may reach over the border."""
    if not hasattr(layer, "padding") or layer.padding == "valid":
        return False
    sizes = [size for i, size in enumerate(shape) if i not in (0, axis)]
    windows = zip(sizes, layer.kernel_size, layer.strides, layer.dilation_rate, strict=True)
    for size, kernel, stride, dilation in windows:
        reach = (kernel - 1) * dilation + 1
        if layer.padding == "causal" or size is None:
            needed = reach - 1
        else:
            needed = (math.ceil(size / stride) - 1) * stride + reach - size
        if needed > 0:
            return True
    return False


def _batch_normalization(channels: Channels, call: Call) -> Value:
    """y = γ · (x − μ) / √(σ² + ε) + β, with the moving statistics, as in inference."""
    layer = call.layer
    taken = channels.along(layer.axis, call)
    scale = 1.0 / np.sqrt(array_of(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale = scale * array_of(layer.gamma)
    # With γ = 0 the input does not matter.
    constants = np.where(scale == 0, 0.0, (taken.constants - array_of(layer.moving_mean)) * scale)
    if layer.center:
        constants = constants + array_of(layer.beta)
    made = taken.having(constants)
    channels.carry(call, taken, made)
    channels.weigh(call, dict.fromkeys(all_weights(layer), (taken,)), {})
    return made


def _activation(channels: Channels, call: Call) -> Value:
    taken, function = call.taken[0], elementwise(call.layer)
    dtype = getattr(call.layer, "compute_dtype", keras.config.floatx())  # operations have none
    return taken.having(applied(function, taken.constants, dtype))


def _same(channels: Channels, call: Call) -> Value:
    """Dropout in inference, and other layers that return their input."""
    return call.taken[0]


def _pooling(channels: Channels, call: Call) -> Value:
    """Pooling, cropping, upsampling: positions go or come, channels stay."""
    taken = _own_axis(channels, call)
    if len(call.made_shape) < len(call.shapes[0]):  # global pooling leaves no positions
        return replace(taken, axis=1)
    return taken


def _zero_padding(channels: Channels, call: Call) -> Value:
    taken = _own_axis(channels, call)
    # Zeros around any other constant make it none.
    return taken.having(np.where(taken.constants == 0, 0.0, np.nan))


def _moving(channels: Channels, call: Call) -> Value:
    """Permute, transposes, expand_dims: the axis of channels may become another."""
    sizes = range(2, len(call.shapes[0]) + 2)
    made = call.layer.compute_output_spec(keras.KerasTensor(tuple(sizes))).shape
    if made[0] != sizes[0]:
        raise Untouchable("it moves the axis of the batch")
    return replace(call.taken[0], axis=made.index(sizes[call.taken[0].axis]))


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
    for other in rows.T[1:]:
        channels.join(made, Value(taken.classes[other], taken.constants[other], axis + 1))
    constants = taken.constants[rows]
    return made.having(
        np.where((constants == constants[:, :1]).all(axis=1), constants[:, 0], np.nan)
    )


def _concatenate(channels: Channels, call: Call) -> Value:
    axis = call.layer.axis % len(call.shapes[0])
    if {value.axis for value in call.taken} != {axis}:
        raise Untouchable(f"its axis is {call.layer.axis}, not that of channels")
    return Value(
        np.concatenate([value.classes for value in call.taken]),
        np.concatenate([value.constants for value in call.taken]),
        axis,
    )


def _merge(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Rule:
    """The rule of a layer that merges branches channel by channel."""

    def rule(channels: Channels, call: Call) -> Value:
        first = call.taken[0]
        if (
            len({(len(shape), shape[first.axis], shape[-1]) for shape in call.shapes}) != 1
            or len(call.shapes) < 2
        ):
            raise Untouchable(f"it merges shapes {call.shapes}")
        if {value.axis for value in call.taken} != {first.axis}:
            raise Untouchable("it merges channels of different axes")
        for value in call.taken[1:]:
            channels.join(first, value)
        return first.having(reduce(function, [value.constants for value in call.taken]))

    return rule


def _average(channels: Channels, call: Call) -> Value:
    total = _merge(np.add)(channels, call)
    return total.having(total.constants / len(call.taken))


# By the names that the table of layer kinds gives them.
RULES: dict[str, Rule] = {
    "mixing": _mixing,
    "depthwise": _depthwise,
    "batch_normalization": _batch_normalization,
    "activation": _activation,
    "same": _same,
    "pooling": _pooling,
    "zero_padding": _zero_padding,
    "flatten": _flattening,
    "reshape": _reshape,
    "moving": _moving,
    "concatenate": _concatenate,
    "add": _merge(np.add),
    "subtract": _merge(np.subtract),
    "average": _average,
    "maximum": _merge(np.maximum),
    "minimum": _merge(np.minimum),
}
