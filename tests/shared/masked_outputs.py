"""What a model computes with channels masked: what one without them must compute, too."""

from contextlib import contextmanager

import keras
import numpy as np
from keras import ops

from tfinit.variables import all_weights, walk_layers


def batch_for(model, rows=2, seed=0):
    """Noise for what takes numbers, words for what takes whole numbers."""
    rng = np.random.default_rng(seed)

    def part(tensor):
        shape = [rows, *(size or 8 for size in tensor.shape[1:])]
        if "int" in str(tensor.dtype):
            return rng.integers(0, 2, shape).astype("int32")
        return rng.normal(0, 1, shape).astype(tensor.dtype)

    return keras.tree.map_structure(part, model.input)


def outputs_of(model, given):
    """The outputs in inference, in a list."""
    made = keras.tree.flatten(model(given, training=False))
    return [ops.convert_to_numpy(tensor) for tensor in made]


def masked_outputs(model, masks, given):
    """The outputs of a model with its weights multiplied by masks; it is as it was afterwards.

    Layers that normalize over channels take mean and variance of those that stay, as they do once
    the others are gone.

    Args:
        model: The model.
        masks: What `ChannelPlan.masks` says.
        given: A batch.
    """
    every = all_weights(model)
    weights = {key: every[key] for key in masks}
    before = {key: ops.convert_to_numpy(variable).copy() for key, variable in weights.items()}
    stay = {id(variable): masks[key] for key, variable in weights.items()}
    try:
        for key, variable in weights.items():
            variable.assign(before[key] * masks[key])
        with _normalizing_what_stays(model, stay):
            return outputs_of(model, given)
    finally:
        for key, variable in weights.items():
            variable.assign(before[key])


def greatest_difference(one, two):
    """The greatest difference between outputs, relative to the largest of the first."""
    assert [a.shape for a in one] == [b.shape for b in two]
    assert all(np.isfinite(a).all() for a in [*one, *two])
    largest = [max(float(np.abs(a).max()), 1e-30) for a in one]
    return max(float(np.abs(a - b).max()) / m for a, b, m in zip(one, two, largest, strict=True))


@contextmanager
def _normalizing_what_stays(model, stay):
    """LayerNormalization and RMSNormalization over the channels that stay of their scale."""
    changed = []
    for _, layer in walk_layers(model):
        kinds = keras.layers.LayerNormalization, keras.layers.RMSNormalization
        if isinstance(layer, kinds):
            scale = layer.gamma if isinstance(layer, kinds[0]) else layer.scale
            if id(scale) in stay:
                vars(layer)["call"] = _normalization(layer, stay[id(scale)].astype("float64"))
                changed.append(layer)
    try:
        yield
    finally:
        for layer in changed:
            del vars(layer)["call"]


def _normalization(layer, stays):
    """(x − μ) / √(σ² + ε) · γ + β of what stays of the last axis, by its formula."""
    assert layer.axis in (-1, [-1]) or len(stays.shape) == 1
    centers = isinstance(layer, keras.layers.LayerNormalization)
    count = float(stays.sum())
    stays = ops.convert_to_tensor(stays)

    def call(inputs):
        x = ops.cast(inputs, "float64")
        mean = ops.sum(x * stays, axis=-1, keepdims=True) / count if centers else 0.0
        x = (x - mean) * stays
        x = x / ops.sqrt(ops.sum(x**2, axis=-1, keepdims=True) / count + layer.epsilon)
        x = ops.cast(x, inputs.dtype)
        if not centers:
            return x * layer.scale
        return x * layer.gamma + layer.beta if layer.center else x * layer.gamma

    return call
