"""What the figures have in common: the one scheme of colours, panels, axes of densities."""

import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter, NullFormatter

# Distinct for colour-blind eyes (Okabe & Ito; their yellow is too faint for lines), and by marker
# and line for everybody.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES = ("-", "--", "-.", ":")
_IN_TURN = {"color": COLOURS, "linestyle": (_DASHES * 2)[: len(COLOURS)]}
# What the others are compared with: the dense network, a loss to reach.
NEUTRAL = "0.5"


def styles(
    names: Iterable[str], places: Mapping[str, int | None] | None = None
) -> dict[str, dict[str, Any]]:
    """Name → colour, marker and line for ``Axes.plot``, all different up to 56 names.

    Args:
        names: Those in the figure.
        places: Name → its place in the palette, which no other name takes, in the figure or not;
            None: the next free one, as for all that are not in it.
    """
    fixed = {name: place for name, place in (places or {}).items() if place is not None}
    free = (n for n in count() if n not in fixed.values())
    return {
        name: {
            "color": COLOURS[n % len(COLOURS)],
            "marker": _MARKERS[n % len(_MARKERS)],
            "linestyle": _DASHES[n % len(_DASHES)],
        }
        for name in dict.fromkeys(names)
        for n in [fixed[name] if name in fixed else next(free)]
    }


def sequential() -> Colormap:
    """A colour map for ordered values, readable by colour-blind eyes and in grey."""
    from matplotlib import colormaps

    # Its bright end is too faint for lines on white.
    return ListedColormap(colormaps["viridis"](np.linspace(0, 0.88, 256)))


def panels(title: str, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A new figure with panels in one row, whose lines take the colours in turn."""
    figure = blank(title, size)
    row = list(figure.subplots(1, columns, squeeze=False)[0])
    for axes in row:
        axes.set_prop_cycle(**_IN_TURN)
    return figure, row


class _Shown(Figure):
    """A figure that a notebook shows as the result of a cell, without ``%matplotlib``."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


def blank(title: str, size: tuple[float, float]) -> Figure:
    """A new figure with nothing but a title, which needs no display."""
    figure = _Shown(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    return figure


def density_axis(axes: Axes, densities: Iterable[float]) -> None:
    """Make x an axis of densities in percent, from dense to sparse.

    Where no weight is left there is no place on it: nothing is drawn of a density of 0.
    """
    percents = [100 * d for d in densities if d > 0] or [100.0]
    axes.set_xscale("log", nonpositive="mask")
    axes.set_xlim(max(percents) * 1.1, min(percents) / 1.1)
    axes.set_xticks(percent_ticks(percents))
    axes.xaxis.set_major_formatter(percent_format())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("density: weights left")
    axes.grid(alpha=0.3)


def percent_ticks(percents: Sequence[float]) -> list[float]:
    """Round percentages within the range of some."""

    def within(digits: Sequence[int]) -> list[float]:
        wanted = [digit * 10.0**power for power in (2, 1, 0, -1, -2) for digit in digits]
        return [t for t in wanted if t <= 100 and min(percents) / 1.05 <= t <= max(percents) * 1.05]

    coarse = within((5, 2, 1))
    return coarse if len(coarse) > 2 else within((8, 6, 4, 2, 1))


def percent_format() -> FuncFormatter:
    """Percentages without trailing zeros."""
    return FuncFormatter(lambda value, _: f"{value:g}%")


class _Plain(LogFormatter):
    """Numbers as they are said: 0.001, and not 1e-03 or a power of ten."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return plain(x) if super().__call__(x, pos) else ""


def log_axis(axes: Axes) -> None:
    """Make y logarithmic, with plain numbers, and between the powers of ten where these are few."""
    axes.set_yscale("log")
    for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        set_formatter(_Plain(minor_thresholds=(2, 0.5)))


def plain(value: float) -> str:
    """Two digits of a number, its exponent without padding.

    Example:
        >>> plain(0.0123), plain(-3.14e-7), plain(320)
        ('0.012', '−3.1e−7', '320')
    """
    text = f"{float(f'{value:.2g}'):g}"
    return text.replace("e-0", "e-").replace("e+", "e").replace("e0", "e").replace("-", "−")
