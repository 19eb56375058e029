"""Outputs that cannot reach the targets, squeezed logits, Dropout behind the output."""

import keras
import numpy as np
import pytest
from diagnosed import losses_of

from tfinit.diagnostics import diagnose

L, LOSSES = keras.layers, keras.losses
SPARSE, BINARY, SQUARES = "sparse_categorical_crossentropy", "binary_crossentropy", "mse"
X = np.random.default_rng(0).normal(size=(96, 6)).astype("float32")
LABELS = (X[:, 0] > 0).astype("int32") + (X[:, 1] > 0)
YES = (X[:, :1] > 0).astype("float32")
NUMBERS = X[:, :1] + 0.5 * X[:, 1:2]
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"

pytestmark = pytest.mark.filterwarnings("ignore:.*received `from_logits=True`")


def network(*head, loss):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), L.Dense(16, "relu"), *head])
    model.compile(keras.optimizers.Adam(0.02), loss)
    return model


def found(model, y, rule):
    return [(f.severity, f.fault) for f in diagnose(model, X, y).findings if f.rule == rule]


def learns(model, y, steps=60, share=0.6):
    losses = losses_of(model, X, y, steps)
    return losses[-1] < share * losses[0]


LOGITS = LOSSES.SparseCategoricalCrossentropy(from_logits=True)


@pytest.mark.backends
def test_probabilities_that_are_said_to_be_logits():
    """On TensorFlow Keras takes what is before the softmax, so that the network learns."""
    model = network(L.Dense(3, "softmax"), loss=LOGITS)
    (finding,) = (f for f in diagnose(model, X, LABELS).findings if f.rule == "TFI025")
    assert (finding.severity, finding.fault) == ("warning" if ON_TENSORFLOW else "severe", "loss")
    assert "below 0.551" in finding.evidence  # log(1 + 2/e)
    exec(finding.code, {"model": model})
    assert diagnose(model, X, LABELS).findings == []
    assert learns(model, LABELS)
    sigmoid = network(L.Dense(1, "sigmoid"), loss=LOSSES.BinaryCrossentropy(from_logits=True))
    assert len(found(sigmoid, YES, "TFI025")) == 1
    assert not found(network(L.Dense(3), loss=LOGITS), LABELS, "TFI025")


def test_softmax_of_what_is_squeezed_already():
    twice = network(L.Dense(3, "softmax"), L.Softmax(), loss=SPARSE)
    (finding,) = diagnose(twice, X, LABELS).severe
    assert (finding.rule, finding.fault) == ("TFI026", "head")
    assert tuple(finding.changes[0])[1:] == ("activation", None)
    assert not learns(twice, LABELS, share=0.5)  # log(1 + 2/e) / log(3)
    for activation, loss in (("tanh", SPARSE), ("relu", SPARSE)):
        model = network(L.Dense(3, activation), L.Softmax(), loss=loss)
        assert found(model, LABELS, "TFI026") == [("warning", "head")]
    assert found(network(L.Dense(3, "tanh"), loss=LOGITS), LABELS, "TFI026")
    capped = network(L.Dense(3, "tanh"), L.Rescaling(3.0), loss=LOGITS)
    once = network(L.Dense(3), L.Softmax(), loss=SPARSE)
    for model in (capped, once):
        assert diagnose(model, X, LABELS).findings == []
        assert learns(model, LABELS)


REACH = [
    ("sigmoid", 3 + NUMBERS, "severe"),
    ("relu", NUMBERS, "severe"),
    ("softplus", NUMBERS, "severe"),
    ("tanh", 0.8 * NUMBERS, "warning"),
    ("tanh", 10 * NUMBERS, "severe"),
    ("sigmoid", 2 * YES - 1, "severe"),
]


@pytest.mark.parametrize(("activation", "y", "severity"), REACH)
def test_targets_that_the_head_cannot_reach(activation, y, severity):
    model = network(L.Dense(1, activation), loss=SQUARES)
    (finding,) = (f for f in diagnose(model, X, y).findings if f.rule == "TFI027")
    assert (finding.severity, finding.fault) == (severity, "head")
    exec(finding.code, {"model": model, "keras": keras})
    assert not [f for f in diagnose(model, X, y).findings if f.rule == "TFI027"]
    assert learns(model, y, steps=100)


def test_softmax_reaches_no_targets_of_another_sum():
    y = np.clip(X[:, :3] / 6 + 0.5, 0, 1)
    assert found(network(L.Dense(3, "softmax"), loss=SQUARES), y, "TFI027") == [("severe", "head")]
    assert found(network(L.Dense(3, "softmax"), loss="mae"), np.eye(3)[LABELS], "TFI027") == []


def test_several_labels_out_of_reach_of_softmax_are_told_one_cure():
    """That head and loss change together: without softmax alone they would not go together."""
    several = (X[:, :3] > 0).astype("float32")
    severe = diagnose(network(L.Dense(3, "softmax"), loss=SQUARES), X, several).severe
    assert [f.rule for f in severe] == ["TFI034"]


@pytest.mark.parametrize(
    ("head", "y"),
    [
        ([L.Dense(1, "sigmoid")], np.clip(NUMBERS / 8 + 0.5, 0, 1)),
        ([L.Dense(1, "tanh")], np.clip(NUMBERS / 4, -1, 1)),
        ([L.Dense(1, "relu")], abs(NUMBERS)),
        ([L.Dense(1, "tanh"), L.Rescaling(5.0)], 4 * np.tanh(NUMBERS)),
        ([L.Dense(1, "leaky_relu")], NUMBERS),
        ([L.Dense(1)], 100 * NUMBERS),
    ],
)
def test_targets_in_reach_are_no_finding(head, y):
    assert found(network(*head, loss=SQUARES), y, "TFI027") == []


def test_dropout_behind_the_output():
    model = network(L.Dense(3, "softmax"), L.Dropout(0.5, name="drop"), loss=SPARSE)
    (finding,) = diagnose(model, X, LABELS).severe
    assert (finding.rule, finding.layer, finding.fault) == ("TFI032", "drop", "head")
    for rate, severity in ((0.6, "severe"), (0.1, "warning")):
        numbers = network(L.Dense(1), L.Dropout(rate, seed=1), loss=SQUARES)
        assert found(numbers, NUMBERS, "TFI032") == [(severity, "head")]
    before = network(L.Dropout(0.2), L.Dense(3, "softmax"), loss=SPARSE)
    assert diagnose(before, X, LABELS).findings == []
    assert learns(before, LABELS)
