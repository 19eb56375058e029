"""What an experiment is: a dataclass for each kind, from which the command line has its flags."""

import warnings
from collections.abc import Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from tfinit.arguments import meant, number, one_of, refused, wholes
from tfinit.errors import InputError, TfinitDeprecationWarning
from tfinit.flag_help import FlagHelp
from tfinit.lottery.branches import BRANCHES, BY_DATA, TICKET, controls_help, parts_of
from tfinit.lottery.controls import registered
from tfinit.lottery.network_config import NetworkConfig
from tfinit.lottery.own_parts import OwnPart, fingerprint, is_shipped
from tfinit.moved import former_names
from tfinit.pruning.scoring.allocation import FORMER as FORMER_ALLOCATIONS
from tfinit.pruning.scoring.allocation import NAMES, check_allocation
from tfinit.pruning.scoring.configured import (
    allocation_config,
    allocation_from_config,
    is_registered,
    name_in,
    score_config,
    score_from_config,
)
from tfinit.pruning.scoring.scores import AFTER, SCORES, check_score, names
from tfinit.renamed import renamed

__all__ = [
    "ON_DIVERGENCE",
    "LotteryConfig",
    "NetworkConfig",
    "StabilityConfig",
]

# Added to a replicate's seed to draw the control's weights: far from any seed that a user gives.
REINIT_SEED = 1_000_003
ON_DIVERGENCE = ("record", "stop")
STRUCTURES = ("weights", "channels")
_OUTPUT_PRUNE_FRACTION = 0.1
_FRACTIONS = {"output_prune_fraction": _OUTPUT_PRUNE_FRACTION, "layer_prune_fractions": {}}
# |w_f − wᵢ|, which Zhou et al. call movement: that is Σ −w·∂w of `SparseOptimizer` today.
_FORMER_SCORES = {"movement": "distance"}


def _today(name: Any, names: dict[str, str]) -> Any:
    """What a name became, where it is among ``names``; anything else as it is."""
    return names.get(name, name) if isinstance(name, str) else name


def scores_help() -> str:
    """What the flag of the score says."""
    return f"Which trained weights survive: {', '.join(names(AFTER))}."


def allocations_help() -> str:
    """What the flag of the allocation says."""
    return (
        "uniform: the fraction in each layer. global: of all weights together. erk: as many of all "
        "weights together, by the shapes of the layers."
    )


