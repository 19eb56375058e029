"""What a directory has of a line between two networks → its result, by what they are judged by."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfinit.lottery.linear_connectivity import MEASURES, StabilityResult
from tfinit.training.judged import ACCURACY, LOSS, JudgedMetric

__all__ = ["COPIES", "SPLITS", "TRUNK", "branch_of", "result_of", "tells"]

TRUNK, COPIES = "trunk", (1, 2)
SPLITS = ("train", "test")


def branch_of(k: int, copy: int | None = None) -> str:
    """What files and results call the place where copies part, and each copy."""
    return f"from-{k:06d}" + ("" if copy is None else f"-copy-{copy}")


def tells(measured: Mapping[str, Any], metric: JudgedMetric) -> bool:
    """Whether what was measured along a line has what networks are judged by."""
    return all(_column(split, metric) in measured for split in SPLITS)


def result_of(
    seed: int,
    k: int,
    alphas: np.ndarray,
    measured: Mapping[str, np.ndarray] | None,
    metric: JudgedMetric,
) -> StabilityResult:
    """What was measured along a line; None: there is none, as a training diverged."""
    columns = [_column(split, metric) for split in SPLITS]
    if measured is None:
        measured = dict.fromkeys((*MEASURES, *columns), np.full(len(alphas), np.nan))
    own = [np.asarray(measured[column]) for column in columns]
    errors = own if metric == ACCURACY else [metric.error(values) for values in own]
    losses = [np.asarray(measured[LOSS.column(split)]) for split in SPLITS]
    return StabilityResult(seed, k, alphas, *errors, *losses, metric)


def _column(split: str, metric: JudgedMetric) -> str:
    """Where what networks are judged by is, in what is measured on a split."""
    return f"{split}_error" if metric == ACCURACY else metric.column(split)
