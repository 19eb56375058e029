"""Weights and biases on the line between order and chaos."""

import math
from typing import Any, NamedTuple

import keras

from tfinit.arguments import number
from tfinit.errors import InputError
from tfinit.fans import fans
from tfinit.gains import check_activation, moments
from tfinit.initializers.base import RandomInitializer, Seed
from tfinit.initializers.registry import serializable

# The range of q that is searched, and what counts as zero there.
_LEAST, _MOST = 1e-8, 1e4
_ROUNDING = 1e-7


class CriticalPoint(NamedTuple):
    """Where gradients neither vanish nor explode: σ_w² (times 1/fan_in), σ_b², and the length q."""

    weight_variance: float
    bias_variance: float
    length: float


def critical_point(activation: Any, bias_variance: float = 0.0, **params: float) -> CriticalPoint:
    """The σ_w² and q for a given σ_b², with x ~ N(0, q)::

        q = σ_w² E[φ(x)²] + σ_b²     the length of the pre-activations is a fixed point
        1 = σ_w² E[φ′(x)²]           and a small difference keeps its size: χ₁ = 1

    Args:
        activation: As in :func:`tfinit.gains.gain`, but not as its gains.
        bias_variance: σ_b² ≥ 0. For tanh and the like 0 gives the limit q → 0, σ_w² = 1/φ′(0)²;
            for the ReLU family only 0 has a solution, the one of He, with any q (1 is returned).
        **params: Passed to the activation.

    Raises:
        InputError: no such point exists, or σ_b² is negative.

    Example:
        >>> round(critical_point("tanh", 0.05).weight_variance, 3)
        1.761
    """
    bias_variance = number("bias_variance", bias_variance, least=0)

    def beyond(q: float) -> float:
        squares, slopes = moments(activation, q, **params)
        return bias_variance + (squares / slopes if slopes else math.inf) - q

    low, high = _LEAST, _MOST
    if bias_variance == 0 and abs(beyond(1.0)) < _ROUNDING:
        return CriticalPoint(1 / moments(activation, 1.0, **params)[1], 0.0, 1.0)
    if beyond(low) > _ROUNDING:
        while low < high and beyond(low * 2) > 0:
            low *= 2
        if low >= high:
            raise InputError(
                f"`activation` {activation!r} has no critical point with bias_variance="
                f"{bias_variance}. Try 0, or another activation."
            )
        high = low * 2
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if beyond(middle) > 0 else (low, middle)
    elif bias_variance > 0:
        raise InputError(
            f"`bias_variance` {bias_variance} is too small to be told from 0; pass 0 or more than "
            f"{_ROUNDING}."
        )
    return CriticalPoint(1 / moments(activation, low, **params)[1], float(bias_variance), low)


@serializable
class EdgeOfChaos(RandomInitializer):
    """w ~ N(0, σ_w² / fan_in) and b ~ N(0, σ_b²) with χ₁ = σ_w² E[φ′(x)²] = 1.

    Use it for the kernels and, where ``bias_variance`` is not 0, for the biases too: a shape of
    rank 0 or 1 is a bias. Any float dtype; fans by Keras's rule from the shape. See
    :func:`critical_point` for the equations.

    Why: With smaller weights all inputs become alike on their way through the layers (order), with
    larger ones close inputs are torn apart (chaos). Just between, at χ₁ = 1, signals and gradients
    reach any depth.

    Args:
        activation: The activation of every layer: a Keras name, layer or function.
        bias_variance: σ_b², 0 or more.
        weight_variance: σ_w²; None: the critical one.
        seed: An integer, a SeedGenerator or None; see :mod:`tfinit.initializers`.

    Raises:
        InputError: the activation has no critical point with this ``bias_variance``, or a variance
            is negative.

    Example:
        >>> edge = EdgeOfChaos("tanh", bias_variance=0.05, seed=1)
        >>> layer = keras.layers.Dense(64, "tanh", kernel_initializer=edge, bias_initializer=edge)

    Poole et al., Exponential expressivity in deep neural networks through transient chaos, NeurIPS
    2016, https://arxiv.org/abs/1606.05340; Schoenholz et al., Deep Information Propagation, ICLR
    2017, https://arxiv.org/abs/1611.01232.
    """

    def __init__(
        self,
        activation: Any = "tanh",
        bias_variance: float = 0.0,
        weight_variance: float | None = None,
        seed: Seed = None,
    ) -> None:
        super().__init__(seed)
        check_activation(activation)
        self.bias_variance = number("bias_variance", bias_variance, least=0)
        if weight_variance is None:
            weight_variance = critical_point(activation, self.bias_variance).weight_variance
        self.weight_variance = number("weight_variance", weight_variance, least=0)
        # A function cannot be found again from a file; the variance that it led to can.
        self.activation = activation if isinstance(activation, str) else None

    def values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Normal values with the variance of a kernel, or of a bias for rank 1."""
        kernel = len(shape) > 1
        variance = self.weight_variance / fans(shape)[0] if kernel else self.bias_variance
        std, stream = math.sqrt(variance), self.stream(shape)
        return keras.random.normal(shape, stddev=std, dtype=dtype, seed=stream)
