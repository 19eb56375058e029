"""Names that are elsewhere, or are called otherwise today: found with a warning."""

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

_PASSED_BY = ("importlib", "tfinit.moved", __name__)  # on the way from a line to the warning


def former_names(
    module: str, names: Mapping[str, str], otherwise: Callable[[str], Any] | None = None
) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module that still has some former names.

    Args:
        module: Its ``__name__``.
        names: Former name → today's in the same module, or with the module that it is in; or such
            a function with its argument, a name of that module too: ``tfinit.place.names(AFTER)``.
        otherwise: Asked for every other name, as the ``__getattr__`` that the module has.

    Example:
        >>> get = former_names("tfinit.errors", {"BadInput": "InputError"})
        >>> get("BadInput").__name__
        'InputError'
    """

    def get(name: str) -> Any:
        if name in names:
            today = names[name] if "." in names[name] else f"{module}.{names[name]}"
            warn_where_it_is_used(f"{module}.{name} is now {today}.")
            path, _, argument = today.rstrip(")").partition("(")
            home = importlib.import_module(path.rpartition(".")[0])
            found = getattr(home, path.rpartition(".")[2])
            return found(getattr(home, argument)) if argument else found
        if otherwise is not None:
            return otherwise(name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return get


def warn_where_it_is_used(text: str) -> None:
    """A DeprecationWarning at the line that asks for a name, whatever way of importing it goes."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(_PASSED_BY):
        frame = frame.f_back
    where = frame.f_globals
    warnings.warn_explicit(
        text,
        DeprecationWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=where.get("__name__", "<string>"),
        registry=where.setdefault("__warningregistry__", {}),
    )
