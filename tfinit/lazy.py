"""Packages whose parts load when they are first asked for."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def loading(package: str, home: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package: takes each name from the module of its own that has it.

    No module may have the name of something in it: once imported it would take its place in the
    package.

    Args:
        package: The package's name.
        home: Name → the module inside the package.

    Example:
        >>> loading("tfinit", {"InputError": "errors"})("InputError").__module__
        'tfinit.errors'
    """

    def get(name: str) -> Any:
        if name in home:
            return getattr(importlib.import_module(f"{package}.{home[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get
