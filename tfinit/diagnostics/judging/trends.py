"""How signals grow with depth: the factor of a layer, and how many layers a signal survives."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tfinit.diagnostics.measuring.layers import LayerSignals

_FLOOR = 1e-300  # stands for zero where a logarithm is taken
_JUMP = math.log(20)  # a step that differs by this from the usual one is no part of a trend


@dataclass(frozen=True)
class Trend:
    """A positive quantity that changes geometrically from layer to layer.

    Attributes:
        depths: Of the layers with kernels where it is not zero.
        values: The quantity there; of several layers at one depth, the largest, or, of norms,
            the norm of all.
        factor: What one more layer multiplies it with: e to the median slope of its logarithm
            between all pairs of depths (Theil & Sen), single jumps of 20 times taken out. 1 for
            fewer than two depths.
    """

    depths: tuple[int, ...]
    values: tuple[float, ...]
    factor: float

    @property
    def layers(self) -> int:
        """How many steps there are from the first layer to the last."""
        return self.depths[-1] - self.depths[0] if self.depths else 0

    @property
    def decades(self) -> float:
        """log₁₀ of what all layers together multiply it with, each with the same factor.

        No more than the values differ, and than they say with their jumps: those of branches, and
        of layers that are called again and again, go up and down without end.
        """
        decades = self.layers * math.log10(max(self.factor, _FLOOR))
        if len(self.values) < 2:
            return 0.0
        depths, logs = np.array(self.depths), np.log10(np.array(self.values))
        as_they_are = self.layers * _median_slope(depths, logs)
        if as_they_are * decades <= 0:
            return 0.0
        return math.copysign(min(abs(decades), abs(as_they_are), self.spread), decades)

    @property
    def spread(self) -> float:
        """log₁₀ of the largest value over the smallest, jumps and all."""
        if not self.values:
            return 0.0
        return math.log10(max(self.values)) - math.log10(min(self.values))

    @classmethod
    def of(
        cls,
        layers: Sequence[LayerSignals],
        quantity: Callable[[LayerSignals], float | None],
        together: Callable[[list[float]], float] = max,
    ) -> "Trend":
        """The trend of a quantity over the layers with kernels; None leaves a layer out."""
        by_depth: dict[int, list[float]] = {}
        for layer in layers:
            value = quantity(layer) if layer.is_kernel else None
            # Zeros (of a kernel of zeros, or behind one) have no logarithm, and are no trend.
            if value is not None and math.isfinite(value) and value > 0:
                by_depth.setdefault(layer.depth, []).append(value)
        depths = sorted(by_depth)
        values = tuple(together(by_depth[d]) for d in depths)
        slope = _theil_sen(np.array(depths), np.log(np.array(values)))
        return cls(tuple(depths), values, math.exp(slope))


def _theil_sen(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 2:
        return 0.0
    steps, widths = np.diff(y), np.diff(x)
    usual = _median_slope(x, y)
    for n in range(len(steps)):
        # A jump in the middle would lie between half of all pairs. It is one if the values stay
        # where it took them, half of the way at least: side branches go up and come down again.
        stays = np.median(y[n + 1 : n + 4]) - np.median(y[max(0, n - 2) : n + 1])
        off = abs(steps[n] / widths[n] - usual)
        if off > _JUMP and abs(stays - usual) > max(_JUMP, off / 2):
            steps[n] = usual * widths[n]
    return _median_slope(x, np.concatenate([[0.0], np.cumsum(steps)]))


def _median_slope(x: np.ndarray, y: np.ndarray) -> float:
    """The median of the slopes between all pairs: that of steps would see one half of a zigzag."""
    i, j = np.triu_indices(len(x), 1)
    return float(np.median((y[j] - y[i]) / (x[j] - x[i])))


@dataclass(frozen=True)
class Trends:
    """The trends of a network, forward and backward.

    Attributes:
        size: rms of what the kernels make, from the first layer on, where no normalization
            follows or comes before.
        variation: What of that depends on the input (`tfinit.diagnostics.measuring.signals`).
        gradient: Norm of the gradient there. Its `backward` factor is that of one layer back.
    """

    size: Trend
    variation: Trend
    gradient: Trend

    @classmethod
    def of(cls, layers: Sequence[LayerSignals]) -> "Trends":
        """The trends of what was measured, on the way of the signal."""
        # What a normalization reads has no size of its own, and what reads it has not that of the
        # layers before it.
        layers = [r for r in layers if not r.scores]
        on = [r for r in layers if not r.normalized and r.reads != "normalization"]
        return cls(
            Trend.of(on, lambda r: r.linear.rms),
            Trend.of(on, lambda r: r.linear.variation),
            Trend.of(
                layers,
                lambda r: r.linear_gradient.norm if r.linear_gradient else None,
                lambda norms: math.hypot(*norms),
            ),
        )

    @property
    def forward_factor(self) -> float:
        """What a layer multiplies the rms of the signal with."""
        return self.size.factor

    @property
    def backward_factor(self) -> float:
        """What a layer multiplies the norm of the gradient with, on its way back.

        Its square is χ₁ of mean-field theory.
        """
        return 1 / max(self.gradient.factor, _FLOOR)

    @property
    def depth_scale(self) -> float:
        """ξ = 1 / |ln χ₁|: the layers after which a gradient's square has changed by e.

        Why: After as many layers a signal has shrunk or grown clearly. A network of about that
        depth, or less, still trains from its first layer to its last; of one that is much deeper,
        one end does not learn of what the other does.

        Infinite on the edge between vanishing and exploding; Schoenholz et al. 2017.
        """
        slope = abs(2 * math.log(max(self.backward_factor, _FLOOR)))
        return math.inf if slope == 0 else 1 / slope
