"""A small network to mark, on every backend: how it is compiled, trained and looked at."""

import keras
import numpy as np
from keras import ops

from tfinit.pruning import ConstantSparsity

X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
HALF = ConstantSparsity(0.5, begin_step=2, end_step=4, frequency=2)
EAGERLY = keras.backend.backend() != "jax"  # where that is cheaper than to compile


def network(**layers):
    parts = {"a": keras.layers.Dense(8, name="a"), "out": keras.layers.Dense(2, name="out")}
    return keras.Sequential([keras.Input((6,)), *(parts | layers).values()])


def compiled(model, optimizer="sgd"):
    model.compile(keras.optimizers.get(optimizer), "mse", run_eagerly=EAGERLY)
    return model


def fit(model, steps, **settings):
    model.fit(X[: 4 * steps], X[: 4 * steps, :2], batch_size=4, verbose=0, **settings)


def zeros(model):
    """Zeros in each kernel, of 48 and 16."""
    found = [ops.convert_to_numpy(w) for w in model.weights if len(w.shape) == 2]
    return [int((kernel == 0).sum()) for kernel in found]


def step_by(optimizer, model, steps=5):
    """Steps of a loop that is somebody's own: any gradient will do."""
    for _ in range(steps):
        gradients = [ops.ones(w.shape) for w in model.trainable_variables]
        optimizer.apply(gradients, model.trainable_variables)
