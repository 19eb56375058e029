"""A cure is named where it cures: tried on a copy, which leaves the model as it was."""

import random

import keras
import numpy as np
import pytest

import tfinit
from tfinit.diagnostics import diagnose

L = keras.layers
X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 64)
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(*layers, loss=LOGITS):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), *layers, L.Dense(3, name="out")])
    model.compile("sgd", loss)
    return model


BROKEN = {
    "the slope of √0": lambda h: keras.ops.sqrt(keras.ops.relu(h)),
    "exp": lambda h: keras.ops.exp(1e4 * h),
    "0 / 0": lambda h: h / (h - h),
}


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize("name", BROKEN)
def test_other_weights_are_no_cure_of_what_is_not_finite_by_itself(name):
    model = network(L.Dense(16, BROKEN[name], name="own"))
    finding = diagnose(model, X, Y).severe[0]
    assert (finding.kind, finding.layer, finding.code) == ("not finite", "own", "")
    assert "other initial weights do not mend it" in finding.cure


def test_where_the_own_line_does_not_do_another_that_does_is_named():
    """Weights that suit each layer are right for inputs of size 1, which these are not."""
    model = network(L.Dense(16, "softsign"), L.Dense(16, "softsign"))
    finding = next(f for f in diagnose(model, 100 * X, Y).findings if f.kind == "saturated")
    assert finding.severity == "warning" or "lsuv" in finding.code
    layers = [L.Dense(16, "tanh", kernel_initializer="he_normal") for _ in range(3)]
    model = network(*layers)
    for layer in layers:
        layer.kernel.assign(50 * layer.kernel)
    finding = next(f for f in diagnose(model, X, Y).severe if f.code)
    exec(finding.code, {"tfinit": tfinit, "model": model, "x": X})
    assert finding.kind not in {f.kind for f in diagnose(model, X, Y).severe}


@pytest.mark.backends
def test_a_trial_writes_nothing_and_draws_nothing():
    model = network(*[L.Dense(16, "relu", kernel_initializer="zeros") for _ in range(3)])
    before = [variable.numpy() for variable in model.variables]
    state = random.getstate(), np.random.get_state()[1].tolist()
    attributes = [dict(vars(layer)) for layer in model.layers]
    finding = diagnose(model, X, Y).severe[0]
    assert (finding.kind, finding.code) == ("twins", 'tfinit.initialize(model, "he")')
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state
    assert [dict(vars(layer)) for layer in model.layers] == attributes
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.backends
def test_an_attribute_of_a_layer_is_tried_and_left():
    model = network(L.Dense(16, "relu"), loss="mse")
    out = model.get_layer("out")
    out.activation = keras.activations.relu
    out.kernel.assign(-keras.ops.abs(out.kernel))
    finding = diagnose(model, X, X[:, :3]).severe[0]
    assert "activation =" in finding.code
    assert out.activation is keras.activations.relu
