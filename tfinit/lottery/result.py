"""What one level of an experiment leaves behind, with every part named."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinit.arguments import text
from tfinit.errors import InputError
from tfinit.lottery.branches import REINIT, TICKET
from tfinit.lottery.controls import Weights
from tfinit.pruning.scoring.masks import Masks
from tfinit.results import Result, json_ready
from tfinit.training.judged import ACCURACY, JudgedMetric, judged, measured
from tfinit.training.metrics import Metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["REINIT", "TICKET", "LevelResult", "Weights", "rewound"]

# What errors say where these are wanted.
MADE_BY_RUN = "tfinit.lottery.run returns them."


@dataclass(frozen=True, eq=False, repr=False)
class LevelResult(Result):
    """One training of one network: the dense one (level 0), a ticket, or a control.

    Attributes:
        seed: The replicate.
        branch: ``"ticket"``, or the name of the control; see `tfinit.lottery.branches`.
        level: How often it was pruned.
        initial: All weights at initialization, dense.
        rewind: The dense weights that survivors return to: for tickets those at the rewind step,
            for controls what they have in place of them. Training started from
            ``mask * rewind``, bit for bit.
        mask: True where a weight survives, under the keys of the prunable weights.
        final: All weights after training.
        metrics: Loss, accuracy, and what else the network was compiled with, at each evaluation.
        diverged_at: The first step whose loss was not finite, or the evaluation that found weights
            that are not (`tfinit.training.Diverged`); None if there was none. ``final`` may be not
            finite then, and the metrics end before that step.
    """

    seed: int
    branch: str
    level: int
    initial: Weights
    rewind: Weights
    mask: Mapping[str, np.ndarray]
    final: Weights
    metrics: Metrics
    diverged_at: int | None = None
    judged_by: JudgedMetric | None = None

    @cached_property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Key of each prunable weight → (survivors, size)."""
        return {k: (int(np.count_nonzero(m)), m.size) for k, m in self.mask.items()}

    @property
    def alive(self) -> dict[str, int]:
        """Key of each prunable weight → survivors."""
        return {key: survivors for key, (survivors, _) in self.counts.items()}

    @property
    def density(self) -> float:
        """Fraction of the prunable weights that survive."""
        return self.survivors / sum(size for _, size in self.counts.values())

    @property
    def survivors(self) -> int:
        """Number of the prunable weights that survive."""
        return sum(alive for alive, _ in self.counts.values())

    @cached_property
    def metric(self) -> JudgedMetric:
        """What the network is judged by: `early_stop_value` and the like are of this metric."""
        return self.judged_by or judged(measured(self.metrics.values))

    @property
    def early_stop_step(self) -> int:
        """The step of the smallest validation loss, whatever the network is judged by."""
        return int(self.metrics.step[self.metrics.early_stop])

    @property
    def early_stop_value(self) -> float:
        """What it is judged by, on the test split, at `early_stop_step`."""
        return self._value(self.metrics.early_stop)

    @property
    def final_value(self) -> float:
        """The same after the last step, or at the last evaluation before it diverged."""
        return self._value(-1)

    @property
    def untrained_value(self) -> float:
        """The same before the first step: that of the mask alone (Zhou et al.'s supermask)."""
        return self._value(0)

    @property
    def early_stop_accuracy(self) -> float:
        """Test accuracy at `early_stop_step`.

        Raises:
            InputError: no accuracy was measured; the same for the next two.
        """
        return self._value(self.metrics.early_stop, self._accuracy)

    @property
    def final_accuracy(self) -> float:
        """Test accuracy after the last step, or at the last evaluation before it diverged."""
        return self._value(-1, self._accuracy)

    @property
    def untrained_accuracy(self) -> float:
        """Test accuracy before the first step."""
        return self._value(0, self._accuracy)

    @property
    def _accuracy(self) -> JudgedMetric:
        return self.metric if self.metric.is_accuracy else ACCURACY

    def _value(self, row: int, metric: JudgedMetric | None = None) -> float:
        metric = self.metric if metric is None else metric
        column = self.metrics.values.get(metric.column())
        if column is None:
            raise InputError(
                f"`metric` {metric.name!r} was not measured in this training; there are "
                f"{', '.join(measured(self.metrics.values))}. `final_value` and the like are of "
                "the one that it is judged by."
            )
        return float(column[row])

    def __str__(self) -> str:
        """One line: which training it is, and what came of it."""
        diverged = "" if self.diverged_at is None else f", diverged at step {self.diverged_at}"
        return (
            f"seed {self.seed} level {self.level:2d} {self.branch}: density {self.density:.1%}, "
            f"test {self.metric} {self.metric.text(self.final_value)}{diverged}"
        )

    def outcome(self) -> tuple[Any, ...]:
        """What came of the training: the values of `outcome_columns`."""
        values = (self.early_stop_value, self.final_value, self.untrained_value)
        return (self.early_stop_step, *values, self.diverged_at)

    def to_dict(self) -> dict[str, Any]:
        """All but the arrays of weights and masks, of which there are the counts."""
        names = ("seed", "branch", "level", "density", "survivors")
        weights = {key: {"survivors": n, "size": size} for key, (n, size) in self.counts.items()}
        evaluations = {"step": self.metrics.step, **self.metrics.values}
        found = {name: getattr(self, name) for name in names}
        found |= dict(zip(outcome_columns(self.metric), self.outcome(), strict=True))
        return json_ready({**found, "weights": weights, "evaluations": evaluations})

    def _rows(self) -> list[dict[str, Any]]:
        inner = ("weights", "evaluations")
        return [{name: v for name, v in self.to_dict().items() if name not in inner}]

    def plot(self, title: str | None = None) -> "Figure":
        """The learning curve, see `tfinit.plots.curves_figure`."""
        text("title", title, none=True)
        from tfinit.plots import curves_figure

        return curves_figure([self], title or str(self), self.branch)


def outcome_columns(metric: JudgedMetric) -> tuple[str, ...]:
    """The columns of what comes of a training that is judged by a metric.

    Example:
        >>> outcome_columns(ACCURACY)[1:4]
        ('early_stop_accuracy', 'final_accuracy', 'untrained_accuracy')
    """
    values = (f"{when}_{metric.name}" for when in ("early_stop", "final", "untrained"))
    return ("early_stop_step", *values, "diverged_at")


def rewound(weights: Weights, mask: Mapping[str, np.ndarray] | Masks) -> dict[str, np.ndarray]:
    """mask × weights for the prunable weights, the others as they are."""
    mask = dict(mask)
    return {key: value * mask[key] if key in mask else value for key, value in weights.items()}
