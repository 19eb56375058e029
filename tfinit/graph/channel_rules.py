"""What each kind of layer does to the channels that it is given.

A rule makes the channels of the layer's output, or raises `Untouchable`. Kinds are matched exactly:
a subclass may compute anything.
"""

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import keras
import numpy as np
from keras import layers

from tfinit.graph.channels import Call, Channels, Untouchable, Value
from tfinit.graph.elementwise import applied, elementwise
from tfinit.graph.keras_internals import is_from_keras_3

Rule = Callable[[Channels, Call], Value]


def rule_of(layer: Any) -> Rule:
    """The rule for a layer or operation.

    Raises:
        Untouchable: There is none, or the layer is set up in a way that it is not for.
    """
    kind = type(layer)
    if is_from_keras_3(kind) and ".ops." in kind.__module__ and kind.__name__ == "Add":  # `a + b`
        return _merge(np.add)
    rule = _RULES.get(kind)
    if rule is None:
        what = "a model inside the model" if isinstance(layer, keras.Model) else kind.__name__
        raise Untouchable(f"what it does to channels is not known ({what})")
    if getattr(layer, "data_format", "channels_last") not in ("channels_last", None):
        raise Untouchable(f"its data_format is {layer.data_format}")
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        raise Untouchable("it is quantized or has LoRA weights")
    return rule


def array_of(variable: Any) -> np.ndarray:
    """A weight as float64: constants are folded in more digits than the network has."""
    return keras.ops.convert_to_numpy(variable).astype("float64")


def weighted(layer: Any, constants: np.ndarray) -> np.ndarray:
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


def _mixing(channels: Channels, call: Call) -> Value:
    """Dense and convolutions: y_j = activation(Σ_i w_ij · x_i + b_j)."""
    layer, taken = call.layer, call.taken[0]
    if getattr(layer, "groups", 1) != 1:
        raise Untouchable(f"it has {layer.groups} groups")
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    uses = (kernel != 0).any(axis=tuple(range(kernel.ndim - 2)))
    # At the border zeros stand in for a constant, which then is none to the next layer.
    foldable = taken.constant
    if _pads(layer, call.shapes[0]):
        foldable = foldable & (taken.constants == 0)
    constant = ~uses[~foldable].any(axis=0)
    sums = weighted(layer, np.where(foldable, taken.constants, 0.0))
    if layer.use_bias:
        sums = sums + array_of(layer.bias)
    made = channels.fresh(len(sums), np.where(constant, sums, np.nan))
    try:
        function = elementwise(layer.activation)
    except Untouchable as why:
        channels.hold(made, f"of {layer.name}: {why}")
        made = Value(made.classes, np.full(len(made), np.nan))
    else:
        made = Value(made.classes, applied(function, made.constants, layer.compute_dtype))
    channels.mix(call, made, uses, foldable)
    return made


def _depthwise(channels: Channels, call: Call) -> Value:
    """y_(i·m + k) = activation(w_ik · x_i + b): each input channel makes m of its own."""
    layer, taken = call.layer, call.taken[0]
    kernel = array_of(layer.kernel)  # (*window, inputs, multiplier)
    window = tuple(range(kernel.ndim - 2))
    unused = ~(kernel != 0).any(axis=window)
    foldable = taken.constant
    if _pads(layer, call.shapes[0]):
        foldable = foldable & (taken.constants == 0)
    constants = np.where(foldable, taken.constants, 0.0)[:, None] * kernel.sum(axis=window)
    constants = np.where(unused | foldable[:, None], constants, np.nan).reshape(-1)
    if layer.use_bias:
        constants = constants + array_of(layer.bias)
    function = elementwise(layer.activation)
    made = Value(
        np.repeat(taken.classes, layer.depth_multiplier),
        applied(function, constants, layer.compute_dtype),
    )
    channels.carriers.append((layer, taken, made))
    return made


