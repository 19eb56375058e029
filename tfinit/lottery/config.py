"""What an experiment is: one frozen dataclass, from which the flags of the command line come."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfinit.errors import InputError
from tfinit.lottery.branches import AT_INITIALIZATION, BRANCHES, CONTROLS

OPTIMIZERS = ("adam", "sgd", "momentum")
KERASES = ("keras", "tf_keras")
ALLOCATIONS = ("layerwise", "global")
ON_DIVERGENCE = ("record", "stop")
# The keys of tfinit.pruning.criteria.CRITERIA, which would import Keras; a test compares them.
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
class LotteryConfig:
    """Find lottery tickets by iterative magnitude pruning: train, prune, rewind, retrain.

    Example:
        >>> LotteryConfig(levels=3).prune_fraction
        0.2
    """

    dataset: str = "digits"
    """Data set: digits (inside scikit-learn), mnist, fashion_mnist, cifar10 (TFINIT_DATA_DIR, or
    Keras downloads them), an .npz file, or tfds:NAME."""
    train_examples: int = 0
    """Train on so many of the training examples. 0: on all."""
    model: str = "lenet-300-100"
    """Network: lenet-300-100, conv-2, conv-4, conv-6, resnet-20 or vgg-16."""
    initialization: str = "published"
    """published: as the network's paper has it; or the name of a scheme or an initializer."""
    keras: str = "keras"
    """keras: Keras 3 with SparseOptimizer. tf_keras: legacy Keras with TFMOT."""
    levels: int = 16
    """How often to prune. Level 0 is the dense network."""
    prune_fraction: float = 0.2
    """Fraction of the surviving weights to prune at each level."""
    output_prune_fraction: float = 0.1
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
    batch_size: int = 60
    """Examples a step."""
    optimizer: str = "adam"
    """adam, sgd, or momentum (SGD with momentum 0.9)."""
    learning_rate: float = 1.2e-3
    """Learning rate, constant unless warmed up or dropped."""
    warmup_steps: int = 0
    """Steps in which the learning rate rises from 0, in a line."""
    learning_rate_drops: tuple[int, ...] = ()
    """Steps at which the learning rate falls to a tenth."""
    weight_decay: float = 0.0
    """Weight decay, in the loss: half of this times the sum of the squared kernels."""
    augment: bool = False
    """Mirror and shift the training images at random, as for CIFAR."""
    evaluate_every: int = 20
    """Steps between evaluations on the validation and test split."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One replicate each: its weights, and the order of its data."""
    controls: tuple[str, ...] = ("reinit",)
    """What to train beside tickets: reinit (the ticket's mask, other random weights), random,
    shuffle, reinit-signs, constant-signs, one-shot, lr-rewind, fine-tune, snip, grasp, synflow,
    magnitude, and snip-reinit, one-shot-shuffle and so on."""
    on_divergence: str = "record"
    """When a loss is not finite. record: that is the result, and the experiment goes on. stop."""
    # Where the run is does not make it another experiment: the directory may be moved.
    run_dir: Path = field(default=Path("runs/lottery"), compare=False)
    """Directory of the run. An interrupted run that is started again goes on there."""

    def __post_init__(self) -> None:
        for name in ("levels", "steps", "batch_size", "evaluate_every"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(
                    f"`{name}` must be a whole number of at least 1, received {value}."
                )
        for name in ("rewind_step", "warmup_steps", "train_examples"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise InputError(
                    f"`{name}` must be a whole number of at least 0, received {value}."
                )
        if self.rewind_step >= self.steps:
            raise InputError(
                f"`rewind_step` must be less than `steps`, {self.steps}; received "
                f"{self.rewind_step}. Survivors train from there to the last step."
            )
        if any(not isinstance(s, int) or s < 1 for s in self.learning_rate_drops):
            raise InputError(
                "`learning_rate_drops` must be steps of at least 1, received "
                f"{self.learning_rate_drops}."
            )
        if not 0 <= self.weight_decay < float("inf"):
            raise InputError(f"`weight_decay` must be 0 or more, received {self.weight_decay}.")
        fractions = {
            "prune_fraction": self.prune_fraction,
            "output_prune_fraction": self.output_prune_fraction,
            **{f"layer_prune_fractions[{k!r}]": f for k, f in self.layer_prune_fractions.items()},
        }
        for name, value in fractions.items():
            if not 0 < value < 1:
                raise InputError(
                    f"`{name}` must lie between 0 and 1, both excluded, received {value}: "
                    "0.2 prunes a fifth of the survivors at each level."
                )
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(f"`learning_rate` must be positive, received {self.learning_rate}.")
        for name, allowed in (
            ("keras", KERASES),
            ("optimizer", OPTIMIZERS),
            ("allocation", ALLOCATIONS),
            ("criterion", CRITERIA),
            ("on_divergence", ON_DIVERGENCE),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"`{name}` must be one of {', '.join(allowed)}, "
                    f"received {getattr(self, name)!r}."
                )
        unknown = [c for c in self.controls if c not in CONTROLS]
        if unknown:
            raise InputError(f"`controls` may name {', '.join(CONTROLS)}, received {unknown}.")
        if len(set(self.controls)) < len(self.controls):
            raise InputError(f"`controls` names one twice: {self.controls}.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise InputError(
                "`seeds` must be one or more different numbers of at least 0, "
                f"received {self.seeds}."
            )
        if self.keras == "tf_keras":
            self._check_tf_keras()
        if self.allocation == "global" and self.layer_prune_fractions:
            raise InputError(
                "`layer_prune_fractions` has no meaning with allocation 'global', which prunes "
                "all layers as one. Leave it out, or use allocation 'layerwise'."
            )

    def _check_tf_keras(self) -> None:
        early = [c for c in self.controls if BRANCHES[c].masks in AT_INITIALIZATION]
        for name, value, without in (
            ("controls", early, []),
            ("augment", self.augment, False),
            ("weight_decay", self.weight_decay, 0.0),
            ("criterion", self.criterion, "magnitude"),
        ):
            if value != without:
                raise InputError(
                    f"`{name}` {value!r} needs keras 'keras': with tf_keras, TFMOT prunes, by "
                    "magnitude, after training."
                )

    def to_json(self) -> str:
        """The configuration without its directory, as JSON that `from_json` reads back."""
        values = dataclasses.asdict(self)
        del values["run_dir"]
        return json.dumps(values, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, run_dir: Path) -> "LotteryConfig":
        """The configuration that `to_json` wrote.

        Raises:
            InputError: the text is not such a configuration.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            for name in ("seeds", "controls"):
                values[name] = tuple(values[name])
            # Not in files of the first version.
            values["learning_rate_drops"] = tuple(values.get("learning_rate_drops", ()))
            return cls(**values, run_dir=run_dir)
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"not a lottery configuration: {error}") from error

    def differences(self, other: "LotteryConfig") -> dict[str, tuple[Any, Any]]:
        """Name of each field that makes the two different experiments → both values."""
        return {
            f.name: (getattr(self, f.name), getattr(other, f.name))
            for f in dataclasses.fields(self)
            if f.compare and getattr(self, f.name) != getattr(other, f.name)
        }
