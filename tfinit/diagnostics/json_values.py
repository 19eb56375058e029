"""Results as JSON can hold them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """The same in dictionaries, lists, strings and numbers; None for those that are not finite.

    Example:
        >>> plain({"loss": float("inf"), "steps": np.arange(2)})
        {'loss': None, 'steps': [0, 1]}
    """
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
