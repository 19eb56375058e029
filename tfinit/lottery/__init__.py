"""Lottery tickets: train, prune, rewind, retrain (Frankle & Carbin, 2019).

`run` does a whole experiment in a directory; `lottery` is its algorithm.
"""

from tfinit.moved import attach

_FORMER = {"KerasParts": "KerasFramework", "Parts": "Framework", "TfmotParts": "TfmotFramework"}
__getattr__, __dir__, __all__ = attach(__name__, __file__, _FORMER)
