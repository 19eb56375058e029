"""Lottery tickets: train, prune, rewind, retrain (Frankle & Carbin, 2019).

`run` does a whole experiment in a directory; `lottery` is its algorithm.
"""

from tfinit.former_names import former_names
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
    "Framework": "frameworks",
    "KerasFramework": "frameworks",
    "TfmotFramework": "frameworks",
    "Conclusion": "report",
    "LevelResult": "result",
    "Store": "store",
    "StabilityResult": "linear_connectivity",
    "stability": "stability_experiment",
    "stability_to_csv": "linear_connectivity",
    "summarize_stability": "linear_connectivity",
}
__all__ = [*_HOME]
# On demand: the command line's --help needs the configuration and nothing heavy.
_FORMER = {"KerasParts": "KerasFramework", "Parts": "Framework", "TfmotParts": "TfmotFramework"}
__getattr__ = former_names(__name__, _FORMER, loading(__name__, _HOME))
