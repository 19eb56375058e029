"""What `tfinit prune` does: one frozen dataclass, from which its flags come."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from tfinit.arguments import check_fields, number, one_of, path, seed, whole
from tfinit.block_sizes import BLOCK_SIZES
from tfinit.datasets import data_help
from tfinit.errors import InputError
from tfinit.flag_help import FlagHelp
from tfinit.pruning.scoring.allocation import NAMES

_ARRAYS = (
    "x_train, y_train and, to report on, x_test, y_test. Of several inputs or outputs: "
    "x_train_NAME, y_train_NAME; weights of examples: sample_weight_train"
)


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
    """uniform: the same sparsity in each layer. global: lowest of all. erk: by layer size."""
    blocks: str | None = None
    """litert: prune Dense kernels in the blocks that `tfinit export --sparse` makes faster."""
    keep_zeros: bool = False
    """What is zero in the model stays zero. Otherwise zeros train until they are pruned."""
    batch_size: int = 32
    """Examples a step."""
    learning_rate: float = 1e-3
    """Of Adam, constant."""
    seed: int = 0
    """Of the order of the data, of noise, and of a function that builds the model."""

    def __post_init__(self) -> None:
        path("model", self.model, cure="It is a file: model.save('model.keras') writes one.")
        check_fields(self)
        for name in ("epochs", "batch_size"):
            whole(name, getattr(self, name), 1)
        cure = "0.9 leaves a tenth of the weights."
        number("sparsity", self.sparsity, above=0, below=1, cure=cure)
        number("learning_rate", self.learning_rate, above=0)
        seed("seed", self.seed, 0)
        one_of("allocation", self.allocation, NAMES)
        one_of("blocks", self.blocks, (None, *BLOCK_SIZES))
        if self.blocks is not None and self.allocation == "global":
            raise InputError(
                "`blocks` and allocation 'global' exclude each other: use allocation 'uniform' or "
                "'erk'."
            )
        if self.out.suffix != ".keras":
            raise InputError(f"`out` must end in .keras, received {str(self.out)!r}.")
        if os.path.realpath(self.out) == os.path.realpath(self.model):
            raise InputError("`out` is the model itself. Choose another file: nothing is replaced.")
