"""Losses and metrics that do not suit the task, and what is right beside them."""

import keras
import numpy as np
import pytest
from diagnosed import losses_of

from tfinit.diagnostics import diagnose

L, LOSSES = keras.layers, keras.losses
SPARSE, CATEGORICAL = "sparse_categorical_crossentropy", "categorical_crossentropy"
BINARY = "binary_crossentropy"
X = np.random.default_rng(0).normal(size=(96, 6)).astype("float32")
LABELS = (X[:, 0] > 0).astype("int32") + (X[:, 1] > 0)
ONE_HOT = np.eye(3, dtype="float32")[LABELS]
YES = (X[:, :1] > 0).astype("float32")
NUMBERS = X[:, :1] + 0.5 * X[:, 1:2]


def network(units=1, activation=None, loss="mse", metrics=None):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6,)), L.Dense(16, "relu"), L.Dense(units, activation, name="head")]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.02), loss, metrics=metrics)
    return model


def found(model, y, rule):
    return [(f.severity, f.fault) for f in diagnose(model, X, y).findings if f.rule == rule]


def learns(model, y, steps=60):
    losses = losses_of(model, X, y, steps)
    return losses[-1] < 0.6 * losses[0]


def test_several_classes_under_the_binary_loss():
    finding = diagnose(network(1, "sigmoid", BINARY), X, LABELS).severe[0]
    assert (finding.rule, finding.fault) == ("TFI028", "head")
    assert ("head", "units", 3) in finding.changes
    assert found(network(1, "sigmoid", BINARY), LABELS, "TFI028")[1:] == [("warning", "loss")]
    assert learns(network(3, "softmax", SPARSE), LABELS)


@pytest.mark.parametrize(
    ("low", "high", "code"),
    [(-1, 1, "y = (y + 1) / 2"), (1, 2, "y = y - 1"), (0, 255, "y = y / 255")],
)
def test_labels_other_than_zero_and_one_under_the_binary_loss(low, high, code):
    model, y = network(1, "sigmoid", BINARY), low + (high - low) * YES
    (finding,) = diagnose(model, X, y).severe
    assert (finding.rule, finding.fault, finding.code) == ("TFI028", "labels", code)
    assert found(network(1, None, BINARY), y, "TFI028") == [("severe", "labels")]
    names = {"y": y}
    exec(finding.code, names)
    assert diagnose(model, X, names["y"]).healthy
    assert learns(model, names["y"])


def test_numbers_under_the_binary_loss():
    model = network(1, "sigmoid", BINARY)
    finding = next(f for f in diagnose(model, X, NUMBERS).severe if f.rule == "TFI028")
    assert finding.fault == "loss"
    bare = diagnose(network(1, None, BINARY), X, NUMBERS)
    assert {(f.rule, f.fault) for f in bare.severe} == {("TFI028", "loss")}  # not the head's
    exec(finding.code, {"model": model, "keras": keras})
    assert diagnose(model, X, NUMBERS).healthy
    assert learns(model, NUMBERS)


def test_pixels_as_targets_of_the_binary_loss():
    y = np.round(255 * np.clip(X / 6 + 0.5, 0, 1))
    model = network(6, "sigmoid", BINARY)
    finding = next(f for f in diagnose(model, X, y).severe if f.rule == "TFI028")
    assert (finding.fault, finding.code) == ("targets", "y = y / 255")
    assert diagnose(model, X, y / 255).healthy
    assert found(model, np.clip(y / 255, 0.1, 0.9), "TFI028") == []  # an autoencoder's targets


def test_a_categorical_loss_of_labels_times_weights_may_be_meant():
    y = ONE_HOT * NUMBERS  # as policy gradients are written
    model = network(3, "softmax", CATEGORICAL)
    assert diagnose(model, X, y).healthy
    assert [severity for severity, _ in found(model, y, "TFI028")] == ["warning"]


SQUARES = [
    (network(3, "softmax"), ONE_HOT, "warning"),
    (network(3, "sigmoid", "mae"), ONE_HOT, "severe"),
    (network(3), ONE_HOT, "warning"),
    (network(1, "sigmoid"), YES, "warning"),
    (network(1), YES, "note"),
    (network(1, metrics=["accuracy"]), YES, "warning"),
    (network(1, metrics=["accuracy"]), LABELS, "severe"),
]


@pytest.mark.parametrize("case", range(len(SQUARES)))
def test_squares_for_classes(case):
    model, y, severity = SQUARES[case]
    (finding,) = (f for f in diagnose(model, X, y).findings if f.rule == "TFI029")
    assert (finding.severity, finding.fault) == (severity, "loss")
    if finding.code:
        exec(finding.code, {"model": model, "keras": keras})
        assert diagnose(model, X, y).findings == []
        assert learns(model, y)
    else:
        assert ("head", "units", 3) in finding.changes


