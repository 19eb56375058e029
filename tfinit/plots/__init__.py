"""Records → figures. Nothing here trains, or reads a model.

Lines are means over the replicates, bands 95% confidence intervals of the mean by Student's t; one
replicate has no band. Every function returns a matplotlib figure, to be saved with ``savefig``.
"""

from tfinit.plots.curves import curves_figure
from tfinit.plots.lottery import initializations_figure, lottery_figure
from tfinit.plots.masks import layers_figure, masks_figure
from tfinit.plots.race import race_figure
from tfinit.plots.stability import Interpolation, stability_figure

__all__ = [
    "Interpolation",
    "curves_figure",
    "initializations_figure",
    "layers_figure",
    "lottery_figure",
    "masks_figure",
    "race_figure",
    "stability_figure",
]
