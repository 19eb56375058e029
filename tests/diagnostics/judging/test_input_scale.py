"""Rules about the scale of inputs: the fault, what looks like it and is none, and the cure."""

import keras
import numpy as np
import pytest
from diagnosed import LAYERS, SPARSE, cured, data, found, net, trains
from sklearn.datasets import load_digits, load_wine

from tfinit.diagnostics import diagnose


def scale(diagnosis):
    """The findings about the inputs' scale."""
    return [f for f in diagnosis.findings if f.kind == "scale jump" and f.fault == "inputs"]


def stack(*layers, size, units=3, loss=SPARSE, activation="softmax", rate=0.01):
    keras.utils.set_random_seed(1)
    head = LAYERS.Dense(units, activation, name="head")
    model = keras.Sequential([keras.Input((size,)), *layers, head])
    model.compile(keras.optimizers.Adam(rate), loss)
    return model


@pytest.mark.backends
def test_large_inputs_that_saturate_the_first_layer_are_the_cause():
    x, y = data()
    model = stack(LAYERS.Dense(16, "tanh", name="first"), LAYERS.Dense(16, "tanh"), size=6)
    diagnosis = diagnose(model, 1000 * x, y)
    assert [(f.kind, f.rule, f.fault) for f in diagnosis.severe] == [
        ("scale jump", "TFI062", "inputs")
    ]
    assert "of what 'first' makes of them is at the flat ends of tanh" in str(diagnosis.severe[0])
    assert {f.kind: f.severity for f in diagnosis.findings}["saturated"] == "warning"
    x, y = cured(diagnosis.severe[0], 1000 * x, y)
    assert diagnose(model, x, y).healthy
    assert trains(model, x, y)
    # Large weights saturate it, not inputs of size 1.
    model.layers[0].kernel.assign(1000 * model.layers[0].kernel)
    assert scale(diagnose(model, x, y)) == []


def test_pixels_are_divided_by_255():
    x, y = load_digits(return_X_y=True)
    pixels = (x[:128] / 16 * 255).astype("uint8")
    model = stack(LAYERS.Dense(32, "relu"), size=64, units=10)
    (finding,) = scale(diagnose(model, pixels, y[:128]))
    assert finding.severity == "severe"
    assert "The inputs have rms 123" in finding.evidence  # whole numbers too, which Keras casts
    assert finding.code == "x = x / 255"
    scaled, y = cured(finding, pixels, y[:128])
    assert diagnose(model, scaled, y).findings == []
    assert trains(model, scaled, y)
    begins = stack(LAYERS.Rescaling(1 / 255), LAYERS.Dense(32, "relu"), size=64, units=10)
    assert scale(diagnose(begins, pixels, y)) == []
    normal = stack(LAYERS.BatchNormalization(), LAYERS.Dense(32, "relu"), size=64, units=10)
    assert scale(diagnose(normal, pixels, y)) == []


def test_one_large_column_hides_the_others():
    x, y = load_wine(return_X_y=True)
    model = stack(LAYERS.Dense(32, "relu"), LAYERS.Dense(32, "relu"), size=13)
    (finding,) = scale(diagnose(model, x, y))
    assert finding.severity == "severe"
    assert "(column 12 varies by 314, half of the columns by at most 0.81)" in finding.evidence
    assert "and guessing gives 1.1 (among 3 classes)" in finding.evidence
    x, y = cured(finding, x, y)
    assert diagnose(model, x, y).healthy
    assert trains(model, x, y)


def test_a_regression_that_begins_far_beyond_its_targets():
    x, _ = data()
    y = x[:, 0] * x[:, 1]
    model = stack(LAYERS.Dense(16, "relu"), size=6, units=1, loss="mse", activation=None)
    (finding,) = diagnose(model, 300 * x, y).severe
    assert (finding.kind, finding.rule) == ("scale jump", "TFI062")
    assert "the outputs begin at rms" in finding.evidence
    assert scale(diagnose(model, x, y)) == []
    # Targets of the inputs' size are no fault of the inputs.
    assert [f.severity for f in scale(diagnose(model, 300 * x, 300 * x[:, 0]))] == ["warning"]


def test_inputs_too_small_to_be_seen():
    x, y = data()
    model = stack(LAYERS.Dense(16, "relu"), size=6)
    (finding,) = scale(diagnose(model, x / 5000, y))
    assert (finding.severity, finding.rule) == ("severe", "TFI064")
    assert [f.severity for f in scale(diagnose(model, x / 100, y))] == ["warning"]
    x, y = cured(finding, x / 5000, y)
    assert diagnose(model, x, y).healthy
    assert trains(model, x, y)
    # Bags of words: small shares in long rows.
    words = np.random.default_rng(0).random((96, 2000)) ** 40
    words = words / np.linalg.norm(words, axis=1, keepdims=True)
    model = stack(LAYERS.Dense(16, "relu"), size=2000)
    assert scale(diagnose(model, words, y)) == []


def test_ids_that_an_embedding_reads_have_no_scale():
    inputs = [keras.Input((5,)), keras.Input((6,))]
    word = LAYERS.Flatten()(LAYERS.Embedding(3000, 8)(inputs[0]))
    h = LAYERS.Concatenate()([word, LAYERS.Dense(8, "relu")(inputs[1])])
    model = keras.Model(inputs, LAYERS.Dense(3, "softmax")(h))
    model.compile("adam", SPARSE)
    x, y = data()
    ids = np.random.default_rng(0).integers(0, 3000, (96, 5))
    assert scale(diagnose(model, [ids, x], y)) == []
    assert scale(diagnose(model, [ids.astype("float32"), x], y)) == []
    (finding,) = scale(diagnose(net(size=5), ids, y))
    assert "looked up by an Embedding instead" in finding.cure
    assert found(diagnose(net(), x, y), "scale jump") == []
