"""Random orthogonal matrices, and convolutions that are orthogonal maps."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tfinit.arguments import number
from tfinit.errors import InputError
from tfinit.gains import config_of
from tfinit.gains import gain as forward_gain
from tfinit.haar import haar
from tfinit.initializers.base import RandomInitializer, Seed, as_matrix, center
from tfinit.initializers.registry import serializable


class GainedRandom(RandomInitializer):
    """A seeded initializer whose result is multiplied by a gain."""

    def __init__(
        self,
        gain: float | None,
        activation: Any,
        negative_slope: float | None,
        seed: Seed,
    ) -> None:
        super().__init__(seed)
        if gain is not None and activation is not None:
            raise InputError(
                f"Pass `gain` or `activation`, not both: received gain={gain}, "
                f"activation={activation!r}."
            )
        negative_slope = number("negative_slope", negative_slope, none=True)
        params = {} if negative_slope is None else {"negative_slope": negative_slope}
        self.activation, params = config_of(activation, ("forward",), **params)
        self.negative_slope = params.get("negative_slope")
        self.gain = number("gain", gain, above=0, none=True)
        self.factor = self.gain or forward_gain(self.activation, **params)


def _check_kernel(name: str, shape: tuple[int, ...]) -> None:
    if not 3 <= len(shape) <= 5:
        raise InputError(
            f"{name} is for kernels of 1-D to 3-D convolutions, (*window, in, out), received "
            f"shape {shape}. For a matrix use Orthogonal."
        )


@serializable
class Orthogonal(GainedRandom):
    """w = g·Q with QᵀQ = I, Q uniform (Haar): all singular values are g.

    A shape ``(..., out)`` is filled as a matrix (product of the rest, out); the shorter side is
    orthonormal. Rank ≥ 2, any float dtype; the decomposition is float32 or wider.

    Args:
        gain: A positive factor; None: the forward gain of ``activation``, which is 1 for None.
        activation: The activation that follows, as in :func:`tfinit.gains.gain`.
        negative_slope: Slope of leaky_relu, prelu and relu for negative inputs.
        seed: An integer, a SeedGenerator or None; see :mod:`tfinit.initializers`.

    Raises:
        InputError: both ``gain`` and ``activation``, a gain that is not positive, an activation
            without a gain, or, when called, a shape of rank < 2.

    Example:
        >>> layer = keras.layers.Dense(64, "relu", kernel_initializer=Orthogonal(activation="relu"))

    Saxe, McClelland and Ganguli, Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks, ICLR 2014, https://arxiv.org/abs/1312.6120.
    """

    def __init__(
        self,
        gain: float | None = None,
        activation: Any = None,
        negative_slope: float | None = None,
        seed: Seed = None,
    ) -> None:
        super().__init__(gain, activation, negative_slope, seed)

    def check(self, shape: tuple[int, ...]) -> None:
        """InputError for a rank below 2."""
        as_matrix("Orthogonal", shape)

    def values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """``factor`` times an orthogonal matrix in the given shape."""
        q = haar(*as_matrix("Orthogonal", shape), self.stream(shape), dtype, self.factor)
        return keras.ops.reshape(q, shape)


@serializable
class DeltaOrthogonal(GainedRandom):
    """w[center] = g·Q with orthonormal rows, w = 0 elsewhere: the convolution is g·Q per position.

    Shapes ``(*window, in, out)`` of 1-D, 2-D and 3-D convolutions with stride 1. With out ≥ in the
    layer keeps the norm of every input (times g); with out < in it projects on out directions.
    Any float dtype. Arguments and errors as for :class:`Orthogonal`, and InputError for another
    rank.

    Example:
        >>> layer = keras.layers.Conv2D(64, 3, kernel_initializer=DeltaOrthogonal(seed=1))

    Xiao et al., Dynamical Isometry and a Mean Field Theory of CNNs, ICML 2018,
    https://arxiv.org/abs/1806.05393.
    """

    def __init__(
        self,
        gain: float | None = None,
        activation: Any = None,
        negative_slope: float | None = None,
        seed: Seed = None,
    ) -> None:
        super().__init__(gain, activation, negative_slope, seed)

    def check(self, shape: tuple[int, ...]) -> None:
        """InputError unless it is the kernel of a convolution."""
        _check_kernel("DeltaOrthogonal", shape)

    def values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """``factor`` times an orthogonal matrix at the center tap."""
        *window, rows, columns = shape
        q = haar(rows, columns, self.stream(shape), dtype, self.factor)
        middle = center(tuple(window))
        padding = [(at, k - 1 - at) for at, k in zip(middle, window, strict=True)]
        q = keras.ops.reshape(q, (*(1 for _ in window), rows, columns))
        return keras.ops.pad(q, [*padding, (0, 0), (0, 0)])


@serializable
class ConvolutionOrthogonal(GainedRandom):
    """W(z) = g·Q·∏ᵢ (Pᵢ + (I − Pᵢ) zᵢ): orthogonal as an operator, with every tap in use.

    Each Pᵢ is a random orthogonal projector of half rank and zᵢ a shift along one axis of the
    window, k − 1 of them for an axis of k taps. Every factor keeps the norm of any signal, so the
    convolution does too, exactly with circular padding and away from the borders with "same".
    DeltaOrthogonal is the case without shifts.

    Shapes ``(*window, in, out)`` of 1-D, 2-D and 3-D convolutions with stride 1; with out < in the
    transpose keeps norms. Any float dtype. Arguments and errors as for :class:`Orthogonal`, and
    InputError for another rank.

    Example:
        >>> layer = keras.layers.Conv1D(64, 5, kernel_initializer=ConvolutionOrthogonal(seed=1))

    The factors are those of Kautsky and Turcheva, A matrix approach to discrete wavelets, 1994, as
    in section 3 of Xiao et al., 2018; there they are built block by block for each dimension.
    """

    def __init__(
        self,
        gain: float | None = None,
        activation: Any = None,
        negative_slope: float | None = None,
        seed: Seed = None,
    ) -> None:
        super().__init__(gain, activation, negative_slope, seed)

    def check(self, shape: tuple[int, ...]) -> None:
        """InputError unless it is the kernel of a convolution."""
        _check_kernel("ConvolutionOrthogonal", shape)

    def values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """``factor`` times an orthogonal matrix, spread over the window by the shifts."""
        *window, rows, columns = shape
        ops, seeds = keras.ops, _seeds(self.stream(shape))
        kernel = haar(rows, columns, next(seeds), dtype, self.factor)
        kernel = ops.reshape(kernel, (*(1 for _ in window), rows, columns))
        # On the side that is not longer, else the rest of a projector would be cut off by Q.
        before, size = rows <= columns, min(rows, columns)
        for axis, taps in enumerate(window):
            for _ in range(taps - 1):
                basis = haar(size, max(1, size // 2), next(seeds), dtype)
                projector = ops.matmul(basis, ops.transpose(basis))
                kept = ops.matmul(projector, kernel) if before else ops.matmul(kernel, projector)
                longer = [(0, 0)] * kernel.ndim
                longer[axis] = (0, 1)
                later = [(0, 0)] * kernel.ndim
                later[axis] = (1, 0)
                kernel = ops.pad(kept, longer) + ops.pad(kernel - kept, later)
        return kernel


def _seeds(seed: int) -> Iterator[int]:
    generator = np.random.Generator(np.random.Philox(seed))
    while True:
        yield int(generator.integers(2**32))
