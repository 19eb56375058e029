"""Independent weights whose variance keeps the signal: Xavier, He and LeCun."""

import math
from typing import Any

import keras
import numpy as np

from tfinit.arguments import number, one_of, wholes
from tfinit.fans import fans
from tfinit.gains import CUT_STD, config_of, gain
from tfinit.gains import MODES as GAIN_MODES
from tfinit.initializers.base import RandomInitializer, Seed
from tfinit.initializers.registry import serializable

MODES = ("fan_in", "fan_out", "fan_avg")
DISTRIBUTIONS = ("normal", "truncated_normal", "uniform")


# A VarianceScaling to Keras, so that its EinsumDense and attention tell which axes are summed.
class Scaled(RandomInitializer, keras.initializers.VarianceScaling):
    """Independent weights of variance 1 / mean(fan / gain²) over the sides that ``mode`` names."""

    def __init__(
        self,
        activation: Any,
        negative_slope: float | None,
        distribution: str,
        mode: str,
        seed: Seed,
        input_axes: list[int] | None,
        output_axes: list[int] | None,
    ) -> None:
        RandomInitializer.__init__(self, seed)
        self.mode = one_of("mode", mode, MODES)
        self.distribution = one_of("distribution", distribution, DISTRIBUTIONS)
        self.input_axes = _axes("input_axes", input_axes)
        self.output_axes = _axes("output_axes", output_axes)
        negative_slope = number("negative_slope", negative_slope, none=True)
        sides = {"fan_in": ("forward",), "fan_out": ("backward",), "fan_avg": GAIN_MODES}[mode]
        params = {} if negative_slope is None else {"negative_slope": negative_slope}
        self.activation, params = config_of(activation, sides, **params)
        self.negative_slope = params.get("negative_slope")
        # What each side asks of the variance: fan · variance · factor = 1.
        self._factors = {side: gain(self.activation, side, **params) ** -2 for side in sides}

    def variance(self, fan_in: float, fan_out: float) -> float:
        """The variance of one weight between these fans."""
        fan = {"forward": fan_in, "backward": fan_out}
        return 1 / float(np.mean([fan[side] * f for side, f in self._factors.items()]))

    def values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Independent values of the variance that the fans of ``shape`` ask for."""
        if self.input_axes is None or self.output_axes is None:
            sides = fans(shape) if shape else (1, 1)  # of a scalar, as in Keras
        else:
            sides = tuple(
                math.prod(shape[axis] for axis in axes)
                for axes in (self.input_axes, self.output_axes)
            )
        return self.draw(shape, math.sqrt(self.variance(*sides)), self.stream(shape), dtype)

    def draw(self, shape: tuple[int, ...], std: float, stream: int, dtype: str) -> Any:
        """Independent values of mean 0 and standard deviation ``std``."""
        random = keras.random
        if self.distribution == "normal":
            return random.normal(shape, stddev=std, dtype=dtype, seed=stream)
        if self.distribution == "truncated_normal":
            std /= CUT_STD
            return random.truncated_normal(shape, stddev=std, dtype=dtype, seed=stream)
        limit = math.sqrt(3) * std
        return random.uniform(shape, -limit, limit, dtype=dtype, seed=stream)


def _axes(name: str, axes: Any) -> list[int] | None:
    return None if axes is None else list(wholes(name, axes, empty=True))


@serializable
class Xavier(Scaled):
    """Var[w] = 2 / (fan_in / g² + fan_out / g′²); with no activation 2 / (fan_in + fan_out).

    g and g′ are the forward and backward gains of ``activation`` (:func:`tfinit.gains.gain`), 1
    for a linear one. Any shape, any float dtype; fans by Keras's rule from the shape, and 1 of a
    scalar. For depthwise, transposed and grouped kernels use the scheme ``"xavier"``, which sees
    the layer.

    Args:
        activation: The activation that follows, as in :func:`tfinit.gains.gain`; None is linear.
            A function or layer enters the config as its gains.
        negative_slope: Slope of leaky_relu, prelu and relu for negative inputs.
        distribution: ``"uniform"`` (Glorot and Bengio's), ``"normal"``, or ``"truncated_normal"``,
            cut at two standard deviations and widened so that the variance is the formula's.
        mode: ``"fan_avg"``, or ``"fan_in"`` (1 / (fan_in / g²)) or ``"fan_out"``.
        seed: An integer, a SeedGenerator or None; see :mod:`tfinit.initializers`.
        input_axes: Axes of the shape whose product is fan_in, in place of the rule. Keras 3 fills
            this and the next in for EinsumDense and attention.
        output_axes: Axes of the shape whose product is fan_out.

    Raises:
        InputError: an argument is not among the allowed, the activation has no gain, or, when
            called, the shape is none.

    Example:
        >>> layer = keras.layers.Dense(64, "tanh", kernel_initializer=Xavier("tanh", seed=1))

    Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks,
    AISTATS 2010.
    """

    def __init__(
        self,
        activation: Any = None,
        negative_slope: float | None = None,
        distribution: str = "uniform",
        mode: str = "fan_avg",
        seed: Seed = None,
        input_axes: list[int] | None = None,
        output_axes: list[int] | None = None,
    ) -> None:
        super().__init__(
            activation, negative_slope, distribution, mode, seed, input_axes, output_axes
        )


@serializable
class He(Scaled):
    """Var[w] = g² / fan_in; 2 / fan_in for ReLU, 2 / ((1 + a²) fan_in) for a leaky one.

    Arguments, shapes, dtypes and errors as for :class:`Xavier`; here ``activation`` is ``"relu"``,
    ``distribution`` ``"normal"`` and ``mode`` ``"fan_in"`` unless given. ``mode="fan_out"`` takes
    the backward gain.

    Example:
        >>> He("leaky_relu", negative_slope=0.2, seed=1)((3, 3, 16, 32)).shape
        TensorShape([3, 3, 16, 32])

    He, Zhang, Ren and Sun, Delving Deep into Rectifiers, ICCV 2015, https://arxiv.org/abs/1502.01852.
    """

    def __init__(
        self,
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


@serializable
class LeCun(Scaled):
    """Var[w] = g² / fan_in; 1 / fan_in for a linear or selu layer.

    Arguments, shapes, dtypes and errors as for :class:`Xavier`; here ``activation`` is None,
    ``distribution`` ``"normal"`` and ``mode`` ``"fan_in"`` unless given.

    Example:
        >>> layer = keras.layers.Dense(64, "selu", kernel_initializer=LeCun(seed=1))

    LeCun, Bottou, Orr and Müller, Efficient BackProp, 1998; Klambauer et al., Self-Normalizing
    Neural Networks, NeurIPS 2017, https://arxiv.org/abs/1706.02515.
    """

    def __init__(
        self,
        activation: Any = None,
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
