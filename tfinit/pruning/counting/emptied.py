"""Tensors of which pruning left nothing: found and told wherever a pruned model is looked at."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfinit.errors import TfinitWarning


def emptied(arrays: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of the arrays, weights or masks, that are zero altogether.

    Example:
        >>> emptied({"a": np.zeros((2, 2)), "b": np.eye(2)})
        ('a',)
    """
    return tuple(key for key, array in arrays.items() if not np.any(array))


def emptied_message(keys: tuple[str, ...], cure: str = "'synflow'") -> str:
    """What it means that nothing is left of some weights, and what to do."""
    return (
        f"nothing is left of {', '.join(keys)}. What comes behind sees nothing of the input, but "
        f"for what goes past it. Use {cure}, another allocation, a `min_density` or a lower "
        "sparsity."
    )


def warn_of_emptied(arrays: Mapping[str, Any], stacklevel: int = 2) -> tuple[str, ...]:
    """Warn (`UserWarning`) of the arrays that are zero altogether, and return their keys.

    Args:
        arrays: Key → weight or mask of what is pruned.
        stacklevel: As for `warnings.warn`, counted from the caller.
    """
    keys = emptied(arrays)
    if keys:
        message = emptied_message(keys)
        warnings.warn(message[0].upper() + message[1:], TfinitWarning, stacklevel=stacklevel + 1)
    return keys
