"""Channels through normalizations, scales, and activations with weights or over an axis."""

from typing import Any

import numpy as np

from tfinit.graph.channel_values import Call, Channels, Rule, Value
from tfinit.variables import all_weights


def _batch_normalization(channels: Channels, call: Call) -> Value:
    """y = γ · (x − μ) / √(σ² + ε) + β, with the moving statistics, as in inference."""
    layer = call.layer
    taken = channels.along(layer.axis, call, carries=True)
    scale = 1.0 / np.sqrt(channels.array(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale = scale * channels.array(layer.gamma)
    # With γ = 0 the input does not matter.
    constants = np.where(
        scale == 0, 0.0, (taken.constants - channels.array(layer.moving_mean)) * scale
    )
    if layer.center:
        constants = constants + channels.array(layer.beta)
    made = taken.having(constants)
    channels.carry(call, taken, made)
    channels.weigh(call, dict.fromkeys(all_weights(layer), (taken,)), {})
    return made


def _axes_of(layer: Any, rank: int) -> list[int]:
    """The axes that a layer normalizes over, in ascending order."""
    given = [layer.axis] if isinstance(layer.axis, int) else layer.axis
    return sorted(axis % rank for axis in given)


def _over_axes(channels: Channels, call: Call) -> Value:
    """LayerNormalization, RMSNormalization, UnitNormalization: over the axes that they name.

    Their weights are of these axes. Over positions alone, each channel is treated by itself.
    """
    layer, taken = call.layer, call.taken[0]
    axes = _axes_of(layer, len(call.shapes[0]))
    made = taken.unknown()
    by_axis = {value.axis: value for value in taken.all() if value.axis in axes}
    for value in by_axis.values():
        channels.normalize(call, value)
    channels.carry(call, taken, made)
    channels.weigh(call, dict.fromkeys(all_weights(layer), tuple(map(by_axis.get, axes))), {})
    return made


def _group_normalization(channels: Channels, call: Call) -> Value:
    """Groups go as a whole, so that what is left is normalized as it was."""
    layer = call.layer
    taken = channels.along(layer.axis, call)
    size = len(taken) // layer.groups
    made = taken.unknown()
    weights = dict.fromkeys(all_weights(layer), (taken,))
    if layer.groups == 1:
        channels.normalize(call, taken)
        sizes = {}
    else:
        firsts = taken.at(slice(None, None, size))
        for i in range(1, size):
            channels.join(firsts, taken.at(slice(i, None, size)))
        sizes = {"groups": firsts}
        # A group of zeros is 0 − 0 over √ε: β is left.
        zeros = (taken.constants.reshape(-1, size) == 0).all(axis=1).repeat(size)
        beta = channels.array(layer.beta) if layer.center else 0.0
        made = made.having(np.where(zeros, beta, np.nan))
    channels.carry(call, taken, made)
    channels.weigh(call, weights, sizes)
    return made


def _prelu(channels: Channels, call: Call) -> Value:
    """x where it is positive, else α · x; there is an α for each entry but for shared axes."""
    taken, layer = call.taken[0], call.layer
    alpha = np.moveaxis(channels.array(layer.alpha), taken.axis - 1, -1)
    alpha = alpha.reshape(-1, alpha.shape[-1])
    slope = np.where((alpha == alpha[:1]).all(axis=0), alpha[0], np.nan)
    negative = np.where(taken.constants == 0, 0.0, slope * taken.constants)
    made = taken.having(np.where(taken.constants >= 0, taken.constants, negative))
    channels.carry(call, taken, made)
    own = taken if layer.alpha.shape[taken.axis - 1] == len(taken) else None
    axes = range(1, len(call.shapes[0]))
    alphas = tuple(own if axis == taken.axis else None for axis in axes)
    channels.weigh(call, {"alpha": alphas}, {})
    return made


def _layer_scale(channels: Channels, call: Call) -> Value:
    """γ · x, of Keras's ConvNeXt."""
    taken = channels.along(-1, call, carries=True)
    gamma = channels.array(call.layer.gamma)
    made = taken.having(np.where(gamma == 0, 0.0, taken.constants * gamma))
    channels.carry(call, taken, made)
    names = all_weights(call.layer)
    channels.weigh(call, dict.fromkeys(names, (taken,)), {"projection_dim": taken})
    return made


def _rescaling(channels: Channels, call: Call) -> Value:
    """x · scale + offset: two numbers, or a number for each channel, which then stay."""
    taken, layer = call.taken[0], call.layer
    if np.size(layer.scale) > 1 or np.size(layer.offset) > 1:
        channels.hold(taken, f"{call.name} has a number of its own for each")
        return taken.unknown()
    return taken.having(taken.constants * np.ravel(layer.scale) + np.ravel(layer.offset))


def _standardizing(channels: Channels, call: Call) -> Value:
    """Normalization, of data: with the statistics of each channel, or of all."""
    channels.hold(call.taken[0], f"{call.name} has a mean of each")
    return call.taken[0].unknown()


def _softmax(channels: Channels, call: Call) -> Value:
    """eˣ over its sum along an axis."""
    taken = call.taken[0]
    if taken.axis in _axes_of(call.layer, len(call.shapes[0])):
        channels.hold(taken, f"{call.name} is a softmax over them")
    return taken.unknown()


RULES: dict[str, Rule] = {
    "batch_normalization": _batch_normalization,
    "over_axes": _over_axes,
    "group_normalization": _group_normalization,
    "prelu": _prelu,
    "layer_scale": _layer_scale,
    "rescaling": _rescaling,
    "standardizing": _standardizing,
    "softmax": _softmax,
}