def test_squares_for_numbers_are_no_finding():
    for y in (NUMBERS, LABELS, np.round(5 * NUMBERS), np.zeros((96, 1))):
        assert found(network(), y, "TFI029") == []


def test_absolute_errors_of_classes_behind_sigmoids_hardly_teach():
    for hidden, severity in (("sigmoid", "severe"), ("relu", "warning")):
        layers = [keras.Input((6,)), L.Dense(4, hidden), L.Dense(1, "sigmoid")]
        model = keras.Sequential(layers)
        model.compile("sgd", "mae")
        assert found(model, YES, "TFI029") == [(severity, "loss")]


def test_the_binary_loss_of_many_classes_behind_sigmoids_hardly_teaches():
    labels = np.arange(96) % 64
    for hidden, severity in (("sigmoid", "severe"), ("relu", "warning")):
        layers = [keras.Input((6,)), L.Dense(16, hidden), L.Dense(64, "sigmoid")]
        model = keras.Sequential(layers)
        model.compile("adam", BINARY)
        assert found(model, np.eye(64)[labels], "TFI030") == [(severity, "loss")]


def test_the_binary_loss_of_one_hot():
    for activation in ("softmax", "sigmoid"):
        model = network(3, activation, BINARY)
        (finding,) = (f for f in diagnose(model, X, ONE_HOT).findings if f.rule == "TFI030")
        assert (finding.severity, finding.fault) == ("warning", "loss")
        exec(finding.code, {"model": model, "keras": keras})
        assert diagnose(model, X, ONE_HOT).findings == []
        assert learns(model, ONE_HOT)
    tags = (X[:, :3] > 0).astype("float32")
    assert diagnose(network(3, "sigmoid", BINARY), X, tags).findings == []


METRICS = [
    (network(metrics=["accuracy"]), NUMBERS, "warning"),
    (network(3, "softmax", BINARY, ["binary_accuracy"]), ONE_HOT, "warning"),
    (network(3, "softmax", SPARSE, [keras.metrics.CategoricalAccuracy()]), LABELS, "warning"),
    (network(1, None, LOSSES.BinaryCrossentropy(from_logits=True), ["accuracy"]), YES, "note"),
    (network(metrics=["mae"]), NUMBERS, None),
    (network(3, "softmax", SPARSE, ["accuracy"]), LABELS, None),
    (network(1, "sigmoid", BINARY, ["accuracy", keras.metrics.AUC()]), YES, None),
]


@pytest.mark.parametrize("case", range(len(METRICS)))
def test_metrics_that_do_not_fit(case):
    model, y, severity = METRICS[case]
    severities = [severity for severity, _ in found(model, y, "TFI031")]
    assert severities == ([] if severity is None else [severity])


def test_one_loss_that_outweighs_the_other():
    inputs = keras.Input((6,))
    h = L.Dense(8, "relu")(inputs)
    outputs = [L.Dense(1, name="price")(h), L.Dense(3, "softmax", name="kind")(h)]
    model = keras.Model(inputs, outputs)
    losses = {"price": "mse", "kind": SPARSE}
    model.compile(keras.optimizers.Adam(0.02), losses)
    findings = diagnose(model, X, [100 * NUMBERS, LABELS]).findings
    (finding,) = (f for f in findings if f.rule == "TFI033")
    assert (finding.severity, finding.layer) == ("warning", "price")
    assert found(model, [NUMBERS, LABELS], "TFI033") == []
    model.compile(keras.optimizers.Adam(0.02), losses, loss_weights={"price": 1e-4, "kind": 1.0})
    assert found(model, [100 * NUMBERS, LABELS], "TFI033") == []
    assert learns(model, [100 * NUMBERS, LABELS])


def test_losses_that_need_another_range():
    hinge = network(1, "sigmoid", "hinge")
    (finding,) = diagnose(hinge, X, 2 * YES - 1).severe
    assert (finding.rule, finding.fault) == ("TFI036", "head")
    exec(finding.code, {"model": hinge, "keras": keras})
    assert found(hinge, 2 * YES - 1, "TFI036") == []
    assert learns(hinge, 2 * YES - 1)
    counts = np.round(np.exp(NUMBERS))
    poisson = network(1, None, "poisson")
    (finding,) = (f for f in diagnose(poisson, X, counts).findings if f.rule == "TFI037")
    assert finding.severity == "severe"
    exec(finding.code, {"model": poisson, "keras": keras})
    assert diagnose(poisson, X, counts).healthy
    before, *_, after = losses_of(poisson, X, counts, 60)
    assert after < before - 0.3  # Poisson losses may be negative
