"""How large activations are by width."""

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from tfinit.arguments import refused, text
from tfinit.plots.style import blank, log_axis, sequential

if TYPE_CHECKING:
    from tfinit.diagnostics.coordinates import CoordinateCheck


def coordinates_figure(check: "CoordinateCheck", title: str) -> Figure:
    """Mean |activation| and mean |change| of each layer by width, a line for each step.

    Args:
        check: What `tfinit.diagnostics.coordinate_check` returned.
        title: Title of the figure.

    Returns:
        A figure of two rows and a column for each layer, both axes logarithmic: flat lines do not
        hang on the width.

    Raises:
        InputError: it is no check.
    """
    text("title", title)
    if not hasattr(check, "widths") or not len(check):
        raise refused("check", "what tfinit.diagnostics.coordinate_check returned", check)
    colours = sequential()([n / max(check.steps, 1) for n in range(check.steps + 1)])
    figure = blank(title, (max(4.0, 1.8 * len(check)), 5.0))
    axes = figure.subplots(2, len(check), squeeze=False, sharex=True, sharey="row")
    for column, record in enumerate(check):
        for row, table in enumerate((record.sizes, record.changes)):
            for step in range(row, check.steps + 1):
                axes[row][column].plot(
                    check.widths, table[step], color=colours[step], marker=".", label=f"step {step}"
                )
            axes[row][column].set_xscale("log", base=2)
            axes[row][column].set_xticks(check.widths, [f"{width:,}" for width in check.widths])
            log_axis(axes[row][column])
            axes[row][column].grid(alpha=0.3)
        axes[0][column].set_title(record.key, fontsize=8)
        axes[1][column].set_xlabel("width")
    axes[0][0].set_ylabel("mean |activation|")
    axes[1][0].set_ylabel("mean |change|")
    axes[0][-1].legend(frameon=False, fontsize=7)
    return figure
