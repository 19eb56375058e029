"""The statistics of one tensor of activations or gradients, in few passes of NumPy."""

import math
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import numpy as np

# Values kept of each tensor, for histograms.
_SAMPLE = 2000
# Up to so many entries, float64 costs nothing.
_SMALL = 2**16
# A bounded unit is saturated where its slope is below about a twentieth of the steepest.
_SATURATED = 0.975
_WAITING = 2  # tensors that another thread has to measure
_TINY = 1e-30  # a mean square below this has lost digits in float32
# Rows that are summed in float32; sums of these are summed in float64.
_ROWS = 256
# Mean square / variance beyond which their difference has lost too many digits.
_CANCELLED = 10.0
_ONE_HOT = 0.99  # and a row of softmax where one entry is above this

# The activations whose saturation is counted.
BOUNDED = ("softmax", "tanh", "softsign", "sigmoid", "hard_sigmoid", "hard_tanh")


@dataclass(frozen=True)
class Signal:
    """What is known of one tensor. Its units are the entries of the channel axis.

    Attributes:
        count: Number of entries.
        mean: Over all entries.
        std: Over all entries.
        variation: √ of the mean over units of a unit's variance over examples and positions: what
            of the signal depends on the input. A unit's own constant is not in it.
        zeros: Fraction of entries that are exactly zero; None where they were not counted.
        dead: Fraction of units that are exactly zero everywhere.
        saturated: Fraction of entries at the flat ends of a bounded activation; None for others.
        finite: False if any entry is NaN or infinite. All the others are NaN then.
        sample: Some entries, evenly spread over the tensor, float32.
    """

    count: int
    mean: float
    std: float
    variation: float
    zeros: float | None
    dead: float
    saturated: float | None
    finite: bool
    sample: np.ndarray

    @property
    def rms(self) -> float:
        """Root of the mean square, √(mean² + std²)."""
        return math.hypot(self.mean, self.std)

    @property
    def norm(self) -> float:
        """Root of the sum of squares."""
        return self.rms * math.sqrt(self.count)


