"""What `tfinit compare` does: one frozen dataclass, from which its flags come."""

from dataclasses import dataclass, field

from tfinit.arguments import check_fields, number, one_of, seeds, text, whole
from tfinit.datasets import datasets_help
from tfinit.flag_help import FlagHelp
from tfinit.networks import models_help
from tfinit.optimizers import OPTIMIZERS, optimizers_help

DEFAULTS = ("xavier", "he", "lsuv")


@dataclass(frozen=True)
class CompareConfig:
    """Race initializations: train one network from each, and rank them.

    Raises:
        InputError: a value is not allowed.

    Example:
        >>> CompareConfig(model="mlp-30-relu", schemes=("xavier", "he")).steps
        500
    """

    dataset: str = field(default="digits", metadata=FlagHelp(datasets_help))
    """Data set: a name that `tfinit.datasets.load` knows, an .npz file, or file.py:load."""
    model: str = field(default="lenet-300-100", metadata=FlagHelp(models_help))
    """Network: a name that `tfinit.models.build` knows."""
    schemes: tuple[str, ...] = DEFAULTS
    """Schemes and initializers of tfinit or of Keras; small: N(0, 0.01²); large: N(0, 1). With
    spaces or commas between."""
    steps: int = 500
    """Training steps of each run."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run of each scheme for each: its weights, and the order of its data."""
    batch_size: int = 64
    """Examples a step."""
    optimizer: str = field(default="sgd", metadata=FlagHelp(optimizers_help))
    """Optimizer: a name of `tfinit.optimizers.OPTIMIZERS`."""
    learning_rate: float = 0.01
    """Learning rate, constant."""

    def __post_init__(self) -> None:
        cure = "It is a name; tfinit.compare takes models and data of your own."
        for name in ("model", "dataset"):
            text(name, getattr(self, name), cure=cure)
        check_fields(self)
        whole("steps", self.steps, 1)
        whole("batch_size", self.batch_size, 1)
        seeds("seeds", self.seeds)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        number("learning_rate", self.learning_rate, above=0)
