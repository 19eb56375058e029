"""The networks of the experiments, for Keras 3 and tf_keras alike."""

import zlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from tfinit.errors import InputError
from tfinit.initializers import Xavier
from tfinit.variables import prunable_weights


def lenet_300_100(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    """Two hidden ReLU layers of 300 and 100 units, the MLP of LeCun et al. (1998).

    Args:
        keras: The module ``keras`` or ``tf_keras``.
        input_shape: Shape of one example.
        classes: Number of classes; the output is their logits.
    """
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input(shape=input_shape),
            layers.Flatten(name="flatten"),
            layers.Dense(300, activation="relu", name="fc1"),
            layers.Dense(100, activation="relu", name="fc2"),
            layers.Dense(classes, name="output"),
        ],
        name="lenet_300_100",
    )


_BUILDERS: dict[str, Callable[..., Any]] = {"lenet-300-100": lenet_300_100}
NAMES = tuple(_BUILDERS)


def build(
    name: str, keras: ModuleType, input_shape: tuple[int, ...], classes: int, seed: int
) -> Any:
    """Build a network by its name, with weights that are a function of ``seed``.

    Kernels are drawn as in Frankle & Carbin (2019): `Xavier`, normal, cut at two deviations.
    Biases are zero.

    Args:
        name: ``"lenet-300-100"``.
        keras: The module ``keras`` or ``tf_keras``.
        input_shape: Shape of one example.
        classes: Number of classes; the output is their logits.
        seed: Same seed, same weights, in any process and in both Kerases.

    Raises:
        InputError: the name is unknown.
    """
    if name not in _BUILDERS:
        raise InputError(f"`model` must be one of {', '.join(NAMES)}, received {name!r}.")
    model = _BUILDERS[name](keras, input_shape, classes)
    # Drawn by key, outside the layers: both Kerases have the same keys, but not the same paths.
    for key, kernel in prunable_weights(model).items():
        draw = Xavier(distribution="truncated_normal", seed=_stream(seed, key))
        kernel.assign(draw(tuple(kernel.shape)))
    return model


def _stream(seed: int, key: str) -> int:
    """A seed for one weight, the same in every process."""
    return int(np.random.SeedSequence([seed, zlib.crc32(key.encode())]).generate_state(1)[0])
