"""How far the optimizer's first step would move the weights, tried on copies."""

import math
from typing import Any

import numpy as np


def update_ratios(
    model: Any, weights: dict[str, np.ndarray], gradients: dict[str, np.ndarray]
) -> dict[str, float]:
    """rms(Δw) / rms(w) of each weight, Δw being the first update of a fresh optimizer.

    About 10⁻³ is usual (10⁻² is fast, 10⁻⁴ slow).

    Args:
        model: A compiled model; its optimizer is copied, not used.
        weights: Key → a weight.
        gradients: Key → its gradient, for those that have one.

    Returns:
        The ratios by key. Left out are weights of zeros, and those whose gradient is missing or
        not finite; all, if the model is not compiled or its optimizer cannot be copied.
    """
    optimizer = getattr(model, "optimizer", None)
    sizes = {key: _rms(weights[key]) for key in gradients if np.all(np.isfinite(gradients[key]))}
    sizes = {key: size for key, size in sizes.items() if size > 0}
    if optimizer is None or not sizes:
        return {}
    import keras

    # What scales the loss or prunes wraps the optimizer that moves the weights.
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    try:
        fresh = type(optimizer).from_config(optimizer.get_config())
        copies = [keras.Variable(weights[key], dtype="float32", name="kernel") for key in sizes]
        fresh.build(copies)
        fresh.apply([keras.ops.convert_to_tensor(gradients[k], "float32") for k in sizes], copies)
    except Exception:
        # An optimizer of the user's own may need more than its config and variables.
        return {}
    return {
        key: _rms(copy.numpy() - weights[key]) / size
        for (key, size), copy in zip(sizes.items(), copies, strict=True)
    }


def _rms(array: np.ndarray) -> float:
    return float(np.linalg.norm(array.ravel())) / math.sqrt(array.size)
