"""Channels through Dense and convolutions of all kinds."""

import math
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from tfinit.graph.channel_merging import guard_addition
from tfinit.graph.channel_values import Call, Channels, Rule, Shape, Value
from tfinit.graph.elementwise import activated, applied, elementwise


def constants_in(layer: Any, constants: np.ndarray) -> np.ndarray:
    """What constant input channels add to each channel of a Dense or convolution layer.

    Args:
        layer: Its kernel is (*window, inputs, outputs).
        constants: One for each input channel; 0 for those that do not count.

    Returns:
        Σ over the window and the inputs of kernel · constant, one number for each output.
    """
    rows = np.flatnonzero(constants)
    if not len(rows):
        return np.zeros(layer.kernel.shape[-1])
    kernel = keras.ops.convert_to_numpy(layer.kernel)[..., rows, :].astype("float64")
    return constants[rows] @ kernel.sum(axis=tuple(range(kernel.ndim - 2)))


def own_axis(channels: Channels, call: Call, carries: bool = False) -> Value:
    """The channels that a layer reads, on the axis that it takes for theirs."""
    axis = 1 if getattr(call.layer, "data_format", None) == "channels_first" else -1
    return channels.along(axis, call, carries=carries)


def _used(channels: Channels, kernel: Any) -> np.ndarray:
    """(inputs, outputs) of a kernel (*window, inputs, outputs): is a weight there not zero."""
    rank = len(kernel.shape)
    return channels.nonzero(kernel, rank - 2, rank - 1)


def _mixing(channels: Channels, call: Call) -> Value:
    """Dense and convolutions: y_j = activation(Σ_i w_ij · x_i + b_j)."""
    layer = call.layer
    windows = len(layer.kernel.shape) - 2  # a window mixes what is on other axes
    taken = own_axis(channels, call, carries=not windows)
    if getattr(layer, "groups", 1) != 1:
        return _grouped(channels, call, taken)
    # At the border zeros stand in for a constant, which then is none to the next layer.
    foldable = taken.constant
    if _pads(layer, call.shapes[0], taken.axis):
        foldable = foldable & (taken.constants == 0)
    sums = constants_in(layer, np.where(foldable, taken.constants, 0.0))
    made = _made(channels, call, taken, _used(channels, layer.kernel), foldable, sums)
    _weigh(channels, call, made, {"kernel": _axes(layer.kernel, taken, made)})
    return made


def _made(
    channels: Channels,
    call: Call,
    taken: Value,
    uses: np.ndarray,
    foldable: np.ndarray,
    sums: np.ndarray,
) -> Value:
    """New channels, each the activation of a weighted sum: of ``sums`` where that is constant."""
    layer = call.layer
    if layer.use_bias:
        sums = sums + channels.array(layer.bias)
    constants = np.where(~uses[~foldable].any(axis=0), sums, np.nan)
    made = replace(channels.fresh(len(sums), taken.axis), beside=taken.beside)
    made = activated(channels, call, made, constants, layer.activation)
    # It may be given a bias, for constants.
    if layer.use_bias or taken.constants[foldable].any():
        guard_addition(channels, call, made)
    channels.mix(call, taken, made, uses, foldable)
    return made


def _axes(variable: Any, *last: Value | None) -> tuple[Value | None, ...]:
    """The axes of a kernel: those of a window, then these."""
    return (*[None] * (len(variable.shape) - len(last)), *last)


def _weigh(
    channels: Channels, call: Call, made: Value, kernels: dict[str, tuple[Value | None, ...]]
) -> None:
    if call.layer.use_bias:
        kernels["bias"] = (made,)
    channels.weigh(call, kernels, {"units" if hasattr(call.layer, "units") else "filters": made})


