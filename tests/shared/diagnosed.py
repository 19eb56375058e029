"""A small network with a fault, its findings, and whether it trains once they are cured."""

import keras
import numpy as np

import tfinit

LAYERS = keras.layers
SPARSE = "sparse_categorical_crossentropy"


def data(n=96, size=6, classes=3):
    """Standard normal features, and the class that a sum of them falls into."""
    x = np.random.default_rng(n).normal(size=(n, size)).astype("float32")
    score = x[:, :2].sum(1)
    edges = np.quantile(score, np.arange(1, classes) / classes)
    return x, np.digitize(score, edges)


def net(units=3, activation="softmax", loss=SPARSE, size=6, rate=0.02):
    keras.utils.set_random_seed(1)
    layers = [LAYERS.Dense(16, "relu"), LAYERS.Dense(units, activation, name="head")]
    model = keras.Sequential([keras.Input((size,)), *layers])
    model.compile(keras.optimizers.Adam(rate), loss)
    return model


def found(diagnosis, kind):
    """The severities of the findings of a kind."""
    return [f.severity for f in diagnosis.findings if f.kind == kind]


def cured(finding, x, y):
    """x and y after the finding's line of code."""
    names = {"x": x, "y": y, "numpy": np, "tfinit": tfinit}
    exec(finding.code, names)
    return names["x"], names["y"]


def losses_of(model, x, y, steps):
    """The loss at each of some steps on one batch."""
    model.optimizer.build(model.trainable_variables)  # else Keras traces the step twice
    return [float(np.ravel(model.train_on_batch(x, y))[0]) for _ in range(steps)]


def trains(model, x, y, share=0.7, steps=60):
    """Whether the loss falls below a share of its start."""
    losses = losses_of(model, x, y, steps)
    return losses[-1] < share * losses[0]


def rebuilt(model, changes):
    """The network anew, with other arguments of its layers and drawn as its initializers say."""
    config = model.get_config()
    for layer, argument, value in changes:
        (said,) = (part["config"] for part in config["layers"] if part["config"]["name"] == layer)
        said[argument] = value
    keras.utils.set_random_seed(1)
    new = type(model).from_config(config)
    optimizer = type(model.optimizer).from_config(model.optimizer.get_config())
    new.compile(optimizer, model.loss, jit_compile=False)
    return new
