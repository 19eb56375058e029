"""Say before training whether a network will learn, and what to do.

`diagnose(model, x, y)` makes one forward and one backward pass and reads them: probes → signals →
findings → cures. `recommend(model)` says which initializer fits each layer. Nothing here prints.
"""

import importlib
from typing import Any

_HOME = {
    "Diagnosis": "diagnosis",
    "Finding": "findings",
    "KINDS": "findings",
    "Recommendation": "recommendation",
    "diagnose": "diagnosis",
    "recommend": "advice",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    # On demand. No module may have the name of something in it: once imported it would take its
    # place here.
    if name in _HOME:
        return getattr(importlib.import_module(f"tfinit.diagnostics.{_HOME[name]}"), name)
    raise AttributeError(f"module 'tfinit.diagnostics' has no attribute {name!r}")
