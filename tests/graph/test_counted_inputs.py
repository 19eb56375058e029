"""For which inputs the multiply-adds of a model are counted, and what is said where none fit."""

import keras
import numpy as np
import pytest
from models_of_ones import on, ones

from tfinit.errors import InputError
from tfinit.pruning.counting.report import sparsity_report

L = keras.layers


@pytest.mark.backends
def test_several_inputs():
    class Two(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = L.Dense(3, name="a"), L.Dense(3, name="b")

        def call(self, left, right):
            return self.a(left) + self.b(right)

    model = Two()
    model(np.ones((2, 4), "float32"), np.ones((2, 5), "float32"))
    # Keras keeps the first shape only.
    report = sparsity_report(model)
    assert report.total.multiply_adds is None
    assert "missing a required argument: 'right'. Pass" in report.notes[0]
    shapes = {"left": (None, 4), "right": (None, 5)}
    assert sparsity_report(model, shapes).total.multiply_adds == 12 + 15
    shapes = {"left": (None, 6, 4), "right": (None, 6, 5)}
    assert sparsity_report(model, shapes).total.multiply_adds == 6 * (12 + 15)

    inputs = {"left": keras.Input((4,), name="left"), "right": keras.Input((5,), name="right")}
    summed = L.Dense(3)(inputs["left"]) + L.Dense(3)(inputs["right"])
    functional = keras.Model(inputs, summed)
    assert sparsity_report(functional).total.multiply_adds == 12 + 15
    shapes = {"left": (None, 4), "right": (None, 5)}
    assert sparsity_report(functional, shapes).total.multiply_adds == 12 + 15


@pytest.mark.backends
def test_unknown_axes_are_asked_for():
    model = on((None, None, 3), L.Conv2D(4, 3, name="conv"), L.GlobalAveragePooling2D())
    report = sparsity_report(model)
    assert report["conv"].parameters == 112
    assert report["conv"].multiply_adds is report.total.multiply_adds is None
    assert report.total.multiply_adds_left is None
    assert "unknown" in str(report).splitlines()[3]
    assert "(None, None, None, 3). Pass sparsity_report(model, input_shape=" in report.notes[0]
    assert sparsity_report(model, (None, 8, 8, 3)).total.multiply_adds == 108 * 36
    with pytest.raises(InputError, match="must be known but for the batch axis"):
        sparsity_report(model, (None, None, 8, 3))


@pytest.mark.backends
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 8, 3), "must have the axes"),
        ([(None, 8, 8, 3)] * 2, "must have the axes"),
        ((None, 8, 8, 4), r"expected axis -1 of input shape to have value 3.*\. Pass an"),
        ("8x8x3", "must be a shape"),
        (7, "must be a shape"),
        ((None, 8.0, 8, 3), "must be a shape"),
        ((None, 8, 0, 3), "must be known"),
    ],
)
def test_wrong_input_shapes(shape, message):
    with pytest.raises(InputError, match=r"`input_shape`.*" + message):
        sparsity_report(on((8, 8, 3), L.Conv2D(4, 3), L.Flatten(), L.Dense(2)), shape)


@pytest.mark.backends
def test_the_batch_size_does_not_matter():
    stateful = L.LSTM(4, stateful=True)
    model = ones(keras.Sequential([keras.Input(batch_shape=(8, 6, 3)), stateful, L.Dense(2)]))
    assert sparsity_report(model).total.multiply_adds == (48 + 64) * 6 + 8
    model = on((8, 8, 3), L.Conv2D(4, 3), L.GlobalAveragePooling2D(), L.Dense(2))
    assert sparsity_report(model, (32, 8, 8, 3)).total.multiply_adds == 108 * 36 + 8


@pytest.mark.backends
def test_a_model_that_cannot_run_on_placeholders():
    class Eager(keras.Model):
        def __init__(self):
            super().__init__()
            self.fc = L.Dense(3, name="fc")

        def call(self, x):
            if keras.ops.is_tensor(x) and getattr(self, "broken", False):
                raise RuntimeError("needs values\nand more")
            return self.fc(x)

    model = Eager()
    model(np.ones((2, 4), "float32"))
    model.broken = True
    report = sparsity_report(model)
    assert report["fc"].parameters == 15
    assert report.total.multiply_adds is None
    assert "(2, 4): needs values. Pass" in report.notes[0]
