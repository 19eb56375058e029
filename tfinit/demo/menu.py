"""The initializations that the page offers, by name, and what each is called there."""

from tfinit.models import OF_KERAS
from tfinit.schemes.engine.registry import REGISTRY
from tfinit.schemes.initialize import SCHEMES

# The names of those that take a number.
NORMAL, CONSTANT = "normal", "constant"

# Named here, as the page must open before Keras, and with it their classes, is loaded.
_OF_TFINIT = ("EdgeOfChaos", "He", "Identity", "LeCun", "Orthogonal", "Sparse", "Xavier", "ZerO")


def labels() -> dict[str, str]:
    """Name → what the menu calls it: what fits a network of dense layers.

    Of the schemes, those for all networks that run without options and at once: the other panes
    wait for each.
    """
    schemes = {
        name: scheme.label
        for name, scheme in ((name, REGISTRY[name]) for name in SCHEMES)
        if not (scheme.fits or scheme.slow or scheme.needed or scheme.as_built)
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
