"""Records → figures. Nothing here trains, or reads a model.

Lines are means over the replicates, bands 95% confidence intervals of the mean by Student's t; one
replicate has no band. Every function returns a matplotlib figure, to be saved with ``savefig``.
"""

from tfinit.lazy import loading

_HOME = {
    "Interpolation": "stability",
    "curves_figure": "curves",
    "initializations_figure": "lottery",
    "layers_figure": "masks",
    "lottery_figure": "lottery",
    "masks_figure": "masks",
    "race_figure": "race",
    "signals_figure": "signals",
    "stability_figure": "stability",
}
__all__ = [*_HOME]
# On demand: what a diagnosis draws needs nothing of the lottery.
__getattr__ = loading(__name__, _HOME)
