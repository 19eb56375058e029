"""What findings foretold of a training, and whether it came true."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tfinit.diagnostics.judging.findings import NOTE, SEVERE, Finding
from tfinit.results import Records
from tfinit.text_table import aligned

# A loss that is still above this share of what it was has not fallen.
STUCK = 0.9


class Reading(NamedTuple):
    """What was found at one step.

    Attributes:
        step: Of the optimizer.
        loss: On the batch; not finite, or NaN, where it is none.
        findings: What was found.
    """

    step: int
    loss: float
    findings: Sequence[Finding]


@dataclass(frozen=True)
class Foretold:
    """One finding, and what the training did then.

    Attributes:
        step: Where it was found first.
        last_step: Where it was found last.
        rule: The code of the rule.
        kind: Its kind.
        severity: The worst that it was.
        layer: Where; "" for the network as a whole.
        evidence: A sentence with the numbers, of the first time.
        cure: What was to be done.
        loss: Of the batch when it was found.
        lowest: The lowest loss since then; None without a reading after it.
        came_true: Whether the loss has not fallen by a tenth since, or is not finite at the end.
            None: too early to say, or without targets, where the loss says nothing.
    """

    step: int
    last_step: int
    rule: str
    kind: str
    severity: str
    layer: str
    evidence: str
    cure: str
    loss: float
    lowest: float | None
    came_true: bool | None


class Outcome(Records[Foretold]):
    """What was foretold of a training, severe first, and whether it came true.

    Args:
        readings: In the order of their steps.
        has_targets: Whether their losses are those of the targets.
        stopped_at: The step at which training was stopped for a finding; None if it was not.
    """

    def __init__(
        self, readings: Sequence[Reading], has_targets: bool, stopped_at: int | None = None
    ) -> None:
        self._readings, self._has_targets, self.stopped_at = readings, has_targets, stopped_at
        first: dict[tuple[str, str, str], tuple[int, Finding]] = {}
        last: dict[tuple[str, str, str], int] = {}
        for n, reading in enumerate(readings):
            for finding in reading.findings:
                key = finding.rule, finding.kind, finding.layer
                known = first.get(key)
                grew = finding.severity == SEVERE and known and known[1].severity != SEVERE
                if finding.severity != NOTE and (known is None or grew):
                    first[key] = n, finding
                if key in first:
                    last[key] = reading.step
        told = [self._foretold(n, f, last[key]) for key, (n, f) in first.items()]
        self._records = sorted(told, key=lambda one: one.severity != SEVERE)

    def _foretold(self, n: int, finding: Finding, last_step: int) -> Foretold:
        then, *later = self._readings[n:]
        losses = [reading.loss for reading in later]
        finite = [loss for loss in losses if math.isfinite(loss)]
        came_true = None
        if self._has_targets and later:
            came_true = not fell(then.loss, losses)
        return Foretold(
            then.step,
            last_step,
            finding.rule,
            finding.kind,
            finding.severity,
            finding.layer,
            finding.evidence,
            finding.cure,
            then.loss,
            min(finite, default=math.inf) if later else None,
            came_true,
        )

    @property
    def records(self) -> Sequence[Foretold]:
        """One for each finding that was more than a note."""
        return self._records

    @property
    def learned(self) -> bool | None:
        """Whether the loss fell by a tenth from the first reading on; None where nobody knows."""
        if not self._has_targets or len(self._readings) < 2:
            return None
        first, *later = (reading.loss for reading in self._readings)
        return fell(first, later)

    @property
    def summary(self) -> str:
        """In a sentence."""
        severe = [one for one in self.records if one.severity == SEVERE]
        if self.stopped_at is not None:
            worst = severe[0]
            return (
                f"Stopped at step {self.stopped_at}, as it will not learn: {worst.evidence} "
                f"{worst.cure}"
            )
        if not severe:
            came = self._course(0)
            but = {False: ", but", True: ", and", None: "."}[self.learned]
            return f"Nothing severe was found{but}{f' {came}' if self.learned is not None else ''}"
        said = ", ".join(dict.fromkeys(f"{one.kind} (step {one.step})" for one in severe))
        true = [one for one in severe if one.came_true]
        open_ = all(one.came_true is None for one in severe)
        word = (
            "It is not known whether it came true."
            if open_
            else "It came true"
            if len(true) == len(severe)
            else "It did not come true"
            if not true
            else f"{len(true)} of {len(severe)} came true"
        )
        return f"Severe: {said}. {word}" + (
            "" if open_ else f": {self._course(min(one.step for one in severe))}"
        )

    def _course(self, step: int) -> str:
        """How the loss went from a step on."""
        since = [reading for reading in self._readings if reading.step >= step]
        if not since:
            return ""
        first, last = since[0], since[-1]
        return (
            f"the loss was {first.loss:.3g} at step {first.step} and is {last.loss:.3g} at step "
            f"{last.step}."
        )

    def __str__(self) -> str:
        if not self.records:
            return self.summary
        head = ("step", "rule", "kind", "layer", "severity", "loss then", "lowest", "came true")
        rows = [head, *(tuple(map(_shown, self._row(one).values())) for one in self.records)]
        return "\n".join([self.summary, "", *aligned(rows, (0, 5, 6), drop_empty=True)])

    def to_dict(self) -> dict[str, Any]:
        """The sentence and the records, for JSON."""
        from tfinit.results import json_ready

        return json_ready(
            {
                "summary": self.summary,
                "learned": self.learned,
                "stopped_at": self.stopped_at,
                "foretold": [vars(one) for one in self.records],
            }
        )

    def _rows(self) -> list[dict[str, Any]]:
        return [self._row(one) for one in self.records]

    @staticmethod
    def _row(one: Foretold) -> dict[str, Any]:
        return {
            "step": one.step,
            "rule": one.rule,
            "kind": one.kind,
            "layer": one.layer,
            "severity": one.severity,
            "loss_then": one.loss,
            "lowest": one.lowest,
            "came_true": one.came_true,
        }

    def _caption(self) -> str:
        return self.summary


def fell(before: float, after: Sequence[float]) -> bool:
    """Whether a loss fell by a tenth, and is finite at the end.

    Example:
        >>> fell(2.0, [2.1, 1.5]), fell(2.0, [1.9]), fell(2.0, [1.5, math.nan]), fell(-1.0, [-2.0])
        (True, False, False, True)
    """
    if not after or not math.isfinite(after[-1]):
        return False
    if not math.isfinite(before):
        return True
    lowest = min(loss for loss in after if math.isfinite(loss))
    return lowest < before - (1 - STUCK) * abs(before)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    return f"{value:.3g}" if isinstance(value, float) else str(value)
