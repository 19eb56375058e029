"""Weights that no gradient moves: found with their reason, not where the second step moves them."""

import keras
import numpy as np
import pytest
from diagnosed import losses_of

import tfinit
from tfinit.diagnostics import diagnose

L = keras.layers
X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
NUMBERS = X[:, :1] * X[:, 1:2] - X[:, 2:3]
BINARY = (NUMBERS > 0).astype("float32")
CLASSES = (np.digitize(NUMBERS[:, 0], [-0.5, 0.5])).astype("int32")
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Adapted(L.Layer):
    """A frozen kernel with a low-rank adapter beside it."""

    def __init__(self, units, first, second):
        super().__init__()
        self.units, self.first, self.second = units, first, second

    def build(self, shape):
        self.frozen = self.add_weight(shape=(shape[-1], self.units), trainable=False, name="frozen")
        self.down = self.add_weight(shape=(shape[-1], 4), initializer=self.first, name="down")
        self.up = self.add_weight(shape=(4, self.units), initializer=self.second, name="up")

    def call(self, x):
        return x @ self.frozen + x @ self.down @ self.up


def network(*layers, loss=LOGITS):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), *layers])
    model.compile(keras.optimizers.Adam(0.02), loss, jit_compile=False)
    return model


def dead_output():
    model = network(L.Dense(16, "relu"), L.Dense(1, "relu", name="out"), loss="mse")
    kernel = model.get_layer("out").kernel
    kernel.assign(-keras.ops.abs(kernel))
    return model


def adapters(first, second):
    return network(Adapted(16, first, second), L.ReLU(), Adapted(3, first, second))


def learns(model, y, steps=60):
    losses = losses_of(model, X, y, steps)
    return losses[-1] < 0.7 * losses[0]


HIDDEN = {"units": 16, "activation": "relu"}
# What is written, what it should have been, targets; the kind, its fault, and what is said.
CASES = {
    "softmax of one unit": (
        lambda: network(L.Dense(**HIDDEN), L.Dense(1, "softmax"), loss="mse"),
        lambda: network(L.Dense(**HIDDEN), L.Dense(1, "sigmoid"), loss="binary_crossentropy"),
        BINARY,
        ("head", "softmax turns it into 1 for every one"),
    ),
    "the same as a layer": (
        lambda: network(L.Dense(**HIDDEN), L.Dense(1), L.Softmax(), loss="mse"),
        lambda: network(L.Dense(**HIDDEN), L.Dense(1), loss="mse"),
        NUMBERS,
        ("head", "for all 2 kernels (100% of their weights)"),
    ),
    "cross-entropy of one class": (
        lambda: network(L.Dense(**HIDDEN), L.Dense(1, "tanh"), loss="categorical_crossentropy"),
        lambda: network(L.Dense(**HIDDEN), L.Dense(1, "sigmoid"), loss="binary_crossentropy"),
        BINARY,
        ("loss", "does not change with the outputs"),
    ),
    "an activation of steps": (
        lambda: network(L.Dense(16, keras.ops.sign), L.Dense(16, keras.ops.sign), L.Dense(3)),
        lambda: network(L.Dense(16, "tanh"), L.Dense(16, "tanh"), L.Dense(3)),
        CLASSES,
        ("activation", "the slope of its sign is zero"),
    ),
    "adapters of zeros": (
        lambda: adapters("zeros", "zeros"),
        lambda: adapters("he_normal", "zeros"),
        CLASSES,
        ("initial", "/down' and 3 others are all zeros"),
    ),
}


@pytest.mark.filterwarnings("ignore:You are using a softmax", "ignore:In loss categorical")
@pytest.mark.parametrize("name", CASES)
def test_a_gradient_of_zeros_is_found_with_its_reason(name):
    faulty, mended, y, (fault, told) = CASES[name]
    model = faulty()
    diagnosis = diagnose(model, X, y)
    found = [f for f in diagnosis.findings if f.kind == "no gradient"]
    assert [(f.fault, f.rule) for f in found] == [(fault, "TFI101")]
    assert not diagnosis.healthy
    assert told in found[0].evidence
    if name != "an activation of steps":  # its last layer learns
        assert not learns(model, y, steps=10)
    model = mended()
    assert diagnose(model, X, y).healthy
    assert learns(model, y)


