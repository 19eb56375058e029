"""What is known of every weight that training moves, whatever it is called."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Parameter:
    """One trainable weight of a model.

    Attributes:
        key: Its stable key.
        shape: Its shape.
        rms: Of its values.
        gradient: The norm of the loss's gradient; None where no gradient comes back to it.
        largest: The largest entry of that gradient, without sign; None the same.
        update_ratio: rms of the optimizer's first update / rms of the values; None of a weight of
            zeros, and where it cannot be told.
    """

    key: str
    shape: tuple[int, ...]
    rms: float
    gradient: float | None
    largest: float | None
    update_ratio: float | None


def norm(array: np.ndarray) -> float:
    """√ of the sum of squares, of arrays too whose squares float32 does not hold."""
    peak = float(np.max(np.abs(array), initial=0.0))
    if not (peak > 0 and math.isfinite(peak)):
        return peak
    return float(np.linalg.norm((array / peak).ravel())) * peak


def parameter(
    key: str, values: np.ndarray, gradient: np.ndarray | None, update_ratio: float | None
) -> Parameter:
    """What is known of one."""
    rms = norm(values) / math.sqrt(max(values.size, 1))
    if gradient is None:
        return Parameter(key, values.shape, rms, None, None, update_ratio)
    largest = float(np.max(np.abs(gradient), initial=0.0))
    return Parameter(key, values.shape, rms, norm(gradient), largest, update_ratio)
