"""A race in words: a table for a terminal of 100 columns, and what it comes to."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from tfinit.spread import Spread
from tfinit.text_table import aligned, width

if TYPE_CHECKING:
    from tfinit.comparison.result import Comparison, Row

_COLUMNS = 100
_LABEL = 22  # longer labels are cut
_VERDICT = 40  # and so are verdicts, where they are a table of their own
# How well a Kendall's τ_b foretells: half of the pairs more in the right order than in the wrong.
_WELL = 0.5
_BARELY = 0.2


def text(comparison: "Comparison") -> str:
    """The table, its caption, and the conclusion; no line is longer than 100 characters."""
    target = comparison.target_loss
    to_target = "steps to loss" if target is None else f"steps to {target:.3g}"
    header = ["rank", "scheme", to_target, "seconds", "final loss", *_judged_header(comparison)]
    header.append("diverged")
    cells = [header, *(_cells(row, comparison) for row in comparison.rows)]
    right = (0, *range(2, len(header)))
    if any(row.verdict for row in comparison.rows):
        beside = len(aligned(cells, right)[0]) + 2
        room = _COLUMNS - beside if width(_COLUMNS) >= _COLUMNS else _VERDICT
        verdicts = ["diagnosis", *(_first_clause(r.verdict) for r in comparison.rows)]
        cells = [[*row, _cut(told, room)] for row, told in zip(cells, verdicts, strict=True)]
    lines = aligned(cells, right, keys=2)
    seeds = len(comparison.seeds)
    caption = f"{comparison.steps} steps of {comparison.batch_size} examples, "
    caption += "1 seed" if seeds == 1 else f"mean ± half of the 95% interval over {seeds} seeds"
    told = _wrapped(comparison.conclusion)
    return "\n".join([f"{comparison.title}: {caption}", "", *lines, "", *told])


def _judged_header(comparison: "Comparison") -> list[str]:
    told = comparison.told
    splits = ["validation", "test"] if comparison.metric is not None else ["test"]
    shown = "acc. %" if told.name == "accuracy" else f"{told}{' %' * told.is_accuracy}"
    return [f"{split} {shown}" for split in splits]


def _cells(row: "Row", comparison: "Comparison") -> list[str]:
    told = comparison.told
    digits = 1 if told.is_accuracy else None
    judged = [row.validation] * (comparison.metric is not None) + [row.test]
    part = f" ({row.reached}/{row.runs})" if 0 < row.reached < row.runs else ""
    return [
        str(row.rank),
        _cut(row.label, _LABEL),
        f"{_cell(row.steps_to_target, 1, 0)}{part}",
        "–" if not row.reached else f"{row.seconds_to_target.mean:.2f}",
        _cell(row.final_loss, 1, None),
        *(_cell(spread, told.scale, digits) for spread in judged),
        f"{row.diverged} of {row.runs}",
    ]


def _cell(spread: Spread, scale: float, digits: int | None) -> str:
    """Mean ± half of the interval, with so many decimals; None: those of `_decimals`."""
    if spread.n == 0:
        return "–"
    mean, half = scale * spread.mean, scale * (spread.interval[1] - spread.mean)
    form = f".{_decimals(mean) if digits is None else digits}f"
    if digits is None and not 1e-4 <= abs(mean) < 1e5:
        form = ".2e"
    return f"{mean:{form}}" if spread.n == 1 else f"{mean:{form}} ± {half:{form}}"


def _decimals(value: float) -> int:
    """Decimals that show three digits of a value."""
    return max(0, 2 - math.floor(math.log10(abs(value)))) if value else 2


def _first_clause(verdict: str) -> str:
    return verdict.split(". ")[0].split(": ")[0].removesuffix(".")


def _cut(words: str, width: int) -> str:
    return words if len(words) <= width else f"{words[: max(0, width - 1)]}…"


def _wrapped(words: str) -> list[str]:
    import textwrap

    return textwrap.wrap(words, min(_COLUMNS, width(_COLUMNS)))


def conclusion(comparison: "Comparison") -> str:
    """Who won, who learned nothing or diverged, and whether the diagnosis foretold it."""
    return " ".join(filter(None, [_outcome(comparison), _foretold(comparison)]))


def _outcome(comparison: "Comparison") -> str:
    rows = comparison.rows
    first = [row for row in rows if row.rank == 1]
    seeds = len(comparison.seeds)
    if comparison.best is None:
        names = _all_of([row.label for row in first])
        return f"Every scheme diverged with at least one seed ({names}), so there is no winner."
    metric = comparison.metric
    what, best, many = "final training loss", "lowest", "final training losses"
    ends = [f"{row.final_loss.mean:.3g}" for row in first]
    if metric is not None:
        what = many = f"validation {metric}"
        best = "highest" if metric.direction == "max" else "lowest"
        ends = [metric.text(row.validation.mean) for row in first]
    end = f"{'' if metric else 'a '}{what} of {ends[0]}"
    if len(rows) == 1:
        won = f"{first[0].label} ends with {end}"
    elif not comparison.ranking.tested:
        won = f"{first[0].label} ends {best}, with {end}, which one seed cannot tell from chance"
    elif len(first) == 1:
        won = f"{first[0].label} wins with {end}"
    else:
        names = _all_of([row.label for row in first])
        won = (
            f"{names} share the first rank ({seeds} seeds cannot tell them apart), with {many} of "
            f"{_all_of(ends)}"
        )
    others = []
    idle = [row.label for row in rows if not row.diverged and comparison.learned_nothing(row.label)]
    if idle:
        others.append(f"{_all_of(idle)} learned nothing")
    lost = [f"{row.label} diverged with {row.diverged} of {seeds}" for row in rows if row.diverged]
    if lost:
        others.append(f"{_all_of(lost)} seed{'s' if seeds > 1 else ''}")
    return f"{'; '.join([won, *others])}."


def _foretold(comparison: "Comparison") -> str:
    tau = comparison.prediction
    if any(run.diagnosis is None for run in comparison.runs) or len(comparison.rows) < 2:
        return ""
    what = "the ranking"
    if math.isnan(tau):
        flat = len({row.risk for row in comparison.rows}) == 1
        why = "it gave all the same risk" if flat else "all ended alike"
        return f"The diagnosis at step 0 could not foretell {what}: {why}."
    if tau >= _WELL:
        how = f"foretold {what}"
    elif tau >= _BARELY:
        how = f"foretold {what} in part"
    elif tau > -_WELL:
        how = f"did not foretell {what}"
    else:
        how = f"foretold the opposite of {what}"
    pairs = "Kendall's τ of its risk with the final loss"
    return f"The diagnosis at step 0 {how}: {pairs} is {np.round(tau, 2) + 0.0:.2f}."


def _all_of(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
