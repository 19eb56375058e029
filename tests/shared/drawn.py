"""What axes of matplotlib show."""

import numpy as np
from matplotlib.collections import PolyCollection


def line(axes, name):
    (found,) = [one for one in axes.get_lines() if one.get_label() == name]
    return found.get_data(orig=False)


def labels(axes):
    return [one.get_label() for one in axes.get_lines() if not one.get_label().startswith("_")]


def bands(axes):
    """(lowest, highest) of each band, in points of y."""
    found = [c for c in axes.collections if isinstance(c, PolyCollection)]
    ys = [np.concatenate([path.vertices[:, 1] for path in c.get_paths()]) for c in found]
    return [(y.min(), y.max()) for y in ys]


def thin(axes):
    """The ys of each replicate that is drawn by itself."""
    return [one.get_ydata() for one in axes.get_lines() if one.get_label() == "_each seed"]


def means(axes):
    """The lines, but those of single replicates."""
    return [one for one in axes.get_lines() if one.get_label() != "_each seed"]
