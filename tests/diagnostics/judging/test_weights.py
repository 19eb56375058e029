"""Weights that start equal across layers, biases of gates, and where a NaN begins."""

import keras
import numpy as np
import pytest
from diagnosed import found, trains

import tfinit
from tfinit.diagnostics import diagnose

L = keras.layers
X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
Y = np.digitize(X[:, 0], [-0.5, 0.5]).astype("int32")
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def branches(initializers, merge):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    parts = [L.Dense(16, "relu", kernel_initializer=i)(inputs) for i in initializers]
    model = keras.Model(inputs, L.Dense(3)(merge(parts)))
    model.compile(keras.optimizers.Adam(0.02), LOGITS, jit_compile=False)
    return model


def test_branches_of_one_seeded_initializer_are_twins_and_their_cure_parts_them():
    one = keras.initializers.GlorotUniform(seed=1)
    model = branches([one, one], L.Add())
    finding = next(f for f in diagnose(model, X, Y).findings if f.kind == "twins")
    assert finding.severity == "warning"
    assert "hold the same numbers and get the same updates" in finding.evidence
    assert finding.fault == "initial"
    exec(finding.code, {"tfinit": tfinit, "model": model})
    assert found(diagnose(model, X, Y), "twins") == []
    assert trains(model, X, Y)


def test_equal_numbers_that_training_parts_are_a_note_and_others_are_nothing():
    one = keras.initializers.GlorotUniform(seed=1)
    assert found(diagnose(branches([one, one], L.Concatenate()), X, Y), "twins") == ["note"]
    own = [keras.initializers.GlorotUniform(seed=n) for n in range(2)]
    assert found(diagnose(branches(own, L.Add()), X, Y), "twins") == []


def gated(bias):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8,))
    x = L.Dense(32, "relu")(inputs)
    for _ in range(2):
        start = keras.initializers.Constant(bias)
        gate = L.Dense(32, "sigmoid", bias_initializer=start)(0.2 * x)
        x = gate * L.Dense(32, "relu")(x) + (1 - gate) * x
    model = keras.Model(inputs, L.Dense(3)(x))
    model.compile(keras.optimizers.Adam(0.01), LOGITS, jit_compile=False)
    return model


def test_the_bias_of_a_gate_is_no_fault_where_the_gate_has_a_slope():
    """Srivastava et al. 2015 start the gates of highway networks at -1 to -3."""
    assert found(diagnose(gated(-2.0), X, Y), "bias off") == []
    assert found(diagnose(gated(-12.0), X, Y), "bias off") == ["severe"]


PLACES = {
    "forward": (L.Lambda(lambda h: keras.ops.log(h - 1e9), name="suspect"), "what it reads"),
    "backward": (L.Lambda(keras.ops.sqrt, name="suspect"), "it comes back through"),
}


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("way", PLACES)
def test_the_place_of_a_nan_is_the_operation_that_makes_it(way):
    suspect, told = PLACES[way]
    layers = [L.Dense(16, "relu"), suspect, L.Dropout(0.1), L.Dense(3, name="out")]
    model = keras.Sequential([keras.Input((8,)), *layers])
    (finding,) = diagnose(model, X, Y).severe
    assert (finding.kind, finding.layer, finding.fault) == ("not finite", "suspect", "activation")
    assert told in finding.evidence.lower()
    assert "'suspect' (Lambda)." in finding.evidence


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_nan_in_an_operation_of_a_functional_model_and_in_the_loss():
    inputs = keras.Input((8,))
    h = L.Dense(16, "relu")(inputs)
    model = keras.Model(inputs, L.Dense(3)(h / keras.ops.sum(h - h, axis=-1, keepdims=True)))
    (finding,) = diagnose(model, X, Y).severe
    assert "(Divide)" in finding.evidence or "(TrueDivide)" in finding.evidence
    model = keras.Sequential([keras.Input((8,)), L.Dense(1)])
    (finding,) = diagnose(model, X, X[:, :1], loss=lambda y, p: keras.ops.log(p * 0 - 1.0)).severe
    assert finding.fault == "loss"


def test_the_verdict_of_a_healthy_network_has_its_first_warning():
    one = keras.initializers.GlorotUniform(seed=1)
    diagnosis = diagnose(branches([one, one], L.Add()), X, Y)
    assert diagnosis.verdict.startswith("Healthy: ")
    assert "A warning: 'dense" in diagnosis.verdict
    assert diagnosis.verdict.endswith(f"`{diagnosis.findings[0].code}`")


def test_a_transformer_of_space_begins_at_the_identity_by_its_bias():
    """A kernel of zeros and a bias of ones, on purpose: the first step moves the kernel."""
    inputs = keras.Input((8,))
    h = L.Dense(16, "relu")(inputs)
    scale = L.Dense(8, kernel_initializer="zeros", bias_initializer="ones")(h)
    model = keras.Model(inputs, L.Dense(3)(L.Dense(16, "relu")(inputs * scale)))
    model.compile("adam", LOGITS)
    assert found(diagnose(model, X, Y), "bias off") == []


def test_a_single_example_tells_nothing_of_dead_units():
    model = keras.Sequential([keras.Input((8,)), L.Dense(64, "relu"), L.Dense(3)])
    assert found(diagnose(model, X[:1], Y[:1]), "dead units") == []
