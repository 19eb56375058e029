"""Networks that grow and compute the same: `wider` has more units, `deeper` more layers.

Chen, Goodfellow & Shlens, Net2Net, ICLR 2016. What was trained goes on as a larger network, from
where it was. `tfinit.graph.channels` says which units are on which axes of which weights, and
`tfinit.pruning.compaction.rebuilding` makes the layers anew.
"""

from tfinit.moved import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
