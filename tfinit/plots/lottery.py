"""Quality and speed against density: branches of one experiment, or several experiments."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfinit import arguments
from tfinit.arguments import listed, mapping, refused
from tfinit.lottery.branches import BRANCHES, TICKET, label
from tfinit.lottery.report import LevelSummary
from tfinit.plots.replicates import (
    draw,
    draw_level,
    legend_below,
    legend_beside,
    legible,
    zoom,
)
from tfinit.plots.style import density_axis, panels, styles

_SUMMARIZE = "Results become rows by tfinit.lottery.report.summarize(results)."
_OPEN = "open: a replicate diverged"


def lottery_figure(rows: Sequence[LevelSummary], title: str) -> Figure:
    """What networks are judged by at their end, and the early-stop step, against density.

    One line for each branch.

    Args:
        rows: What `tfinit.lottery.report.summarize` returns.
        title: Title of the figure.

    Returns:
        A figure of two panels. The dense network is grey. Points are open where some of the
        replicates diverged: they are not in the mean.
    """
    rows, title = (
        listed("rows", rows, LevelSummary, cure=_SUMMARIZE),
        arguments.text("title", title),
    )
    by_branch: dict[str, list[LevelSummary]] = {}
    for row in rows:
        by_branch.setdefault(row.branch, []).append(row)
    look = styles(by_branch, {branch.name: branch.look for branch in BRANCHES.values()})
    columns = 3
    entries = len(by_branch) + 2  # with the dense network, and what is around the lines
    legend_lines = -(-entries // columns)
    figure, (quality, speed) = panels(title, 2, (9, 3.8 + 0.22 * legend_lines))
    metric = rows[0].metric
    for axes, value, scale in (
        (quality, "final_value", metric.scale),
        (speed, "early_stop_step", 1.0),
    ):
        for dense in [row for row in rows if row.level == 0][:1]:
            draw_level(axes, getattr(dense, value), scale, "dense network")
        for branch, of in by_branch.items():
            _line(axes, of, value, scale, label(branch), look[branch], len(by_branch))
        zoom(axes, legible((getattr(row, value) for row in rows), len(by_branch)), scale)
        density_axis(axes, [row.density for row in rows])
    _explain_open(quality, rows)
    quality.set_ylabel(metric.axis(f"final test {metric}"))
    speed.set_ylabel("early-stop step")
    legend_below(figure, quality, columns)
    return figure


def initializations_figure(
    rows_by_name: Mapping[str, Sequence[LevelSummary]], title: str
) -> Figure:
    """What tickets are judged by at their end against density, a line for each initialization.

    Args:
        rows_by_name: Initialization → what `tfinit.lottery.report.summarize` returns of its
            experiment. Only the tickets are shown.
        title: Title of the figure.

    Returns:
        A figure of one panel. Points are open where some of the replicates diverged; a name in the
        legend tells where all of them did.
    """
    arguments.text("title", title)
    rows_by_name = {
        name: listed(f"rows_by_name[{name!r}]", rows, LevelSummary, cure=_SUMMARIZE)
        for name, rows in mapping("rows_by_name", rows_by_name, "names to rows").items()
    }
    if not rows_by_name:
        raise refused("rows_by_name", "a dictionary of one or more names to rows", rows_by_name)
    look = styles(rows_by_name)
    figure, (axes,) = panels(title, 1, (8, 4.5))
    shown: list[LevelSummary] = []
    metric = next(row.metric for rows in rows_by_name.values() for row in rows)
    for name, rows in rows_by_name.items():
        tickets = [row for row in rows if row.branch == TICKET]
        trains = any(row.final_value.n for row in tickets)
        text = name if trains else f"{name} (diverged)"
        _line(axes, tickets, "final_value", metric.scale, text, look[name], len(rows_by_name))
        shown += tickets
    zoom(axes, legible((row.final_value for row in shown), len(rows_by_name)), metric.scale)
    density_axis(axes, [row.density for row in shown])
    _explain_open(axes, shown)
    axes.set_ylabel(metric.axis(f"final test {metric} of the tickets"))
    legend_beside(figure, axes)
    return figure


def _line(
    axes: Axes,
    rows: Sequence[LevelSummary],
    value: str,
    scale: float,
    text: str,
    style: dict[str, Any],
    lines: int,
) -> None:
    x = [100 * row.density for row in rows]
    spreads = legible((getattr(row, value) for row in rows), lines)
    filled = [row.diverged == 0 for row in rows]
    draw(axes, x, spreads, scale, label=text, markevery=filled, **style)
    if not all(filled):
        axes.plot(
            [place for place, is_filled in zip(x, filled, strict=True) if not is_filled],
            [scale * s.mean for s, is_filled in zip(spreads, filled, strict=True) if not is_filled],
            linestyle="none",
            marker=style["marker"],
            markersize=5,
            markeredgecolor=style["color"],
            markerfacecolor="white",
        )


def _explain_open(axes: Axes, rows: Sequence[LevelSummary]) -> None:
    if any(row.diverged and row.final_value.n for row in rows):
        axes.plot([], [], "o", markeredgecolor="0.4", markerfacecolor="white", label=_OPEN)
