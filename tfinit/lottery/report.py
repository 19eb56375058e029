"""Results → table, CSV and one sentence of conclusion. Reads results, trains nothing."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from tfinit.lottery.result import REINIT, TICKET, LevelResult

# Accuracies are compared in points: hundredths.
MATCH_POINTS = 0.5
SPARSE = 0.1
_COLUMNS = ("early_stop_step", "early_stop_accuracy", "final_accuracy")


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over ``n`` replicates (0 for a single one)."""

    mean: float
    std: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of some values."""
        std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return cls(float(np.mean(values)), std, len(values))

    @property
    def interval(self) -> tuple[float, float]:
        """95% confidence interval of the mean, by Student's t; infinite for one replicate."""
        if self.n < 2:
            return (-np.inf, np.inf)
        half = float(student_t.ppf(0.975, self.n - 1)) * self.std / self.n**0.5
        return (self.mean - half, self.mean + half)


@dataclass(frozen=True)
class Row:
    """One level of one branch, over all replicates. Accuracies are fractions of the test split."""

    branch: str
    level: int
    density: float
    early_stop_step: Spread
    early_stop_accuracy: Spread
    final_accuracy: Spread


def summarize(results: Sequence[LevelResult]) -> list[Row]:
    """One row for each level and branch, in the order of the levels, tickets first."""
    groups: dict[tuple[int, str], list[LevelResult]] = {}
    for result in results:
        groups.setdefault((result.level, result.branch), []).append(result)
    ordered = sorted(groups.items(), key=lambda item: (item[0][0], item[0][1] != TICKET))
    return [
        Row(
            branch,
            level,
            float(np.mean([r.density for r in group])),
            Spread.of([r.early_stop_step for r in group]),
            Spread.of([r.early_stop_accuracy for r in group]),
            Spread.of([r.final_accuracy for r in group]),
        )
        for (level, branch), group in ordered
    ]


def to_csv(results: Sequence[LevelResult]) -> str:
    """One line for each training: what it is, and its accuracies."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["seed", "branch", "level", "density", "survivors", *_COLUMNS])
    for r in results:
        values = [getattr(r, name) for name in _COLUMNS]
        writer.writerow([r.seed, r.branch, r.level, r.density, r.survivors, *values])
    return out.getvalue()


def evaluations_to_csv(results: Sequence[LevelResult]) -> str:
    """One line for each evaluation of each training: the learning curves."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = list(results[0].metrics.values)
    writer.writerow(["seed", "branch", "level", "density", "step", *names])
    for r in results:
        columns = [r.metrics.values[name] for name in names]
        for step, *values in zip(r.metrics.step, *columns, strict=True):
            writer.writerow([r.seed, r.branch, r.level, r.density, step, *values])
    return out.getvalue()


@dataclass(frozen=True)
class Conclusion:
    """What the results say about the lottery ticket hypothesis.

    Attributes:
        dense: Final test accuracy of the dense networks.
        margin: Final test accuracy of the tickets minus that of their controls, replicate by
            replicate the mean over all levels below 10% density (or below the densest ticket, if
            none is so sparse); None without the control.
        densities: Range of the densities that `margin` is about.
        sparsest_match: Smallest density at which the tickets' mean final accuracy is within 0.5
            points of the dense networks'; None if there is no such level.
    """

    dense: Spread
    margin: Spread | None
    densities: tuple[float, float] | None
    sparsest_match: float | None

    @classmethod
    def of(cls, results: Sequence[LevelResult]) -> "Conclusion":
        """Draw the conclusion from the results."""
        tickets = [row for row in summarize(results) if row.branch == TICKET]
        dense = tickets[0].final_accuracy
        matching = [
            row.density
            for row in tickets[1:]
            if row.final_accuracy.mean >= dense.mean - MATCH_POINTS / 100
        ]
        by_place = {(r.seed, r.level, r.branch): r for r in results}
        pairs = [(r, by_place[r.seed, r.level, TICKET]) for r in results if r.branch == REINIT]
        pairs = [p for p in pairs if p[1].density < SPARSE] or pairs
        if not pairs:
            return cls(dense, None, None, min(matching, default=None))
        margins: dict[int, list[float]] = {}
        for control, ticket in pairs:
            margins.setdefault(ticket.seed, []).append(
                ticket.final_accuracy - control.final_accuracy
            )
        densities = [ticket.density for _, ticket in pairs]
        return cls(
            dense,
            Spread.of([float(np.mean(m)) for m in margins.values()]),
            (min(densities), max(densities)),
            min(matching, default=None),
        )

    def __str__(self) -> str:
        """One sentence."""
        if self.sparsest_match is None:
            match = f"no ticket stays within {MATCH_POINTS} points of the dense network"
        else:
            match = (
                f"tickets stay within {MATCH_POINTS} points of the dense network's "
                f"{percent(self.dense)} down to {self.sparsest_match:.1%} density"
            )
        match = f"{match[0].upper()}{match[1:]}"
        if self.margin is None or self.densities is None:
            return f"{match}; without a control nothing says why."
        densities = " to ".join(dict.fromkeys(f"{d:.1%}" for d in self.densities))
        gain = f"{100 * self.margin.mean:+.1f}"
        if self.margin.n == 1:
            return (
                f"{match}; against reinitialized networks they stand at {gain} points at "
                f"{densities} density, which one replicate cannot tell from chance."
            )
        low, high = self.margin.interval
        points = (
            f"{gain} ± {100 * self.margin.std:.1f} points at {densities} density "
            f"(95% interval {100 * low:+.1f} to {100 * high:+.1f})"
        )
        if low > 0:
            why = "and their initial weights matter: over reinitialized ones they gain"
            return f"{match}, {why} {points}."
        if high < 0:
            why = "but reinitialized networks do better: against them they stand at"
            return f"{match}, {why} {points}."
        return f"{match}; against reinitialized ones they stand at {points}, which could be chance."


def percent(spread: Spread) -> str:
    """Mean ± standard deviation of a fraction, in percent."""
    deviation = f" ± {100 * spread.std:.1f}" if spread.n > 1 else ""
    return f"{100 * spread.mean:.1f}{deviation}%"
