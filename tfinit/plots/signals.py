"""What a diagnosis saw: histograms of activations and gradients, and their spread by depth."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfinit import arguments
from tfinit.arguments import listed, refused
from tfinit.errors import InputError
from tfinit.plots.style import blank, sequential

if TYPE_CHECKING:
    from tfinit.diagnostics.measuring.layers import LayerSignals
    from tfinit.diagnostics.measuring.signals import Signal

_RIDGES = 14  # at most: of deeper networks some layers, evenly spread
_BINS = 81
_REACH = 3.0  # the axis goes so many typical standard deviations to both sides
_HEIGHT = 1.6  # of a ridge, in distances between ridges


def signals_figure(layers: "Sequence[LayerSignals]", title: str) -> Figure:
    """Ridgelines of activations and gradients by layer, and their standard deviations by depth.

    Args:
        layers: Of a `Diagnosis`. Those with kernels are shown; ridgelines of at most 14, evenly
            spread. Their axis is 3 of the layers' median standard deviations wide to both sides:
            where a signal has vanished the ridge is a spike, where it has exploded it is flat.
            Exact zeros are left out.
        title: Title of the figure.

    Returns:
        A figure of two rows: histograms (Glorot & Bengio 2010, figures 6 and 7), then standard
        deviations on a logarithmic axis.

    Raises:
        InputError: there is no layer with a kernel.
    """
    arguments.text("title", title)
    cure = "The `layers` of what tfinit.diagnose returns are that."
    for layer in listed("layers", layers, object, empty=True, cure=cure):
        if not hasattr(layer, "is_kernel"):
            raise refused("layers", "a list of what a diagnosis saw of layers", layer, cure)
    shown = [layer for layer in layers if layer.is_kernel]
    if not shown:
        raise InputError("`layers` has no layer with a kernel: there is nothing to draw.")
    figure = blank(title, (10, 7.5))
    (left, right), (below_left, below_right) = figure.subplots(2, 2, height_ratios=(3, 2))
    _ridges(left, shown, lambda layer: layer.output, "activations")
    _ridges(
        right,
        shown,
        lambda layer: layer.output_gradient,
        "gradients with respect to the activations",
    )
    _by_depth(
        below_left,
        shown,
        {
            "activations": lambda layer: layer.output.std,
            "before the activation": lambda layer: layer.linear.std,
        },
    )
    _by_depth(
        below_right,
        shown,
        {
            "with respect to the activations": lambda layer: (
                layer.output_gradient.std if layer.output_gradient else None
            ),
            "with respect to the weights": lambda layer: (
                layer.weights[-1].gradient_std if layer.weights else None
            ),
        },
    )
    below_left.set_ylabel("std of activations")
    below_right.set_ylabel("std of gradients")
    return figure


def _ridges(
    axes: Axes,
    layers: "Sequence[LayerSignals]",
    signal_of: "Callable[[LayerSignals], Signal | None]",
    what: str,
) -> None:
    some = np.unique(np.linspace(0, len(layers) - 1, _RIDGES).round().astype(int))
    chosen = [layers[n] for n in some]
    stds = [s.std for s in map(signal_of, chosen) if s is not None and s.finite and s.std > 0]
    reach = _REACH * float(np.median(stds)) if stds else 1.0
    edges = np.linspace(-reach, reach, _BINS + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    colours = sequential()(np.linspace(0, 1, max(len(chosen), 2)))
    for place, (layer, colour) in enumerate(zip(chosen, colours, strict=False)):
        signal = signal_of(layer)
        base = len(chosen) - 1 - place  # the first layer at the top
        if signal is None or not signal.finite:
            axes.text(0, base, "not finite" if signal else "none", ha="center", fontsize=7)
            continue
        # A rectifier's zeros would dwarf the rest.
        counts, _ = np.histogram(signal.sample[signal.sample != 0], edges)
        heights = _HEIGHT * counts / max(counts.max(), 1)
        order = 2 * place
        axes.fill_between(
            middles, base, base + heights, color=colour, alpha=0.6, linewidth=0, zorder=order
        )
        axes.plot(middles, base + heights, color=colour, linewidth=0.8, zorder=order + 1)
    axes.set_yticks(range(len(chosen)), [layer.key for layer in reversed(chosen)], fontsize=7)
    axes.set_xlim(-reach, reach)
    axes.set_xlabel(what)
    axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
    axes.spines[["top", "right", "left"]].set_visible(False)


def _by_depth(
    axes: Axes,
    layers: "Sequence[LayerSignals]",
    lines: "dict[str, Callable[[LayerSignals], float | None]]",
) -> None:
    drawn = False
    for (name, value_of), marker in zip(lines.items(), "os", strict=False):
        points = [(layer.depth, value_of(layer)) for layer in layers]
        # A logarithmic axis has no place for zeros, nor for what is not finite.
        known = [(d, v) for d, v in points if v is not None and np.isfinite(v) and v > 0]
        if known:
            drawn = True
            axes.plot(*zip(*known, strict=True), marker=marker, markersize=3, label=name)
    if drawn:
        axes.set_yscale("log")
        axes.legend(frameon=False, fontsize=8)
    axes.set_xlabel("depth: layers with kernels")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
