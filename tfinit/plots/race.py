"""Learning curves of a race of initializations."""

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from tfinit import arguments
from tfinit.arguments import instance
from tfinit.plots.replicates import draw, heights, legend_beside, legible
from tfinit.plots.style import NEUTRAL, log_axis, panels, styles
from tfinit.spread import Spread

if TYPE_CHECKING:
    from tfinit.comparison.result import Comparison, Run

_BINS = 50
# Of the factor between the smallest and the largest mean, what a band may take beyond them.
_ROOM = 0.3
# How far above a guess, or above where the best begins, lines are shown: too large weights begin
# at 1e20, and would press all that matters into one line.
_ABOVE = 10.0
_TINY = float(np.finfo(np.float32).tiny)


def race_figure(comparison: "Comparison", title: str | None = None) -> Figure:
    """Training loss against step on a logarithmic axis, one line for each scheme.

    A point is the mean of log loss over up to a fiftieth of the steps; lines are the geometric mean
    over the seeds, with each of them thin beside it, or of four and more its 95% confidence band,
    as everywhere by Student's t. Where a loss is negative, the axis is linear, and means are those
    of the losses themselves. A cross is where a seed diverged, at the upper edge if that was above
    it: from there on the line is that of the others. What is more than ten times as high as a
    guess, or as where the best begins, is not shown.

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
    drawn: list[float] = []
    logarithmic = not any((run.metrics.losses < 0).any() for run in comparison.runs)
    shown = np.exp if logarithmic else np.asarray
    for row in comparison.rows:
        curves = np.array([_binned(run, edges, logarithmic) for run in comparison.of(row.label)])
        seen = (Spread.of(column[np.isfinite(column)]) for column in curves.T)
        spreads = legible(seen, len(comparison.rows))
        text = row.label
        if row.diverged:
            text += f" (diverged: {row.diverged} of {row.runs})"
        every = max(1, len(middle) // 8)
        draw(axes, middle, spreads, shown=shown, markevery=every, label=text, **look[row.label])
        drawn += [float(y) for y in shown(heights(spreads)) if np.isfinite(y)]
    if comparison.target_loss is not None:
        axes.axhline(comparison.target_loss, color=NEUTRAL, linewidth=1, label="loss to reach")
    if logarithmic:
        log_axis(axes)
    if drawn:
        best = comparison.rows[0].label
        begins = [r.metrics.losses[0] for r in comparison.of(best) if len(r.metrics.losses)]
        classes = comparison.classes or 1
        guess = [math.log(classes)] if classes > 1 else []
        top = max([*guess, *begins], default=max(drawn))
        axes.set_ylim(*(_log_limits if logarithmic else _limits)(drawn, top))
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
    legend_beside(figure, axes)
    return figure


def _log_limits(means: list[float], top: float) -> tuple[float, float]:
    """Of a logarithmic axis: up to ten times of what is known to be high."""
    low, high = (
        math.log(max(min(means), _TINY)),
        math.log(max(min(_ABOVE * top, max(means)), _TINY)),
    )
    room = abs(_ROOM * (high - low)) or 0.1
    return math.exp(low - room), math.exp(high + room)


def _limits(means: list[float], top: float) -> tuple[float, float]:
    """Of a linear axis: up to ten times as far above the lowest as what is known to be high."""
    low = min(means)
    high = min(max(means), low + _ABOVE * max(top - low, 0.0)) if top > low else max(means)
    room = _ROOM * (high - low) / 2 or 0.1
    return low - room, high + room


def _binned(run: "Run", edges: np.ndarray, logarithmic: bool) -> list[float]:
    """Mean (log) loss between the edges; NaN where the run made no step."""
    values = run.metrics.losses.astype(np.float64)
    if logarithmic:
        values = np.log(np.maximum(values, _TINY))
    parts = [values[low:high] for low, high in pairwise(edges)]
    return [float(part.mean()) if len(part) else math.nan for part in parts]
