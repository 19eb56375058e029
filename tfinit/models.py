"""The networks of the experiments, for Keras 3 and tf_keras alike."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from tfinit.errors import InputError
from tfinit.schemes.initialize import initialize


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

    Kernels are drawn as in Frankle & Carbin (2019): Xavier, normal, cut at two deviations.
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
    initialize(model, "xavier", distribution="truncated_normal", seed=seed)
    return model
