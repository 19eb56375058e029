"""How sparse each kernel becomes, where the kernels compete: `"global"` and `"by error"`."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from tfinit.pruning.calibrated.patterns import count
from tfinit.pruning.scoring.masks import top_mask

LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0)
"""The sparsities at which the error of a kernel is measured; between them it is a line."""


def of_scores(scores: Mapping[str, np.ndarray], sparsity: float) -> dict[str, float]:
    """The sparsity of each kernel if the largest scores of all together survive.

    A score is divided by the mean of its kernel, for what costs the output of a layer depends on
    how large that is, and on how many rows its inputs have.

    Example:
        >>> of_scores({"a": np.array([6.0, 4.0]), "b": np.array([3.0, 0.0])}, 0.5)
        {'a': 0.5, 'b': 0.5}
    """
    flat = [np.ravel(one) / (np.mean(one, dtype=np.float64) or 1.0) for one in scores.values()]
    keep = sum(count(one.size, sparsity) for one in flat)
    ends = np.cumsum([one.size for one in flat])[:-1]
    parts = np.split(top_mask(np.concatenate(flat), keep), ends)
    return {key: 1 - float(part.mean()) for key, part in zip(scores, parts, strict=True)}


def of_errors(
    errors: Mapping[str, Sequence[float]],
    sizes: Mapping[str, int],
    sparsity: float,
    levels: Sequence[float] = LEVELS,
) -> dict[str, float]:
    """The sparsities s_i that have ``Σ n_i s_i = s Σ n_i`` and the least ``Σ e_i(s_i)``.

    Args:
        errors: Key → the error at each of ``levels``; in place of it counts the largest convex
            function below, as a kernel gains nothing by a part of a step that is cheap in whole.
        sizes: Key → n_i.
        sparsity: s, at most the last of the levels.
        levels: Sparsities, from 0 on.

    Example:
        >>> lines = {"a": list(LEVELS), "b": [2 * level for level in LEVELS]}
        >>> of_errors(lines, {"a": 10, "b": 10}, 0.5)
        {'a': 1.0, 'b': 0.0}
    """
    steps = []
    for key, values in errors.items():
        for start, stop in _hull(levels, values):
            width = levels[stop] - levels[start]
            slope = (values[stop] - values[start]) / (width * sizes[key])
            steps.append((slope, key, width))
    # The cheapest first. In each kernel they are in order: a convex function rises ever faster.
    steps.sort(key=lambda step: step[0])
    left, found = sparsity * sum(sizes.values()), dict.fromkeys(errors, 0.0)
    for _, key, width in steps:
        taken = min(width, left / sizes[key])
        found[key] += taken
        left -= taken * sizes[key]
    return {key: min(1.0, float(round(value, 9))) for key, value in found.items()}


def _hull(levels: Sequence[float], values: Sequence[float]) -> list[tuple[int, int]]:
    """The corners of the largest convex function below, as pairs of levels."""

    def slope(one: int, other: int) -> float:
        return (values[other] - values[one]) / (levels[other] - levels[one])

    corners = [0]
    for place in range(1, len(levels)):
        while len(corners) > 1 and slope(*corners[-2:]) >= slope(corners[-1], place):
            corners.pop()
        corners.append(place)
    return list(pairwise(corners))
