"""Lottery tickets: train, prune, rewind, retrain (Frankle & Carbin, 2019).

`run` does a whole experiment in a directory; `lottery` is its algorithm.
"""

import importlib
from typing import Any

_HOME = {
    "compare_initializations": "initializations",
    "Branch": "branches",
    "BRANCHES": "branches",
    "Ticket": "ticket",
    "LotteryConfig": "config",
    "StabilityConfig": "config",
    "lottery": "experiment",
    "run": "experiment",
    "KerasParts": "parts",
    "Parts": "parts",
    "TfmotParts": "parts",
    "Conclusion": "report",
    "LevelResult": "result",
    "Store": "store",
    # Not the function `stability`: its module has that name here.
    "StabilityResult": "stability",
    "stability_to_csv": "stability",
    "summarize_stability": "stability",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    # On demand: the command line's --help needs the configuration and nothing heavy.
    if name in _HOME:
        return getattr(importlib.import_module(f"tfinit.lottery.{_HOME[name]}"), name)
    raise AttributeError(f"module 'tfinit.lottery' has no attribute {name!r}")
