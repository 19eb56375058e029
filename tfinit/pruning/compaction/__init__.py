"""Smaller models that compute the same: dead units and channels removed, constants folded.

`channels` says what the channels of a network are, `layer_rules` and `elementwise` what each kind
of layer does to them, `liveness` which are needed, `rebuilding` makes the smaller model, and
`compacting` is the way in.
"""

from tfinit.pruning.compaction.compacting import compact
from tfinit.pruning.compaction.result import Compaction, Kept, Removed

__all__ = ["Compaction", "Kept", "Removed", "compact"]
