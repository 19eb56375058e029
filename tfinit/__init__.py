"""tfinit: weight initialization, pruning and lottery tickets for Keras networks.

Importing this package loads nothing heavy. Its parts load when first used, and what Keras can
serialize is registered with Keras as soon as Keras itself is imported, before or after tfinit.
"""

import importlib
from types import ModuleType
from typing import Any

import wrapt

from tfinit.moved import install

__version__ = "0.1.0"

_SUBMODULES = (
    "callbacks",
    "comparison",
    "datasets",
    "devices",
    "diagnostics",
    "errors",
    "exporting",
    "fans",
    "fine_tuning",
    "gains",
    "initializers",
    "lottery",
    "models",
    "plots",
    "points",
    "probes",
    "pruning",
    "saved_model",
    "schemes",
    "spread",
    "training",
    "variables",
)
_FUNCTIONS = {
    "compare": "comparison",
    "diagnose": "diagnostics",
    "export": "exporting",
    "initialize": "schemes",
    "recommend": "diagnostics",
}
__all__ = [*_SUBMODULES, *_FUNCTIONS]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"tfinit.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"tfinit.{_FUNCTIONS[name]}"), name)
    raise AttributeError(f"module 'tfinit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def _register_with_keras(keras: ModuleType) -> None:
    """Import the modules whose classes Keras serializes: their decorators register them.

    This may run in the middle of a tfinit package's own `import keras`. So what is imported here,
    and what that imports in turn, takes names from modules, never from a tfinit package, and the
    flat modules among them (fans, gains, variables, errors) do not import Keras at their top.
    """
    importlib.import_module("tfinit.initializers")
    importlib.import_module("tfinit.pruning.in_training.sparse_optimizer")
    importlib.import_module("tfinit.pruning.tfmot_api.marks")


install()
# Runs at once if Keras is already loaded.
wrapt.register_post_import_hook(_register_with_keras, "keras")
