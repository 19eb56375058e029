"""Records → figures. Nothing here trains, or reads a model.

Lines are means over the replicates. Two or three replicates are drawn beside them, each as a thin
line; of four and more it is the 95% confidence band of the mean, by Student's t. A panel of more
than six lines has the means alone. Every function returns a matplotlib figure, to be saved with
``savefig``; a notebook shows it as a cell's result.
"""

from tfinit.moved import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
