"""Where a model cannot be traced its depth is a guess: the reason is told, nothing is severe."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfinit import diagnose, initialize


class Deep(keras.Model):
    """Ten layers whose weights are far too small."""

    def __init__(self, opaque):
        super().__init__()
        small = keras.initializers.RandomNormal(stddev=0.01, seed=0)
        self.parts = [L.Dense(16, "tanh", kernel_initializer=small) for _ in range(10)]
        self.opaque = opaque

    def call(self, x):
        if self.opaque and isinstance(x, keras.KerasTensor):
            raise ValueError("this code needs numbers")
        for part in self.parts:
            x = part(x)
        return x


@pytest.mark.parametrize(("opaque", "severity"), [(False, "severe"), (True, "warning")])
def test_vanishing_is_severe_only_where_depth_is_known(opaque, severity):
    model = Deep(opaque)
    x = np.random.default_rng(0).standard_normal((8, 16)).astype("float32")
    model(x)
    found = diagnose(model, x)
    assert {f.severity for f in found.findings if f.kind == "vanishing"} == {severity}
    told = [note for note in found.measurement.notes if "this code needs numbers" in note]
    assert len(told) == opaque
    report = initialize(model, "he", seed=0)
    assert ["this code needs numbers" in note for note in report.notes] == [True] * opaque
