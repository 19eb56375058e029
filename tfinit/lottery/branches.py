"""What is trained beside the tickets: each branch is a source of masks and a control.

| masks | weights | branch |
| --- | --- | --- |
| ticket: iterative magnitude pruning, the experiment itself | rewound | ``ticket`` |
| ... | those of a control | ``reinit``, ``shuffle``, …: `tfinit.lottery.controls` |
| pruned once from the dense network | each of the above | ``one-shot``, ``one-shot-reinit``, … |
| at initialization | each of the above | ``snip``, ``snip-reinit``, ``grasp``, ``synflow``, … |
| its own chain: train, prune, train on | not rewound | ``lr-rewind``, ``fine-tune`` |

References:
    Frankle & Carbin, 2019, https://arxiv.org/abs/1803.03635: one-shot.
    Renda et al., *Comparing Rewinding and Fine-tuning*, 2020, https://arxiv.org/abs/2003.02389.
    Frankle et al., *Pruning Neural Networks at Initialization*, 2021,
    https://arxiv.org/abs/2009.08576: the methods at initialization.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tfinit.lottery.controls import CONTROLS, REINIT

__all__ = [
    "AT_INITIALIZATION",
    "BRANCHES",
    "CHAINS",
    "ONE_SHOT",
    "REINIT",
    "TICKET",
    "Branch",
    "controls_help",
    "label",
]

TICKET, ONE_SHOT = "ticket", "one-shot"


@dataclass(frozen=True)
class Branch:
    """One kind of network of an experiment.

    Attributes:
        name: What results and files call it.
        masks: Where its masks come from: ``"ticket"``, ``"one-shot"``, a method of
            `AT_INITIALIZATION`, or ``"own"``: pruned from its own last training.
        weights: ``"rewind"``, the name of the control of `tfinit.lottery.controls` that makes them,
            or ``"own"``: those of its own last training.
        shuffled: Whether the mask is shuffled within each tensor, or changed in another way.
        late: Whether it starts at the rewind step; else at step 0.
        label: What a legend calls it.
        description: What is trained.
        control: The name of its control; empty: none.
        look: Its place in the palette of the figures; None: the next free one.
        last_rate: Whether it goes on at the learning rate that the training ended with.
    """

    name: str
    masks: str
    weights: str
    shuffled: bool
    late: bool = True
    label: str = ""
    description: str = ""
    control: str = ""
    look: int | None = None
    last_rate: bool = False


# What a mask alone is: that of the ticket, and those that are not its.
_TICKET = Branch(
    TICKET, TICKET, "rewind", False, True, "ticket (rewound)", "the ticket itself", look=0
)
_ONE_SHOT = Branch(
    ONE_SHOT,
    ONE_SHOT,
    "rewind",
    False,
    True,
    "one-shot pruning",
    "the trained dense network pruned at once, and rewound",
)
# Method of `tfinit.pruning.prune_at_initialization` → what it is called in a legend.
_METHODS = {"snip": "SNIP", "grasp": "GraSP", "synflow": "SynFlow", "magnitude": "magnitude"}
AT_INITIALIZATION = tuple(_METHODS)
# Each source of masks, and what its label begins with where a control follows.
_SOURCES = [
    (_TICKET, ""),
    (_ONE_SHOT, "one-shot"),
    *(
        (
            Branch(
                name,
                name,
                "rewind",
                False,
                False,
                f"{label} at initialization",
                f"pruned by {label} before training",
            ),
            label,
        )
        for name, label in _METHODS.items()
    ),
]
_CHAINS = (
    Branch(
        "lr-rewind",
        "own",
        "own",
        False,
        label="learning-rate rewinding",
        description="not rewound: trained on, with the learning rate from the rewind step on",
    ),
    Branch(
        "fine-tune",
        "own",
        "own",
        False,
        label="fine-tuning",
        description="not rewound: trained on, at the last learning rate",
        last_rate=True,
    ),
)
CHAINS = tuple(branch.name for branch in _CHAINS)


class _Branches(Mapping[str, Branch]):
    """Name → branch: every source of masks by itself and with every control, as of now."""

    def __getitem__(self, name: str) -> Branch:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, Branch]:
        found = []
        for source, prefix in _SOURCES:
            found += [source, *(_controlled(source, prefix, name) for name in CONTROLS)]
        return {branch.name: branch for branch in (*found, *_CHAINS)}


def _controlled(source: Branch, prefix: str, name: str) -> Branch:
    """The branch of a source of masks with a control."""
    control = CONTROLS[name]
    weights = control.weights if isinstance(control.weights, str) else name
    is_ticket = source is _TICKET
    label = control.ticket_label or f"same mask, {control.label}"
    return Branch(
        name if is_ticket else f"{source.name}-{name}",
        source.masks,
        "rewind" if control.weights is None else weights,
        control.mask is not None,
        source.late and control.late,
        label if is_ticket else f"{prefix}, {control.label}",
        control.description if is_ticket else f"{source.description}; {control.label}",
        name,
        control.look if is_ticket else None,
    )


BRANCHES: Mapping[str, Branch] = _Branches()


def label(name: str) -> str:
    """What a legend calls a branch; the name itself where there is no such branch."""
    return BRANCHES[name].label if name in BRANCHES else name


def controls_help() -> str:
    """What an experiment can train beside its tickets, in a sentence or two for ``--help``.

    Combinations are told by an example.
    """
    told = [
        f"{branch.name} ({branch.description})"
        for branch in BRANCHES.values()
        if branch is not _TICKET and (not branch.control or branch.masks == TICKET)
    ]
    example = f"{AT_INITIALIZATION[0]}-{REINIT}"
    return (
        f"What to train beside tickets, with as many weights: {'; '.join(told)}; and combinations, "
        f"as {example}."
    )
