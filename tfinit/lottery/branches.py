"""What is trained beside the tickets: each branch is a source of masks and a control.

| masks | weights | branch |
| --- | --- | --- |
| ticket: iterative magnitude pruning, the experiment itself | rewound | ``ticket`` |
| ... | those of a control | ``reinit``, ``shuffle``, …: `tfinit.lottery.controls` |
| pruned once from the dense network | each of the above | ``one-shot``, ``one-shot-reinit``, … |
| pruned from the dense network by data | each of the above | ``sparsegpt``, ``wanda-reinit``, … |
| at initialization | each of the above | ``snip``, ``snip-reinit``, ``grasp``, ``synflow``, … |
| its own chain: train, prune, train on | not rewound | ``lr-rewind``, ``fine-tune`` |

References:
    Frankle & Carbin, 2019, https://arxiv.org/abs/1803.03635: one-shot.
    Renda et al., *Comparing Rewinding and Fine-tuning*, 2020, https://arxiv.org/abs/2003.02389.
    Frankle et al., *Pruning Neural Networks at Initialization*, 2021,
    https://arxiv.org/abs/2009.08576: the methods at initialization.
    SparseGPT and Wanda: `tfinit.pruning.prune_after_training`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tfinit.lottery.controls import CONTROLS, NAME, REINIT, Control
from tfinit.lottery.own_parts import is_shipped
from tfinit.pruning.calibrated.names import SPARSEGPT
from tfinit.pruning.scoring.scores import BEFORE, SCORES, Score, names

__all__ = [
    "AT_INITIALIZATION",
    "BRANCHES",
    "BY_DATA",
    "CHAINS",
    "ONE_SHOT",
    "REINIT",
    "TICKET",
    "Branch",
    "controls_help",
    "label",
    "parts_of",
]

TICKET, ONE_SHOT = "ticket", "one-shot"
BY_DATA = {SPARSEGPT: "SparseGPT", "wanda": "Wanda"}
"""Sources of masks that look at what enters each kernel of the dense network → their labels."""
AT_INITIALIZATION: tuple[str, ...]


@dataclass(frozen=True)
class Branch:
    """One kind of network of an experiment.

    Attributes:
        name: What results and files call it.
        masks: Where its masks come from: ``"ticket"``, ``"one-shot"``, one of `BY_DATA`, a score of
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
    weights: str = "rewind"
    shuffled: bool = False
    late: bool = True
    label: str = ""
    description: str = ""
    control: str = ""
    look: int | None = None
    last_rate: bool = False

    @property
    def early(self) -> bool:
        """Whether its masks are made before training."""
        return self.masks not in (TICKET, ONE_SHOT, *BY_DATA, "own")


_TICKET = Branch(TICKET, TICKET, label="ticket (rewound)", description="the ticket", look=0)
_ONE_SHOT = Branch(
    ONE_SHOT,
    ONE_SHOT,
    label="one-shot pruning",
    description="the trained dense network pruned at once, and rewound",
)
_RATE_REWOUND = Branch(
    "lr-rewind",
    "own",
    "own",
    label="learning-rate rewinding",
    description="not rewound: trained on, with the learning rate from the rewind step on",
)
_FINE_TUNED = Branch(
    "fine-tune",
    "own",
    "own",
    label="fine-tuning",
    description="not rewound: trained on, at the last learning rate",
    last_rate=True,
)
_CHAINS = (_RATE_REWOUND, _FINE_TUNED)
CHAINS = tuple(branch.name for branch in _CHAINS)


def _at_initialization() -> tuple[str, ...]:
    """The scores by which a network can be pruned before training, as far as their names are
    those of no other branch ("random") and can be a directory's."""
    taken = {TICKET, ONE_SHOT, *BY_DATA, *CHAINS, *CONTROLS}
    return tuple(name for name in names(BEFORE) if NAME.fullmatch(name) and name not in taken)


def __getattr__(name: str) -> Any:
    if name == "AT_INITIALIZATION":  # as of now
        return _at_initialization()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Branches(Mapping[str, Branch]):
    """Name → branch: every source of masks by itself and with every control, as of now."""

    def __getitem__(self, name: str) -> Branch:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, Branch]:
        found = [_TICKET, *(_of_a_ticket(name) for name in CONTROLS)]
        found += [_ONE_SHOT, *(_controlled(_ONE_SHOT, "one-shot", name) for name in CONTROLS)]
        for name, said in BY_DATA.items():
            alone = Branch(
                name,
                name,
                label=f"{said}'s mask",
                description=f"the trained dense network pruned by {said} at once, and rewound",
            )
            found += [alone, *(_controlled(alone, said, control) for control in CONTROLS)]
        for score in _at_initialization():
            said = SCORES[score].label
            alone = Branch(
                score,
                score,
                late=False,
                label=f"{said} at initialization",
                description=f"pruned by {said} before training",
            )
            found += [alone, *(_controlled(alone, said, name) for name in CONTROLS)]
        return {branch.name: branch for branch in (*found, *_CHAINS)}


def _controlled(source: Branch, said: str, name: str) -> Branch:
    """The branch of a source of masks with a control; ``said``: what its label begins with."""
    control = CONTROLS[name]
    shared = control.weights if isinstance(control.weights, str) else name
    return Branch(
        f"{source.name}-{name}",
        source.masks,
        "rewind" if control.weights is None else shared,
        control.mask is not None,
        source.late and control.late,
        f"{said}, {control.label}",
        f"{source.description}; {control.label}",
        name,
    )


def _of_a_ticket(name: str) -> Branch:
    """The control of the ticket itself: its name is the control's."""
    control = CONTROLS[name]
    return replace(
        _controlled(_TICKET, "", name),
        name=name,
        label=control.ticket_label or f"same mask, {control.label}",
        description=control.description,
        look=control.look,
    )


BRANCHES: Mapping[str, Branch] = _Branches()


def parts_of(name: str) -> list[Control | Score]:
    """The controls and the score of a branch that are not tfinit's own."""
    branch, found = BRANCHES[name], list[Control | Score]()
    if branch.masks in SCORES:
        found.append(SCORES[branch.masks])
    if branch.control:
        control = CONTROLS[branch.control]
        found.append(control)
        if isinstance(control.weights, str):  # it has those of another one
            found.append(CONTROLS[control.weights])
    return [part for part in found if not is_shipped(part)]


def label(name: str) -> str:
    """What a legend calls a branch; the name itself where there is no such branch."""
    return BRANCHES[name].label if name in BRANCHES else name


def controls_help() -> str:
    """What an experiment can train beside its tickets, for ``--help``; one combination of all."""
    told = [
        f"{branch.name} ({branch.description})"
        for branch in BRANCHES.values()
        if branch is not _TICKET and (not branch.control or branch.masks == TICKET)
    ]
    return (
        f"What to train beside tickets, with as many weights: {'; '.join(told)}; and combinations, "
        f"as {ONE_SHOT}-{REINIT}."
    )
