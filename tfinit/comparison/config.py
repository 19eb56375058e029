"""What `tfinit compare` does: one frozen dataclass, from which its flags come."""

from dataclasses import dataclass, field

from tfinit.arguments import check_fields, number, one_of, seeds, text, whole
from tfinit.datasets import datasets_help
from tfinit.errors import InputError
from tfinit.flag_help import FlagHelp
from tfinit.named_functions import is_own_model
from tfinit.networks import networks_help
from tfinit.optimizers import OPTIMIZERS, optimizers_help
from tfinit.training.judged import AUTO, DIRECTIONS

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
    model: str = field(default="lenet-300-100", metadata=FlagHelp(networks_help))
    """Network: your own by its place, ``nets.py:build`` or ``net.keras``; or a name of tfinit's."""
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
    threads: int = 0
    """Train with so many threads of the processor, which decides the last bits. 0: one a core."""
    metric: str = AUTO
    """What is ranked by. auto: the mean training loss at the end; or loss, or a metric that the
    model is compiled with, on the validation split."""
    metric_direction: str = AUTO
    """max, min: which is better. auto: as the metric says."""

    def __post_init__(self) -> None:
        cure = "It is a name or a place; tfinit.compare takes functions and data themselves."
        for name in ("model", "dataset"):
            text(name, getattr(self, name), cure=cure)
        check_fields(self)
        whole("steps", self.steps, 1)
        whole("batch_size", self.batch_size, 1)
        whole("threads", self.threads, 0)
        seeds("seeds", self.seeds)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        number("learning_rate", self.learning_rate, above=0)
        text("metric", self.metric)
        one_of("metric_direction", self.metric_direction, DIRECTIONS)
        if is_own_model(self.model):
            for name, default in (("optimizer", "sgd"), ("learning_rate", 0.01)):
                if getattr(self, name) != default:
                    raise InputError(
                        f"`{name}` {getattr(self, name)!r} is for tfinit's networks: your own, "
                        f"{self.model!r}, has what it was compiled with. Leave it out."
                    )