def _grouped(channels: Channels, call: Call, taken: Value) -> Value:
    """A convolution in groups: all keep as many channels, so those of one place are coupled.

    With one input channel in each group it is as a depthwise one, and groups go as a whole.
    """
    layer = call.layer
    shape = tuple(layer.kernel.shape)  # (*window, inputs of a group, outputs)
    groups, inputs, outputs = layer.groups, shape[-2], shape[-1] // layer.groups
    if inputs == 1:
        kernel = channels.array(layer.kernel)
        made = _each(channels, call, taken, kernel.reshape((*shape[:-2], groups, outputs)))
        weights = {"kernel": _axes(layer.kernel, made)}
        if layer.use_bias:
            weights["bias"] = (made,)
        channels.weigh(call, weights, {"groups": taken, "filters": made})
        return made
    uses = np.zeros((groups, inputs, groups, outputs), dtype=bool)
    each = range(groups)
    used = _used(channels, layer.kernel).reshape(inputs, groups, outputs)
    uses[each, :, each, :] = np.moveaxis(used, 1, 0)
    uses = uses.reshape(groups * inputs, -1)
    foldable = taken.constants == 0
    made = _made(channels, call, taken, uses, foldable, np.zeros(groups * outputs))
    for value, size in (taken, inputs), (made, outputs):
        for start in range(size, groups * size, size):
            channels.join(value.at(slice(size)), value.at(slice(start, start + size)))
    _weigh(channels, call, made, {"kernel": _axes(layer.kernel, taken.at(slice(inputs)), made)})
    return made


def _transposed(channels: Channels, call: Call) -> Value:
    """Transposed convolutions: how many weights a position of the output sees depends on it."""
    layer, taken = call.layer, own_axis(channels, call)
    uses = _used(channels, layer.kernel).T  # the kernel is (*window, outputs, inputs)
    made = _made(channels, call, taken, uses, taken.constants == 0, np.zeros(uses.shape[1]))
    _weigh(channels, call, made, {"kernel": _axes(layer.kernel, made, taken)})
    return made


def _separable(channels: Channels, call: Call) -> Value:
    """Depthwise, then Dense at each position: y_j = activation(Σ_ik p_ikj · d_ik · x_i + b_j)."""
    layer, taken = call.layer, own_axis(channels, call)
    depthwise, pointwise = (
        _used(channels, layer.depthwise_kernel),
        _used(channels, layer.pointwise_kernel),
    )
    inputs, multiplier = depthwise.shape
    uses = depthwise.reshape(-1, 1) & pointwise
    uses = uses.reshape(inputs, multiplier, -1).any(axis=1)
    made = _made(channels, call, taken, uses, taken.constants == 0, np.zeros(uses.shape[1]))
    between = taken.at(np.repeat(np.arange(inputs), multiplier))
    kernels = {
        "depthwise_kernel": _axes(layer.depthwise_kernel, taken, None),
        "pointwise_kernel": _axes(layer.pointwise_kernel, between, made),
    }
    _weigh(channels, call, made, kernels)
    return made


def _depthwise(channels: Channels, call: Call) -> Value:
    """y_(i·m + k) = activation(w_ik · x_i + b): each input channel makes m of its own."""
    layer, taken = call.layer, own_axis(channels, call)
    made = _each(channels, call, taken, channels.array(layer.kernel))
    weights = {"kernel": _axes(layer.kernel, taken, None)}
    if layer.use_bias:
        weights["bias"] = (made,)
    channels.weigh(call, weights, {})
    return made


def _each(channels: Channels, call: Call, taken: Value, kernel: np.ndarray) -> Value:
    """What a kernel of (*window, inputs, multiplier) makes of each channel by itself."""
    layer = call.layer
    window = tuple(range(kernel.ndim - 2))
    unused = ~(kernel != 0).any(axis=window)
    foldable = taken.constant
    if _pads(layer, call.shapes[0], taken.axis):
        foldable = foldable & (taken.constants == 0)
    sums = kernel.sum(axis=window)
    constants = np.where(foldable, taken.constants, 0.0)[:, None] * sums
    constants = np.where(unused | foldable[:, None], constants, np.nan).reshape(-1)
    if layer.use_bias:
        constants = constants + channels.array(layer.bias)
    function = elementwise(layer.activation)
    made = taken.at(np.repeat(np.arange(len(taken)), kernel.shape[-1]))
    made = made.having(applied(function, constants, layer.compute_dtype))
    if layer.use_bias:
        guard_addition(channels, call, made)
    channels.carry(call, taken, made)
    return made


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


RULES: dict[str, Rule] = {
    "mixing": _mixing,
    "transposed": _transposed,
    "separable": _separable,
    "depthwise": _depthwise,
}
