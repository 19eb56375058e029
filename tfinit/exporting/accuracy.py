"""Accuracy of outputs."""

from typing import Any

import numpy as np

from tfinit.arguments import array
from tfinit.errors import InputError


def classes_of(y: Any, examples: int) -> np.ndarray:
    """Class numbers, from numbers or one-hot rows.

    Raises:
        InputError: they are neither, or not as many as the examples.
    """
    y = array("y", y)
    if y.ndim == 2 and y.shape[1] > 1 and np.all((y == 0) | (y == 1)) and np.all(y.sum(1) == 1):
        y = y.argmax(axis=1)
    y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim != 1 or len(y) != examples or not np.all(y == y.astype(int)):
        raise InputError(
            f"`y` must have one class for each of the {examples} examples in `x`, as a number or "
            f"one-hot; received shape {y.shape} and type {y.dtype}."
        )
    return y.astype(int)


def are_classes(y: Any, examples: int) -> bool:
    """Whether `classes_of` takes targets: those of a regression it does not.

    Example:
        >>> are_classes(np.array([0, 2]), 2), are_classes(np.array([0.5, 2]), 2)
        (True, False)
    """
    try:
        classes_of(y, examples)
    except InputError:
        return False
    return True


def accuracy(outputs: np.ndarray, y: np.ndarray) -> float:
    """Share of right classes: the largest output, or for a single one whether it is the larger.

    A single output is a probability if all lie between 0 and 1, else a logit.

    Example:
        >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
        0.5
    """
    flat = outputs.reshape(len(outputs), -1)
    if flat.shape[1] == 1:
        is_probability = flat.min() >= 0 and flat.max() <= 1
        found = (flat[:, 0] > (0.5 if is_probability else 0)).astype(int)
    else:
        found = flat.argmax(axis=1)
    return float(np.mean(found == y))
