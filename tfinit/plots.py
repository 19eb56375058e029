"""Records → figures. Nothing here trains, or reads a model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

if TYPE_CHECKING:
    from tfinit.lottery.report import Row

# Distinct for colour-blind eyes (Okabe & Ito), and by marker and line for everybody.
_STYLES = {
    "ticket": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "reinit": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
}
_LABELS = {"ticket": "ticket (rewound)", "reinit": "same mask, reinitialized"}


def lottery_figure(rows: "Sequence[Row]", title: str) -> Figure:
    """Accuracy and early-stop step against density, one line for each branch.

    Args:
        rows: What `tfinit.lottery.report.summarize` returns.
        title: Title of the figure.

    Returns:
        A figure of two panels; bars are one standard deviation over the replicates, the grey band
        is the dense network.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    accuracy, speed = figure.subplots(1, 2)
    dense = rows[0]
    for axes, value, scale in (
        (accuracy, "final_accuracy", 100.0),
        (speed, "early_stop_step", 1.0),
    ):
        whole = getattr(dense, value)
        axes.axhspan(
            scale * (whole.mean - whole.std),
            scale * (whole.mean + whole.std),
            color="0.88",
            label="dense network",
        )
        axes.axhline(scale * whole.mean, color="0.5", linewidth=1)
        for branch, style in _STYLES.items():
            of = [row for row in rows if row.branch == branch]
            if of:
                axes.errorbar(
                    [100 * row.density for row in of],
                    [scale * getattr(row, value).mean for row in of],
                    yerr=[scale * getattr(row, value).std for row in of],
                    label=_LABELS[branch],
                    capsize=2,
                    markersize=4,
                    **style,
                )
        axes.set_xscale("log")
        axes.invert_xaxis()
        axes.set_xticks(_ticks([100 * row.density for row in rows]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}%"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("density: weights left")
        axes.grid(alpha=0.3)
    accuracy.set_ylabel("final test accuracy, %")
    speed.set_ylabel("early-stop step")
    accuracy.legend(loc="lower left", frameon=False)
    figure.suptitle(title)
    return figure


def _ticks(percents: Sequence[float]) -> list[float]:
    wanted = np.array([100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1])
    return [float(t) for t in wanted if min(percents) * 0.95 <= t <= max(percents)]
