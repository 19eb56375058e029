"""What `prune_after_training` did: the sparsity of each weight, and what it cost its layer."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfinit.arguments import text
from tfinit.results import Result
from tfinit.text_table import aligned, of_shape, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class PrunedWeight:
    """One weight that was pruned.

    The errors are those of the layer's output before its bias, on the calibration data as they come
    through the pruned layers before it: ``‖X(Ŵ − W)‖² / ‖XW‖²``, 0 where XW is zero.

    Attributes:
        key: The weight's stable key.
        shape: Its shape.
        target: The sparsity that it was given by the allocation.
        sparsity: The fraction of its entries that is zero now.
        error_before: The error with the pruned entries at zero and all others as they were.
        error: The error with the others as they are now: with ``"sparsegpt"`` less as a rule (what
            makes up for one weight may go itself later), else the same.
        rows: How many rows X has: examples, or positions of all of them.
    """

    key: str
    shape: tuple[int, ...]
    target: float
    sparsity: float
    error_before: float
    error: float
    rows: int


@dataclass(frozen=True)
class SkippedWeight:
    """A weight that was left as it was.

    Attributes:
        key: Its stable key.
        reason: Why.
    """

    key: str
    reason: str


@dataclass(frozen=True, repr=False)
class AfterTraining(Result):
    """What `prune_after_training` did. Prints as a table, a line for each weight.

    Attributes:
        score: The name of the score.
        structure: The pattern of the survivors, None for none.
        weights: What was pruned, in data-flow order.
        skipped: What was not, and why.
    """

    score: str
    structure: Any
    weights: tuple[PrunedWeight, ...]
    skipped: tuple[SkippedWeight, ...]

    @property
    def sparsity(self) -> float:
        """The fraction of zeros in all weights that were pruned."""
        sizes = [math.prod(one.shape) for one in self.weights]
        zeros = [one.sparsity * n for one, n in zip(self.weights, sizes, strict=True)]
        return sum(zeros) / sum(sizes)

    def to_dict(self) -> dict[str, Any]:
        """All of it, with the sparsity of all weights together."""
        return super().to_dict() | {"sparsity": self.sparsity}

    def __str__(self) -> str:
        rows = [("weight", "shape", "sparsity", "error before", "error")]
        rows += [
            (
                one.key,
                of_shape(one.shape),
                f"{one.sparsity:.2%}",
                f"{one.error_before:.3g}",
                f"{one.error:.3g}",
            )
            for one in self.weights
        ]
        lines = [f"{printable(self._caption())}", *aligned(rows, right=(2, 3, 4))]
        lines += [
            f"{printable(one.key)}  not touched: {printable(one.reason)}" for one in self.skipped
        ]
        return "\n".join(lines)

    def _rows(self) -> list[dict[str, Any]]:
        """One for each weight, pruned or not."""
        pruned = [
            {
                "weight": one.key,
                "shape": one.shape,
                "sparsity": one.sparsity,
                "error_before": one.error_before,
                "error": one.error,
            }
            for one in self.weights
        ]
        return [*pruned, *({"weight": one.key, "reason": one.reason} for one in self.skipped)]

    def _caption(self) -> str:
        pattern = "" if self.structure is None else f", {self.structure}"
        return f"{self.score} after training{pattern}: {self.sparsity:.2%} zeros"

    def plot(self, title: str | None = None) -> "Figure":
        """The sparsity of each weight, see `tfinit.plots.sparsity_figure`."""
        text("title", title, none=True)
        from tfinit.plots import sparsity_figure

        weights = {one.key: one.sparsity for one in self.weights}
        return sparsity_figure(weights, title or self._caption())


@dataclass(frozen=True)
class RepairedLayer:
    """What was done to one kernel, or to one BatchNormalization.

    Attributes:
        key: The kernel's stable key, or the path of the layer.
        kind: ``"kernel"`` or ``"batch normalization"``.
        channels: How many channels it has.
        low: The least factor by which what it makes of a channel was scaled.
        high: The largest.
        off: How far the means of the channels were off before, in deviations:
            ``√(mean (μ − μ_wanted)² / mean σ_wanted²)``; 0 where nothing varies.
    """

    key: str
    kind: str
    channels: int
    low: float
    high: float
    off: float


@dataclass(frozen=True, repr=False)
class Repair(Result):
    """What `repair` did. Prints as a table, a line for each layer.

    Attributes:
        layers: What was repaired, in data-flow order.
        skipped: What was left, and why.
    """

    layers: tuple[RepairedLayer, ...]
    skipped: tuple[SkippedWeight, ...]

    def __str__(self) -> str:
        rows = [("layer", "channels", "scaled by", "mean off by")]
        rows += [
            (one.key, f"{one.channels:,}", f"{one.low:.2f} … {one.high:.2f}", f"{one.off:.3g}")
            for one in self.layers
        ]
        left = [f"{printable(one.key)}  left: {printable(one.reason)}" for one in self.skipped]
        return "\n".join([self._caption(), *aligned(rows, right=(1, 3)), *left])

    def _rows(self) -> list[dict[str, Any]]:
        """One for each layer, repaired or not."""
        repaired = [
            {
                "layer": one.key,
                "kind": one.kind,
                "channels": one.channels,
                "low": one.low,
                "high": one.high,
                "off": one.off,
            }
            for one in self.layers
        ]
        return [*repaired, *({"layer": one.key, "reason": one.reason} for one in self.skipped)]

    def _caption(self) -> str:
        count = len(self.layers)
        return f"{count} layer{'s' * (count != 1)} repaired"
