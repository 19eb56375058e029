"""Lottery tickets: train, prune, rewind, retrain (Frankle & Carbin, 2019).

`run` does a whole experiment in a directory; `lottery` is its algorithm.
"""

from tfinit.lazy import loading

_HOME = {
    "compare_initializations": "initializations",
    "Branch": "branches",
    "BRANCHES": "branches",
    "Ticket": "ticket",
    "LotteryConfig": "config",
    "StabilityConfig": "config",
    "lottery": "experiment",
    "run": "experiment",
    "KerasParts": "frameworks",
    "Parts": "frameworks",
    "TfmotParts": "frameworks",
    "Conclusion": "report",
    "LevelResult": "result",
    "Store": "store",
    # Not the function `stability`: its module has that name here.
    "StabilityResult": "stability",
    "stability_to_csv": "stability",
    "summarize_stability": "stability",
}
__all__ = [*_HOME]
# On demand: the command line's --help needs the configuration and nothing heavy.
__getattr__ = loading(__name__, _HOME)
