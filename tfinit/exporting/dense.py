"""The dense model that a pruned one is compared with, where the user has not kept it."""

from typing import Any

import keras
import numpy as np

from tfinit.graph.layer_kinds import PRUNABLE_NAMES
from tfinit.pruning.counting.effective_weights import is_coded
from tfinit.variables import own_weights, walk_layers, weight_name

# Fewer zeros than this were not put there by pruning.
PRUNED = 0.05
_SMALL = 0.1  # the quantile of what is left that the numbers in the zeros' places stay below

NOTE = (
    "the same model with small random numbers in place of its zeros: it stands for the dense one "
    "in size and time. `baseline` compares with the model itself."
)


def kernels(layer: Any) -> list[Any]:
    """The weights of a layer that pruning takes, of rank 2 or more."""
    own = own_weights(layer)
    return [v for v in own if weight_name(v) in PRUNABLE_NAMES and len(v.shape) >= 2]


def pruned_kernels(model: Any) -> list[Any]:
    """Kernels of which 5% or more are zero, but for codes, whose zeros may be rounding."""
    found = []
    for _, layer in walk_layers(model):
        if is_coded(layer):
            continue
        for kernel in kernels(layer):
            values = np.asarray(keras.ops.convert_to_numpy(kernel))
            if np.mean(values == 0) >= PRUNED:
                found.append(kernel)
    return found


def dense_model(model: Any) -> Any | None:
    """A copy of a pruned model with numbers in place of its zeros.

    The numbers are uniform and below nine tenths of those that are left, as what magnitude pruning
    takes is: it compresses as weights do, and what the model computes stays in its range.

    Args:
        model: A built Keras model; it is left as it was.

    Returns:
        The copy; None where nothing is pruned, and where Keras cannot copy the model.
    """
    pruned = {id(kernel) for kernel in pruned_kernels(model)}
    if not pruned:
        return None
    try:
        copy = keras.models.clone_model(model)
        pairs = list(zip(model.weights, copy.weights, strict=True))
    # A model of the user's own class may raise anything when it is made from its configuration.
    except Exception:
        return None
    rng = np.random.default_rng(0)
    for weight, own in pairs:
        values = np.asarray(keras.ops.convert_to_numpy(weight))
        own.assign(_filled(values, rng) if id(weight) in pruned else values)
    return copy


def _filled(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    zero = values == 0
    left = np.abs(values[~zero].astype("float32"))
    most = float(np.quantile(left, _SMALL)) if left.size else 0.01
    filled = values.copy()
    filled[zero] = rng.uniform(-most, most, int(zero.sum())).astype(values.dtype)
    return filled
