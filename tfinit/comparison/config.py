"""What `tfinit compare` does: one frozen dataclass, from which its flags come."""

from dataclasses import dataclass

from tfinit.arguments import check_fields, number, one_of, seeds, text, whole

OPTIMIZERS = ("sgd", "adam", "momentum")


@dataclass(frozen=True)
class CompareConfig:
    """Race initializations: train one network from each, and rank them.

    Raises:
        InputError: a value is not allowed.

    Example:
        >>> CompareConfig(model="mlp-30-relu", schemes=("xavier", "he")).steps
        500
    """

    dataset: str = "digits"
    """Data set: digits (inside scikit-learn), mnist, fashion_mnist, cifar10 (TFINIT_DATA_DIR, or
    Keras downloads them), an .npz file, or tfds:NAME."""
    model: str = "lenet-300-100"
    """Network: lenet-300-100, conv-2, conv-4, conv-6, resnet-20, vgg-16, or
    mlp-<depth>-<activation>, as mlp-30-relu: so many dense layers, of 64 units but for the last."""
    schemes: tuple[str, ...] = ("xavier", "he", "lsuv")
    """Schemes and initializers of tfinit or of Keras; small: N(0, 0.01²); large: N(0, 1). With
    spaces or commas between."""
    steps: int = 500
    """Training steps of each run."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run of each scheme for each: its weights, and the order of its data."""
    batch_size: int = 64
    """Examples a step."""
    optimizer: str = "sgd"
    """sgd, adam, or momentum (SGD with momentum 0.9)."""
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
