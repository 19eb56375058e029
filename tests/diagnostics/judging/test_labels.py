"""Rules about targets: the fault, what looks like it and is none, and the cure, which trains."""

import keras
import numpy as np
import pytest
from diagnosed import LAYERS, cured, data, found, net, trains

import tfinit
from tfinit.diagnostics import diagnose


@pytest.mark.backends
def test_targets_that_are_nan_are_left_out():
    x, _ = data()
    y = x[:, :1] - x[:, 1:2]
    y[::7] = np.nan
    model = net(1, None, "mse")
    diagnosis = diagnose(model, x, y)
    (finding,) = diagnosis.severe
    assert (finding.kind, finding.rule, finding.fault) == ("missing targets", "TFI040", "labels")
    assert "14 of 96 targets are NaN" in finding.evidence
    assert np.isfinite(diagnosis.measurement.loss)  # the rest of the network is still seen
    assert np.isnan(diagnosis.measurement.outputs[0].targets).sum() == 14
    x, y = cured(finding, x, y)
    assert len(x) == 82
    assert diagnose(model, x, y).healthy
    assert trains(model, x, y)


def test_a_loss_that_leaves_nan_out_is_its_own_affair():
    def masked(y, outputs):
        known = keras.ops.isfinite(y)
        return keras.ops.where(known, keras.ops.where(known, y, 0.0) - outputs, 0.0) ** 2

    x, _ = data()
    y = x[:, :1].copy()
    y[::7] = np.nan
    assert found(diagnose(net(1, None, masked), x, y), "missing targets") == []
    plain = diagnose(net(1, None, lambda y, outputs: (y - outputs) ** 2), x, y)
    assert found(plain, "missing targets") == ["severe"]


@pytest.mark.backends
def test_classes_below_0_are_numbered_anew():
    x, y = data()
    model = net()
    finding = diagnose(model, x, y - 1).severe[0]
    assert (finding.kind, finding.layer, finding.fault) == ("negative labels", "head", "labels")
    assert "go from -1 to 1: 32 of 96 are below 0" in finding.evidence
    x, y = cured(finding, x, y - 1)
    assert diagnose(model, x, y).healthy
    assert trains(model, x, y)
    bare = keras.Sequential([keras.Input((6,)), LAYERS.Dense(3)])  # not compiled
    assert diagnose(bare, x, y - 1).severe[0].kind == "negative labels"


def test_a_class_that_the_loss_leaves_out_is_none_below_0():
    x, y = data()
    left_out = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)
    assert found(diagnose(net(loss=left_out), x, y - 1), "negative labels") == []
    assert found(diagnose(net(loss=left_out), x, y - 2), "negative labels") == ["severe"]
    # Numbers that are no class numbers may be any.
    assert found(diagnose(net(1, None, "mse"), x, y - 7), "negative labels") == []


@pytest.mark.backends
def test_labels_that_were_scaled_with_the_images():
    x, y = data()
    model = net()
    finding = diagnose(model, x, y / 255).severe[0]
    assert (finding.kind, finding.rule, finding.fault) == (
        "fractions for classes",
        "TFI042",
        "labels",
    )
    assert "64 of 96 targets are fractions, from 0 to 0.00784" in finding.evidence
    assert "3 different values become 1" in finding.evidence
    assert "divided by 255" in finding.cure
    x, whole = cured(finding, x, y / 255)
    assert np.array_equal(whole, y)
    assert diagnose(model, x, whole).healthy
    assert trains(model, x, whole)
    # Whole numbers as floats are class numbers; fractions of a regression are what they are.
    assert diagnose(net(), x, y.astype("float32")).healthy
    assert diagnose(net(1, None, "mse"), x, y / 3).healthy


def test_fractions_of_any_kind_and_in_binary_cross_entropy():
    x, y = data()
    standard = (y - y.mean()) / y.std()
    (finding,) = (f for f in diagnose(net(), x, standard).severe if "fractions" in f.kind)
    assert set(cured(finding, x, standard)[1]) == {0, 1, 2}
    binary = net(1, "sigmoid", "binary_crossentropy")
    finding = diagnose(binary, x, (y > 0) / 255).severe[0]
    assert finding.kind == "fractions for classes"
    assert set(cured(finding, x, (y > 0) / 255)[1]) == {0, 1}
    for near in ((y > 0) * 0.9 + 0.05, (y > 0) * 0.9, y / 2):  # smoothed, of one side, soft
        assert found(diagnose(binary, x, near), "fractions for classes") == []


def test_targets_that_are_all_the_same():
    x, y = data()
    ones, one_hot = np.ones(96), np.eye(3)[np.ones(96, int)]
    told = diagnose(net(loss="categorical_crossentropy"), x, one_hot)
    (finding,) = (f for f in told.severe if f.kind == "constant targets")
    assert "All 96 targets are of class 1" in finding.evidence
    assert finding.fault == "labels"
    for model in (net(), net(1, "sigmoid", "binary_crossentropy"), net(1, None, "mse")):
        assert found(diagnose(model, x, ones), "constant targets") == ["severe"]
        assert found(diagnose(model, x[:20], ones[:20]), "constant targets") == ["warning"]
    assert found(diagnose(net(), x, y), "constant targets") == []
    pairs = np.repeat([[0.5, 2.0]], 96, 0)  # two numbers for each, the same for all
    (finding,) = diagnose(net(2, None, "mse"), x, pairs).severe
    assert "All 96 targets are alike" in finding.evidence


def test_constant_targets_that_are_meant():
    x, _ = data()
    ones = np.ones((96, 1))
    own = net(1, None, lambda y, outputs: -outputs)  # a loss that reads no targets
    assert found(diagnose(own, x, ones), "constant targets") == []
    judge = net(1, "sigmoid", "binary_crossentropy")
    judge.trainable = False
    keras.utils.set_random_seed(1)
    gan = keras.Sequential([keras.Input((6,)), LAYERS.Dense(6, "tanh"), judge])
    gan.compile("adam", "binary_crossentropy")
    assert found(diagnose(gan, x, ones), "constant targets") == ["warning"]


def test_a_class_of_nearly_all_examples_is_no_severe_fault():
    x, _ = data(400)
    score = x[:, 0] + x[:, 1]
    y = (score > np.quantile(score, 0.985)).astype(int)
    model = net(1, "sigmoid", "binary_crossentropy")
    diagnosis = diagnose(model, x, y)
    assert diagnosis.healthy
    (finding,) = (f for f in diagnosis.findings if f.kind == "imbalance")
    assert (finding.severity, finding.fault) == ("warning", "labels")
    assert "98.5% of the targets are of class 0" in finding.evidence
    assert "class_weight={0: 0.508, 1: 33.3}" in finding.cure
    before = diagnosis.measurement.loss
    exec(finding.code, {"tfinit": tfinit, "model": model, "y": y})
    assert diagnose(model, x, y).measurement.loss < before / 3
    assert trains(model, x, y)
    rare = diagnose(net(), x, np.where(y, 2, 0) + (score < -2.5))
    assert found(rare, "imbalance") == ["note"]
    # As many rare labels as one likes, each on its own; and halves.
    several = (np.random.default_rng(0).random((400, 3)) < 0.02).astype("float32")
    assert found(diagnose(net(3, "sigmoid", "binary_crossentropy"), x, several), "imbalance") == []
    assert found(diagnose(model, x, score > 0), "imbalance") == []