@pytest.mark.filterwarnings("ignore:You are using a softmax")
@pytest.mark.backends
def test_without_data_and_on_every_backend():
    model = network(L.Dense(16, "relu"), L.Dense(1, "softmax"), loss="mse")
    assert [f.fault for f in diagnose(model).severe] == ["head"]
    assert [f.fault for f in diagnose(model, X).severe] == ["head"]


def test_an_output_of_dead_units_is_cured_at_the_output():
    model, y = dead_output(), abs(NUMBERS)
    finding = diagnose(model, X, y).severe[0]
    assert (finding.kind, finding.layer, finding.fault) == ("dead units", "out", "head")
    exec(finding.code, {"model": model, "tfinit": tfinit})
    assert diagnose(model, X, y).healthy
    assert learns(model, y)
    model = dead_output()
    model.compile("sgd", "binary_crossentropy")
    finding = diagnose(model, X, BINARY).severe[0]
    assert 'activation="sigmoid"' in finding.cure


ZEROS = {"kernel_initializer": "zeros"}
QUIET = {
    "a head of zeros": lambda: network(
        L.Dense(16, "relu"), L.Dense(16, "relu"), L.Dense(3, **ZEROS)
    ),
    "right adapters": lambda: adapters("he_normal", "zeros"),
    "gammas of zero": lambda: network(
        L.Dense(16, "relu"), L.BatchNormalization(gamma_initializer="zeros"), L.Dense(3)
    ),
    "an embedding": lambda: network(
        L.Lambda(lambda x: keras.ops.cast(x > 0, "int32")),
        L.Embedding(9, 4, embeddings_initializer="he_normal"),
        L.Flatten(),
        L.Dense(3),
    ),
}


@pytest.mark.parametrize("name", QUIET)
def test_zeros_of_the_first_step_only_are_no_finding(name):
    model = QUIET[name]()
    assert "no gradient" not in {f.kind for f in diagnose(model, X, CLASSES).findings}
    assert learns(model, CLASSES)


def test_a_batch_that_is_fitted_has_nothing_left_to_learn():
    model = network(L.Dense(1, use_bias=False, name="out"), loss="mse")
    targets = model.predict(X, verbose=0)
    assert "no gradient" not in {f.kind for f in diagnose(model, X, targets).findings}
    model.compile("sgd", "hinge")
    model.get_layer("out").kernel.assign(100 * model.get_layer("out").kernel)
    x, signs = X[abs(targets[:, 0]) > 0.1], np.sign(targets[abs(targets[:, 0]) > 0.1])
    diagnosis = diagnose(model, x, signs)
    assert diagnosis.measurement.loss == 0
    assert diagnosis.healthy


def test_a_frozen_part_is_no_finding_and_a_cut_one_is_a_warning():
    model = network(L.Dense(16, "relu", trainable=False), L.Dense(3))
    assert diagnose(model, X, CLASSES).healthy
    inputs = keras.Input((8,))
    h = keras.ops.stop_gradient(L.Dense(16, "relu", name="cut")(inputs))
    cut = keras.Model(inputs, L.Dense(3)(h))
    (finding,) = [f for f in diagnose(cut, X, CLASSES).findings if f.rule == "TFI100"]
    assert (finding.severity, finding.layer) == ("warning", "cut")


class ReZero(L.Layer):
    """α·x: it has a weight and no kernel, and might be an activation."""

    def build(self, shape):
        self.alpha = self.add_weight(shape=(), initializer="zeros", name="alpha")

    def call(self, x):
        return self.alpha * x


def test_a_scalar_of_zero_opens_at_the_first_step():
    inputs = h = keras.Input((8,))
    for _ in range(2):
        h = h + ReZero()(L.Dense(8, "relu")(h))
    model = keras.Model(inputs, L.Dense(3)(h))
    model.compile(keras.optimizers.Adam(0.02), LOGITS, jit_compile=False)
    assert "no gradient" not in {f.kind for f in diagnose(model, X, CLASSES).findings}
