"""Rules about targets: the fault, what looks like it and is none, and the cure, which trains."""

import keras
import numpy as np
import pytest
from diagnosed import LAYERS, cured, data, found, net, trains

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
