"""What the raw inputs hold: their range, whether examples differ, and the columns of tables."""

from dataclasses import dataclass

import numpy as np

_MOST = 2**24  # numbers of a table whose columns are looked at


@dataclass(frozen=True)
class Given:
    """One input as it was given.

    Attributes:
        shape: With the examples.
        dtype: Its type, ``"uint8"``.
        low: The smallest number that is finite; NaN of none, or of no numbers.
        high: The largest.
        whole: Whether all that are finite are whole numbers.
        alike: Whether all examples are the same; False of a single one.
        means: Of a table (two axes) the mean of each column, over what is finite; else empty.
        stds: The standard deviation of each column.
        copies: Pairs of columns of a table that are the same and not constant: each later one with
            the first of its kind.
    """

    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float
    whole: bool
    alike: bool
    means: np.ndarray
    stds: np.ndarray
    copies: tuple[tuple[int, int], ...]

    @property
    def is_image(self) -> bool:
        """Whether it looks like images: two axes of space and one of up to four colours."""
        return len(self.shape) == 4 and (self.shape[-1] <= 4 or self.shape[1] <= 4)

    @property
    def is_of_pixels(self) -> bool:
        """Whether it looks like unscaled pixels: in an image's shape or long rows, 0 to 255."""
        holds = self.low >= 0 and 1.5 < self.high <= 255 and (self.whole or self.high > 100)
        return holds and (self.is_image or (len(self.shape) > 1 and self.shape[-1] >= 28))


def look_at(array: np.ndarray) -> Given:
    """What one input holds."""
    kind = array.dtype.kind
    none = np.empty(0)
    if kind not in "biuf" or not array.size:
        return Given(array.shape, str(array.dtype), np.nan, np.nan, False, False, none, none, ())
    known = array if kind != "f" else array[np.isfinite(array)]
    low, high = (float(known.min()), float(known.max())) if known.size else (np.nan, np.nan)
    whole = kind != "f" or (known.size > 0 and not np.any(known != np.trunc(known)))
    alike = len(array) > 1 and not np.any(array[1:] != array[:1])
    means, stds, copies = none, none, ()
    if array.ndim == 2 and array.size <= _MOST:
        wide = np.ma.masked_invalid(array.astype(np.float64))
        means, stds = (np.ma.filled(part, np.nan) for part in (wide.mean(0), wide.std(0)))
        # A mean is rounded, and a deviation from it may be.
        stds = np.where(np.ma.filled(wide.min(0) == wide.max(0), False), 0.0, stds)
        copies = _copies(array, stds)
    return Given(array.shape, str(array.dtype), low, high, whole, alike, means, stds, copies)


def _copies(table: np.ndarray, stds: np.ndarray) -> tuple[tuple[int, int], ...]:
    first: dict[bytes, int] = {}
    pairs = []
    for n, column in enumerate(np.ascontiguousarray(table.T)):
        if stds[n] > 0:
            before = first.setdefault(column.tobytes(), n)
            pairs += [(before, n)] if before != n else []
    return tuple(pairs)
