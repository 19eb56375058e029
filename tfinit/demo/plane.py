"""What is drawn of a data set: the plane, the examples in it, and the grid of its boundary."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfinit import datasets

SIZE = 100  # the boundary is drawn on so many squares a side
_MARGIN = 0.15  # of the examples' extent, on every side


@dataclass(frozen=True)
class Plane:
    """A plane through the inputs: input = origin + a·axes[0] + b·axes[1].

    Attributes:
        data: The data set, as the trainings use it: ``validation`` is the training split itself,
            which is evaluated in its place.
        axes: (2, features).
        origin: (features,).
        extent: (a of the left edge, of the right; b of the lower edge, of the upper).
        grid: The inputs at the centres of the squares, row by row from the lowest b.
        projection: What the plane is, where the inputs have more than two features.
    """

    data: datasets.Dataset
    axes: np.ndarray
    origin: np.ndarray
    extent: tuple[float, float, float, float]
    grid: np.ndarray
    projection: str | None

    def coordinates(self, x: np.ndarray) -> np.ndarray:
        """Where inputs lie in the plane: (n, 2)."""
        return (x.reshape(len(x), -1) - self.origin) @ self.axes.T


@functools.cache
def plane(name: str) -> Plane:
    """The plane of a data set: its own, or that of the first two principal components."""
    data = datasets.load(name)
    x = data.train[0]
    flat = x.reshape(len(x), -1)
    if x.shape[1:] == (2,):
        axes, origin, projection = np.eye(2, dtype="float32"), np.zeros(2, "float32"), None
    else:
        origin = flat.mean(axis=0)
        axes = np.linalg.svd(flat - origin, full_matrices=False)[2][:2]
        projection = "the plane of the first two principal components"
    where = (flat - origin) @ axes.T
    low, high = where.min(axis=0), where.max(axis=0)
    if projection is None:  # undistorted, and the same for all of them
        reach = np.abs(where).max()
        low, high = np.array([-reach, -reach]), np.array([reach, reach])
    margin = _MARGIN * (high - low)
    low, high = low - margin, high + margin
    a, b = (low[n] + (np.arange(SIZE) + 0.5) / SIZE * (high[n] - low[n]) for n in (0, 1))
    corners = np.stack(np.meshgrid(a, b), axis=-1).reshape(-1, 2)
    grid = (origin + corners @ axes).astype("float32").reshape(-1, *x.shape[1:])
    extent = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
    return Plane(data, axes, origin, extent, grid, projection)


def opening_event(settings: Any) -> dict[str, Any]:
    """The event that a page gets first: the examples in the plane, and the layers to come.

    Args:
        settings: `tfinit.demo.settings.Settings`.
    """
    drawn = plane(settings.dataset)
    x, y = drawn.data.train
    where = drawn.coordinates(x)
    widths = [int(np.prod(x.shape[1:])), *[settings.width] * (settings.depth - 1)]
    widths.append(drawn.data.classes)
    names = [*(f"fc{n}" for n in range(1, settings.depth)), "output"]
    return {
        "dataset": settings.dataset,
        "axes": ["x₁", "x₂"] if drawn.projection is None else ["component 1", "component 2"],
        "extent": list(drawn.extent),
        "points": {
            "x": [round(float(v), 4) for v in where[:, 0]],
            "y": [round(float(v), 4) for v in where[:, 1]],
            "class": y.tolist(),
        },
        "classes": drawn.data.classes,
        "layers": [
            {"name": name, "inputs": inputs, "units": units}
            for name, inputs, units in zip(names, widths[:-1], widths[1:], strict=True)
        ],
        "projection": drawn.projection,
    }