@renamed(criterion="score")
@dataclass(frozen=True)
class LotteryConfig(NetworkConfig):
    """Find lottery tickets by iterative magnitude pruning: train, prune, rewind, retrain.

    Example:
        >>> LotteryConfig(levels=3).prune_fraction
        0.2
    """

    kind: ClassVar[str] = "lottery"
    grows: ClassVar[tuple[str, ...]] = ("seeds", "levels", "controls")
    own: ClassVar[tuple[str, ...]] = ("initialization", "score", "allocation")
    later: ClassVar[tuple[str, ...]] = ("structure",)

    levels: int = 16
    """How often to prune. Level 0 is the dense network."""
    prune_fraction: float = 0.2
    """Fraction of the surviving weights to prune at each level."""
    output_prune_fraction: float = _OUTPUT_PRUNE_FRACTION
    """The same for the output layer. Uniform allocation only."""
    layer_prune_fractions: dict[str, float] = field(default_factory=dict)
    """The same for single weights, as: fc1/kernel 0.3. Uniform allocation only."""
    allocation: Any = field(default="uniform", metadata=FlagHelp(allocations_help))
    """A name, or a function (key, shape, sparsity of all) -> sparsity of the weight."""
    score: Any = field(default="magnitude", metadata=FlagHelp(scores_help))
    """A name, a `tfinit.pruning.Score`, or a function of ``weights`` and ``initial`` weights."""
    structure: str = "weights"
    """weights: each by itself. channels: whole units and filters, with all that reads them."""
    steps: int = 1000
    """Training steps at each level."""
    rewind_step: int = 0
    """The step whose weights survivors return to. 0: initialization; more: late rewinding."""
    controls: tuple[Any, ...] = field(default=("reinit",), metadata=FlagHelp(controls_help))
    """What to train beside tickets: names of `tfinit.lottery.BRANCHES`, or own controls."""
    on_divergence: str = "record"
    """When a loss is not finite. record: that is the result, and the experiment goes on. stop."""
    run_dir: Path = field(default=Path("runs/lottery"), compare=False)
    """Directory of the run. An interrupted run that is started again goes on there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "controls", tuple(map(registered, self.controls)))
        self._check_whole(("levels",), least=1)
        self._check_whole(("rewind_step",), least=0)
        if self.rewind_step >= self.steps:
            raise InputError(
                f"`rewind_step` must be less than `steps`, {self.steps}; received "
                f"{self.rewind_step}. Survivors train from there to the last step."
            )
        fractions = {
            "prune_fraction": self.prune_fraction,
            "output_prune_fraction": self.output_prune_fraction,
            **{f"layer_prune_fractions[{k!r}]": f for k, f in self.layer_prune_fractions.items()},
        }
        for name, value in fractions.items():
            cure = "0.2 prunes a fifth of the survivors at each level."
            number(name, value, above=0, below=1, cure=cure)
        self._check_choices()
        one_of("on_divergence", self.on_divergence, ON_DIVERGENCE)
        known = [name for name in BRANCHES if name != TICKET]
        unknown = [c for c in self.controls if c not in known]
        if unknown:
            raise InputError(
                f"`controls` may name {', '.join(known)}, received {unknown}."
                f"{meant(unknown[0], known)}"
            )
        if len(set(self.controls)) < len(self.controls):
            raise InputError(f"`controls` names one twice: {self.controls}.")
        self._hold()
        one_of("structure", self.structure, STRUCTURES)
        if self.structure == "channels":
            self._check_channels()
        check_given(self, {n for n, default in _FRACTIONS.items() if getattr(self, n) != default})

    def _check_channels(self) -> None:
        """What is possible where whole channels are pruned."""
        if self.allocation not in ("uniform", "global"):
            raise InputError(
                "`structure` 'channels' takes the allocations 'uniform' and 'global', received "
                f"{self.allocation!r}."
            )
        by_data = [name for name in self.controls if BRANCHES[name].masks in BY_DATA]
        if by_data:
            raise InputError(
                f"`controls` {by_data[0]!r} prunes single weights, and `structure` is 'channels'. "
                "Leave it out."
            )

    @property
    def other_seeds(self) -> tuple[int, ...]:
        """`REINIT_SEED`, where a control begins with other weights than the ticket."""
        branches = [BRANCHES[name] for name in self.controls]
        return (REINIT_SEED,) * any(b.weights not in ("rewind", "own") for b in branches)

    def _check_choices(self) -> None:
        """The allocation and the score, names or a user's own; former names are warned of."""
        today = _today(self.score, _FORMER_SCORES)
        if today is not self.score:
            warnings.warn(
                f"LotteryConfig: the score `{self.score}` is now `{today}`, |w_f − w_i|.",
                TfinitDeprecationWarning,
                stacklevel=5,
            )
            object.__setattr__(self, "score", today)
        check_score(self.score, AFTER)
        if not isinstance(self.allocation, str) and not callable(self.allocation):
            wanted = f"one of {', '.join(NAMES)}, or a function of (key, shape, sparsity)"
            raise refused("allocation", wanted, self.allocation)
        object.__setattr__(self, "allocation", check_allocation(self.allocation, stacklevel=6))

    def _values(self) -> dict[str, Any]:
        values = super()._values()
        for name, config_of in (("allocation", allocation_config), ("score", score_config)):
            if isinstance(values[name], OwnPart):
                values[name] = values[name].saved or values[name].to_dict()
            elif is_registered(values[name]):
                values[name] = config_of(values[name])
            else:
                values[name] = self._held[name].to_dict()
        return values

    def own_parts(self) -> dict[str, OwnPart]:
        """What is the user's own in this experiment → its name and fingerprint."""
        found = super().own_parts()
        if self._noted is not None:
            return found
        if isinstance(self.score, str) and not is_shipped(SCORES[self.score]):
            found["score"] = fingerprint(SCORES[self.score], self.score)
        for name in self.controls:
            for part in parts_of(name):
                found[f"control {part.name}"] = fingerprint(part, part.name)
        return found

    @classmethod
    def _absent(
        cls, values: dict[str, Any], noted: dict[str, OwnPart], missing: bool
    ) -> dict[str, Any]:
        absent = super()._absent(values, noted, missing)
        if not missing:
            return absent
        for name, read in (("allocation", allocation_from_config), ("score", score_from_config)):
            value = values.get(name, "")
            try:
                read(value, known=True)
                here = name != "score" or not isinstance(value, str) or value in ("", *SCORES)
            except InputError:
                here = False
            if not here:
                del values[name]
                absent[name] = replace(noted.get(name, OwnPart(name_in(value))), saved=value)
        controls = values.get("controls", ())
        known = tuple(c for c in controls if c in BRANCHES)
        if len(known) < len(controls):
            absent["controls"], values["controls"] = controls, known
        return absent

    @classmethod
    def _first_told(cls, told: dict[str, Any]) -> dict[str, Any]:
        told = super()._first_told(told)
        if "score" in told:
            score = told.pop("score")
            told["criterion"] = _today(score, {now: then for then, now in _FORMER_SCORES.items()})
        return told

    @classmethod
    def _accepted(cls, values: dict[str, Any]) -> dict[str, Any]:
        values = dict(values)
        if "criterion" in values:  # its name once, with names of its own
            values["score"] = _today(values.pop("criterion"), _FORMER_SCORES)
        for name, read in (("allocation", allocation_from_config), ("score", score_from_config)):
            if name in values:
                values[name] = read(values[name], known=True)
        if "allocation" in values:
            values["allocation"] = _today(values["allocation"], FORMER_ALLOCATIONS)
        # It was ignored there once, and so in runs that are to go on.
        if values.get("allocation") == "global":
            values = values | {"output_prune_fraction": _OUTPUT_PRUNE_FRACTION}
        return values

    def _keras_3_only(self) -> list[tuple[str, Any, Any]]:
        known = [c for c in self.controls if c in BRANCHES]
        masks = [c for c in known if BRANCHES[c].early or BRANCHES[c].masks in BY_DATA]
        return [
            ("controls", masks, []),
            *super()._keras_3_only(),
            ("score", self.score, "magnitude"),
            ("structure", self.structure, "weights"),
        ]


