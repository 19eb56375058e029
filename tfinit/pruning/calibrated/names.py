"""The names by which `tfinit.pruning.prune_after_training` is told how.

Configurations and the command line read them here, so nothing heavy is imported.
"""

from tfinit.block_sizes import BLOCK_SIZES
from tfinit.pruning.scoring.allocation import NAMES
from tfinit.pruning.scoring.scores import CALIBRATED, names

SPARSEGPT = "sparsegpt"
BY_ERROR = "by error"
N_M = {"2:4": (2, 4), "4:8": (4, 8)}
"""Name → m zeros in every n weights along the inputs."""
STRUCTURES = (*N_M, *BLOCK_SIZES)
ALLOCATIONS = (*NAMES, BY_ERROR)


def scores() -> tuple[str, ...]:
    """All scores that have a name."""
    return (SPARSEGPT, *names(CALIBRATED))
