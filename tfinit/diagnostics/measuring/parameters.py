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


# Between these, squares of float32 have their places and sums of many of them too.
_LEAST, _MOST = 1e-20, 1e30
_BLOCK = 2**16  # entries that are summed in float32; sums of these are summed in float64
_CANCELLED = 10.0  # mean square / variance beyond which their difference has lost too many digits


def norm(array: np.ndarray) -> float:
    """√ of the sum of squares, of arrays too whose squares float32 does not hold."""
    square = _square(array)
    if _LEAST < square < _MOST:
        return math.sqrt(square)
    peak = largest(array)
    if not (peak > 0 and math.isfinite(peak)):
        return peak
    return float(np.linalg.norm((array / peak).ravel())) * peak


def mean_and_std(array: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of all entries, read without copies where that is exact."""
    mean, square = float(array.mean()), _square(array)
    variance = square / max(array.size, 1) - mean**2
    if _LEAST < square < _MOST and square / array.size < _CANCELLED * variance:
        return mean, math.sqrt(variance)
    return mean, float(array.std())


def _square(array: np.ndarray) -> float:
    flat = array.ravel()
    with np.errstate(all="ignore"):
        parts = (flat[first : first + _BLOCK] for first in range(0, flat.size, _BLOCK))
        return math.fsum(float(np.dot(part, part)) for part in parts)


def largest(array: np.ndarray) -> float:
    """The largest entry without sign; NaN where one is NaN, 0 of no entries."""
    if not array.size:
        return 0.0
    return float(np.maximum(array.max(), -array.min()))


def parameter(
    key: str, values: np.ndarray, gradient: np.ndarray | None, update_ratio: float | None
) -> Parameter:
    """What is known of one."""
    rms = norm(values) / math.sqrt(max(values.size, 1))
    if gradient is None:
        return Parameter(key, values.shape, rms, None, None, update_ratio)
    return Parameter(key, values.shape, rms, norm(gradient), largest(gradient), update_ratio)
