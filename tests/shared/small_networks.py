"""A small network, its loss and made-up data, for tests of training."""

import keras
import numpy as np

from tfinit.datasets import Dataset

L = keras.layers


def examples(rows):
    rng = np.random.default_rng(rows)
    return rng.normal(size=(rows, 5)).astype("f4"), rng.integers(0, 3, rows).astype("i4")


DATA = Dataset("made up", examples(50), examples(20), examples(30), classes=3)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def compiled(optimizer=None, hidden=(), loss=LOSS, **first):
    model = keras.Sequential(
        [
            L.Input((5,)),
            L.Dense(8, activation="relu", name="a", **first),
            *hidden,
            L.Dense(3, name="b"),
        ]
    )
    model.compile(optimizer or keras.optimizers.Adam(0.01), loss)
    return model


def bits(model):
    """Every weight and every optimizer variable."""
    return [np.array(v).tobytes() for v in [*model.weights, *model.optimizer.variables]]
