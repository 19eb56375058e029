"""How many weights survive in each tensor, given one sparsity for all of them.

``s`` is the overall sparsity, the fraction of zeros; tensor i has n_i weights, N together::

    "uniform"   s_i = s
    "erk"       s_i = 1 - min(1, ε·raw_i),   raw_i = (sum of the axes) / (product of the axes),
                with ε such that the survivors are (1 - s)·N
    {key: t}    s_i = t_i · s / final,       and 0 for tensors that are not named
    function    s_i = f(key, shape, s)
    "global"    no sparsity a tensor: the scores of all tensors compete for one number of places

The numbers are computed in `tfinit.pruning.scoring.sparsities`. Configurations and the command line
read the names here, so nothing heavy is imported.
"""

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from tfinit.arguments import meant, number
from tfinit.errors import InputError, TfinitDeprecationWarning

Allocation = str | Mapping[str, float] | Callable[[str, tuple[int, ...], Any], Any]
Shapes = Mapping[str, tuple[int, ...]]

NAMES = ("uniform", "erk", "global")
FORMER = {"layerwise": "uniform"}  # what the lottery called it


def is_global(allocation: Allocation) -> bool:
    """Whether all tensors compete for one number of places, so that no tensor has its own."""
    return isinstance(allocation, str) and allocation == "global"


def check_allocation(allocation: Any, keys: Any = None, stacklevel: int = 3) -> Allocation:
    """Return ``allocation`` (a copy, if it is a mapping), or say what is wrong with it.

    Args:
        allocation: What the user gave.
        keys: The keys that a mapping may name; None where they are not known yet.
        stacklevel: As for `warnings.warn`, which tells of a former name.

    Raises:
        InputError: not one of `NAMES`, a mapping or a callable; a sparsity outside of 0..1; a key
            that is not among ``keys``.

    Example:
        >>> check_allocation({"fc/kernel": 0.5}, keys=["fc/kernel"])
        {'fc/kernel': 0.5}
    """
    if isinstance(allocation, Mapping):
        for key, sparsity in allocation.items():
            if not isinstance(key, str):
                raise InputError(
                    "`allocation` must map keys of `tfinit.variables.prunable_weights(model)` to "
                    f"sparsities, received the key {key!r}."
                )
            number(f"allocation[{key!r}]", sparsity, least=0, most=1)
        unknown = [] if keys is None else [key for key in allocation if key not in list(keys)]
        if unknown:
            raise InputError(f"`allocation` names {unknown}. The keys are {list(keys)}.")
        return {key: float(sparsity) for key, sparsity in allocation.items()}
    if isinstance(allocation, str) and allocation in FORMER:
        told = f"The allocation `{allocation}` is now `{FORMER[allocation]}`."
        warnings.warn(told, TfinitDeprecationWarning, stacklevel=stacklevel)
        return FORMER[allocation]
    if isinstance(allocation, str) and allocation in NAMES:
        return allocation
    if callable(allocation) and not isinstance(allocation, type) and _takes_three(allocation):
        return allocation
    raise InputError(
        f"`allocation` must be one of {', '.join(NAMES)}, a mapping of keys to sparsities, or a "
        "function (key, shape, sparsity) -> sparsity, received "
        f"{allocation!r}.{meant(allocation, NAMES)}"
    )


def _takes_three(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind("key", (), 0.5)
    except TypeError:
        return False
    except ValueError:  # what is written in C may not tell
        return True
    return True


def check_min_density(value: Any, allocation: Allocation) -> float:
    """Return ``min_density`` as a float, or say what is wrong with it.

    Raises:
        InputError: not in 0..1; or above 0 with an allocation that is not ``"global"``.
    """
    value = number("min_density", value, least=0, most=1)
    if value > 0 and not is_global(allocation):
        raise InputError(
            "`min_density` is what each tensor keeps under allocation='global'; "
            f"{allocation!r} gives each its own sparsity."
        )
    return value
