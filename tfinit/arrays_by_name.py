"""What a file of arrays says of a split: one array under a name, or several whose names go on."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def has_part(arrays: Mapping[str, np.ndarray], key: str) -> bool:
    """Whether there is an array of this name, or one whose name goes on.

    Example:
        >>> x = np.zeros(2)
        >>> has_part({"x_train_image": x}, "x_train"), has_part({"x_trains": x}, "x_train")
        (True, False)
    """
    return key in arrays or any(name.startswith(f"{key}_") for name in arrays)


def all_of_part(arrays: Mapping[str, np.ndarray], key: str) -> dict[str, np.ndarray]:
    """What a file has under a name: the array of this name, or else all whose names go on."""
    names = [key] if key in arrays else [name for name in arrays if name.startswith(f"{key}_")]
    return {name: arrays[name] for name in names}


def part_of(arrays: Mapping[str, np.ndarray], key: str) -> Any:
    """The same as a model takes it: an array, a dictionary of several, or None if there is none.

    Example:
        >>> part_of({"x_train_image": np.zeros(2)}, "x_train")
        {'image': array([0., 0.])}
    """
    found = all_of_part(arrays, key)
    if key in found:
        return found[key]
    return {name[len(key) + 1 :]: array for name, array in found.items()} or None
