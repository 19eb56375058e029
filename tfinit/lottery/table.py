"""Rows → tables for a terminal of 80 columns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.console import Console, Group
from rich.table import Table

from tfinit.lottery.report import LevelSummary
from tfinit.lottery.result import TICKET
from tfinit.spread import Spread
from tfinit.training.judged import ACCURACY, JudgedMetric

if TYPE_CHECKING:
    from tfinit.lottery.linear_connectivity import StabilityRow

_COLUMNS = 80
_DIVERGED = "†n: n replicates diverged, left out"
_DEVIATION = "mean±std"


def lottery_table(rows: Sequence[LevelSummary], title: str) -> Group:
    """What networks are judged by, and early-stop steps, by level and branch.

    Up to two branches are shown in full, side by side. More, or what would be too wide, are a table
    of final values and one of early-stop steps, a column for each branch; where 80 columns do
    not hold all branches, there are more tables of each, and every one begins with the ticket.

    Args:
        rows: What `tfinit.lottery.report.summarize` returns.
        title: What is above the first table.

    Returns:
        One or more tables, for ``rich.console.Console.print``.
    """
    branches = list(dict.fromkeys(row.branch for row in rows))
    if len(branches) <= 2:
        full = _full(rows, branches, title)
        if _fits(full):
            return _captioned([full], rows)
    metric = _metric_of(rows)
    final = metric.heading(f"final test {metric}")
    return _captioned(
        [
            *_compact(rows, branches, f"{title}\n{final}, {_DEVIATION}", _final),
            *_compact(rows, branches, f"early-stop step, {_DEVIATION}", _step),
        ],
        rows,
    )


def initializations_table(rows_by_name: Mapping[str, Sequence[LevelSummary]], title: str) -> Group:
    """What tickets are judged by, at their end, by level: a column for each initialization.

    Args:
        rows_by_name: Initialization → what `tfinit.lottery.report.summarize` returns of its
            experiment.
        title: What is above the first table.

    Returns:
        One table, or more where 80 columns do not hold all.
    """
    rows = [
        replace(row, branch=name)
        for name, of in rows_by_name.items()
        for row in of
        if row.branch == TICKET
    ]
    metric = _metric_of(rows)
    final = metric.heading(f"final test {metric} of the tickets")
    heading = f"{title}\n{final}, {_DEVIATION}"
    return _captioned(_compact(rows, list(rows_by_name), heading, _final), rows)


def stability_table(rows: "Sequence[StabilityRow]", title: str) -> Table:
    """The barriers of what networks are judged by, by the step k at which the networks part.

    Args:
        rows: What `tfinit.lottery.summarize_stability` returns.
        title: What is above the table.
    """
    metric = rows[0].metric if rows else ACCURACY
    what = "error barrier in points" if metric.is_accuracy else f"barrier of {metric}"
    table = _table(f"{title}\n{what}, {_DEVIATION}")
    for name in ("k", "train", "test"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(str(row.k), _cell(row.train, metric), _cell(row.test, metric))
    return _wide(table)


def _captioned(tables: Sequence[Table], rows: Sequence[LevelSummary]) -> Group:
    if any(row.diverged for row in rows):
        tables[-1].caption = _DIVERGED
    return Group(*map(_wide, tables))


def _full(rows: Sequence[LevelSummary], branches: Sequence[str], title: str) -> Table:
    control = next((branch for branch in branches if branch != TICKET), None)
    compared = control is not None and TICKET in branches
    metric = _metric_of(rows)
    gain = "; gain of ticket" + (" in points" if metric.is_accuracy else "") if compared else ""
    heading = metric.heading(f"test {metric}")
    table = _table(f"{title}\n{heading}, mean±standard deviation{gain}")
    for name in ("level", "density"):
        table.add_column(f"\n{name}", justify="right")
    for branch in branches:
        for column in ("stop step", "there", "final"):
            table.add_column(f"{branch}\n{column}", justify="right")
    if compared:
        table.add_column("final\ngain", justify="right")
    for place, of in _levels(rows):
        cells = list(place)
        for branch in branches:
            row = of.get(branch)
            if row is None:  # the dense network has no control
                cells += ["", "", ""]
            else:
                cells += [_step(row), _cell(row.early_stop_value, metric), _final(row)]
        both = [of[branch].final_value for branch in (TICKET, control) if branch in of]
        if compared and len(both) == 2 and all(spread.n for spread in both):
            better = metric.gain(both[0].mean, both[1].mean)
            cells.append(f"{100 * better:+.1f}" if metric.is_accuracy else f"{better:+.3g}")
        table.add_row(*cells)
    return table


def _compact(
    rows: Sequence[LevelSummary],
    branches: Sequence[str],
    title: str,
    cell: Callable[[LevelSummary], str],
) -> list[Table]:
    """As few tables as hold all branches, each with the ticket to compare with."""

    def table(shown: Sequence[str]) -> Table:
        made = _table(title)
        for name in ("level", "density", *shown):
            made.add_column(name, justify="right")
        for place, of in _levels(rows):
            made.add_row(*place, *(cell(of[b]) if b in of else "" for b in shown))
        return made

    first = [branch for branch in branches if branch == TICKET]
    tables, shown = [], first
    for branch in branches:
        if branch == TICKET:
            continue
        if len(shown) > len(first) and not _fits(table([*shown, branch])):
            tables.append(table(shown))
            shown = first
        shown = [*shown, branch]
    return [*tables, table(shown)]


def _table(title: str) -> Table:
    return Table(title=title, box=box.SIMPLE_HEAD, padding=0)


def _wide(table: Table) -> Table:
    """At least as wide as what is above it, which would be broken into lines else."""
    table.min_width = min(_COLUMNS, max(map(len, str(table.title).splitlines())))
    return table


def _levels(rows: Sequence[LevelSummary]) -> list[tuple[tuple[str, str], dict[str, LevelSummary]]]:
    """For each level its number and density, as cells, and branch → row."""
    levels: dict[int, dict[str, LevelSummary]] = {}
    for row in rows:
        levels.setdefault(row.level, {})[row.branch] = row
    # Rows come with the ticket first; the others have as many survivors.
    return [
        ((str(level), f"{next(iter(of.values())).density:.1%}"), of)
        for level, of in sorted(levels.items())
    ]


def _fits(table: Table) -> bool:
    # On a console without an end: on a real one a wide table is said to be as wide as that.
    console = Console(width=10_000)
    return console.measure(table).maximum <= _COLUMNS


def _metric_of(rows: Sequence[LevelSummary]) -> JudgedMetric:
    """What rows are about: all of them the same."""
    return rows[0].metric if rows else ACCURACY


def _cell(spread: Spread, metric: JudgedMetric) -> str:
    if np.isnan(spread.mean):  # all diverged
        return "–"
    return metric.cell(spread.mean, spread.std if spread.n > 1 else None)


def _marked(cell: str, row: LevelSummary) -> str:
    return cell + (f" †{row.diverged}" if row.diverged else "")


def _final(row: LevelSummary) -> str:
    return _marked(_cell(row.final_value, row.metric), row)


def _step(row: LevelSummary) -> str:
    spread = row.early_stop_step
    if np.isnan(spread.mean):
        return _marked("–", row)
    deviation = f"±{spread.std:.0f}" if spread.n > 1 else ""
    return _marked(f"{spread.mean:.0f}{deviation}", row)