def check_given(config: LotteryConfig, given: Set[str]) -> None:
    """Refuse what would be ignored.

    Args:
        config: An experiment.
        given: The fields that were asked for; which those are where a value is the default,
            only the command line knows.

    Raises:
        InputError: one of them has no meaning beside another.
    """
    for name in (name for name in _FRACTIONS if name in given):
        if config.structure == "channels":
            raise InputError(
                f"`{name}` is of single weights, and `structure` is 'channels': the output "
                "layer has none that may go, and each group loses `prune_fraction`. Leave it "
                "out."
            )
        if config.allocation != "uniform":
            raise InputError(
                f"`{name}` has no meaning with `allocation` {config.allocation!r}, which decides "
                "for itself how much of each layer is pruned. Leave it out, or use 'uniform'."
            )


@dataclass(frozen=True)
class StabilityConfig(NetworkConfig):
    """Measure linear mode connectivity: is a network stable to the noise of SGD from step k on?

    Example:
        >>> StabilityConfig(steps=100, spawn_steps=(0, 50)).points
        11
    """

    kind: ClassVar[str] = "stability"
    grows: ClassVar[tuple[str, ...]] = ("seeds", "spawn_steps")

    spawn_steps: tuple[int, ...] = (0, 10, 30, 100, 300)
    """The steps k at which two copies part, each before the last step. 0: initialization."""
    points: int = 11
    """Points of the line between the copies at which to measure, both ends among them."""
    run_dir: Path = field(default=Path("runs/stability"), compare=False)
    """Directory of the run. An interrupted run that is started again goes on there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_whole(("points",), least=3)
        cure = f"The last of `steps` is {self.steps}: copies train from there to it."
        wholes("spawn_steps", self.spawn_steps, 0, self.steps - 1, different=True, cure=cure)
        self._hold()


__getattr__ = former_names(
    __name__,
    {
        "ALLOCATIONS": "tfinit.pruning.scoring.allocation.NAMES",
        "CRITERIA": "tfinit.pruning.scoring.scores.names(AFTER)",
        "KERASES": "tfinit.devices.KERASES",
        "OPTIMIZERS": "tfinit.optimizers.OPTIMIZERS",
    },
)
