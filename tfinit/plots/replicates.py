"""Replicates as a line: their mean, and how far they are apart.

Of four or more it is the 95% confidence band of the mean, by Student's t. Fewer are drawn one by
one: the interval of two is 12.7 standard errors to each side, which fills any panel and tells
nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tfinit.plots.style import NEUTRAL
from tfinit.spread import Spread

FEW = 4  # from so many on, a band
MOST = 6  # lines; of more, what is around each would hide the others
# Labels of what is drawn beside the means; matplotlib keeps those with an underscore from legends.
_BAND, _SINGLE = "_95% confidence", "_each seed"
_THIN: dict[str, Any] = {"linewidth": 0.7, "linestyle": "-", "alpha": 0.5, "markersize": 3}
_MARKED = 20  # so many points are marked; more would be a row of dots


def legible(spreads: Iterable[Spread], lines: int) -> list[Spread]:
    """The spreads as they are drawn in a panel of so many lines: beyond `MOST` the means alone."""
    return [s if lines <= MOST else Spread(s.mean, 0.0, min(s.n, 1)) for s in spreads]


def draw(
    axes: Axes,
    x: Sequence[float],
    spreads: Sequence[Spread],
    scale: float = 1.0,
    shown: Callable[[Any], Any] = np.asarray,
    **line: Any,
) -> Line2D:
    """Draw the means as a line, with what shows how far the replicates are apart.

    A point without replicates (all diverged) is a gap.

    Args:
        axes: Where.
        x: One for each spread.
        spreads: Of the replicates at each x.
        scale: What they are multiplied with.
        shown: Undoes what they are in, as ``np.exp`` for spreads of logarithms.
        line: As `Axes.plot` takes it.
    """

    def y(values: Any) -> np.ndarray:
        return shown(scale * np.asarray(values, float))

    (drawn,) = axes.plot(x, y([s.mean for s in spreads]), markersize=5, **line)
    colour = drawn.get_color()
    if any(s.n >= FEW for s in spreads):
        low, high = np.array([band(s) for s in spreads]).T
        axes.fill_between(x, y(low), y(high), color=colour, alpha=0.15, linewidth=0, label=_BAND)
    for n in sorted({len(s.values) for s in spreads if _few(s)}):
        # Replicates are in one order; where some are missing, it is not known which.
        columns = [s.values if _few(s) and len(s.values) == n else [np.nan] * n for s in spreads]
        for values in zip(*columns, strict=True):
            marker = "." if len(x) <= _MARKED else ""
            axes.plot(x, y(values), color=colour, label=_SINGLE, marker=marker, **_THIN)
    return drawn


def draw_level(axes: Axes, spread: Spread, scale: float = 1.0, label: str = "") -> None:
    """Draw what others are compared with as a grey line from side to side."""
    if spread.n == 0:
        return
    if spread.n >= FEW:
        low, high = band(spread)
        axes.axhspan(scale * low, scale * high, color=NEUTRAL, alpha=0.2, linewidth=0, label=_BAND)
    elif _few(spread):
        for value in spread.values:
            axes.axhline(scale * value, color=NEUTRAL, linewidth=0.7, alpha=0.6, label=_SINGLE)
    axes.axhline(scale * spread.mean, color=NEUTRAL, linewidth=1.5, label=label)


def band(spread: Spread) -> tuple[float, float]:
    """The 95% confidence interval; NaN, which is not drawn, for fewer than `FEW` replicates."""
    return spread.interval if spread.n >= FEW else (np.nan, np.nan)


def heights(spreads: Iterable[Spread]) -> list[float]:
    """All that is drawn as lines: the means, and few replicates."""
    return [y for s in spreads for y in (s.mean, *(s.values if _few(s) else ()))]


def zoom(axes: Axes, spreads: Iterable[Spread], scale: float = 1.0) -> None:
    """Fit the y axis to all lines, and to bands only so far that the lines stay apart.

    A band may take half the range of the lines above and below it; beyond, it leaves the panel.
    """
    spreads = [s for s in spreads if np.isfinite(s.mean)]
    if not spreads:
        return
    lines = np.array(heights(spreads)) * scale
    around = [scale * y for s in spreads if s.n >= FEW for y in band(s)]
    lowest, highest = float(lines.min()), float(lines.max())
    room = (highest - lowest) / 2 or abs(highest) / 20 or 1.0
    low = max(min([lowest, *around]), lowest - room)
    high = min(max([highest, *around]), highest + room)
    margin = (high - low) / 20 or room
    axes.set_ylim(low - margin, high + margin)


def entries(axes: Axes) -> list[Artist]:
    """What the legend of some axes has: the lines, and what is around them, in grey."""
    handles, _ = axes.get_legend_handles_labels()
    labels = {str(one.get_label()) for one in axes.get_children()}
    if _SINGLE in labels:
        handles.append(Line2D([], [], color=NEUTRAL, label=_SINGLE[1:], **_THIN))
    if _BAND in labels:
        handles.append(Patch(color=NEUTRAL, alpha=0.3, linewidth=0, label=_BAND[1:]))
    return handles


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    """Put the legend of one panel under all of them, where it covers no line."""
    figure.legend(handles=entries(axes), loc="outside lower center", ncols=columns, frameon=False)


def legend_beside(figure: Figure, axes: Axes) -> None:
    """Put the legend of one panel to the right of all."""
    figure.legend(handles=entries(axes), loc="outside right center", frameon=False)


def _few(spread: Spread) -> bool:
    return 1 < len(spread.values) < FEW
