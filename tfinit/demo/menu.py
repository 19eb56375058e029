"""The initializations that the page offers, by name, and what each is called there."""

import tfinit.schemes  # noqa: F401  every scheme is in the registry then
from tfinit.schemes.engine.registry import REGISTRY

# The names of those that take a number.
NORMAL, CONSTANT = "normal", "constant"

# Those of tfinit.models.initializations that fit a network of dense layers, and two with a number.
_OF_KERAS = (
    *("glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "lecun_normal"),
    *("lecun_uniform", "random_normal", "random_uniform", "truncated_normal"),
)
# Named here, as the page must open before Keras, and with it their classes, is loaded.
_OF_TFINIT = ("EdgeOfChaos", "He", "Identity", "LeCun", "Orthogonal", "Sparse", "Xavier", "ZerO")


def labels() -> dict[str, str]:
    """Name → what the menu calls it.

    Of the schemes, those for all networks that run without options and at once: the other panes
    wait for each.
    """
    schemes = {
        name: scheme.label
        for name, scheme in sorted(REGISTRY.items(), key=lambda item: item[1].label.lower())
        if not (scheme.fits or scheme.slow or scheme.needed or scheme.as_built)
    }
    return {
        "zeros": "Zeros",
        "ones": "Ones",
        CONSTANT: "Constant",
        NORMAL: "Normal",
        **schemes,
        "keras": "Keras default",
        **{name: f"Keras {name}" for name in _OF_KERAS},
        **{name: f"tfinit {name}" for name in _OF_TFINIT},
    }
