"""Small models as users write them, pruned in one step, and how many zeros they have then."""

import keras
import numpy as np
from keras import layers, ops

from tfinit.pruning import ConstantSparsity
from tfinit.variables import all_weights

HALF = ConstantSparsity(0.5, begin_step=1, frequency=1)  # an update before every step
# Tracing a step would take most of the time of these tests; JAX is slower still without.
EAGERLY = keras.backend.backend() != "jax"
X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


def train(model, x=X, epochs=1, optimizer=None, **kwargs):
    """One step, or some."""
    if optimizer is not None or not model.compiled:
        model.compile(optimizer or keras.optimizers.SGD(0.1), "mse", run_eagerly=EAGERLY)
    y = np.ones(np.shape(model(x)), "float32")
    model.fit(x, y, epochs=epochs, batch_size=len(y), verbose=0, **kwargs)
    return model


def zeros(model):
    """key → number of zeros and of weights, for every matrix that is no bias."""
    found = {}
    for key, variable in all_weights(model).items():
        value = ops.convert_to_numpy(variable)
        # Biases start at zero, and that of an attention's keys stays there.
        if value.ndim >= 2 and not key.endswith("bias"):
            found[key] = (int(np.sum(value == 0)), value.size)
    return found


def outputs(model, x=X):
    return ops.convert_to_numpy(model(x))


def values(model):
    return {k: np.array(ops.convert_to_numpy(v)) for k, v in all_weights(model).items()}


def sequential():
    return keras.Sequential(
        [layers.Input((4,)), layers.Dense(5, "tanh", name="a"), layers.Dense(2, name="b")]
    )


def functional():
    inputs = layers.Input((4,))
    x = layers.Dense(5, "tanh", name="a")(inputs)
    return keras.Model(inputs, layers.Dense(2, name="b")(x))


def not_built():
    return keras.Sequential([layers.Dense(5, "tanh", name="a"), layers.Dense(2, name="b")])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.one = layers.Dense(5, "tanh", name="a")
        self.two = layers.Dense(2, name="b")

    def call(self, x):
        return self.two(self.one(x))


def subclassed_and_called():
    model = Subclassed()
    model(X)
    return model