def measure_signal(
    value: Any, channel: int = -1, activation: str = "", count_zeros: bool = True
) -> Signal:
    """The statistics of a tensor of any backend.

    Args:
        value: A float tensor of any shape, its examples along the first axis.
        channel: The axis of the units.
        activation: The name of the bounded activation whose output this is, if it is one.
        count_zeros: Whether to count zeros, which is another pass.
    """
    array = array_of(value)
    step = max(1, array.size // _SAMPLE)
    # The units last; of a vector there is one.
    rows = np.moveaxis(array, channel, -1) if array.ndim > 1 else array[..., None]
    if array.size <= _SMALL:
        return _measure_small(array, rows, activation, count_zeros, step)
    if array.dtype != np.float64:
        array, rows = (part.astype(np.float32, copy=False) for part in (array, rows))
    sample = array.ravel()[::step][:_SAMPLE].astype(np.float32)
    filled = _count_filled(array) if count_zeros else 0
    rows = rows.reshape(-1, rows.shape[-1])
    scale = 1.0
    means, variances = _moments(rows)
    total = float(np.mean(variances + means**2))
    if not (math.isfinite(total) and total > _TINY):
        # Squares of 1e-30 or 1e30 have no place in float32: scale the largest entry to 1.
        scale = float(np.max(np.abs(rows)))
        with np.errstate(all="ignore"):
            means, variances = _moments(rows / rows.dtype.type(scale) if scale else rows)
    zeros = (array.size - filled) / array.size if count_zeros else None
    return _signal(
        array.size, means, variances, scale, zeros, _saturated(array, activation), sample
    )


def array_of(tensor: Any) -> np.ndarray:
    """The numbers of a tensor that nobody writes, in its own memory where that is the host's."""
    from tfinit.graph import passes  # it imports Keras

    return tensor if isinstance(tensor, np.ndarray) else passes.backend().array(tensor)


class Beside:
    """Measures signals in another thread, where that is worth it.

    What waits for it keeps its tensor alive: so little waits, and the rest is measured here.

    Args:
        executor: The other thread.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._waiting: list[Future[Signal]] = []

    def measure(self, value: Any, *how: Any, **more: Any) -> Future[Signal]:
        """What `measure_signal` gives."""
        if math.prod(value.shape) > _SMALL:
            self._waiting = [signal for signal in self._waiting if not signal.done()]
            if len(self._waiting) < _WAITING:
                self._waiting.append(self._executor.submit(measure_signal, value, *how, **more))
                return self._waiting[-1]
        done: Future[Signal] = Future()
        done.set_result(measure_signal(value, *how, **more))
        return done


def _measure_small(
    array: np.ndarray, rows: np.ndarray, activation: str, count_zeros: bool, step: int
) -> Signal:
    """The same in float64, in which nothing of float32 gets lost."""
    axes = tuple(range(rows.ndim - 1))
    with np.errstate(all="ignore"):
        wide = rows.astype(np.float64)
        means, variances = wide.mean(axes), wide.var(axes)
        sample = array.ravel()[::step][:_SAMPLE].astype(np.float32)
    zeros = None
    if count_zeros:
        zeros = 1 - np.count_nonzero(array) / array.size if array.size else 0.0
    saturated = _saturated(array, activation)
    return _signal(array.size, means, variances, 1.0, zeros, saturated, sample)


def _signal(
    count: int,
    means: np.ndarray,
    variances: np.ndarray,
    scale: float,
    zeros: float | None,
    saturated: float | None,
    sample: np.ndarray,
) -> Signal:
    # A maximum passes over NaN, a mean does not.
    if not (math.isfinite(scale) and np.all(np.isfinite(means))):
        nan = math.nan
        return Signal(count, nan, nan, nan, nan, nan, None, False, sample)
    return Signal(
        count=count,
        mean=float(means.mean()) * scale,
        std=math.sqrt(variances.mean() + means.var()) * scale,
        variation=math.sqrt(variances.mean()) * scale,
        zeros=zeros,
        dead=float(np.mean((means == 0) & (variances == 0))),
        saturated=saturated,
        finite=True,
        sample=sample,
    )


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each column of a matrix, in float64; it is read twice."""
    count, units = rows.shape
    whole = count - count % _ROWS
    blocks = [rows[:whole].reshape(-1, _ROWS, units), rows[None, whole:]]
    with np.errstate(all="ignore"):
        sums = [np.einsum("bru->bu", block) for block in blocks]
        squares = [np.einsum("bru,bru->bu", block, block) for block in blocks]
        means = sum(part.sum(0, dtype=np.float64) for part in sums) / count
        square = sum(part.sum(0, dtype=np.float64) for part in squares) / count
        variances = np.maximum(square - means**2, 0.0)
        # What is almost constant, a column at a time.
        for unit in np.flatnonzero(square > _CANCELLED * variances):
            variances[unit] = np.var(rows[:, unit], dtype=np.float64)
    return means, variances


def _count_filled(array: np.ndarray) -> int:
    """How many entries are not zero: of floats, NumPy counts booleans sooner."""
    flat, step = array.ravel(), 2**18
    return sum(
        int(np.count_nonzero(flat[first : first + step] != 0))
        for first in range(0, flat.size, step)
    )


def _saturated(array: np.ndarray, activation: str) -> float | None:
    """The fraction of entries of an activation's output that are at its flat ends."""
    if activation not in BOUNDED:
        return None
    wide = array if array.dtype == np.float64 else array.astype(np.float32, copy=False)
    with np.errstate(all="ignore"):
        if activation == "softmax":
            flat = wide.max(axis=-1) > _ONE_HOT
        elif activation in ("tanh", "softsign"):
            flat = np.abs(wide) > _SATURATED
        elif activation in ("sigmoid", "hard_sigmoid"):
            flat = np.abs(2 * wide - 1) > _SATURATED
        else:
            flat = np.abs(wide) >= 1
    return np.count_nonzero(flat) / flat.size
