"""A program with a fault and its mended twin, and the few words that both are written in."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import layers

FAULTS = {
    "head": "the output layer's activation or width does not suit the loss or the targets",
    "loss": "the loss does not suit the task or the targets",
    "labels": "the targets are not what the loss takes",
    "inputs": "the inputs are not scaled, or not what the network takes",
    "targets": "regression targets far from the scale of the outputs",
    "rate": "the learning rate is far too large or too small, or the optimizer does not suit",
    "activation": "a hidden activation saturates, or a layer lets no signal through",
    "initial": "the initial weights",
}


class Program(NamedTuple):
    """What people found wrong in it, and what makes it: (mended?) → (compiled model, x, y)."""

    id: str
    faults: tuple[str, ...]
    make: Callable[[bool], tuple[Any, Any, Any]]
    epochs: int
    batch: int
    told: str

    @property
    def source(self) -> str:
        """The file that it stands in."""
        return self.make.__module__.rpartition(".")[2]


PROGRAMS: list[Program] = []


def program(id: str, *faults: str, epochs: int = 60, batch: int = 32) -> Callable:
    """Decorator: the function makes the program with this id, or its twin if ``mended``."""
    assert faults and set(faults) <= set(FAULTS), faults

    def declare(make: Callable) -> Callable:
        assert id not in {known.id for known in PROGRAMS}, id
        told = (make.__doc__ or make.__name__.replace("_", " ")).strip()
        PROGRAMS.append(Program(id, faults, make, epochs, batch, told))
        return make

    return declare


def stack(shape, parts, loss, optimizer="adam", start="glorot_uniform", metrics=None):
    """A compiled Sequential: tuples are Dense layers (units, activation), functions make layers.

    ``start`` draws the kernels of the Dense layers: a name, or a function that makes one anew.
    """
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input(shape)])
    for part in parts:
        if isinstance(part, tuple):
            units, activation = (*part, None)[:2]
            drawn = start() if callable(start) else start
            model.add(layers.Dense(units, activation, kernel_initializer=drawn))
        else:
            model.add(part())
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics)
    return model


def sgd(rate: float, momentum: float = 0.0, **more: Any) -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(rate, momentum=momentum, nesterov=momentum > 0, **more)


def adam(rate: float = 0.001, **more: Any) -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(rate, **more)


def uniform(limit: float = 0.05) -> Callable:
    """Keras 1's "uniform", by default."""
    return lambda: keras.initializers.RandomUniform(-limit, limit)


def normal(std: float = 0.05) -> Callable:
    """Keras 1's "normal", by default."""
    return lambda: keras.initializers.RandomNormal(stddev=std)


def dropout(rate: float) -> Callable:
    return lambda: layers.Dropout(rate)


def conv(filters: int, size: int = 3, activation: str | None = "relu", **more: Any) -> Callable:
    more.setdefault("padding", "same")
    return lambda: layers.Conv2D(filters, size, activation=activation, **more)


pool, flatten, norm = layers.MaxPooling2D, layers.Flatten, layers.BatchNormalization
