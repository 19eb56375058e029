"""What an experiment is: a dataclass for each kind, from which the command line has its flags."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from tfinit.arguments import number, one_of, wholes
from tfinit.errors import InputError
from tfinit.flag_help import FlagHelp
from tfinit.lottery.branches import AT_INITIALIZATION, BRANCHES, TICKET, controls_help
from tfinit.lottery.network_config import NetworkConfig

__all__ = [
    "ALLOCATIONS",
    "CRITERIA",
    "ON_DIVERGENCE",
    "LotteryConfig",
    "NetworkConfig",
    "StabilityConfig",
]

ALLOCATIONS = ("layerwise", "global")
ON_DIVERGENCE = ("record", "stop")
_OUTPUT_PRUNE_FRACTION = 0.1
# The keys of CRITERIA in tfinit.pruning.scoring.criteria, which would import Keras; a test compares
# them.
CRITERIA = (
    "magnitude",
    "small-final",
    "large-init",
    "small-init",
    "large-init-large-final",
    "small-init-small-final",
    "magnitude-increase",
    "movement",
    "large-final-same-sign",
    "magnitude-increase-same-sign",
    "random",
)


@dataclass(frozen=True)
class LotteryConfig(NetworkConfig):
    """Find lottery tickets by iterative magnitude pruning: train, prune, rewind, retrain.

    Example:
        >>> LotteryConfig(levels=3).prune_fraction
        0.2
    """

    kind: ClassVar[str] = "lottery"
    grows: ClassVar[tuple[str, ...]] = ("seeds", "levels", "controls")

    levels: int = 16
    """How often to prune. Level 0 is the dense network."""
    prune_fraction: float = 0.2
    """Fraction of the surviving weights to prune at each level."""
    output_prune_fraction: float = _OUTPUT_PRUNE_FRACTION
    """The same for the output layer. Layer-wise allocation only."""
    layer_prune_fractions: dict[str, float] = field(default_factory=dict)
    """The same for single weights, as: fc1/kernel 0.3. Layer-wise allocation only."""
    allocation: str = "layerwise"
    """layerwise: the fraction in each layer. global: of all weights together."""
    criterion: str = "magnitude"
    """Which trained weights survive: magnitude, or another criterion of Zhou et al. (2019)."""
    steps: int = 1000
    """Training steps at each level."""
    rewind_step: int = 0
    """The step whose weights survivors return to. 0: initialization; more: late rewinding."""
    controls: tuple[str, ...] = field(default=("reinit",), metadata=FlagHelp(controls_help))
    """What to train beside tickets: names of `tfinit.lottery.BRANCHES`."""
    on_divergence: str = "record"
    """When a loss is not finite. record: that is the result, and the experiment goes on. stop."""
    run_dir: Path = field(default=Path("runs/lottery"), compare=False)
    """Directory of the run. An interrupted run that is started again goes on there."""

    def __post_init__(self) -> None:
        super().__post_init__()
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
        one_of("allocation", self.allocation, ALLOCATIONS)
        one_of("criterion", self.criterion, CRITERIA)
        one_of("on_divergence", self.on_divergence, ON_DIVERGENCE)
        known = [name for name in BRANCHES if name != TICKET]
        unknown = [c for c in self.controls if c not in known]
        if unknown:
            raise InputError(f"`controls` may name {', '.join(known)}, received {unknown}.")
        if len(set(self.controls)) < len(self.controls):
            raise InputError(f"`controls` names one twice: {self.controls}.")
        defaults = {"output_prune_fraction": _OUTPUT_PRUNE_FRACTION, "layer_prune_fractions": {}}
        for name, default in defaults.items():
            if self.allocation == "global" and getattr(self, name) != default:
                raise InputError(
                    f"`{name}` has no meaning with allocation 'global', which prunes all layers "
                    "as one. Leave it out, or use allocation 'layerwise'."
                )

    @classmethod
    def _accepted(cls, values: dict[str, Any]) -> dict[str, Any]:
        # It was ignored there once, and so in runs that are to go on.
        if values.get("allocation") == "global":
            values = values | {"output_prune_fraction": _OUTPUT_PRUNE_FRACTION}
        return values

    def _keras_3_only(self) -> list[tuple[str, Any, Any]]:
        early = [
            c for c in self.controls if c in BRANCHES and BRANCHES[c].masks in AT_INITIALIZATION
        ]
        return [
            ("controls", early, []),
            *super()._keras_3_only(),
            ("criterion", self.criterion, "magnitude"),
        ]


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
