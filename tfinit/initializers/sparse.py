"""Weights that start with most of their entries at zero, at the scale of dense ones."""

import math
from typing import Any

import keras
import numpy as np

from tfinit.arguments import number, whole
from tfinit.errors import InputError
from tfinit.initializers.base import RandomInitializer, Seed, as_matrix
from tfinit.initializers.orthogonal import GainedRandom
from tfinit.initializers.registry import serializable
from tfinit.initializers.scaling import Scaled


def _generator(stream: int) -> np.random.Generator:
    # Which entries survive is drawn with NumPy, where drawing without repetition is exact.
    return np.random.Generator(np.random.Philox(stream))


def _checked_density(density: Any) -> float:
    cure = "It is the fraction of entries that are not zero."
    return number("density", density, above=0, most=1, cure=cure)


@serializable
class Sparse(RandomInitializer):
    """Each output unit has k weights from N(0, std²), at random places; the rest are 0.

    A shape ``(..., out)`` is a matrix (the rest, out); a unit with fewer than k inputs has them
    all. Rank ≥ 2, any float dtype.

    Why: The size of what a unit sums does not depend on how wide the layer before it is, and units
    that see few inputs each differ more from one another.

    Args:
        connections: k, the non-zero weights of each unit.
        std: Their standard deviation; None: 1/√k, which keeps the second moment of the input.
        seed: An integer, a SeedGenerator or None; see :mod:`tfinit.initializers`.

    Raises:
        InputError: ``connections`` is not a positive integer, ``std`` is not positive, or, when
            called, the rank is below 2.

    Example:
        >>> layer = keras.layers.Dense(64, "tanh", kernel_initializer=Sparse(15, seed=1))

    Martens, Deep learning via Hessian-free optimization, ICML 2010 (k = 15, std = 1).
    """

    def __init__(self, connections: int = 15, std: float | None = 1.0, seed: Seed = None) -> None:
        super().__init__(seed)
        self.connections = whole("connections", connections, 1)
        self.std = number("std", std, above=0, none=True)

    def check(self, shape: tuple[int, ...]) -> None:
        """InputError for a rank below 2."""
        as_matrix("Sparse", shape)

    def values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """``connections`` normal values in each column."""
        rows, columns = as_matrix("Sparse", shape)
        count = min(self.connections, rows)
        random = _generator(self.stream(shape))
        values = np.zeros((columns, rows), dtype)
        places = random.random((columns, rows)).argpartition(count - 1, axis=1)[:, :count]
        drawn = random.standard_normal((columns, count)) * (self.std or 1 / math.sqrt(count))
        np.put_along_axis(values, places, drawn.astype(dtype), axis=1)
        return values.T.reshape(shape)


@serializable
class SparseScaling(Scaled):
    """Var[w | w ≠ 0] = g² / (density · fan): a sparse start with the signal of a dense one.

    Exactly round(density · size) entries, at least one, are not zero, at random places. The
    variance over all entries is that of the dense initializer.

    Args:
        density: The fraction of entries that are not zero, in (0, 1].
        activation: As for :class:`tfinit.initializers.He`, and so are the arguments that follow.
        negative_slope: Slope of leaky_relu, prelu and relu for negative inputs.
        distribution: ``"normal"``, ``"truncated_normal"`` or ``"uniform"``, of the non-zero ones.
        mode: ``"fan_in"``, ``"fan_out"`` or ``"fan_avg"``.
        seed: An integer, a SeedGenerator or None; see :mod:`tfinit.initializers`.
        input_axes: Axes of the shape whose product is fan_in, in place of Keras's rule.
        output_axes: Axes of the shape whose product is fan_out.

    Raises:
        InputError: a density outside (0, 1]; otherwise as for He.

    Example:
        >>> layer = keras.layers.Dense(300, "relu", kernel_initializer=SparseScaling(0.1, seed=1))

    Evci et al., Gradient Flow in Sparse Neural Networks and How Lottery Tickets Win, AAAI 2022,
    https://arxiv.org/abs/2010.03533.
    """

    def __init__(
        self,
        density: float,
        activation: Any = "relu",
        negative_slope: float | None = None,
        distribution: str = "normal",
        mode: str = "fan_in",
        seed: Seed = None,
        input_axes: list[int] | None = None,
        output_axes: list[int] | None = None,
    ) -> None:
        super().__init__(
            activation, negative_slope, distribution, mode, seed, input_axes, output_axes
        )
        self.density = _checked_density(density)

    def draw(self, shape: tuple[int, ...], std: float, stream: int, dtype: str) -> Any:
        """Dense values of the larger variance, then a mask."""
        size = math.prod(shape)
        keep = max(1, round(self.density * size))
        values = super().draw(shape, std * math.sqrt(size / keep), stream, dtype)
        mask = np.zeros(size, dtype)
        mask[_generator(stream).choice(size, keep, replace=False, shuffle=False)] = 1
        return values * keras.ops.convert_to_tensor(mask.reshape(shape))


