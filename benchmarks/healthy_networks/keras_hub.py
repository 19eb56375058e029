"""KerasHub's backbones, small and fresh: bare, and with a head that classifies."""

import keras
import numpy as np
from keras_hub_backbones import NAMES, backbone

from . import Case

ROWS, CLASSES = 8, 3


def bare(name):
    keras.utils.set_random_seed(0)
    model, x = backbone(name, ROWS)
    return model, x, None


def with_head(name):
    """The mean over all places of what the backbone makes, and a Dense layer of logits."""
    keras.utils.set_random_seed(0)
    model, x = backbone(name, ROWS)
    made = keras.tree.flatten(model.output)[0]
    pooled = keras.ops.mean(made, axis=tuple(range(1, len(made.shape) - 1)))
    head = keras.Model(model.input, keras.layers.Dense(CLASSES)(pooled))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    head.compile(keras.optimizers.AdamW(5e-5), loss)
    return head, x, np.arange(ROWS, dtype="int32") % CLASSES


def cases():
    return [
        *(Case(f"{name}, bare", lambda n=name: bare(n)) for name in NAMES),
        *(Case(name, lambda n=name: with_head(n)) for name in NAMES),
    ]
