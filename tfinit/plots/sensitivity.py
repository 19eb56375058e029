"""How much a loss rises with the sparsity of each weight."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tfinit.arguments import array, mapping, text
from tfinit.errors import InputError
from tfinit.plots.style import panels, plain, sequential


def sensitivity_figure(
    rises: Mapping[str, Sequence[float]], sparsities: Sequence[float], title: str
) -> Figure:
    """The rise of the loss at each sparsity of each weight: a row of cells for each.

    Colours are on a logarithmic scale, from a thousandth of the largest rise on.

    Args:
        rises: Name → the rise at each sparsity.
        sparsities: The sparsities.
        title: Title of the figure.

    Returns:
        A figure of one panel.

    Raises:
        InputError: there is no weight, or one has not as many rises as there are sparsities.
    """
    title = text("title", title)
    levels = array("sparsities", sparsities)
    rises = mapping("rises", rises, "names to numbers")
    rows = {name: array(f"rises[{name!r}]", one) for name, one in rises.items()}
    if not rows or levels.ndim != 1 or not len(levels):
        raise InputError("`rises` and `sparsities` must have one weight and one sparsity or more.")
    for name, one in rows.items():
        if one.shape != levels.shape:
            raise InputError(
                f"`rises[{name!r}]` has shape {one.shape}: give a number for each of the "
                f"{len(levels)} sparsities."
            )
    values = np.stack(list(rows.values())).astype(float)
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max(initial=0)) or 1.0
    figure, (axes,) = panels(title, 1, (4 + len(levels), max(2.5, 1.2 + 0.26 * len(rows))))
    norm = SymLogNorm(largest / 1000, vmin=min(0.0, float(np.min(values))), vmax=largest)
    image = axes.imshow(values, sequential(), norm=norm, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        dark = not np.isfinite(value) or norm(value) < 0.6
        colour = "white" if dark else "black"
        axes.text(column, row, plain(value), ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(levels)), [f"{level:.0%}" for level in levels])
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_xlabel("sparsity of this weight alone")
    bar = figure.colorbar(image, label="rise of the loss")
    powers = [sign * 10.0**power for power in range(-12, 13) for sign in (-1, 1)]
    low, high = norm.vmin or 0.0, largest
    bar.set_ticks([0.0] + [p for p in powers if abs(p) > largest / 200 and low <= p <= high])
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    bar.ax.minorticks_off()
    return figure
