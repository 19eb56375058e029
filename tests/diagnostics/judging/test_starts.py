"""How sure a network starts: in words that are true, of sigmoids too, and with a prior bias."""

import keras
import numpy as np
import pytest

from tfinit.diagnostics import diagnose

L = keras.layers
X = np.random.default_rng(0).normal(size=(200, 6)).astype("float32")
LABELS = (X[:, 0] > 0).astype("int32") + (X[:, 1] > 0)
YES = (X[:, :1] > 0).astype("float32")


def network(units, activation, loss, std=0.1, bias="zeros"):
    normal = keras.initializers.RandomNormal(stddev=std, seed=0)
    head = L.Dense(units, activation, kernel_initializer=normal, bias_initializer=bias, name="head")
    model = keras.Sequential([keras.Input((6,)), head])
    model.compile(keras.optimizers.Adam(0.02), loss)
    return model


def start(model, y):
    return [f for f in diagnose(model, X, y).findings if f.rule == "TFI008"]


@pytest.mark.parametrize(
    ("units", "activation", "loss", "y", "guess"),
    [
        (3, "softmax", "sparse_categorical_crossentropy", LABELS, 3),
        (1, "sigmoid", "binary_crossentropy", YES, 2),
        (1, None, keras.losses.BinaryCrossentropy(from_logits=True), YES, 2),
        (3, "sigmoid", "binary_crossentropy", (X[:, :3] > 0).astype("float32"), 2),
    ],
)
def test_a_start_that_is_sure_is_found(units, activation, loss, y, guess):
    (finding,) = start(network(units, activation, loss, std=20.0), y)
    assert (finding.severity, finding.fault, finding.layer) == ("severe", "initial", "head")
    assert f"among {guess} classes" in finding.evidence
    assert start(network(units, activation, loss), y) == []


def test_a_network_of_squares_is_told_of_no_cross_entropy():
    diagnosis = diagnose(network(3, "softmax", "mse", std=20.0), X, np.eye(3)[LABELS])
    assert diagnosis.measurement.start is None
    assert "cross-entropy before" not in str(diagnosis)


def test_a_bias_that_knows_how_rare_a_class_is_starts_below_guessing():
    rare = (X[:, :1] > 1.8).astype("float32")
    bias = keras.initializers.Constant(float(np.log(rare.mean() / (1 - rare.mean()))))
    model = network(1, "sigmoid", "binary_crossentropy", bias=bias)
    diagnosis = diagnose(model, X, rare)
    assert diagnosis.healthy
    assert diagnosis.measurement.start.cross_entropy < 0.3
    assert not {f.kind for f in diagnosis.findings} & {"confident start", "bias off"}


def test_inputs_that_make_a_network_sure_are_to_blame():
    findings = diagnose(
        network(3, "softmax", "sparse_categorical_crossentropy", std=0.4), 100 * X, LABELS
    ).findings
    (finding,) = (f for f in findings if f.rule == "TFI008")
    assert finding.fault == "inputs"
