"""Learning curves of a race of initializations."""

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from tfinit import arguments
from tfinit.arguments import instance
from tfinit.plots.style import panels, styles
from tfinit.spread import Spread

if TYPE_CHECKING:
    from tfinit.comparison.result import Comparison, Run

_BINS = 50
# Of the factor between the smallest and the largest mean, what a band may take beyond them.
_ROOM = 0.3
# How far above a guess, or above where the best begins, lines are shown: too large weights begin
# at 1e20, and would press all that matters into one line.
_ABOVE = 10.0


def race_figure(comparison: "Comparison", title: str | None = None) -> Figure:
    """Training loss against step on a logarithmic axis, one line for each scheme.

    A point is the mean of log loss over up to a fiftieth of the steps; lines are the geometric mean
    over the seeds, with its 95% confidence band, as everywhere by Student's t. A cross is where a
    seed diverged, at the upper edge if that was above it: from there on the line is that of the
    others. What is more than ten times as high as a guess, or as where the best begins, is not
    shown.

    Args:
        comparison: What `tfinit.compare` returns.
        title: Title of the figure. None: the comparison's.

    Returns:
        A figure of one panel.
    """
    from tfinit.comparison.result import Comparison

    instance("comparison", comparison, Comparison)
    arguments.text("title", title, none=True)
    figure, (axes,) = panels(title or comparison.title, 1, (8, 4.5))
    look = styles(comparison.labels)
    edges = np.unique(np.linspace(0, comparison.steps, _BINS + 1).round().astype(int))
    middle = (edges[:-1] + edges[1:] + 1) / 2
    means: list[float] = []
    for row in comparison.rows:
        curves = np.array([_binned(run, edges) for run in comparison.of(row.label)])
        spreads = [Spread.of(column[np.isfinite(column)]) for column in curves.T]
        line = np.exp([spread.mean for spread in spreads])
        text = row.label
        if row.diverged:
            text += f" (diverged: {row.diverged} of {row.runs})"
        every = max(1, len(middle) // 8)
        axes.plot(middle, line, markersize=5, markevery=every, label=text, **look[row.label])
        ends = np.exp([spread.interval if spread.n > 1 else (np.nan,) * 2 for spread in spreads])
        if np.isfinite(ends).any():
            colour = look[row.label]["color"]
            axes.fill_between(middle, *ends.T, color=colour, alpha=0.15, linewidth=0)
        means += line[np.isfinite(line)].tolist()
    if comparison.target_loss is not None:
        axes.axhline(comparison.target_loss, color="0.5", linewidth=1, label="loss to reach")
    axes.set_yscale("log")
    for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis(LogFormatter(minor_thresholds=(2, 0.5)))
    if means:
        best = comparison.rows[0].label
        begins = [r.metrics.losses[0] for r in comparison.of(best) if len(r.metrics.losses)]
        top = _ABOVE * max([math.log(comparison.classes), *begins])
        low, high = math.log(min(means)), math.log(min(top, max(means)))
        room = abs(_ROOM * (high - low)) or 0.1
        axes.set_ylim(math.exp(low - room), math.exp(high + room))
    for run in comparison.runs:
        losses = run.metrics.losses
        if run.diverged_at is not None and len(losses):
            height = min(float(losses[-1]), axes.get_ylim()[1])
            colour = look[run.label]["color"]
            axes.plot([len(losses)], [height], "x", color=colour, markersize=8, clip_on=False)
    axes.set_xlim(0, comparison.steps)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", frameon=False)
    return figure


def _binned(run: "Run", edges: np.ndarray) -> list[float]:
    """Mean log loss between the edges; NaN where the run made no step."""
    tiny = float(np.finfo(np.float32).tiny)
    logs = np.log(np.maximum(run.metrics.losses.astype(np.float64), tiny))
    parts = [logs[low:high] for low, high in pairwise(edges)]
    return [float(part.mean()) if len(part) else math.nan for part in parts]
