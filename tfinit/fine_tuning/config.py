"""What `tfinit prune` does: one frozen dataclass, from which its flags come."""

import os
from collections.abc import Iterable, Set
from dataclasses import dataclass, field, fields
from pathlib import Path

from tfinit.arguments import check_fields, number, one_of, path, refused, seed, whole
from tfinit.block_sizes import BLOCK_SIZES
from tfinit.datasets import data_help
from tfinit.errors import InputError
from tfinit.flag_help import FlagHelp
from tfinit.pruning.calibrated import names
from tfinit.pruning.scoring import channel_names
from tfinit.pruning.scoring.allocation import NAMES

# What is for channels only, and what for single weights only.
_OF_CHANNELS = (
    *("gradual", "target", "channel_score", "channel_allocation", "round_to", "protect"),
    "filters",
)
_OF_WEIGHTS = ("sparsity", "allocation", "blocks", "keep_zeros")
# What is for pruning after training only, and what it takes besides.
_AT_ONCE = ("score", "structure", "damping", "repair", "examples")
_WITH_THEM = ("model", "sparsity", "data", "out", "loss", "allocation", "filters", "seed")
_ARRAYS = (
    "x_train, y_train and, to report on, x_test, y_test. Of several inputs or outputs: "
    "x_train_NAME, y_train_NAME; weights of examples: sample_weight_train"
)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _scores_help() -> str:
    return f"With --after-training: by what weights are ranked, {', '.join(names.scores())}."


@dataclass(frozen=True)
class PruneConfig:
    """Prune a Keras model while training it further, and save the result.

    Example:
        >>> PruneConfig(Path("model.keras"), sparsity=0.9).epochs
        10
    """

    model: Path
    """The .keras file of the model, or file.py:build, a function that returns it compiled."""
    sparsity: float = 0.8
    """Fraction of zeros at the end."""
    data: str = field(default="digits", metadata=FlagHelp(lambda: data_help(_ARRAYS)))
    """A data set of `tfinit.datasets`, file.py:load, or an .npz file of arrays."""
    epochs: int = 10
    """Passes over the training data. The sparsity rises over the first three quarters."""
    out: Path = Path("pruned.keras")
    """Where the pruned model goes; the report goes beside it, as .json."""
    loss: str | None = None
    """A Keras loss, such as sparse_categorical_crossentropy; for several outputs a=mse,b=mae.
    Default: losses, loss weights and metrics that the model was compiled with."""
    allocation: str = "uniform"
    """uniform: the same sparsity in each layer. global: lowest of all. erk: by layer size.
    With --after-training, by error: where it changes the layers' outputs least."""
    blocks: str | None = None
    """litert: prune Dense kernels in the blocks that `tfinit export --sparse` makes faster."""
    keep_zeros: bool = False
    """What is zero in the model stays zero. Otherwise zeros train until they are pruned."""
    after_training: bool = False
    """Prune at once, by what some examples show, without training: in minutes, and no targets are
    needed but for the report."""
    score: str = field(default="sparsegpt", metadata=FlagHelp(_scores_help))
    """With --after-training: by what weights are ranked."""
    structure: str | None = None
    """With --after-training: 2:4 or 4:8, half of every 4 or 8 weights; litert, blocks of 4."""
    damping: float = 0.01
    """With --after-training: what SparseGPT adds to its Hessian, in parts of the mean."""
    repair: bool = False
    """With --after-training: bring means and variances of what layers make back, too."""
    examples: int = 256
    """With --after-training: how many examples are looked at."""
    channels: bool = False
    """Remove whole channels, units and heads before the training, and train what is left: a smaller
    network, faster in any runtime."""
    gradual: bool = False
    """With --channels: let them go one by one over the first three quarters of the training, and
    remove them in the end."""
    target: str = "macs=0.5"
    """With --channels: what is left of the multiply-adds (macs), params or channels."""
    channel_score: str = "l2"
    """What a channel is worth: l1 or l2 of its weights, batchnorm, taylor (of the training data) or
    random."""
    channel_allocation: str = "global"
    """global: wherever they are worth least. isomorphic: the same share of each kind of layers.
    uniform: of each layer."""
    round_to: int = 8
    """What is left of a layer is a multiple of it."""
    protect: float = 0.1
    """The fraction of each layer's channels that stays at least."""
    filters: tuple[str, ...] = ()
    """Names of the only layers that may lose channels, or regular expressions."""
    batch_size: int = 32
    """Examples a step."""
    learning_rate: float = 1e-3
    """Of Adam, constant."""
    seed: int = 0
    """Of the order of the data, of noise, and of a function that builds the model."""

    def __post_init__(self) -> None:
        path("model", self.model, cure="It is a file: model.save('model.keras') writes one.")
        check_fields(self)
        for name in ("epochs", "batch_size", "examples"):
            whole(name, getattr(self, name), 1)
        cure = "0.9 leaves a tenth of the weights."
        number("sparsity", self.sparsity, above=0, below=1, cure=cure)
        number("learning_rate", self.learning_rate, above=0)
        seed("seed", self.seed, 0)
        one_of("allocation", self.allocation, names.ALLOCATIONS if self.after_training else NAMES)
        one_of("score", self.score, names.scores())
        one_of("structure", self.structure, (None, *names.STRUCTURES))
        number("damping", self.damping, least=0)
        one_of("blocks", self.blocks, (None, *BLOCK_SIZES))
        if self.blocks is not None and self.allocation == "global":
            raise InputError(
                "`blocks` and `allocation` 'global' exclude each other: use 'uniform' or 'erk'."
            )
        one_of("channel_score", self.channel_score, channel_names.SCORES)
        one_of("channel_allocation", self.channel_allocation, channel_names.ALLOCATIONS)
        whole("round_to", self.round_to, 1)
        number("protect", self.protect, least=0, most=1)
        self.fraction_left()
        check_given(
            self, {one.name for one in fields(self) if getattr(self, one.name) != one.default}
        )
        if self.out.suffix != ".keras":
            raise InputError(f"`out` must end in .keras, received {str(self.out)!r}.")
        if os.path.realpath(self.out) == os.path.realpath(self.model):
            raise InputError("`out` is the model itself. Choose another file: nothing is replaced.")

    @property
    def goal(self) -> str:
        """What it prunes to, in a word."""
        if self.channels:
            return self.target
        return self.structure if self.structure in names.N_M else f"{self.sparsity:.0%}"

    def fraction_left(self) -> dict[str, float]:
        """What ``target`` says, as `tfinit.pruning.prune_channels` takes it.

        Raises:
            InputError: it says something else.

        Example:
            >>> PruneConfig(Path("model.keras"), target="params=0.3").fraction_left()
            {'params': 0.3}
        """
        kind, _, part = self.target.partition("=")
        try:
            left = float(part)
        except ValueError:
            left = 0.0
        if kind not in channel_names.COSTS or not 0 < left < 1:
            names = ", ".join(channel_names.COSTS)
            wanted = f"one of {names}, = and the fraction that is left, as macs=0.5"
            raise refused("target", wanted, self.target)
        return {kind: left}


