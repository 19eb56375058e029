"""What the targets of an output are: one class of several, several at once, numbers."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

_SHARES_OFF = 1e-3  # from 1, of the sum of shares that are targets


@dataclass(frozen=True)
class Targets:
    """What one output is compared with, as it was given.

    Rows with a number that is not finite are left out of all but `values`.

    Attributes:
        values: The targets, one row for each example.
        units: How many numbers the output has at its last axis.
        ignored: A class number that the loss leaves out; None for none.
    """

    values: np.ndarray
    units: int
    ignored: int | None = None

    @cached_property
    def known(self) -> np.ndarray:
        """Their finite rows, float64, flat without what is ignored; empty of what is no number."""
        if self.values.dtype.kind not in "fiub" or not self.values.size:
            return np.empty((0,))
        wide = self.values.astype(np.float64)
        if self.ignored is not None:
            wide = wide[wide != self.ignored]
        rows = np.isfinite(wide).reshape(len(wide), -1).all(1)
        return wide[rows]

    @property
    def width(self) -> int:
        """How many numbers belong to one place of the output: 1 for a class number."""
        return self.values.shape[-1] if self.values.ndim > 1 else 1

    @cached_property
    def distinct(self) -> np.ndarray:
        """Their distinct values, in order."""
        return np.unique(self.known)

    @property
    def low(self) -> float:
        """The smallest; NaN of none."""
        return float(self.distinct[0]) if len(self.distinct) else float("nan")

    @property
    def high(self) -> float:
        """The largest; NaN of none."""
        return float(self.distinct[-1]) if len(self.distinct) else float("nan")

    @property
    def whole(self) -> bool:
        """True if all are whole numbers."""
        return bool(len(self.distinct)) and bool(np.all(self.distinct == np.round(self.distinct)))

    @cached_property
    def kind(self) -> str:
        """What they are.

        Of several numbers at a place: ``"one-hot"``; ``"several"`` classes at once, zeros and ones;
        ``"shares"`` that sum to one, as smoothed labels. Of one: ``"binary"``, zeros and ones;
        ``"signs"``, -1 and 1. Of either: ``"whole"`` numbers from 0 on, which may be classes;
        ``"numbers"``. ``""`` where nothing is known.
        """
        known, distinct = self.known, self.distinct
        if not len(distinct):
            return ""
        zero_one = set(distinct[:3]) <= {0.0, 1.0}
        if self.width > 1 and self.units == self.width:
            sums = known.sum(-1)
            if self.low >= 0 and np.all(abs(sums - 1) <= _SHARES_OFF):
                return "one-hot" if zero_one else "shares"
            if zero_one:
                return "several"
        elif zero_one:
            return "binary"
        if set(distinct[:3]) <= {-1.0, 1.0}:
            return "signs"
        return "whole" if self.whole and self.low >= 0 else "numbers"

    @cached_property
    def at_once(self) -> float:
        """The share of places with more than one class, of ``"several"``; else 0."""
        return float(np.mean(self.known.sum(-1) > 1)) if self.kind == "several" else 0.0
