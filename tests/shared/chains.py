"""Small networks around one layer, and in a row."""

import keras
from keras import layers as L


def network(layer, *after, shape, head=True):
    """The layer, what follows it, and an output layer."""
    inputs = keras.Input(shape)
    x = layer(inputs)
    for step in after:
        x = step(x)
    if head:
        x = L.Dense(3, name="head")(L.Flatten()(x))
    return keras.Model(inputs, x)


def chain(*steps, shape=(16,)):
    return keras.Sequential([keras.Input(shape), *steps])
