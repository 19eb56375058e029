"""Networks that learn, with data on which they do: none of them may be accused.

A file for each group, with `cases`: a list of `Case`. What many of them use is in `data.py`.
"""

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

GROUPS = ("mlps", "near_misses", "own", "examples", "applications", "keras_hub")

# Networks of the tests are healthy ones, too.
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "shared"))


class Case(NamedTuple):
    """A healthy network.

    Attributes:
        name: What it is.
        make: () → (model, inputs, targets); both None where it is diagnosed without data.
        giant: True if it takes a minute or more, or gigabytes.
    """

    name: str
    make: Callable[[], tuple[Any, Any, Any]]
    giant: bool = False


def cases_of(package, files):
    """A case for each public function of some files: it is called what the function is."""
    found = []
    for file in files:
        module = importlib.import_module(f"{package}.{file}")
        found += [
            Case(name.replace("_", " "), make)
            for name, make in vars(module).items()
            if inspect.isfunction(make) and make.__module__ == module.__name__ and name[0] != "_"
        ]
    return found
