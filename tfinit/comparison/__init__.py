"""The race of initializations: the same training from each of them, and who wins by how much.

`compare` runs it, `Comparison` is what comes out. Reading a configuration loads no Keras.
"""

import importlib
from typing import Any

_HOME = {
    "compare": "race",
    "Comparison": "result",
    "Row": "result",
    "Run": "result",
    "CompareConfig": "config",
    "compare_named": "named",
    "rank": "ranking",
    "Ranking": "ranking",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    # On demand: the command line's --help needs the configuration and nothing heavy.
    if name in _HOME:
        return getattr(importlib.import_module(f"tfinit.comparison.{_HOME[name]}"), name)
    raise AttributeError(f"module 'tfinit.comparison' has no attribute {name!r}")
