"""The mean and variance of a signal through a layer, by formula; AutoInit's estimates.

Entries of a signal are taken as independent and normal, which is what the paper does, too.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tfinit.gains import evaluate
from tfinit.graph.activations import Activation
from tfinit.graph.layer_kinds import kind_of


class Moments(NamedTuple):
    """Mean and variance of the entries of a signal."""

    mean: float
    variance: float

    @property
    def second(self) -> float:
        """E[x²]."""
        return self.variance + self.mean**2


# Shapes of the inputs of a call, without the batch; None where a size is unknown.
Shapes = list[tuple[int | None, ...]]
# What a layer does to the moments of its inputs; None where its formula does not hold.
Formula = Callable[[Any, list[Moments], Shapes], Moments | None]


def through_activation(activation: Activation, signal: Moments) -> Moments:
    """E[φ(z)] and var φ(z) for z ~ N(mean, variance); InputError if φ is not elementwise."""
    points, weights = _normal_rule()
    values = evaluate(activation.source, signal.mean + math.sqrt(signal.variance) * points)
    mean = float(weights @ values)
    return Moments(mean, float(weights @ (values - mean) ** 2))


def through_layer(layer: Any, signals: list[Moments], shapes: Shapes) -> Moments | None:
    """The moments behind a layer or operation without a kernel; None if it has no formula here."""
    formula = FORMULAS.get(kind_of(layer, exactly=True).moments)
    return None if formula is None else formula(layer, signals, shapes)


@lru_cache(1)
def _normal_rule() -> tuple[np.ndarray, np.ndarray]:
    # Midpoints that leave out 0, where activations have their kinks.
    step = 0.01
    points = (np.arange(-1000, 1000) + 0.5) * step
    weights = np.exp(-(points**2) / 2)
    return points, weights / weights.sum()


def _same(layer: Any, signals: list[Moments], shapes: Shapes) -> Moments:
    return signals[0]


def _standard(layer: Any, signals: list[Moments], shapes: Shapes) -> Moments:
    return _affine(layer, Moments(0.0, 1.0))


def _rms(layer: Any, signals: list[Moments], shapes: Shapes) -> Moments:
    second = signals[0].second
    return _affine(
        layer, Moments(signals[0].mean / math.sqrt(second), signals[0].variance / second)
    )


def _affine(layer: Any, signal: Moments) -> Moments:
    """x · gamma + beta, over all channels together."""
    gamma, beta = (getattr(layer, name, None) for name in ("gamma", "beta"))
    if gamma is None:
        gamma = getattr(layer, "scale", None)
    gamma = np.ones(1) if gamma is None or np.isscalar(gamma) else np.asarray(gamma, np.float64)
    beta = np.zeros(1) if beta is None else np.asarray(beta, np.float64)
    mean = float(np.mean(gamma * signal.mean + beta))
    second = np.mean(gamma**2 * signal.variance + (gamma * signal.mean + beta) ** 2)
    return Moments(mean, float(second - mean**2))


def _dropout(layer: Any, signals: list[Moments], shapes: Shapes) -> Moments:
    # As in training, which is what initialization is for.
    keep = 1 - layer.rate
    return Moments(signals[0].mean, signals[0].second / keep - signals[0].mean ** 2)


def _noise(layer: Any, signals: list[Moments], shapes: Shapes) -> Moments:
    return Moments(signals[0].mean, signals[0].variance + layer.stddev**2)


def _rescale(layer: Any, signals: list[Moments], shapes: Shapes) -> Moments | None:
    if not all(map(np.isscalar, (layer.scale, layer.offset))):
        return None
    return Moments(
        signals[0].mean * layer.scale + layer.offset, signals[0].variance * layer.scale**2
    )


def _add(layer: Any, signals: list[Moments], shapes: Shapes) -> Moments | None:
    if len(signals) < 2:  # the other term is a constant of the graph
        return None
    return Moments(sum(s.mean for s in signals), sum(s.variance for s in signals))


def _average(layer: Any, signals: list[Moments], shapes: Shapes) -> Moments:
    n = len(signals)
    return Moments(sum(s.mean for s in signals) / n, sum(s.variance for s in signals) / n**2)


def _multiply(layer: Any, signals: list[Moments], shapes: Shapes) -> Moments | None:
    if len(signals) < 2:
        return None
    mean = math.prod(s.mean for s in signals)
    return Moments(mean, math.prod(s.second for s in signals) - mean**2)


def _concatenate(layer: Any, signals: list[Moments], shapes: Shapes) -> Moments | None:
    # The batch axis is missing in the shapes.
    axis = layer.axis if layer.axis < 0 else layer.axis - 1
    sizes = [shape[axis] for shape in shapes]
    if None in sizes:
        return None
    parts = list(zip(sizes, signals, strict=True))
    mean = sum(n * s.mean for n, s in parts) / sum(sizes)
    return Moments(mean, sum(n * s.second for n, s in parts) / sum(sizes) - mean**2)


def _pad(layer: Any, signals: list[Moments], shapes: Shapes) -> Moments | None:
    sizes = [n for n in shapes[0] if n is not None]
    if len(sizes) < len(shapes[0]):
        return None
    share = math.prod(sizes) / math.prod(layer.compute_output_shape((1, *sizes)))
    mean = signals[0].mean * share
    return Moments(mean, signals[0].second * share - mean**2)


def _average_pool(layer: Any, signals: list[Moments], shapes: Shapes) -> Moments:
    return Moments(signals[0].mean, signals[0].variance / math.prod(layer.pool_size))


def _max_pool(layer: Any, signals: list[Moments], shapes: Shapes) -> Moments:
    # The largest of k: its distribution function is Φᵏ.
    points, weights = _normal_rule()
    below = np.cumsum(weights) ** math.prod(layer.pool_size)
    density = np.diff(below, prepend=0)
    mean = float(density @ points)
    variance = float(density @ (points - mean) ** 2)
    root = math.sqrt(signals[0].variance)
    return Moments(signals[0].mean + root * mean, root**2 * variance)


def _global_average(layer: Any, signals: list[Moments], shapes: Shapes) -> Moments | None:
    spatial = shapes[0][:-1] if layer.data_format == "channels_last" else shapes[0][1:]
    positions = [n for n in spatial if n is not None]
    if len(positions) < len(spatial):
        return None
    return Moments(signals[0].mean, signals[0].variance / math.prod(positions))


# By the names in `tfinit.graph.layer_kinds`.
FORMULAS: dict[str, Formula] = {
    "add": _add,
    "average": _average,
    "average_pool": _average_pool,
    "concatenate": _concatenate,
    "dropout": _dropout,
    "global_average": _global_average,
    "max_pool": _max_pool,
    "multiply": _multiply,
    "noise": _noise,
    "pad": _pad,
    "rescale": _rescale,
    "rms": _rms,
    "same": _same,
    "standard": _standard,
}