def _pads(layer: Any, shape: tuple[int | None, ...]) -> bool:
    """True if a convolution's or depthwise convolution's window may reach over the border."""
    if not hasattr(layer, "padding") or layer.padding == "valid":
        return False
    windows = zip(shape[1:-1], layer.kernel_size, layer.strides, layer.dilation_rate, strict=True)
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
    layer, taken = call.layer, call.taken[0]
    if layer.axis not in (-1, len(call.shapes[0]) - 1):
        raise Untouchable(f"its axis is {layer.axis}, not the last")
    scale = 1.0 / np.sqrt(array_of(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale = scale * array_of(layer.gamma)
    # With γ = 0 the input does not matter.
    constants = np.where(scale == 0, 0.0, (taken.constants - array_of(layer.moving_mean)) * scale)
    if layer.center:
        constants = constants + array_of(layer.beta)
    made = Value(taken.classes, constants)
    channels.carriers.append((layer, taken, made))
    return made


def _activation(channels: Channels, call: Call) -> Value:
    taken, function = call.taken[0], elementwise(call.layer)
    return Value(taken.classes, applied(function, taken.constants, call.layer.compute_dtype))


def _same(channels: Channels, call: Call) -> Value:
    """Dropout in inference, pooling, and what else leaves a constant as it is."""
    return call.taken[0]


def _zero_padding(channels: Channels, call: Call) -> Value:
    taken = call.taken[0]
    # Zeros around any other constant make it none.
    return Value(taken.classes, np.where(taken.constants == 0, 0.0, np.nan))


def _flatten(channels: Channels, call: Call) -> Value:
    """Position by position, all channels of each: (p, c) goes to p · C + c."""
    positions = call.shapes[0][1:-1]
    if None in positions:
        raise Untouchable("the shape of its input is unknown")
    taken, n = call.taken[0], math.prod(positions)
    return Value(np.tile(taken.classes, n), np.tile(taken.constants, n))


def _concatenate(channels: Channels, call: Call) -> Value:
    if call.layer.axis not in (-1, len(call.shapes[0]) - 1):
        raise Untouchable(f"its axis is {call.layer.axis}, not the last")
    return Value(
        np.concatenate([value.classes for value in call.taken]),
        np.concatenate([value.constants for value in call.taken]),
    )


def _merge(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Rule:
    """The rule of a layer that merges branches channel by channel."""

    def rule(channels: Channels, call: Call) -> Value:
        if len({(len(shape), shape[-1]) for shape in call.shapes}) != 1 or len(call.shapes) < 2:
            raise Untouchable(f"it merges shapes {call.shapes}")
        for value in call.taken[1:]:
            channels.join(call.taken[0], value)
        return Value(
            call.taken[0].classes, reduce(function, [value.constants for value in call.taken])
        )

    return rule


def _average(channels: Channels, call: Call) -> Value:
    total = _merge(np.add)(channels, call)
    return Value(total.classes, total.constants / len(call.taken))


_BY_DIMENSIONS = (
    "SpatialDropout",
    "MaxPooling",
    "AveragePooling",
    "GlobalMaxPooling",
    "GlobalAveragePooling",
    "UpSampling",
    "Cropping",
)
_RULES: dict[type, Rule] = {
    **dict.fromkeys((layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D), _mixing),
    **dict.fromkeys((layers.DepthwiseConv1D, layers.DepthwiseConv2D), _depthwise),
    layers.BatchNormalization: _batch_normalization,
    **dict.fromkeys((layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU), _activation),
    layers.Flatten: _flatten,
    layers.Concatenate: _concatenate,
    layers.Add: _merge(np.add),
    layers.Subtract: _merge(np.subtract),
    layers.Average: _average,
    layers.Maximum: _merge(np.maximum),
    layers.Minimum: _merge(np.minimum),
    **dict.fromkeys(
        (getattr(layers, f"{kind}{n}D") for kind in _BY_DIMENSIONS for n in (1, 2, 3)), _same
    ),
    **dict.fromkeys(
        (
            layers.Dropout,
            layers.GaussianDropout,
            layers.GaussianNoise,
            layers.AlphaDropout,
            layers.ActivityRegularization,
            layers.Identity,
        ),
        _same,
    ),
    **dict.fromkeys(
        (layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D), _zero_padding
    ),
}