@serializable
class SparseOrthogonal(GainedRandom):
    """w = g·Q with QᵀQ = I and a given fraction of non-zero entries.

    A signed permutation is turned by random Givens rotations of two rows until ``density`` of its
    entries are not zero; a last rotation may go beyond by less than two rows. Orthogonality is
    exact at every density. A shape ``(..., out)`` is a matrix (the rest, out); the shorter side is
    orthonormal. Rank ≥ 2, any float dtype.

    Args:
        density: The fraction of entries that are not zero, in (0, 1].
        gain: A positive factor; None: the forward gain of ``activation``, which is 1 for None.
        activation: The activation that follows, as in :func:`tfinit.gains.gain`.
        negative_slope: Slope of leaky_relu, prelu and relu for negative inputs.
        seed: An integer, a SeedGenerator or None; see :mod:`tfinit.initializers`.

    Raises:
        InputError: as for :class:`Orthogonal`, a density outside (0, 1], or, when called, one below
            1 / (longer side), the least that an orthogonal matrix has.

    Example:
        >>> layer = keras.layers.Dense(300, kernel_initializer=SparseOrthogonal(0.1, seed=1))

    Nowak et al., Sparser, Better, Deeper, Stronger: Improving Sparse Training with Exact Orthogonal
    Initialization, ICML 2024, https://arxiv.org/abs/2406.01755.
    """

    def __init__(
        self,
        density: float,
        gain: float | None = None,
        activation: Any = None,
        negative_slope: float | None = None,
        seed: Seed = None,
    ) -> None:
        super().__init__(gain, activation, negative_slope, seed)
        self.density = _checked_density(density)

    def check(self, shape: tuple[int, ...]) -> None:
        """InputError for a rank below 2."""
        as_matrix("SparseOrthogonal", shape)

    def values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """``factor`` times a sparse orthogonal matrix in the given shape."""
        rows, columns = as_matrix("SparseOrthogonal", shape)
        if self.density < 1 / max(rows, columns):
            raise InputError(
                f"`density` {self.density} is below 1/{max(rows, columns)}, the least of an "
                f"orthogonal matrix of shape {(rows, columns)}. Ask for a larger one."
            )
        tall = _givens(max(rows, columns), min(rows, columns), self.density, self.stream(shape))
        matrix = tall if rows >= columns else tall.T
        return (self.factor * matrix).astype(dtype).reshape(shape)


def _givens(rows: int, columns: int, density: float, stream: int) -> np.ndarray:
    """A matrix with orthonormal columns and at least ``density`` of its entries not zero."""
    random = _generator(stream)
    matrix = np.zeros((rows, columns))
    matrix[random.permutation(rows)[:columns], np.arange(columns)] = random.choice(
        [-1.0, 1.0], columns
    )
    filled = (matrix != 0).sum(axis=1)
    missing = math.ceil(density * matrix.size) - int(filled.sum())
    while missing > 0:
        i, j = random.choice(rows, 2, replace=False)
        angle = random.uniform(0, 2 * math.pi)
        cos, sin = math.cos(angle), math.sin(angle)
        above, below = matrix[i], matrix[j]
        matrix[i], matrix[j] = cos * above - sin * below, sin * above + cos * below
        now = np.count_nonzero(matrix[[i, j]], axis=1)
        missing -= int((now - filled[[i, j]]).sum())
        filled[[i, j]] = now
    return matrix
