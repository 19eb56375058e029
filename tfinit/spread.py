"""Mean, deviation and confidence interval over replicates: numbers only."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import t as student_t

from tfinit.arguments import array, refused

__all__ = ["Spread"]


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over ``n`` replicates (0 for a single one).

    Of no replicate at all, ``n`` is 0 and the others are NaN.

    Attributes:
        values: Those of the replicates, where they are known: figures draw few of them one by one.

    Example:
        >>> Spread.of([1.0, 3.0]).mean
        2.0
    """

    mean: float
    std: float
    n: int
    values: tuple[float, ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of some values."""
        values = array("values", values)
        if values.ndim != 1:
            raise refused("values", "a list of numbers", values)
        if not len(values):
            return cls(np.nan, np.nan, 0)
        std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return cls(float(np.mean(values)), std, len(values), tuple(values.tolist()))

    def to_dict(self) -> dict[str, float | None]:
        """Mean, deviation, the ends of the interval and n; None for what is not finite."""
        low, high = self.interval
        values = {"mean": self.mean, "std": self.std, "low": low, "high": high}
        return {name: v if np.isfinite(v) else None for name, v in values.items()} | {"n": self.n}

    @property
    def interval(self) -> tuple[float, float]:
        """95% confidence interval of the mean, by Student's t; infinite for fewer than two."""
        if self.n < 2:
            return (-np.inf, np.inf)
        half = float(student_t.ppf(0.975, self.n - 1)) * self.std / self.n**0.5
        return (self.mean - half, self.mean + half)
