"""Functions that treat each channel by itself, and what they make of a constant channel."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import activations

from tfinit.graph.channel_values import Call, Channels, Untouchable, Value
from tfinit.graph.layer_kinds import kind_of

# Keras's activations but those that mix channels: glu, softmax, log_softmax and sparsemax.
# fmt: off
_FUNCTIONS = (
    activations.celu, activations.elu, activations.exponential, activations.gelu,
    activations.hard_shrink, activations.hard_sigmoid, activations.hard_silu,
    activations.hard_tanh, activations.leaky_relu, activations.linear, activations.log_sigmoid,
    activations.mish, activations.relu, activations.relu6, activations.selu, activations.sigmoid,
    activations.silu, activations.soft_shrink, activations.softplus, activations.softsign,
    activations.sparse_plus, activations.sparse_sigmoid, activations.squareplus,
    activations.tanh, activations.tanh_shrink, activations.threshold,
)
# fmt: on


def elementwise(activation: Any) -> Callable[[Any], Any]:
    """The function of an activation, or of an activation layer, that treats channels one by one.

    Raises:
        Untouchable: It may mix channels.
    """
    kind = kind_of(activation, exactly=True)
    if kind.activation == "given":
        activation = activation.activation
    elif kind.channels == "activation":
        return activation.call
    if activation is None:
        return activations.linear
    # By identity: an activation may be any object.
    if any(activation is known for known in _FUNCTIONS):
        return activation
    name = getattr(activation, "__name__", type(activation).__name__)
    raise Untouchable(f"its activation {name} may mix channels")


def applied(function: Callable[[Any], Any], constants: np.ndarray, dtype: str) -> np.ndarray:
    """What a function makes of constant channels, in the precision of its layer.

    Args:
        function: Takes a tensor of shape (1, channels) and keeps its shape.
        constants: NaN for channels that are not constant: they stay NaN. A result that is not
            finite counts as not constant, for it cannot be folded.
        dtype: That of the layer's computations.
    """
    known = np.isfinite(constants)
    if not known.any():
        return np.full(len(constants), np.nan)
    tensor = keras.ops.convert_to_tensor(np.where(known, constants, 0.0)[None], dtype=dtype)
    made = keras.ops.convert_to_numpy(function(tensor))[0].astype("float64")
    return np.where(known & np.isfinite(made), made, np.nan)


def activated(
    channels: Channels, call: Call, value: Value, constants: np.ndarray, activation: Any
) -> Value:
    """Channels behind an activation, which hold their places where it mixes them.

    Args:
        channels: Of the model.
        call: The call of the layer that has the activation.
        value: The channels.
        constants: What is known of them before it.
        activation: A function, or a layer or operation that is one.
    """
    try:
        function = elementwise(activation)
    except Untouchable as why:
        channels.hold(value, f"of {call.name}: {why}")
        return value.unknown()
    dtype = getattr(call.layer, "compute_dtype", keras.config.floatx())  # operations have none
    return value.having(applied(function, constants, dtype))
