"""What the figures have in common: colours, bands, axes of densities."""

import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

from tfinit.spread import Spread

# Distinct for colour-blind eyes (Okabe & Ito; their yellow is too faint for lines), and by marker
# and line for everybody.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES = ("-", "--", "-.", ":")


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
            "color": _COLOURS[n % len(_COLOURS)],
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
    """A new figure with panels in one row."""
    figure = blank(title, size)
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


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


def draw(
    axes: Axes, x: Sequence[float], spreads: Sequence[Spread], scale: float = 1.0, **line: Any
) -> Line2D:
    """Draw the means as a line, with the 95% confidence band where there are replicates.

    A point without replicates (all diverged) is a gap.
    """
    (drawn,) = axes.plot(x, [scale * s.mean for s in spreads], markersize=5, **line)
    if any(s.n > 1 for s in spreads):
        low, high = np.array([band(s) for s in spreads]).T * scale
        axes.fill_between(x, low, high, color=drawn.get_color(), alpha=0.15, linewidth=0)
    return drawn


def band(spread: Spread) -> tuple[float, float]:
    """The 95% confidence interval; NaN, which is not drawn, for fewer than two replicates."""
    return spread.interval if spread.n > 1 else (np.nan, np.nan)


def zoom(axes: Axes, spreads: Iterable[Spread], scale: float = 1.0) -> None:
    """Fit the y axis to all means, and to bands only so far that the lines stay apart.

    A band may take half the range of the means above and below it; beyond, it leaves the panel.
    """
    spreads = [s for s in spreads if np.isfinite(s.mean)]
    if not spreads:
        return
    means = np.array([s.mean for s in spreads]) * scale
    ends = np.array([band(s) if s.n > 1 else (s.mean, s.mean) for s in spreads]) * scale
    lowest, highest = means.min(), means.max()
    room = (highest - lowest) / 2 or abs(highest) / 20 or 1.0
    low, high = max(ends.min(), lowest - room), min(ends.max(), highest + room)
    margin = (high - low) / 20 or room
    axes.set_ylim(low - margin, high + margin)


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


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    """Put the legend of one panel under all of them, where it covers no line."""
    handles, _ = axes.get_legend_handles_labels()
    if axes.collections or axes.patches:
        handles.append(Patch(color="0.5", alpha=0.3, linewidth=0, label="95% confidence"))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
