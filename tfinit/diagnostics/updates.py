"""How far the optimizer's first step would move a weight, tried on a copy."""

import math
from typing import Any

import numpy as np


def update_ratio(model: Any, values: np.ndarray, gradient: np.ndarray | None) -> float | None:
    """rms(Δw) / rms(w), Δw being the first update of a fresh optimizer like the model's.

    About 10⁻³ is usual (10⁻² is fast, 10⁻⁴ slow).

    Args:
        model: A compiled model; its optimizer is copied, not used.
        values: A weight.
        gradient: Its gradient.

    Returns:
        The ratio; None if the model is not compiled, the gradient is missing or not finite, the
        weight is all zeros, or the optimizer cannot be copied.
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or gradient is None or not np.all(np.isfinite(gradient)):
        return None
    size = math.sqrt(float(np.mean(np.square(values, dtype=np.float64))))
    if size == 0:
        return None
    import keras

    # What scales the loss or prunes wraps the optimizer that moves the weights.
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    try:
        fresh = type(optimizer).from_config(optimizer.get_config())
        copy = keras.Variable(values, dtype="float32", name="kernel")
        fresh.build([copy])
        fresh.apply([keras.ops.convert_to_tensor(gradient, "float32")], [copy])
    except Exception:
        # An optimizer of the user's own may need more than its config and a variable.
        return None
    moved = copy.numpy().astype(np.float64) - values
    return math.sqrt(float(np.mean(np.square(moved)))) / size
