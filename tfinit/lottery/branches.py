"""What is trained beside the tickets: each branch is a source of masks and a kind of weights.

| masks | weights | branch |
| --- | --- | --- |
| ticket: iterative magnitude pruning, the experiment itself | rewound | ``ticket`` |
| ... | other random weights | ``reinit`` |
| ... | other random weights, signs kept | ``reinit-signs`` |
| ... | sign × the deviation of the tensor | ``constant-signs`` |
| ... shuffled within each tensor | rewound | ``shuffle`` |
| ... shuffled within each tensor | other random weights | ``random`` |
| pruned once from the dense network | each of the above | ``one-shot``, ``one-shot-reinit``, … |
| at initialization | each of the above | ``snip``, ``snip-reinit``, ``grasp``, ``synflow``, … |
| its own chain: train, prune, train on | not rewound | ``lr-rewind``, ``fine-tune`` |

References:
    Frankle & Carbin, 2019, https://arxiv.org/abs/1803.03635: reinit, random, one-shot.
    Zhou et al., *Deconstructing Lottery Tickets*, 2019, https://arxiv.org/abs/1905.01067: signs.
    Renda et al., *Comparing Rewinding and Fine-tuning*, 2020, https://arxiv.org/abs/2003.02389.
    Su et al., *Sanity-Checking Pruning Methods*, 2020, https://arxiv.org/abs/2009.11094, and
    Frankle et al., *Pruning Neural Networks at Initialization*, 2021,
    https://arxiv.org/abs/2009.08576: shuffled masks, reinitialized weights.
"""

from dataclasses import dataclass

TICKET, REINIT, ONE_SHOT = "ticket", "reinit", "one-shot"
AT_INITIALIZATION = ("snip", "grasp", "synflow", "magnitude")
CHAINS = ("lr-rewind", "fine-tune")
# Name of the control on a mask → its weights, and whether the mask is shuffled.
_ON_A_MASK = {
    "": ("rewind", False),
    "reinit": ("reinit", False),
    "reinit-signs": ("reinit-signs", False),
    "constant-signs": ("constant-signs", False),
    "shuffle": ("rewind", True),
    "random": ("reinit", True),
}


@dataclass(frozen=True)
class Branch:
    """One kind of network of an experiment.

    Attributes:
        name: What results and files call it.
        masks: Where its masks come from: ``"ticket"``, ``"one-shot"``, a method of
            `AT_INITIALIZATION`, or ``"own"``: pruned from its own last training.
        weights: ``"rewind"``, ``"reinit"``, ``"reinit-signs"``, ``"constant-signs"``, or
            ``"own"``: those of its own last training.
        shuffled: Whether the mask is shuffled within each tensor.
    """

    name: str
    masks: str
    weights: str
    shuffled: bool

    @property
    def late(self) -> bool:
        """Whether it starts at the rewind step; else at step 0."""
        return self.masks not in AT_INITIALIZATION and not self.weights.startswith("reinit")


def _all() -> dict[str, Branch]:
    found = {}
    for source in (TICKET, ONE_SHOT, *AT_INITIALIZATION):
        for control, (weights, is_shuffled) in _ON_A_MASK.items():
            prefix = "" if source == TICKET and control else source
            name = "-".join(part for part in (prefix, control) if part)
            found[name] = Branch(name, source, weights, is_shuffled)
    for name in CHAINS:
        found[name] = Branch(name, "own", "own", False)
    return found


BRANCHES = _all()
CONTROLS = tuple(name for name in BRANCHES if name != TICKET)