def check_given(config: PruneConfig, given: Set[str]) -> None:
    """Refuse what would be ignored.

    Args:
        config: What was asked for.
        given: The fields that were asked for; which those are where a value is the default,
            only the command line knows.

    Raises:
        InputError: one of them has no meaning beside another.
    """
    if config.structure in names.N_M and "sparsity" in given:
        raise InputError(
            f"`structure` {config.structure!r} prunes half of the weights, received `sparsity` "
            f"{config.sparsity:g}. Leave one of them out."
        )
    if config.channels and config.after_training:
        raise InputError(
            "`channels` and `after_training` exclude each other: whole channels go before a "
            "training. Leave one of them out."
        )
    if config.after_training:
        every = [one.name for one in fields(config)]
        wrong = [n for n in every if n in given - {"after_training", *_WITH_THEM, *_AT_ONCE}]
        if wrong:
            raise InputError(
                f"`{wrong[0]}` is of a training, and nothing is trained with --after-training. "
                f"Beside that are {_quoted(_WITH_THEM[1:] + _AT_ONCE)}."
            )
        return
    if wrong := [name for name in _AT_ONCE if name in given]:
        raise InputError(
            f"`{wrong[0]}` is of pruning without training. Ask for that, with --after-training."
        )
    own, others = (_OF_CHANNELS, _OF_WEIGHTS) if config.channels else (_OF_WEIGHTS, _OF_CHANNELS)
    wrong = [name for name in others if name in given]
    if wrong and config.channels:
        raise InputError(
            f"`{wrong[0]}` is of single weights, and whole channels are asked for: leave it or "
            f"`channels` out. Of channels are {_quoted(own)}."
        )
    if wrong:
        raise InputError(f"`{wrong[0]}` is of whole channels. Ask for them, with --channels.")
