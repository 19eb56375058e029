"""The networks of tests/shared/own_networks.py and of the README, with and without their data."""

import keras
import numpy as np
import own_networks

import tfinit

from . import Case

# Without "transfer": what stands there for a trained backbone is random and lets 1e-11 of the
# signal through. It does not learn, and near_misses/starts.py has one that does.
NAMES = (
    *("transformer", "tagger", "unet", "by_name", "two_outputs"),
    *("regression", "autoencoder", "vae", "resnet"),
)
OF_TFINIT = ("lenet-300-100", "conv-2", "conv-4", "resnet-20", "mlp-3-relu", "mlp-10-tanh")


def of_tests(name, data):
    keras.utils.set_random_seed(0)
    make = getattr(own_networks, name)
    model = make(0) if name == "resnet" else make()
    return (model, *getattr(own_networks, f"{name}_data")()[0]) if data else (model, None, None)


def readme():
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(1e-2), "mse", metrics=["mae"])
    x = np.random.default_rng(0).normal(size=(1200, 6))
    return model, x, x[:, 0] * x[:, 1] + np.abs(x[:, 2])


def recommended():
    """The README's deep network, after the cure."""
    digits = tfinit.datasets.load("digits")
    x, y = (part[:128] for part in digits.train)
    model = tfinit.models.build("mlp-30-relu", keras, (8, 8, 1), 10, seed=0)
    tfinit.recommend(model).apply(seed=0)
    return model, x, y


def of_tfinit(name):
    digits = tfinit.datasets.load("digits")
    x, y = (part[:128] for part in digits.train)
    if name.startswith(("conv", "resnet")):
        x = x.repeat(2, 1).repeat(2, 2)
    model = tfinit.models.build(name, keras, x.shape[1:], 10, seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1.2e-3), loss, metrics=["accuracy"])
    return model, x, y


def cases():
    return [
        *(Case(name, lambda n=name: of_tests(n, True)) for name in NAMES),
        *(Case(f"{name}, no data", lambda n=name: of_tests(n, False)) for name in NAMES),
        Case("README's own", readme),
        Case("README's deep one, cured", recommended),
        *(Case(name, lambda n=name: of_tfinit(n)) for name in OF_TFINIT),
    ]
