"""The networks of the experiments, for Keras 3 and tf_keras alike."""

import zlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from tfinit.errors import InputError
from tfinit.initializers import Xavier


def lenet_300_100(keras: ModuleType, input_shape: tuple[int, ...], classes: int, seed: int) -> Any:
    """Two hidden ReLU layers of 300 and 100 units, the MLP of LeCun et al. (1998).

    Kernels are drawn as in Frankle & Carbin (2019): Xavier, normal, cut at two deviations.

    Args:
        keras: The module ``keras`` or ``tf_keras``.
        input_shape: Shape of one example.
        classes: Number of classes; the output is their logits.
        seed: Each layer draws its own stream from it.
    """
    layers = keras.layers

    def dense(units: int, name: str, activation: str | None = None) -> Any:
        kernel = Xavier(distribution="truncated_normal", seed=_stream(seed, name))
        return layers.Dense(units, activation=activation, kernel_initializer=kernel, name=name)

    return keras.Sequential(
        [
            layers.Input(shape=input_shape),
            layers.Flatten(name="flatten"),
            dense(300, "fc1", "relu"),
            dense(100, "fc2", "relu"),
            dense(classes, "output"),
        ],
        name="lenet_300_100",
    )


_BUILDERS: dict[str, Callable[..., Any]] = {"lenet-300-100": lenet_300_100}
NAMES = tuple(_BUILDERS)


def _stream(seed: int, name: str) -> int:
    """A seed for one layer, the same in every process."""
    return int(np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1)[0])


def build(
    name: str, keras: ModuleType, input_shape: tuple[int, ...], classes: int, seed: int
) -> Any:
    """Build a network by its name, with weights that are a function of ``seed``.

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
    return _BUILDERS[name](keras, input_shape, classes, seed)
