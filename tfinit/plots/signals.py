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
from tfinit.plots.style import blank, log_axis, plain, sequential, styles

if TYPE_CHECKING:
    from tfinit.diagnostics.measuring.layers import LayerSignals
    from tfinit.diagnostics.measuring.signals import Signal

_RIDGES = 14  # at most: of deeper networks some layers, evenly spread
_BINS = 60
_HEIGHT = 0.85  # of a ridge, in distances between ridges
_LONGEST = 22  # letters of a layer's name


def signals_figure(layers: "Sequence[LayerSignals]", title: str) -> Figure:
    """Ridgelines of activations and gradients by layer, and their standard deviations by depth.

    Args:
        layers: Of a `Diagnosis`. Those with kernels are shown; ridgelines of at most 14, evenly
            spread. Each is on a range of its own, from the smallest to the largest value (of up to
            2,000 of the tensor, zero included), and the two are written at its ends: signals that
            vanish are told by these numbers, and by the lines below. A rectifier's zeros would
            dwarf the rest: exact zeros are left out, and their share is written.
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
    some = np.unique(np.linspace(0, len(shown) - 1, _RIDGES).round().astype(int))
    chosen = [shown[n] for n in some]
    ridges = 0.8 + 0.27 * len(chosen)
    figure = blank(title, (8, ridges + 3.2))
    (left, right), (below_left, below_right) = figure.subplots(2, 2, height_ratios=(ridges, 2.4))
    _ridges(left, [layer.output for layer in chosen])
    _ridges(right, [layer.output_gradient for layer in chosen])
    names = [_short(layer.key) for layer in chosen]
    left.set_yticks(range(len(chosen))[::-1], names, fontsize=8, va="bottom")
    right.set_yticks([])
    few = f" ({len(chosen)} of {len(shown)} layers)" if len(chosen) < len(shown) else ""
    left.set_title(f"Activations{few}", fontsize=10)
    right.set_title("Gradients with respect to the activations", fontsize=10)
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
    below_left.set_ylabel("standard deviation")
    below_left.set_title("How large signals are, going forward", fontsize=10)
    below_right.set_title("How large gradients are, coming back", fontsize=10)
    return figure


def _ridges(axes: Axes, signals: "Sequence[Signal | None]") -> None:
    """A histogram for each signal, the first at the top, from 0 to 1 of the axis."""
    colours = sequential()(np.linspace(0, 1, max(len(signals), 2)))
    for base, signal, colour in zip(range(len(signals))[::-1], signals, colours, strict=False):
        axes.axhline(base, color="0.85", linewidth=0.6, zorder=0)
        if signal is None or not signal.finite:
            _write(axes, 0.5, base, "not finite" if signal else "none reach it", ha="center")
            continue
        values = signal.sample[signal.sample != 0].astype(np.float64)
        zeros = 1 - len(values) / max(len(signal.sample), 1)
        # Where some are left out, they are of the range all the same.
        ends = [*values, 0.0] if zeros else values
        low, high = float(np.min(ends)), float(np.max(ends))
        if low == high:
            _write(axes, 0.5, base, f"all {plain(low)}", ha="center")
            continue
        counts, _ = np.histogram((values - low) / (high - low), _BINS, (0, 1))
        x, y = np.linspace(0, 1, _BINS + 1), base + _HEIGHT * counts / counts.max()
        axes.stairs(y, x, baseline=base, fill=True, color=colour, alpha=0.75)
        if low < 0 < high:
            axes.plot([-low / (high - low)] * 2, [base - 0.1, base + 0.1], color="0", linewidth=1)
        _write(axes, -0.02, base, plain(low), ha="right")
        share = f"   {zeros:.0%} zeros" if zeros >= 0.005 else ""
        _write(axes, 1.02, base, plain(high) + share, ha="left")
    axes.set_xlim(-0.27, 1.5)
    axes.set_ylim(-0.4, len(signals))
    axes.set_xticks([])
    axes.set_xlabel("each from its smallest to its largest value; a tick at 0", fontsize=8)
    axes.tick_params(left=False)
    axes.spines[:].set_visible(False)


def _write(axes: Axes, x: float, y: float, text: str, ha: str) -> None:
    axes.text(x, y + 0.05, text, ha=ha, va="bottom", fontsize=8, color="0.25")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"


def _by_depth(
    axes: Axes,
    layers: "Sequence[LayerSignals]",
    lines: "dict[str, Callable[[LayerSignals], float | None]]",
) -> None:
    drawn: list[float] = []
    look = styles(lines)
    for name, value_of in lines.items():
        points = [(layer.depth, value_of(layer)) for layer in layers]
        # A logarithmic axis has no place for zeros, nor for what is not finite.
        known = [(d, v) for d, v in points if v is not None and np.isfinite(v) and v > 0]
        if known:
            drawn += [value for _, value in known]
            axes.plot(*zip(*known, strict=True), markersize=3.5, label=name, **look[name])
    if drawn:
        log_axis(axes)
        # At least a decade: what differs by less is no trend.
        middle, decade = np.sqrt(min(drawn) * max(drawn)), np.sqrt(12)
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, middle / decade), max(high, middle * decade))
        axes.legend(frameon=False, fontsize=8)
    axes.set_xlabel("layer, counted from the input")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
