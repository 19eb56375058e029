"""Results → rows, CSV, data frames and one sentence of conclusion. Trains nothing."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinit.arguments import instance, listed
from tfinit.errors import InputError
from tfinit.lottery.config import LotteryConfig
from tfinit.lottery.counts import ends_early
from tfinit.lottery.result import MADE_BY_RUN, REINIT, TICKET, LevelResult, outcome_columns
from tfinit.lottery.stored_arrays import shapes_of
from tfinit.moved import former_names
from tfinit.results import Result, frame
from tfinit.spread import Spread
from tfinit.training.judged import ACCURACY, JudgedMetric
from tfinit.training.judged import MATCH_POINTS as _POINTS

if TYPE_CHECKING:
    import pandas

__all__ = [
    "MATCH_POINTS",
    "SPARSE",
    "Conclusion",
    "LevelSummary",
    "evaluations_to_csv",
    "evaluations_to_frame",
    "layers_to_csv",
    "layers_to_frame",
    "percent",
    "summarize",
    "to_csv",
    "to_frame",
]

MATCH_POINTS = _POINTS  # accuracies are compared in points: hundredths
SPARSE = 0.1
# What says which training a line is about.
_PLACE = ("seed", "branch", "level", "density")


@dataclass(frozen=True)
class LevelSummary:
    """One level of one branch, over all replicates: what the networks are judged by, on test data.

    Attributes:
        branch: See `tfinit.lottery.branches`.
        level: How often the networks were pruned.
        density: Mean over the replicates.
        early_stop_step: Of the replicates that did not diverge, as the next two.
        early_stop_value: At that step. Accuracies are fractions.
        final_value: After the last step.
        untrained_value: Of all replicates, before the first step.
        diverged: How many replicates diverged. They have no last step to compare at the others'.
        metric: What the three values are of.
    """

    branch: str
    level: int
    density: float
    early_stop_step: Spread
    early_stop_value: Spread
    final_value: Spread
    untrained_value: Spread
    diverged: int = 0
    metric: JudgedMetric = ACCURACY

    @property
    def early_stop_accuracy(self) -> Spread:
        """`early_stop_value`, if it is one of an accuracy.

        Raises:
            InputError: it is not; the same for the next two.
        """
        return self._accuracy("early_stop_value")

    @property
    def final_accuracy(self) -> Spread:
        """`final_value`, if it is one of an accuracy."""
        return self._accuracy("final_value")

    @property
    def untrained_accuracy(self) -> Spread:
        """`untrained_value`, if it is one of an accuracy."""
        return self._accuracy("untrained_value")

    def _accuracy(self, name: str) -> Spread:
        if not self.metric.is_accuracy:
            raise InputError(
                f"`metric` is {self.metric.name!r} here: there is no accuracy, but `{name}`."
            )
        return getattr(self, name)


def summarize(results: Sequence[LevelResult]) -> list[LevelSummary]:
    """One row for each level and branch: by level, tickets first, then as they come in results."""
    results = _checked(results)
    groups: dict[tuple[int, str], list[LevelResult]] = {}
    order = {TICKET: 0}
    for result in results:
        groups.setdefault((result.level, result.branch), []).append(result)
        order.setdefault(result.branch, len(order))
    ordered = sorted(groups.items(), key=lambda item: (item[0][0], order[item[0][1]]))
    return [_row(branch, level, group) for (level, branch), group in ordered]


def _row(branch: str, level: int, group: Sequence[LevelResult]) -> LevelSummary:
    trained = [r for r in group if r.diverged_at is None]
    return LevelSummary(
        branch,
        level,
        float(np.mean([r.density for r in group])),
        Spread.of([r.early_stop_step for r in trained]),
        Spread.of([r.early_stop_value for r in trained]),
        Spread.of([r.final_value for r in trained]),
        Spread.of([r.untrained_value for r in group]),
        len(group) - len(trained),
        group[0].metric,
    )


def _metric_of(results: Sequence[LevelResult]) -> JudgedMetric:
    """What results are judged by: all of an experiment by the same."""
    return results[0].metric if results else ACCURACY


@dataclass(frozen=True)
class _Lines:
    """Columns and lines, for CSV and data frame alike."""

    columns: Sequence[str]
    lines: Iterator[tuple[Any, ...]]

    def csv(self) -> str:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.lines)
        return out.getvalue()

    def frame(self, part: str) -> "pandas.DataFrame":
        return frame(self.lines, f"tfinit.lottery.report.{part}", self.columns)


def _place(result: LevelResult) -> tuple[Any, ...]:
    return tuple(getattr(result, name) for name in _PLACE)


def _checked(results: Any) -> list[LevelResult]:
    found = listed("results", results, LevelResult, empty=True, cure=MADE_BY_RUN)
    by = {result.metric: None for result in found}
    if len(by) > 1:
        raise InputError(
            f"`results` are judged by several metrics, {', '.join(metric.name for metric in by)}. "
            "Pass those of one experiment, or each by itself."
        )
    return found


def _trainings(results: Sequence[LevelResult]) -> _Lines:
    results = _checked(results)
    lines = ((*_place(r), r.survivors, *r.outcome()) for r in results)
    return _Lines((*_PLACE, "survivors", *outcome_columns(_metric_of(results))), lines)


def _evaluations(results: Sequence[LevelResult]) -> _Lines:
    results = _checked(results)
    names = tuple(results[0].metrics.values) if results else ()
    lines = (
        (*_place(r), *line)
        for r in results
        for line in zip(r.metrics.step, *(r.metrics.values[n] for n in names), strict=True)
    )
    return _Lines((*_PLACE, "step", *names), lines)


def _layers(results: Sequence[LevelResult]) -> _Lines:
    results = _checked(results)
    lines = (
        (r.seed, r.branch, r.level, key, size, survivors, survivors / size)
        for r in results
        for key, (survivors, size) in r.counts.items()
    )
    return _Lines((*_PLACE[:3], "key", "weights", "survivors", "density"), lines)


def to_csv(results: Sequence[LevelResult]) -> str:
    """One line for each training: what it is, and how good it is by what it is judged by.

    Columns carry the name of the metric: ``final_accuracy``, ``final_mae``; accuracies are
    fractions. ``diverged_at`` is empty for those that did not diverge. Of the others the early stop
    is that before they did, and the final value the last that was measured.
    """
    return _trainings(results).csv()


def evaluations_to_csv(results: Sequence[LevelResult]) -> str:
    """One line for each evaluation of each training: the learning curves."""
    return _evaluations(results).csv()


def layers_to_csv(results: Sequence[LevelResult]) -> str:
    """One line for each prunable weight of each training: where the survivors are."""
    return _layers(results).csv()


def to_frame(results: Sequence[LevelResult]) -> "pandas.DataFrame":
    """What `to_csv` writes, as a pandas frame; ``diverged_at`` is an integer or missing.

    Raises:
        MissingPackage: pandas is not installed; the same for the other frames.
    """
    return _trainings(results).frame("to_frame").astype({"diverged_at": "Int64"})


def evaluations_to_frame(results: Sequence[LevelResult]) -> "pandas.DataFrame":
    """What `evaluations_to_csv` writes, as a pandas frame."""
    return _evaluations(results).frame("evaluations_to_frame")


def layers_to_frame(results: Sequence[LevelResult]) -> "pandas.DataFrame":
    """What `layers_to_csv` writes, as a pandas frame."""
    return _layers(results).frame("layers_to_frame")


@dataclass(frozen=True, repr=False)
class Conclusion(Result):
    """What the results say about the lottery ticket hypothesis.

    Attributes:
        dense: What the dense networks are judged by, on test data after their last step.
        margin: How much better tickets are than their controls by that, replicate by replicate the
            mean over all levels below 10% density (or below the densest ticket, if none is so
            sparse); negative where they are worse; None without the control.
        densities: Range of the densities that `margin` is about.
        sparsest_match: Smallest density at which the tickets' mean is as good as the dense
            networks', or within 0.5 points of an accuracy, or 1% of another metric; None if there
            is no such level.
        diverged: How many trainings diverged. All else is about those that did not.
        ended: That and why the experiment ended before its last level; empty if it did not, or if
            that is not known.
        emptied: Key of each weight of which nothing is left → the first level of the tickets at
            which that is so.
    """

    dense: Spread
    margin: Spread | None
    densities: tuple[float, float] | None
    sparsest_match: float | None
    diverged: int = 0
    ended: str = ""
    emptied: Mapping[str, int] = field(default_factory=dict)
    metric: JudgedMetric = ACCURACY

    @classmethod
    def of(
        cls, results: Sequence[LevelResult], config: LotteryConfig | None = None
    ) -> "Conclusion":
        """Draw the conclusion from the results.

        Args:
            results: What `tfinit.lottery.run` returned.
            config: The experiment, to tell whether it ended before the last of its levels.
        """
        instance("config", config, LotteryConfig, none=True)
        results = _checked(results)
        metric = _metric_of(results)
        ended = ""
        if config is not None and results and config.structure == "weights":
            ended = ends_early(config, shapes_of(results[0].mask))
        diverged = sum(r.diverged_at is not None for r in results)
        about = (diverged, ended, _emptied(results), metric)
        tickets = [row for row in summarize(results) if row.branch == TICKET]
        if not tickets:
            raise InputError("`results` must have those of tickets, received none.")
        dense = tickets[0].final_value
        matching = [
            row.density for row in tickets[1:] if metric.as_good(row.final_value.mean, dense.mean)
        ]
        trained = {(r.seed, r.level, r.branch): r for r in results if r.diverged_at is None}
        pairs = [
            (r, trained[seed, level, TICKET])
            for (seed, level, branch), r in trained.items()
            if branch == REINIT and (seed, level, TICKET) in trained
        ]
        pairs = [p for p in pairs if p[1].density < SPARSE] or pairs
        if not pairs:
            return cls(dense, None, None, min(matching, default=None), *about)
        margins: dict[int, list[float]] = {}
        for control, ticket in pairs:
            margins.setdefault(ticket.seed, []).append(
                metric.gain(ticket.final_value, control.final_value)
            )
        densities = [ticket.density for _, ticket in pairs]
        return cls(
            dense,
            Spread.of([float(np.mean(m)) for m in margins.values()]),
            (min(densities), max(densities)),
            min(matching, default=None),
            *about,
        )

    def __str__(self) -> str:
        """One sentence, and others if networks diverged, or pruning came to its end."""
        told = [self._sentence()]
        if self.diverged:
            what = "1 training" if self.diverged == 1 else f"{self.diverged} trainings"
            told.append(f"{what} diverged and {'is' if self.diverged == 1 else 'are'} left out.")
        levels: dict[int, list[str]] = {}
        for key, level in self.emptied.items():
            levels.setdefault(level, []).append(key)
        told += [f"From level {n} on nothing is left of {', '.join(k)}." for n, k in levels.items()]
        if self.ended:
            told.append(f"{self.ended}.")
        return " ".join(told)

    def _sentence(self) -> str:
        if self.dense.n == 0:
            return "Every dense network diverged, so there is nothing to compare tickets with."
        if np.isnan(self.dense.mean):
            return f"The dense network's {self.metric} is no number: there is nothing to compare."
        dense = _shown(self.dense, self.metric)
        if not self.metric.is_accuracy:
            dense = f"{self.metric} of {dense}"
        if self.sparsest_match is None:
            match = f"no ticket stays within {self.metric.match} of the dense network"
            match += "" if self.metric.is_accuracy else f"'s {dense}"
        else:
            match = (
                f"tickets stay within {self.metric.match} of the dense network's {dense} "
                f"down to {self.sparsest_match:.1%} density"
            )
        match = f"{match[0].upper()}{match[1:]}"
        if self.margin is None or self.densities is None:
            return f"{match}; without the control 'reinit' nothing says why."
        densities = " to ".join(dict.fromkeys(f"{d:.1%}" for d in self.densities))
        # What is said is at the densities: of accuracies in points, of others by the metric's name.
        say = _in_points if self.metric.is_accuracy else self._by_name
        return f"{match}{say(self.margin, densities)}"

    def _by_name(self, margin: Spread, densities: str) -> str:
        """What a margin of a metric that is no accuracy comes to."""
        sign = 1 if margin.mean >= 0 else -1
        which = "lower" if (self.metric.direction == "min") == (sign > 0) else "higher"
        apart = f"{abs(margin.mean):.4g}" + (f" ± {margin.std:.2g}" if margin.n > 1 else "")
        how = "as high as" if margin.mean == 0 else f"{apart} {which} than"
        said = f"their {self.metric} is {how} that of reinitialized networks"
        said += f" at {densities} density"
        if margin.n == 1:
            return f"; {said}, which one replicate cannot tell from chance."
        low, high = sorted(sign * end for end in margin.interval)
        said += f" (95% interval {low:.3g} to {high:.3g})"
        if margin.interval[0] > 0:
            return f", and their initial weights matter: {said}."
        if margin.interval[1] < 0:
            return f", but reinitialized networks do better: {said}."
        return f"; {said}, which could be chance."


def _in_points(margin: Spread, densities: str) -> str:
    """What a margin of an accuracy comes to."""
    gain = f"{100 * margin.mean:+.1f}"
    if margin.n == 1:
        return (
            f"; against reinitialized networks they stand at {gain} points at "
            f"{densities} density, which one replicate cannot tell from chance."
        )
    low, high = margin.interval
    points = (
        f"{gain} ± {100 * margin.std:.1f} points at {densities} density "
        f"(95% interval {100 * low:+.1f} to {100 * high:+.1f})"
    )
    if low > 0:
        return f", and their initial weights matter: over reinitialized ones they gain {points}."
    if high < 0:
        return f", but reinitialized networks do better: against them they stand at {points}."
    return f"; against reinitialized ones they stand at {points}, which could be chance."


def _emptied(results: Sequence[LevelResult]) -> dict[str, int]:
    found: dict[str, int] = {}
    for result in sorted((r for r in results if r.branch == TICKET), key=lambda r: r.level):
        for key, alive in result.alive.items():
            if alive == 0:
                found.setdefault(key, result.level)
    return found


def _shown(spread: Spread, metric: JudgedMetric) -> str:
    """Mean ± standard deviation of a metric, with its unit."""
    return metric.text(spread.mean, spread.std if spread.n > 1 else None)


def percent(spread: Spread) -> str:
    """Mean ± standard deviation of a fraction, in percent."""
    return _shown(spread, ACCURACY)


__getattr__ = former_names(__name__, {"Row": "LevelSummary"})
