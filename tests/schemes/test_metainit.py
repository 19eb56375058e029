"""The gradient quotient: its value where it is known, and that the scheme brings it down."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tests.schemes.test_lsuv import normal
from tfinit.schemes import initialize
from tfinit.schemes.metainit import _quotient
from tfinit.schemes.task import Task


def test_quotient_of_a_parabola_is_its_curvature():
    # ℓ = ½ c w² has g = c·w and H·g = c·g, so GQ = c but for ε.
    model = keras.Sequential([keras.Input((1,)), L.Dense(1, use_bias=False, name="w")])
    model.layers[0].kernel.assign([[2.0]])
    task = Task(model, 0)
    quotient, slopes = _quotient(
        task, task.kernels, np.ones((1, 1), "float32"), lambda y: 0.3 * keras.ops.sum(y**2) / 2
    )
    assert quotient == pytest.approx(0.3, rel=1e-3)
    assert abs(slopes[0]) < 1e-3


@pytest.mark.parametrize("factor", [3.0])
def test_norms_that_are_wrong_are_mended(factor):
    model = keras.Sequential(
        [keras.Input((16,)), *[L.Dense(16, "tanh") for _ in range(4)], L.Dense(4)]
    )
    initialize(model, "lecun", seed=1)
    for layer in model.layers:
        layer.kernel.assign(layer.kernel * factor)
    before = [layer.kernel.numpy() for layer in model.layers]
    report = initialize(model, "metainit", normal(64, 16), seed=1, steps=30, start=None)
    first, last = (float(part) for part in report.notes[0].split(": ")[1].split(" → "))
    assert last < first / 2
    for record, layer, kernel in zip(report, model.layers, before, strict=True):
        assert np.allclose(layer.kernel, kernel * record.scale, rtol=1e-3)
