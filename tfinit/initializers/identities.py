"""Weights without randomness that pass their input on: Identity, Dirac and ZerO."""

import math
from typing import Any

import keras
import numpy as np

from tfinit.arguments import number, whole
from tfinit.errors import InputError
from tfinit.initializers.base import Initializer, as_matrix, center
from tfinit.initializers.registry import serializable


@serializable
class Identity(Initializer):
    """w = g·I, cut or padded with zeros where the matrix is not square.

    Why: The layer starts by passing its input on as it is, so that nothing vanishes or explodes.
    Units beyond the inputs start with zeros, as twins.

    Args:
        gain: The factor g, any number.

    Shape ``(in, out)``, any float dtype.

    Raises:
        InputError: when called with a shape that is not a matrix (Dirac is for convolutions).

    Example:
        >>> layer = keras.layers.SimpleRNN(64, "relu", recurrent_initializer=Identity())

    Le, Jaitly and Hinton, A simple way to initialize recurrent networks of rectified linear units,
    2015, https://arxiv.org/abs/1504.00941.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = number("gain", gain)

    def check(self, shape: tuple[int, ...]) -> None:
        """InputError unless it is a matrix."""
        if len(shape) != 2:
            raise InputError(
                f"Identity is for matrices (in, out), received shape {shape}. "
                "For the kernel of a convolution use Dirac."
            )

    def values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """``gain`` times the identity, cut to the shape."""
        return self.gain * keras.ops.eye(*shape, dtype=dtype)


@serializable
class Dirac(Initializer):
    """w[center, i, i] = 1 in every group, 0 elsewhere: the convolution copies its input channels.

    Args:
        groups: The groups of the convolution. Each copies its own channels.

    Shape ``(*window, in / groups, out)``, any float dtype. With more outputs than inputs in a
    group the rest start at zero.

    Raises:
        InputError: ``groups`` is not a positive integer or, when called, does not divide the
            outputs, or the shape has no window.

    Example:
        >>> layer = keras.layers.Conv2D(64, 3, groups=4, kernel_initializer=Dirac(groups=4))

    Zagoruyko and Komodakis, DiracNets, 2017, https://arxiv.org/abs/1706.00388.
    """

    def __init__(self, groups: int = 1) -> None:
        self.groups = whole("groups", groups, 1)

    def check(self, shape: tuple[int, ...]) -> None:
        """InputError unless it is the kernel of a convolution of so many groups."""
        if len(shape) < 3 or shape[-1] % self.groups:
            raise InputError(
                f"Dirac with groups={self.groups} needs a shape (*window, in / groups, out) whose "
                f"last axis is a multiple of {self.groups}, received {shape}."
            )

    def values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """An identity per group at the center tap."""
        *window, rows, columns = shape
        values = np.zeros(shape, dtype)
        values[center(tuple(window))] = np.tile(
            np.eye(rows, columns // self.groups), (1, self.groups)
        )
        return values


@serializable
class ZerO(Initializer):
    """w = I (out ≤ in), or a corner of 2^(−m/2)·H_m with m = ⌈log₂ out⌉ (out > in).

    H is the Hadamard matrix of ±1. A layer that widens spreads its input over all units by H, where
    the paper's alternative, zeros, would leave the added units twins; the others copy. H has
    2^⌈log₂ in⌉ different columns in its corner: a layer that widens beyond that starts with twins
    all the same. Kernels of convolutions ``(*window, in, out)`` hold the matrix at their center.
    Any float dtype.

    The factor is that of the authors' code, which makes the columns of H orthonormal; the paper
    prints 2^(−(m−1)/2).

    Why: Nothing is random: layers start as the identity, which keeps every signal, and where they
    widen, the rows of ±1 of a Hadamard matrix give each unit a mixture of its own, so that units
    are not twins.

    Raises:
        InputError: when called with a shape of rank < 2.

    Example:
        >>> layer = keras.layers.Dense(64, "relu", kernel_initializer=ZerO())

    Zhao, Schäfer and Anandkumar, ZerO Initialization: Initializing Neural Networks with only Zeros
    and Ones, TMLR 2022, https://arxiv.org/abs/2110.12661.
    """

    def check(self, shape: tuple[int, ...]) -> None:
        """InputError for a rank below 2."""
        as_matrix("ZerO", shape)

    def values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """The matrix of the docstring, at the center tap of a kernel."""
        *window, rows, columns = shape
        values = np.zeros(shape, dtype)
        values[center(tuple(window))] = (
            np.eye(rows, columns) if columns <= rows else _hadamard_corner(rows, columns)
        )
        return values


def _hadamard_corner(rows: int, columns: int) -> np.ndarray:
    order = math.ceil(math.log2(columns))
    # Entry (i, j) of Sylvester's matrix is −1 to the number of bits that i and j share.
    shared = np.arange(rows)[:, None] & np.arange(columns)[None, :]
    parity = np.zeros_like(shared)
    for bit in range(order):
        parity ^= (shared >> bit) & 1
    return (1 - 2 * parity) * 2.0 ** (-order / 2)
