"""Stability: whether two trainings that part at step k end in one valley (Frankle et al., 2020)."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from tfinit.arguments import listed, refused, text
from tfinit.plots.replicates import draw, entries, legible, zoom
from tfinit.plots.style import panels, sequential, styles
from tfinit.spread import Spread
from tfinit.training.judged import ACCURACY, JudgedMetric

# The paper calls networks stable whose error rises by less than this on the way.
STABLE = 0.02
_SPLITS = ("test", "train")


class Interpolation(Protocol):
    """Error along the straight line between two trained networks that parted at step ``k``.

    One that has a ``metric``, a `tfinit.training.judged.JudgedMetric`, is about that in place of
    the error.
    """

    @property
    def seed(self) -> int:
        """The replicate."""

    @property
    def k(self) -> int:
        """The step up to which they trained as one."""

    @property
    def alphas(self) -> np.ndarray:
        """Places on the line: 0 is the one network, 1 the other."""

    @property
    def train_error(self) -> np.ndarray:
        """Fraction of the training split that is wrong, at each place."""

    @property
    def test_error(self) -> np.ndarray:
        """Fraction of the test split that is wrong, at each place."""

    def barrier(self, split: str) -> float:
        """Highest error on the line minus the mean of its ends; split is "train" or "test"."""


def stability_figure(records: Sequence[Interpolation], title: str) -> Figure:
    """Error barrier against the step k at which the networks part, and the error on their line.

    Args:
        records: One for each replicate and k. Those with errors that are NaN, since a network
            diverged, are left out.
        title: Title of the figure.

    Returns:
        A figure of three panels: barriers over k; test error and train error over alpha, a line
        for each k. Below the dotted line networks are stable by the paper's rule of 2 points; of
        networks that are judged by another metric than an accuracy it says nothing.

    References:
        Frankle, Dziugaite, Roy & Carbin, *Linear Mode Connectivity and the Lottery Ticket
        Hypothesis*, ICML 2020, https://arxiv.org/abs/1912.05671, figures 2 and 3.
    """
    text("title", title)
    cure = "tfinit.lottery.stability returns it."
    records = listed("records", records, object, cure=cure)
    for record in records:
        if not hasattr(record, "barrier"):
            raise refused("records", "a list of what `tfinit.lottery` measured", record, cure)
    by_k: dict[int, list[Interpolation]] = {}
    for record in sorted(records, key=lambda r: r.k):
        of = by_k.setdefault(record.k, [])
        if np.isfinite([record.train_error, record.test_error]).all():
            of.append(record)
    metric = getattr(records[0], "metric", ACCURACY)
    figure, (barriers, *lines) = panels(title, 3, (11, 4.2))
    _barriers(barriers, by_k, metric)
    for axes, split in zip(lines, _SPLITS, strict=True):
        _errors(axes, by_k, split, metric)
    below: dict[str, Any] = {"loc": "outside lower left", "ncols": 2, "frameon": False}
    figure.legend(handles=entries(barriers), **below)
    handles, _ = lines[0].get_legend_handles_labels()
    if handles:
        below |= {"loc": "outside lower right", "ncols": min(len(handles), 6)}
        figure.legend(handles=handles, **below)
    return figure


def _barriers(axes: Axes, by_k: dict[int, list[Interpolation]], metric: JudgedMetric) -> None:
    every = [Spread.of([0.0])]
    for split, style in styles(_SPLITS).items():
        spreads = [Spread.of([r.barrier(split) for r in of]) for of in by_k.values()]
        draw(axes, list(by_k), spreads, metric.scale, label=split, **style)
        every += spreads
    if metric.is_accuracy:
        every.append(Spread.of([1.2 * STABLE]))
        axes.axhline(100 * STABLE, color="0.3", linestyle=":", linewidth=1.2, label="stable below")
    zoom(axes, every, metric.scale)
    _step_axis(axes, by_k)
    axes.set_xlabel("k: step at which the networks part")
    axes.set_ylabel("error barrier, points" if metric.is_accuracy else f"barrier of {metric}")
    axes.grid(alpha=0.3)


def _step_axis(axes: Axes, steps: Iterable[int]) -> None:
    # 0 and the powers of ten: logarithmic but for the first piece.
    positive = [k for k in steps if k > 0]
    if positive:
        axes.set_xscale("symlog", linthresh=min(positive), linscale=0.6)
        axes.set_xlim(-0.2 * min(positive), 1.2 * max(positive))
        last, ticks = -np.inf, []
        transform = axes.xaxis.get_transform().transform
        places = transform(np.array(sorted(steps), float))
        for k, place in zip(sorted(steps), places, strict=True):
            if place - last >= (places[-1] - places[0]) / 12:  # labels would touch
                ticks.append(k)
                last = place
        axes.set_xticks(ticks, [f"{k:,}" for k in ticks], rotation=30)
        axes.xaxis.set_minor_locator(NullLocator())


def _errors(
    axes: Axes, by_k: dict[int, list[Interpolation]], split: str, metric: JudgedMetric
) -> None:
    colours = sequential()(np.linspace(0, 1, len(by_k)))
    every: list[Spread] = []
    look = styles(map(str, by_k))
    for colour, (k, of) in zip(colours, by_k.items(), strict=True):
        if not of:
            continue
        columns = zip(*(getattr(r, f"{split}_error") for r in of), strict=True)
        spreads = legible(map(Spread.of, columns), len(by_k))
        style: dict[str, Any] = {
            "color": colour,
            "marker": look[str(k)]["marker"],
            "linestyle": "-",
        }
        draw(axes, list(of[0].alphas), spreads, metric.scale, label=f"k = {k:,}", **style)
        every += spreads
    zoom(axes, every, metric.scale)
    axes.set_xlabel("α: from the one network to the other")
    # What is drawn is turned so that more is worse.
    turned = f"1 - {split} {metric}" if metric.direction == "max" else f"{split} {metric}"
    axes.set_ylabel(f"{split} error, %" if metric.is_accuracy else turned)
    axes.grid(alpha=0.3)
