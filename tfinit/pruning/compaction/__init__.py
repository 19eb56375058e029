"""Smaller models that compute the same: dead units and channels removed, constants folded.

`tfinit.graph.channels` says what the channels of a network are, `liveness` which are needed,
`rebuilding` makes the smaller model, and `compacting` is the way in.
"""

from tfinit.moved import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
