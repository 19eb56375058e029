"""Records → figures. Nothing here trains, or reads a model.

Lines are means over the replicates, bands 95% confidence intervals of the mean by Student's t; one
replicate has no band. Every function returns a matplotlib figure, to be saved with ``savefig``.
"""

from tfinit.moved import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
