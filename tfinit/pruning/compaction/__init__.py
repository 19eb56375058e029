"""Smaller models that compute the same: dead units and channels removed, constants folded.

`tfinit.graph.channels` says what the channels of a network are, `liveness` which are needed,
`rebuilding` makes the smaller model, and `compacting` is the way in.
"""

from tfinit.pruning.compaction.compacting import compact
from tfinit.pruning.compaction.result import Compaction, Kept, Removed

__all__ = ["Compaction", "Kept", "Removed", "compact"]
