"""How sparse each layer is."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from tfinit.arguments import mapping, number, text
from tfinit.errors import InputError
from tfinit.plots.style import COLOURS, panels, percent_format


def sparsity_figure(sparsities: Mapping[str, float], title: str) -> Figure:
    """The fraction of zeros in each layer or weight, a bar for each, in their order.

    Args:
        sparsities: Name → fraction of zeros, 0 to 1.
        title: Title of the figure.

    Returns:
        A figure of one panel.

    Raises:
        InputError: there is no layer, or a fraction is out of range.
    """
    title = text("title", title)
    sparsities = mapping("sparsities", sparsities, "names to fractions of zeros")
    if not sparsities:
        raise InputError("`sparsities` is empty: no layer has weights that could be pruned.")
    values = [
        number(f"sparsities[{name!r}]", value, least=0, most=1)
        for name, value in sparsities.items()
    ]
    figure, (axes,) = panels(title, 1, (8, max(2.5, 0.8 + 0.26 * len(values))))
    places = range(len(values))
    bars = axes.barh(places, [100 * value for value in values], color=COLOURS[0])
    axes.bar_label(bars, [f"{value:.1%}" for value in values], padding=3)
    axes.set_yticks(places, list(sparsities))
    axes.invert_yaxis()  # the first layer is above
    axes.set_xlim(0, 115)  # with room for the numbers
    axes.set_xticks(range(0, 101, 20))
    axes.xaxis.set_major_formatter(percent_format())
    axes.set_xlabel("sparsity: zeros in the weights that can be pruned")
    axes.grid(alpha=0.3, axis="x")
    axes.set_axisbelow(True)
    return figure
