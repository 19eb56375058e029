"""Sitzmann et al.: kernels for layers that compute sin(ω · (Wx + b))."""

import math
from typing import Any

import keras

from tfinit.arguments import flag, number
from tfinit.errors import InputError
from tfinit.fans import fans
from tfinit.initializers.base import RandomInitializer, Seed
from tfinit.initializers.registry import serializable


@serializable
class Siren(RandomInitializer):
    """w ~ U(-1/n, 1/n) in the first layer, U(-√(6/n)/ω, √(6/n)/ω) in all others; n is fan_in.

    For layers that compute sin(ω · (Wx + b)): ω · Wx then has variance 1 in every layer but the
    first, where it spreads over ω radians of inputs in [-1, 1]. The head, which no sine follows,
    is one of the others. Kernels of any float dtype; fans by Keras's rule from the shape.

    It is for sines alone: with another activation the weights are too small by ω. A network of
    sines with biases of zero is an odd function of its inputs; the scheme ``"siren"`` sets the
    biases too, tells the first layer from the others and reads ω from each layer.

    Args:
        first: Whether the layer reads the inputs.
        omega: ω, more than 0; 1 if the layers compute sin(Wx + b).
        seed: An integer, a SeedGenerator or None; see :mod:`tfinit.initializers`.

    Raises:
        InputError: ``first`` is neither True nor False, ``omega`` is not positive, or, when called,
            the shape is that of a bias.

    Example:
        >>> sine = lambda z: keras.ops.sin(30 * z)
        >>> first = keras.layers.Dense(64, sine, kernel_initializer=Siren(first=True, seed=1))
        >>> hidden = keras.layers.Dense(64, sine, kernel_initializer=Siren(seed=1))

    Sitzmann, Martel, Bergman, Lindell and Wetzstein, Implicit Neural Representations with Periodic
    Activation Functions, NeurIPS 2020, https://arxiv.org/abs/2006.09661, section 3.2.
    """

    def __init__(self, first: bool = False, omega: float = 30.0, seed: Seed = None) -> None:
        super().__init__(seed)
        self.first = flag("first", first)
        self.omega = number("omega", omega, above=0)

    def check(self, shape: tuple[int, ...]) -> None:
        """InputError for a bias, whose fan_in its shape does not say."""
        if len(shape) < 2:
            raise InputError(
                f"Siren needs a shape of two or more axes, received {shape}. The scheme "
                '"siren" sets biases too.'
            )

    def values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Uniform values between the limits of the layer's place."""
        fan_in = fans(shape)[0]
        limit = 1 / fan_in if self.first else math.sqrt(6 / fan_in) / self.omega
        stream = self.stream(shape)
        return keras.random.uniform(shape, -limit, limit, dtype=dtype, seed=stream)
