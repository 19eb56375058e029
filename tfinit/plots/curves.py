"""Learning curves, level by level."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from tfinit.arguments import listed, one_of, text
from tfinit.errors import InputError
from tfinit.lottery.branches import label
from tfinit.lottery.result import MADE_BY_RUN, TICKET, LevelResult
from tfinit.plots.replicates import draw, entries, legible, zoom
from tfinit.plots.style import panels, percent_format, percent_ticks, sequential
from tfinit.spread import Spread
from tfinit.training.judged import JudgedMetric, judged

# The steep start of training would press all that follows into one line.
_START = 0.2


def curves_figure(
    results: Sequence[LevelResult],
    title: str,
    branch: str = TICKET,
    value: str | None = None,
) -> Figure:
    """Learning curves, one line for each level, coloured by density.

    Args:
        results: The trainings. Those that diverged are left out, and networks without a weight.
        title: Title of the figure.
        branch: Whose curves. Those of the dense network are shown with them, in black.
        value: Which metric: a name in ``LevelResult.metrics.values``. Accuracies are in percent.
            None: what the networks are judged by, on the test split, or if that was measured only
            where it was needed, on the validation split.

    Returns:
        A figure of one panel. It is scaled to what follows the first fifth of the training. Of
        more than six levels it has the means alone.

    Raises:
        InputError: no training of this branch, or no such metric.
    """
    results = listed("results", results, LevelResult, cure=MADE_BY_RUN)
    text("title", title)
    one_of("branch", branch, dict.fromkeys(r.branch for r in results))
    of = [r for r in results if r.level == 0 or r.branch == branch]
    shown = [r for r in of if r.diverged_at is None and r.survivors]
    columns = dict.fromkeys(name for r in results for name in r.metrics.values)
    value = one_of("value", _judged_column(shown or results) if value is None else value, columns)
    metric = _metric(value, results[0].metric)
    scale = metric.scale
    figure, (axes,) = panels(title, 1, (8, 4.5))
    levels: dict[int, list[LevelResult]] = {}
    for result in sorted(shown, key=lambda r: r.level):
        levels.setdefault(result.level, []).append(result)
    percents = [100 * group[0].density for level, group in levels.items() if level] or [100.0]
    colours = ScalarMappable(LogNorm(min(percents), max(100.0, *percents)), sequential().reversed())
    late: list[Spread] = []
    for level, group in levels.items():
        by_step: dict[int, list[float]] = {}
        for result in group:
            for step, measured in zip(
                result.metrics.step, result.metrics.values[value], strict=True
            ):
                if not np.isnan(measured):
                    by_step.setdefault(int(step), []).append(float(measured))
        if not by_step:
            continue
        steps = sorted(by_step)
        spreads = legible((Spread.of(by_step[step]) for step in steps), len(levels))
        style: dict[str, Any] = {"color": "black", "linewidth": 2, "linestyle": "--"}
        style["label"] = "dense network"
        if level:
            colour = colours.to_rgba(100 * group[0].density)  # ty: ignore  # one, of a number
            style = {"color": colour, "linewidth": 1.4, "linestyle": "-"}
        draw(axes, steps, spreads, scale, **style)
        end = steps[0] + _START * (steps[-1] - steps[0])
        late += [s for step, s in zip(steps, spreads, strict=True) if step >= end]
    zoom(axes, late, scale)
    axes.set_xlabel("step")
    axes.set_ylabel(value.replace("_", " ", 1) + (", %" if metric.is_accuracy else ""))
    axes.grid(alpha=0.3)
    if 0 in levels:
        # Where no curve ends: accuracies rise, losses fall.
        corner = "lower right" if metric.direction == "max" else "upper right"
        axes.legend(handles=entries(axes), loc=corner, frameon=False)
    bar = figure.colorbar(colours, ax=axes, label=f"density: {label(branch)}")
    bar.set_ticks(percent_ticks(percents), minor=False)
    bar.ax.yaxis.set_major_formatter(percent_format())
    bar.ax.minorticks_off()
    bar.ax.invert_yaxis()
    return figure


def _metric(column: str, own: JudgedMetric) -> JudgedMetric:
    """Which metric a column is of. One that does not say which way is better may fall or rise."""
    name = column.split("_", 1)[1]
    if name == own.name:
        return own
    try:
        return judged([name], name)
    except InputError:
        return JudgedMetric(name, "min")


def _judged_column(results: Sequence[LevelResult]) -> str:
    """What the networks are judged by, on the split where all rows were measured."""
    metric = results[0].metric
    columns = [result.metrics.values.get(metric.column()) for result in results]
    gaps = any(column is not None and np.isnan(column).any() for column in columns)
    return metric.column("validation" if gaps else "test")
