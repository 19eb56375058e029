"""What a race gives: runs, rows by scheme, ranks, and what they say."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tfinit.arguments import number, one_of, text
from tfinit.comparison.ranking import Ranking, foretold, rank
from tfinit.results import Result, json_ready
from tfinit.spread import Spread
from tfinit.training.judged import JudgedMetric, judged
from tfinit.training.metrics import Metrics

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

# What a final loss is the mean of, and what must be below the target: so many of all steps. The
# loss of one batch says little.
WINDOW = 0.05
# A loss that has not fallen by 5% from its first value: the network learned nothing.
_LEARNED = 0.95


@dataclass(frozen=True, repr=False)
class Run:
    """One training: one scheme, one seed.

    Attributes:
        label: The scheme's.
        seed: Of the weights, the order of the data, and the noise of Dropout and the like.
        steps: Steps that were to be made.
        metrics: The training loss of each step made (``metrics.losses``), and validation and test
            metrics at the steps that were evaluated.
        diverged_at: The first step, counted from 1, whose loss was not finite, or the first
            evaluation that found weights that were not; None if all were.
        seconds_per_step: Measured, without compilation and evaluations.
        diagnosis: What `tfinit.diagnose` said of the initialized model before the first step; None
            if it was not asked.
    """

    label: str
    seed: int
    steps: int
    metrics: Metrics
    diverged_at: int | None
    seconds_per_step: float
    diagnosis: Any = None

    @property
    def window(self) -> int:
        """Steps that make a mean: 5% of all, at least one."""
        return max(1, round(WINDOW * self.steps))

    @cached_property
    def trailing(self) -> np.ndarray:
        """Mean training loss of the `window` last steps, from the first step that has so many."""
        losses = self.metrics.losses
        if len(losses) < self.window:
            return np.zeros(0)
        # No running sum: an early loss of 1e30 would swallow all that follow.
        return sliding_window_view(losses, self.window).mean(axis=1, dtype=np.float64)

    @property
    def final_loss(self) -> float:
        """Mean training loss of the last 5% of the steps; infinite if the run diverged."""
        return math.inf if self.diverged_at is not None else float(self.trailing[-1])

    def last(self, name: str) -> float:
        """A metric after the last step; NaN if the run diverged or it was not measured."""
        values = self.metrics.values.get(text("name", name))
        if self.diverged_at is not None or values is None or not len(values):
            return math.nan
        return float(values[-1])

    def steps_to(self, loss: float | None) -> int | None:
        """The first step at which the trailing mean of the training loss is at most ``loss``."""
        loss = number("loss", loss, none=True)
        if loss is None:
            return None
        reached = np.flatnonzero(self.trailing <= loss)
        return int(reached[0]) + self.window if len(reached) else None

    def seconds_to(self, loss: float | None) -> float | None:
        """`steps_to` in seconds of training."""
        steps = self.steps_to(loss)
        return None if steps is None else steps * self.seconds_per_step

    def __str__(self) -> str:
        """One line: which run it is, and what came of it."""
        end = f"final loss {self.final_loss:.3g}"
        if self.diverged_at is not None:
            end = f"diverged at step {self.diverged_at}"
        return f"seed {self.seed} {self.label}: {end}"

    __repr__ = __str__  # the generated one would list every loss


@dataclass(frozen=True, repr=False)
class Row:
    """One scheme over all its seeds.

    Attributes:
        label: The scheme's.
        rank: By `tfinit.comparison.rank`; 1 is the best.
        runs: How many there are.
        diverged: How many of them diverged. They are in none of the means.
        reached: How many got to the target loss, `steps_to_target` is about these alone, and so is
            `seconds_to_target`.
        final_loss: Mean training loss of the last 5% of the steps.
        validation_loss: After the last step.
        test_accuracy: A fraction, after the last step. Of none where there are no classes.
        validation: The metric that is told of (`Comparison.told`) on the validation split, after
            the last step.
        test: The same on the test split.
        risk: Mean risk of the diagnoses; NaN without.
        verdict: That of the first seed's diagnosis; empty without.
    """

    label: str
    rank: int
    runs: int
    diverged: int
    reached: int
    steps_to_target: Spread
    seconds_to_target: Spread
    final_loss: Spread
    validation_loss: Spread
    test_accuracy: Spread
    validation: Spread
    test: Spread
    risk: float
    verdict: str

    def __str__(self) -> str:
        """One line: its rank, and what came of it."""
        lost = f"{self.diverged} of {self.runs} diverged"
        return f"rank {self.rank} {self.label}: final loss {self.final_loss.mean:.3g}, {lost}"

    __repr__ = __str__


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Result):
    """What `tfinit.compare` returns; prints as a table and a conclusion.

    Attributes:
        title: The data, and what was trained.
        runs: One for each scheme and seed, scheme by scheme.
        classes: Number of classes of the data; None where targets are no classes.
        steps: Steps of each run.
        batch_size: Examples a step.
        target_loss: What steps and seconds are counted to; None if no scheme learned anything.
        device: What it trained on, the `tfinit.devices.Device` as text.
        metric: What is ranked by, on the validation split after the last step. None: by the final
            training loss.
    """

    title: str
    runs: tuple[Run, ...] = field(repr=False)
    classes: int | None
    steps: int
    batch_size: int
    target_loss: float | None
    device: str = ""
    metric: JudgedMetric | None = None

    @property
    def labels(self) -> list[str]:
        """The schemes, as they were given."""
        return list(dict.fromkeys(run.label for run in self.runs))

    @property
    def seeds(self) -> list[int]:
        """The seeds, as they were given."""
        return list(dict.fromkeys(run.seed for run in self.runs))

    @cached_property
    def final_losses(self) -> dict[str, list[float]]:
        """Label → final loss of each seed."""
        return {label: [run.final_loss for run in self.of(label)] for label in self.labels}

    @cached_property
    def values(self) -> dict[str, list[float]]:
        """Label → what each seed is ranked by: its final loss, or the `metric`."""
        if self.metric is None:
            return self.final_losses
        name = self.metric.column("validation")
        return {label: [run.last(name) for run in self.of(label)] for label in self.labels}

    @cached_property
    def ranking(self) -> Ranking:
        """The ranks, and whether a test tells them apart.

        By `tfinit.comparison.rank`. However few the seeds, schemes that learned nothing, with
        losses that all end above all those of one that did, are ranked behind the others, and
        those of which a seed diverged behind these.
        """
        ends = self.final_losses
        lost = [label for label, values in self.values.items() if not np.isfinite(values).all()]
        idle = [label for label in ends if label not in lost and self.learned_nothing(label)]
        learned = [label for label in ends if label not in (*lost, *idle)]
        worst = min((max(ends[label]) for label in learned), default=math.inf)
        behind = [label for label in idle if min(ends[label]) > worst]
        groups = [[label for label in ends if label not in (*lost, *behind)], behind, lost]
        ranks: dict[str, int] = {}
        for group in filter(None, groups):
            found = rank({label: self.values[label] for label in group}, self.metric)
            before = len(ranks)
            ranks |= {label: before + place for label, place in found.ranks.items()}
        return Ranking(ranks, len(self.seeds) > 1)

    def learned_nothing(self, label: str) -> bool:
        """Whether no seed's loss ends 5% below its first value.

        Raises:
            InputError: there is no such scheme.
        """
        # With as many steps as are one mean, the first loss is part of it.
        return all(
            run.final_loss > first - (1 - _LEARNED) * abs(first)
            for run in self.of(label)
            for first in run.metrics.losses[:1].tolist()
        )

    @cached_property
    def told(self) -> JudgedMetric:
        """The metric that the table tells of the test split: the `metric`, or by default accuracy
        where it is measured, else the loss."""
        if self.metric is not None:
            return self.metric
        names = [name.split("_", 1)[1] for run in self.runs[:1] for name in run.metrics.values]
        return judged(tuple(dict.fromkeys(["loss", *names])))

    @cached_property
    def rows(self) -> list[Row]:
        """One row for each scheme, the best first."""
        return [self._row(label, place) for label, place in self.ranking.ranks.items()]

    @property
    def best(self) -> str | None:
        """The label that is ranked first; None if all diverged. See `ranking` for ties."""
        row = self.rows[0]
        return None if row.diverged else row.label

    @cached_property
    def prediction(self) -> float:
        """Kendall's τ_b of the diagnoses' risk with the final loss, see `ranking.foretold`."""
        risks = {row.label: row.risk for row in self.rows}
        if any(run.diagnosis is None for run in self.runs):
            return math.nan
        return foretold(risks, self.final_losses)

    def of(self, label: str) -> list[Run]:
        """The runs of one scheme, seed by seed.

        Raises:
            InputError: there is no such scheme.
        """
        one_of("label", label, self.labels)
        return [run for run in self.runs if run.label == label]

    def _row(self, label: str, place: int) -> Row:
        runs = self.of(label)
        trained = [run for run in runs if run.diverged_at is None]
        arrived = [run for run in trained if run.steps_to(self.target_loss) is not None]
        seen = [run.diagnosis for run in runs if run.diagnosis is not None]
        steps = [run.steps_to(self.target_loss) for run in arrived]
        seconds = [run.seconds_to(self.target_loss) for run in arrived]
        return Row(
            label,
            place,
            len(runs),
            len(runs) - len(trained),
            len(arrived),
            Spread.of([n for n in steps if n is not None]),
            Spread.of([n for n in seconds if n is not None]),
            Spread.of([run.final_loss for run in trained]),
            _measured([run.last("validation_loss") for run in trained]),
            _measured([run.last("test_accuracy") for run in trained]),
            _measured([run.last(self.told.column("validation")) for run in trained]),
            _measured([run.last(self.told.column("test")) for run in trained]),
            float(np.mean([one.risk for one in seen])) if seen else math.nan,
            seen[0].verdict if seen else "",
        )

    def __str__(self) -> str:
        from tfinit.comparison import table

        return table.text(self)

    @property
    def conclusion(self) -> str:
        """Who won, and whether the diagnosis foretold it: two sentences."""
        from tfinit.comparison.table import conclusion

        return conclusion(self)

    def plot(self, title: str | None = None) -> "Figure":
        """The learning curves, see `tfinit.plots.race_figure`."""
        text("title", title, none=True)
        from tfinit.plots import race_figure

        return race_figure(self, title)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON; what is not a finite number is None."""
        runs = [
            {**line, **self._history(run)}
            for run, line in zip(self.runs, self._rows(), strict=True)
        ]
        found = {
            "title": self.title,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "seeds": self.seeds,
            "target_loss": self.target_loss,
            "device": self.device,
            "metric": None if self.metric is None else self.metric.name,
            "best": self.best,
            "tested": self.ranking.tested,
            "prediction": self.prediction,
            "conclusion": self.conclusion,
            "rows": self.rows,
            "runs": runs,
        }
        return json_ready(found)

    def _history(self, run: Run) -> dict[str, Any]:
        return {
            "losses": run.metrics.losses,
            "evaluations": {"step": run.metrics.step, **run.metrics.values},
            "diagnosis": run.diagnosis,
        }

    def _rows(self) -> list[dict[str, Any]]:
        """One for each run."""
        return [
            {
                "scheme": run.label,
                "seed": run.seed,
                "rank": self.ranking.ranks[run.label],
                "steps_to_target": run.steps_to(self.target_loss),
                "seconds_to_target": run.seconds_to(self.target_loss),
                "seconds_per_step": run.seconds_per_step,
                "final_loss": run.final_loss,
                "validation_loss": run.last("validation_loss"),
                "test_accuracy": run.last("test_accuracy"),
                **self._told_of(run),
                "diverged_at": run.diverged_at,
                "risk": math.nan if run.diagnosis is None else run.diagnosis.risk,
                "verdict": "" if run.diagnosis is None else run.diagnosis.verdict,
            }
            for run in self.runs
        ]

    def _told_of(self, run: Run) -> dict[str, float]:
        """The metric that is told of, where it is none that every race has."""
        columns = (self.told.column(split) for split in ("validation", "test"))
        return {name: run.last(name) for name in columns}

    def to_frame(self) -> "pandas.DataFrame":
        """A pandas frame with one row for each scheme and seed.

        ``steps_to_target`` and ``diverged_at`` are integers or missing; the final loss of a run
        that diverged is infinite.

        Raises:
            MissingPackage: pandas is not installed.
        """
        whole = dict.fromkeys(("steps_to_target", "diverged_at"), "Int64")
        return super().to_frame().astype({**whole, "seconds_to_target": float})

    def _remarks(self) -> list[str]:
        return [self.conclusion]


def choose_target(runs: Sequence[Run], classes: int | None) -> float | None:
    """The loss half-way, on a logarithmic scale, from knowing nothing to the best scheme's end.

    √(a · b), where b is the smallest median final loss of a scheme, and a that scheme's median loss
    at the first step, or log(classes), the loss of a uniform guess, if that is smaller. Where b is
    negative, as likelihoods of densities can be, (a + b) / 2. None if no scheme got below a.
    """
    by_label: dict[str, list[Run]] = {}
    for run in runs:
        by_label.setdefault(run.label, []).append(run)
    ends = {label: float(np.median([r.final_loss for r in of])) for label, of in by_label.items()}
    best = min(ends, key=lambda label: ends[label])
    if not math.isfinite(ends[best]):
        return None
    first = [float(r.metrics.losses[0]) for r in by_label[best] if r.diverged_at is None]
    start = float(np.median(first))
    if classes is not None and classes > 1:
        start = min(start, math.log(classes))
    if ends[best] >= start:
        return None
    return math.sqrt(start * ends[best]) if ends[best] >= 0 else (start + ends[best]) / 2


def _measured(values: list[float]) -> Spread:
    return Spread.of([value for value in values if not math.isnan(value)])
