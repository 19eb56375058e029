"""The names by which whole channels are pruned: `tfinit.pruning.prune_channels`.

Configurations and the command line read them here, so nothing heavy is imported.
"""

SCORES = ("l1", "l2", "batchnorm", "taylor", "random")
ALLOCATIONS = ("uniform", "global", "isomorphic")
COSTS = ("macs", "params", "channels")
