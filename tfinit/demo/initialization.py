"""A pane's initialization and optimizer: made here, and as the code that a reader copies."""

from typing import Any

import numpy as np

from tfinit import models
from tfinit.demo.menu import CONSTANT, NORMAL
from tfinit.demo.settings import Pane
from tfinit.optimizers import OPTIMIZERS
from tfinit.schemes.engine.registry import REGISTRY
from tfinit.schemes.initialize import initialize

EXAMPLES = 256  # what a scheme that looks at data, and the diagnosis, see of the training examples


def initialize_pane(model: Any, pane: Pane, x: np.ndarray, seed: int) -> None:
    """Set all kernels of a model as the pane says. Biases are left as they are.

    Args:
        model: A built model of Keras 3.
        pane: Its initialization.
        x: Training examples; the first `EXAMPLES` are looked at.
        seed: Same seed, same weights.
    """
    import keras

    name = pane.initialization
    if name == NORMAL:
        models.fill(model, keras.initializers.RandomNormal(stddev=pane.value), seed)
    elif name == CONSTANT:
        models.fill(model, keras.initializers.Constant(pane.value), seed)
    elif name in REGISTRY:
        initialize(model, name, x[:EXAMPLES] if REGISTRY[name].needs_data else None, seed=seed)
    else:
        models.fill(model, models.initializer(name), seed)


def code_for(pane: Pane, seed: int) -> str:
    """The line of Python that does what `initialize_pane` does, about ``model`` and ``data``."""
    name = pane.initialization
    if name == NORMAL:
        initializer = f"keras.initializers.RandomNormal(stddev={pane.value!r})"
    elif name == CONSTANT:
        initializer = f"keras.initializers.Constant({pane.value!r})"
    elif name in REGISTRY:
        x = f", data.train[0][:{EXAMPLES}]" if REGISTRY[name].needs_data else ""
        return f'tfinit.initialize(model, "{name}"{x}, seed={seed})'
    else:
        initializer = f'tfinit.models.initializer("{name}")'
    return f"tfinit.models.fill(model, {initializer}, seed={seed})"


def optimizer_of(name: str, rate: float) -> Any:
    """An optimizer of Keras by the page's name for it."""
    import keras

    return OPTIMIZERS[name].make(keras, rate)


def optimizer_code(name: str, rate: float) -> str:
    """What `optimizer_of` makes, as Python about ``keras.optimizers``."""
    optimizer = OPTIMIZERS[name]
    given = [repr(rate), *(f"{key}={value!r}" for key, value in optimizer.arguments.items())]
    return f"{optimizer.kind}({', '.join(given)})"
