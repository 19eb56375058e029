"""What `recommend` says of networks of sines: SIREN, however the sine is written."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from chains import chain
from keras import layers as L

from tfinit.diagnostics.advising.advice import recommend


class Sine(L.Layer):
    def call(self, x):
        self.add_loss(keras.ops.mean(x))
        return keras.ops.sin(30.0 * x)


def sine(z):
    return keras.ops.sin(30.0 * z)


def subclassed_siren():
    class Siren(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = L.Dense(50), L.Dense(50), L.Dense(1)

        def call(self, x):
            x = keras.ops.sin(30.0 * self.a(x))
            return self.c(keras.ops.sin(self.b(x) / (1 / 30)))

    model = Siren()
    model(np.zeros((1, 2)))
    return model


def siren(activation, *between):
    steps = [step for _ in range(2) for step in (L.Dense(50, activation), *between)]
    return chain(*steps, L.Dense(1), shape=(2,))


@pytest.mark.parametrize(
    ("model", "omega"),
    {
        "function": (lambda: siren(sine), 30),
        "lambda": (lambda: siren(lambda z: np.pi * keras.ops.cos(5 * z) / np.pi), 5),
        "partial": (lambda: siren(functools.partial(lambda z, w: keras.ops.sin(w * z), w=30)), 30),
        "keras.ops.sin": (lambda: siren(keras.ops.sin), 1),
        "tf.sin": (lambda: siren(tf.sin), 1),
        "twice as high": (lambda: siren(lambda z: 2 * keras.ops.sin(15 * z)), 30),
        "layers": (lambda: siren(None, L.Activation(sine)), 30),
        "Lambda": (lambda: siren(None, L.Lambda(sine)), 30),
        "own layer": (lambda: siren(None, Sine()), 30),
        "layer inside": (lambda: siren(Sine()), 30),
        "operations": (subclassed_siren, 30),
    }.values(),
)
def test_sine_networks_start_as_siren_whatever_says_that_they_are(model, omega):
    model = model()
    found = recommend(model)
    assert [a.initializer for a in found][::2] == ["SIREN, first", "LeCun"]
    assert [a.std for a in found] == pytest.approx(
        [1 / 2 / 3**0.5, (2 / 50) ** 0.5 / omega, 50**-0.5], rel=1e-3
    )
    assert "Sitzmann" in found[0].why and "Sitzmann" in found[1].why
    limit = 6**0.5 / 50**0.5 / omega
    given = eval(found[1].code.split("=", 1)[1], {"keras": keras})
    assert (given.minval, given.maxval) == pytest.approx((-limit, limit), rel=1e-3)
    found.apply(seed=1)
    kernel = np.asarray(model.weights[2])
    assert 0.99 * limit < np.abs(kernel).max() <= limit * 1.001
    assert not model.losses


def test_what_a_sine_layer_reads_keeps_its_scale_at_any_depth():
    model = chain(*(L.Dense(256, sine) for _ in range(8)), L.Dense(1), shape=(2,))
    recommend(model).apply(seed=1)
    x = np.random.default_rng(0).uniform(-1, 1, (512, 2)).astype("float32")
    for layer in model.layers[:-1]:
        read = 30 * (x @ layer.kernel.numpy())
        x = np.sin(read)
    # The fixed point of q = 2 E[sin²(z)], z ~ N(0, q), which is 1 - exp(-2q).
    assert np.var(read) == pytest.approx(0.7968, abs=0.1)


def test_normalized_sines_and_functions_that_are_lines():
    def first(activation, *steps):
        return recommend(chain(L.Dense(8), *steps, L.Activation(activation), L.Dense(2)))[0]

    assert first(sine, L.BatchNormalization()).initializer == "LeCun"
    assert first(lambda z: z).initializer == "LeCun"
    assert first(lambda z: z * z).initializer == "He, <lambda>"
    # As `relu` is homogeneous and what stops at 6 is not: whose scale does the normalization undo?
    scaled = [recommend(chain(L.Dense(8, a), L.BatchNormalization()))[0].why for a in RELUS]
    assert ["normalization behind it" in why for why in scaled] == [True, True, False]


RELUS = (keras.ops.relu, lambda z: 2 * keras.ops.relu(z), lambda z: keras.ops.minimum(z, 6.0))
