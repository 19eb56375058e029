"""What the page offers by name, and what each is called there."""

from tfinit import points
from tfinit.datasets import DATASETS, at_hand
from tfinit.models import OF_KERAS
from tfinit.optimizers import OPTIMIZERS
from tfinit.schemes.engine.registry import REGISTRY
from tfinit.schemes.initialize import SCHEMES

# The names of those that take a number.
NORMAL, CONSTANT = "normal", "constant"

ACTIVATIONS = {
    "relu": "ReLU",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "leaky_relu": "Leaky ReLU",
    "elu": "ELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU (Swish)",
    "softplus": "Softplus",
    "linear": "Linear",
}
# Named here, as the page must open before Keras, and with it their classes, is loaded.
_OF_TFINIT = ("EdgeOfChaos", "He", "Identity", "LeCun", "Orthogonal", "Sparse", "Xavier", "ZerO")


def datasets() -> dict[str, str]:
    """Name → label of the data sets that need no download: points first, then images."""
    names = sorted(at_hand(), key=lambda name: name not in points.NAMES)
    return {name: DATASETS[name].label for name in names}


def optimizers() -> dict[str, str]:
    """Name → label of the optimizers."""
    return {name: known.label for name, known in OPTIMIZERS.items()}


def initializations() -> dict[str, str]:
    """Name → label of the initializations that fit a network of dense layers.

    Of the schemes, those for all networks that run without options and at once: the other panes
    wait for each.
    """
    schemes = {
        name: scheme.label
        for name, scheme in ((name, REGISTRY[name]) for name in SCHEMES)
        if not (scheme.fits or scheme.slow or scheme.needed or scheme.as_built or scheme.of_targets)
    }
    return {
        "zeros": "Zeros",
        "ones": "Ones",
        CONSTANT: "Constant",
        NORMAL: "Normal",
        **schemes,
        "keras": "Keras default",
        **{name: f"Keras {name}" for name in OF_KERAS if name not in ("zeros", "ones")},
        **{name: f"tfinit {name}" for name in _OF_TFINIT},
    }
