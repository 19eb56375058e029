"""What one level of an experiment leaves behind, with every part named."""

from dataclasses import dataclass

import numpy as np

from tfinit.pruning.masks import Masks, density
from tfinit.training import Metrics

Weights = dict[str, np.ndarray]
# The branches of an experiment.
TICKET, REINIT = "ticket", "reinit"


@dataclass(frozen=True)
class LevelResult:
    """One training of one network: the dense one (level 0), a ticket, or a control.

    Attributes:
        seed: The replicate.
        branch: ``"ticket"``, or the name of the control.
        level: How often it was pruned.
        initial: All weights at initialization, dense.
        rewind: The dense weights that survivors return to. Training started from
            ``mask * rewind``, bit for bit. Here the same as `initial`.
        mask: True where a weight survives, under the keys of the prunable weights.
        final: All weights after training.
        metrics: Loss and accuracy at each evaluation.
    """

    seed: int
    branch: str
    level: int
    initial: Weights
    rewind: Weights
    mask: Masks
    final: Weights
    metrics: Metrics

    @property
    def density(self) -> float:
        """Fraction of the prunable weights that survive."""
        return density(self.mask)

    @property
    def survivors(self) -> int:
        """Number of the prunable weights that survive."""
        return sum(int(np.count_nonzero(m)) for m in self.mask.values())

    @property
    def early_stop_step(self) -> int:
        """The step of the smallest validation loss."""
        return int(self.metrics.step[self.metrics.early_stop])

    @property
    def early_stop_accuracy(self) -> float:
        """Test accuracy at `early_stop_step`."""
        return float(self.metrics.values["test_accuracy"][self.metrics.early_stop])

    @property
    def final_accuracy(self) -> float:
        """Test accuracy after the last step."""
        return float(self.metrics.values["test_accuracy"][-1])


def rewound(weights: Weights, mask: Masks) -> Weights:
    """mask × weights for the prunable weights, the others as they are."""
    return {key: value * mask[key] if key in mask else value for key, value in weights.items()}
