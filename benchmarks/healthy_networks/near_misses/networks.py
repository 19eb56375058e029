"""What many of the networks in here are built by."""

import keras
from keras import layers as L


def mlp(columns, units, activation, loss, optimizer=3e-3, **options):
    """Two hidden layers and a head; `options` are those of the head."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((columns,)),
            L.Dense(64, "relu"),
            L.Dense(32, "relu"),
            L.Dense(units, activation, **options),
        ]
    )
    rate = keras.optimizers.Adam(optimizer) if isinstance(optimizer, float) else optimizer
    model.compile(rate, loss)
    return model
