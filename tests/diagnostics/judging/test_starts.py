"""How sure a network starts, of sigmoids too, and with a prior bias; weights next to nothing."""

import keras
import numpy as np
import pytest
from diagnosed import losses_of

import tfinit
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


def three_layers(std, optimizer, last=None, normalized=False):
    keras.utils.set_random_seed(0)

    def drawn():
        return keras.initializers.RandomNormal(stddev=std, seed=None)

    head = L.Dense(1, "sigmoid", kernel_initializer=last or drawn())
    layers = [L.Dense(16, "tanh", kernel_initializer=drawn()) for _ in range(2)]
    between = [L.LayerNormalization()] if normalized else []
    model = keras.Sequential([keras.Input((6,)), layers[0], *between, layers[1], head])
    model.compile(optimizer, "binary_crossentropy")
    return model


def tiny(model):
    return [f.severity for f in diagnose(model, X, YES).findings if f.rule == "TFI011"]


def test_weights_that_are_next_to_nothing_are_found_and_cured():
    model = three_layers(1e-4, keras.optimizers.SGD(0.1, momentum=0.9))
    (finding,) = diagnose(model, X, YES).severe
    assert (finding.rule, finding.fault) == ("TFI011", "initial")
    losses = losses_of(model, X, YES, 30)
    assert losses[-1] == pytest.approx(losses[0], rel=0.02)
    exec(finding.code, {"tfinit": tfinit, "model": model})
    assert diagnose(model, X, YES).healthy
    assert losses_of(model, X, YES, 30)[-1] < 0.8 * losses[0]


def test_small_weights_that_grow_at_once_are_no_finding():
    sgd = keras.optimizers.SGD(0.1, momentum=0.9)
    # Adam's steps are as large as its rate, up to its ε.
    assert tiny(three_layers(1e-4, keras.optimizers.Adam(0.003))) == []
    assert tiny(three_layers(1e-8, keras.optimizers.Adam(0.003))) == ["severe"]
    # A last layer of zeros grows in the first step, and a normalization takes the scale out again.
    assert tiny(three_layers(0.4, sgd, last="zeros")) == []
    assert tiny(three_layers(1e-4, sgd, normalized=True)) == []
