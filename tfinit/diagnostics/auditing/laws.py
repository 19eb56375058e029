"""What an initializer may draw, and how likely it is that some values are of it.

A law bounds the probability that it gives values at least as odd as those it is shown. For
independent entries of a normal, uniform or truncated normal distribution with mean μ, deviation σ
and distribution function F the bounds hold for any number n of entries::

    mean       z = |Σ(w - μ)| / (σ√n)           2 exp(-z² / 2)
    variance   r = Σ(w - μ)² / (nσ²)            2 exp(-n (r - 1 - ln r) / 2)
    shape      D = max |F_n - F|                2 exp(-2nD²)
    norm       t = ‖W - μ‖₂ / σ - √rows - √columns        exp(-t² / 2)

The first is that of a normal variable, which the others are below (they are strictly
sub-Gaussian); the second Chernoff's for χ², which the squares of the others are below in the
convex order; the third by Dvoretzky, Kiefer & Wolfowitz with Massart's constant; the fourth, which
sees what training adds (its steps are of low rank), by Davidson & Szarek for normal entries, whose
edge the others share as the matrix grows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special
from scipy.stats import t as student_t

from tfinit.fans import fans
from tfinit.gains import CUT, CUT_STD
from tfinit.schemes.reinitialize import reseeded
from tfinit.streams import stream

__all__ = ["Constant", "Independent", "Isometry", "Law", "Like", "law_of", "norm_beyond_chance"]

_MOST = 1_000_000  # entries whose ranks are looked at
_TURNS = 8  # of the power iteration; fewer only make the norm smaller
_DRAWS = 16  # of an initializer whose distribution is not known
_STEPS = 4  # tests of one tensor, over which a probability is spread


@dataclass(frozen=True)
class Constant:
    """Always the same values: zeros, ones, an identity."""

    name: str
    values: np.ndarray

    @property
    def std(self) -> float:
        """Of the entries."""
        return float(self.values.std())

    def probability(self, values: np.ndarray, resolution: float) -> float:
        """1 if these are the values but for rounding, else 0.

        Args:
            values: Float64, in the weight's shape.
            resolution: Of the weight's type: how far apart two numbers near 1 are.
        """
        return float(np.allclose(values, self.values, rtol=2 * resolution, atol=0))


@dataclass(frozen=True)
class Independent:
    """Independent entries of one distribution.

    Attributes:
        name: What it is called.
        mean: μ.
        std: σ.
        cumulative: F of (w - μ) / σ, or None where only the moments are known.
    """

    name: str
    mean: float
    std: float
    cumulative: Callable[[np.ndarray], np.ndarray] | None

    def probability(self, values: np.ndarray, resolution: float) -> float:
        """The smallest of the bounds at the top of the file, times their number."""
        unit = (values.reshape(-1) - self.mean) / self.std
        n = unit.size
        z = abs(unit.sum()) / math.sqrt(n)
        # Rounding to the weight's type may move a moment by so much.
        r = float(np.mean(unit**2))
        if abs(r - 1) <= 2 * resolution:
            r = 1.0
        bounds = [
            2 * math.exp(-(z**2) / 2),
            2 * math.exp(-n * (r - 1 - math.log(r)) / 2) if r > 0 else 0.0,
            norm_beyond_chance((values - self.mean) / self.std),
        ]
        if self.cumulative is not None:
            some = np.sort(unit[:: max(1, n // _MOST)])
            expected = self.cumulative(some)
            ranks = np.arange(some.size + 1) / some.size
            gap = max((expected - ranks[:-1]).max(), (ranks[1:] - expected).max()) - resolution
            bounds.append(2 * math.exp(-2 * some.size * max(gap, 0.0) ** 2))
        return min(1.0, _STEPS * min(bounds))


@dataclass(frozen=True)
class Isometry:
    """A multiple of a matrix whose shorter side is orthonormal."""

    name: str
    factor: float
    std: float

    def probability(self, values: np.ndarray, resolution: float) -> float:
        """1 if WᵀW (or WWᵀ) is the factor's square times the identity but for rounding, else 0."""
        matrix = values.reshape(-1, values.shape[-1]) / self.factor
        if matrix.shape[0] < matrix.shape[1]:
            matrix = matrix.T
        away = np.abs(matrix.T @ matrix - np.eye(matrix.shape[1])).max()
        return float(away <= max(1e-3, 8 * resolution))


@dataclass(frozen=True)
class Like:
    """As an initializer that can only be asked: by what its own draws measure.

    Attributes:
        name: The initializer's.
        std: Of its draws.
        measures: Of each draw, see `_measures`.
    """

    name: str
    std: float
    measures: np.ndarray

    def probability(self, values: np.ndarray, resolution: float) -> float:
        """By Student's t: how far the measures are from those of the draws."""
        found = _measures(values)
        draws = len(self.measures)
        mean, spread = self.measures.mean(axis=0), self.measures.std(axis=0, ddof=1)
        # What all draws have in common, as the norm of an isometry, is known but for rounding.
        spread = np.maximum(spread * math.sqrt(1 + 1 / draws), 1e-3 + resolution)
        away = np.abs(found - mean) / spread
        return min(1.0, found.size * 2 * float(student_t.sf(away.max(), draws - 1)))


