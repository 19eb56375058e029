"""Names inside a module that are called otherwise today: found with a warning."""

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from tfinit.errors import TfinitDeprecationWarning


def former_names(
    module: str, names: Mapping[str, str], otherwise: Callable[[str], Any] | None = None
) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module that still has some former names.

    Args:
        module: Its ``__name__``.
        names: Former name → today's in the same module.
        otherwise: Asked for every other name, as the ``__getattr__`` that the module has.

    Example:
        >>> get = former_names("tfinit.errors", {"BadInput": "InputError"})
        >>> get("BadInput").__name__
        'InputError'
    """

    def get(name: str) -> Any:
        if name in names:
            today = names[name]
            warnings.warn(
                f"{module}.{name} is now {module}.{today}.", TfinitDeprecationWarning, stacklevel=2
            )
            return getattr(importlib.import_module(module), today)
        if otherwise is not None:
            return otherwise(name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return get