Law = Constant | Independent | Isometry | Like


def law_of(initializer: Any, shape: tuple[int, ...], dtype: Any) -> Law:
    """The law of an initializer of Keras or tfinit, or of any callable, for a weight of a shape."""
    import keras

    keras_initializers = keras.initializers
    name = type(initializer).__name__
    if not hasattr(initializer, "get_config"):
        name = getattr(initializer, "__name__", name)
    law: Law | None = None
    if not type(initializer).__module__.startswith("keras."):
        pass  # of a subclass one cannot say what it does
    elif isinstance(initializer, keras_initializers.VarianceScaling):
        law = _scaled(initializer, name, shape)
    elif isinstance(initializer, keras_initializers.TruncatedNormal):
        std = initializer.stddev * CUT_STD
        law = Independent(name, initializer.mean, std, _truncated)
    elif isinstance(initializer, keras_initializers.RandomNormal):
        law = Independent(name, initializer.mean, initializer.stddev, special.ndtr)
    elif isinstance(initializer, keras_initializers.RandomUniform):
        low, high = initializer.minval, initializer.maxval
        law = Independent(name, (low + high) / 2, (high - low) / math.sqrt(12), _uniform)
    if law is not None and law.std > 0:
        return law
    first = _drawn(initializer, 0, shape, dtype)
    if np.array_equal(first, _drawn(initializer, 1, shape, dtype)):
        return Constant(name, first)
    if name in ("Orthogonal", "OrthogonalInitializer", "TfinitOrthogonal"):
        longer = max(math.prod(shape[:-1]), shape[-1])
        std = float(np.sqrt(np.mean(first**2)))
        return Isometry(name, std * math.sqrt(longer), std)
    draws = [first, *(_drawn(initializer, n, shape, dtype) for n in range(1, _DRAWS))]
    return Like(name, float(first.std()), np.array([_measures(draw) for draw in draws]))


def norm_beyond_chance(unit: np.ndarray) -> float:
    """A bound on the probability that a matrix of independent unit entries has this norm or more.

    Args:
        unit: Float64, any shape; all axes but the last are rows.
    """
    matrix = unit.reshape(-1, unit.shape[-1]) if unit.ndim > 1 else unit[:, None]
    rows, columns = matrix.shape
    if min(rows, columns) < 2:
        return 1.0
    vector = stream(0, "norm").standard_normal(columns)
    norm = 0.0
    for _ in range(_TURNS):
        vector = vector / max(float(np.linalg.norm(vector)), 1e-300)
        image = matrix @ vector
        norm = float(np.linalg.norm(image))
        vector = matrix.T @ image
    beyond = norm - math.sqrt(rows) - math.sqrt(columns)
    return math.exp(-(beyond**2) / 2) if beyond > 0 else 1.0


def _scaled(initializer: Any, name: str, shape: tuple[int, ...]) -> Independent:
    fan_in, fan_out = fans(shape) if shape else (1.0, 1.0)
    inputs, outputs = (
        getattr(initializer, "input_axes", None),
        getattr(initializer, "output_axes", None),
    )
    if inputs is not None and outputs is not None:
        fan_in, fan_out = (float(math.prod(shape[a] for a in axes)) for axes in (inputs, outputs))
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    std = math.sqrt(initializer.scale / max(1.0, fan[initializer.mode]))
    cumulative = {"uniform": _uniform, "untruncated_normal": special.ndtr}
    return Independent(name, 0.0, std, cumulative.get(initializer.distribution, _truncated))


def _drawn(initializer: Any, n: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    import keras

    value = reseeded(initializer, 1009 * n + 1)(shape, dtype=dtype)
    return np.asarray(keras.ops.convert_to_numpy(value), np.float64)


def _measures(values: np.ndarray) -> np.ndarray:
    """Mean over root mean square; logarithms of that root, of the fourth moment, of the norm."""
    flat = values.reshape(-1)
    root = max(float(np.sqrt(np.mean(flat**2))), 1e-300)
    unit = values / root
    matrix = unit.reshape(-1, unit.shape[-1]) if unit.ndim > 1 else unit[:, None]
    small = matrix.shape[0] * matrix.shape[1] * min(matrix.shape) <= 10**9
    norm = float(np.linalg.norm(matrix, 2)) if small else 1.0
    zeros = float(np.mean(flat == 0))
    fourth = float(np.mean(unit**4))
    return np.array(
        [float(unit.mean()), math.log(root), math.log(fourth or 1), math.log(norm or 1), zeros]
    )


def _uniform(unit: np.ndarray) -> np.ndarray:
    return np.clip((unit / math.sqrt(3) + 1) / 2, 0, 1)


def _truncated(unit: np.ndarray) -> np.ndarray:
    tail = special.ndtr(-CUT)
    inside = np.clip(unit * CUT_STD, -CUT, CUT)
    return (special.ndtr(inside) - tail) / (1 - 2 * tail)
