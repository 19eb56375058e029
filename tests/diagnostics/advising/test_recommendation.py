"""What a recommendation does to a model, prints and refuses."""

import doctest
import importlib
import json
import random

import keras
import numpy as np
import pytest
from chains import chain
from keras import layers as L

from tests.graph.test_tracing import transformer
from tfinit.diagnostics.advising.advice import recommend
from tfinit.errors import InputError
from tfinit.variables import all_weights, read_weights


def guarded():
    """A frozen layer, a normalization, a bias that a user set, and a shared layer."""
    shared = L.Dense(8, "relu", name="shared")
    kept = L.Dense(8, "relu", name="kept", trainable=False)
    inner = keras.Sequential([keras.Input((8,)), L.Dense(8, name="inside")], name="nested")
    inputs = keras.Input((8,))
    x = L.BatchNormalization(name="norm")(shared(kept(shared(inputs))))
    return keras.Model(inputs, L.Dense(3, name="out", bias_initializer="ones")(inner(x)))


def test_apply_touches_what_it_says_and_nothing_else():
    model = guarded()
    before = read_weights(all_weights(model))
    report = recommend(model).apply(seed=3)
    after = read_weights(all_weights(model))
    changed = {key for key in before if not np.array_equal(before[key], after[key])}
    assert changed == {"shared/kernel", "nested/inside/kernel", "out/kernel"}
    assert report["kept/kernel"].action == "kept"
    assert recommend(model)["kept/kernel"].initializer == "kept"
    assert '"kept"' not in recommend(model).code
    assert "bias_initializer" not in recommend(model).code
    model.get_layer("out").bias.assign([0.0, 0.0, 0.0])  # of a configuration that says ones
    assert 'bias_initializer="zeros"' in recommend(model).code


def test_a_bias_that_somebody_chose_is_kept_and_said():
    constant = keras.initializers.Constant(-4.6)
    model = chain(
        L.Dense(8, "relu", name="zeros"),
        L.Dense(8, "relu", name="pushed", bias_initializer="ones"),
        L.Dense(6, "relu", name="assigned"),
        L.BatchNormalization(name="norm", gamma_initializer="zeros"),
        L.Dense(4, "sigmoid", name="head", bias_initializer=constant),
    )
    frequencies = np.log([0.2, 0.1, 0.05, 0.3, 0.3, 0.05]).astype("float32")
    model.get_layer("assigned").bias.assign(frequencies)
    found = recommend(model)
    assert [(a.keeps, a.bias) for a in found] == [
        (False, 0),
        (True, None),
        (True, None),
        (True, None),
    ]
    assert "its bias is not zero (-4.6), so it is kept" in found["head/kernel"].why
    assert "(-2.996 to -1.204)" in found["assigned/kernel"].why
    assert [line.split()[-2] for line in str(found).splitlines()[1:5]] == [
        "0",
        "kept",
        "kept",
        "kept",
    ]
    report = found.apply(seed=1)
    assert report["head/kernel"].note == "LeCun; bias kept"
    for name, expected in (("zeros", 0), ("pushed", 1), ("assigned", frequencies), ("head", -4.6)):
        assert np.allclose(model.get_layer(name).bias, expected, atol=1e-6)
    assert not np.any(model.get_layer("norm").gamma)
    with pytest.raises(InputError, match="`bias` must be a number"):
        found.apply(seed=2, bias="zeros")
    report = found.apply(seed=2, bias=0.0)
    assert not any(np.any(layer.bias) for layer in model.layers if hasattr(layer, "bias"))
    assert report["head/kernel"].note == "LeCun"


def test_a_bias_behind_sigmoids_is_computed_again_unless_it_is_a_prior():
    model = chain(L.Dense(6, "sigmoid"), L.Dense(4, name="head"))
    head = model.get_layer("head")
    for seed in (1, 2):  # what the first `apply` wrote was nobody's choice
        recommend(model).apply(seed=seed)
        assert np.allclose(head.bias, -np.sum(head.kernel, axis=0) / 2, atol=1e-6)
    head.bias.assign([-4.6] * 4)
    found = recommend(model)
    assert (found[-1].keeps, found[-1].cancels) == (True, 0.5)
    assert "although what it reads has mean 0.5" in found[-1].why
    assert "apply" not in found.code
    found.apply(seed=3)
    assert np.allclose(head.bias, -4.6)
    found.apply(seed=3, bias=-4.6)
    assert np.allclose(head.bias, -4.6 - np.sum(head.kernel, axis=0) / 2, atol=1e-6)
    head.bias.assign([np.nan] * 4)
    recommend(model).apply(seed=3)
    assert np.isfinite(head.bias).all()


def test_seeds_and_only():
    model = guarded()
    found = recommend(model)
    found.apply(seed=3)
    first = read_weights(all_weights(model))
    found.apply(seed=4)
    other = read_weights(all_weights(model))
    assert not np.array_equal(first["out/kernel"], other["out/kernel"])
    report = found.apply(seed=3, only=["out/kernel"])
    mixed = read_weights(all_weights(model))
    assert np.array_equal(mixed["out/kernel"], first["out/kernel"])
    assert np.array_equal(mixed["shared/kernel"], other["shared/kernel"])
    assert [r.action for r in report] == ["kept", "kept", "kept", "set"]
    with pytest.raises(InputError, match="'nothing/kernel'"):
        found.apply(seed=5, only=["out/kernel", "nothing/kernel"])
    with pytest.raises(InputError, match="seed"):
        found.apply(seed=1.5)
    after = read_weights(all_weights(model))
    assert all(np.array_equal(mixed[key], after[key]) for key in mixed)


def test_an_error_on_the_way_puts_everything_back():
    model = guarded()
    before = read_weights(all_weights(model))

    def full(value):
        raise MemoryError

    model.get_layer("out").bias.assign = full
    with pytest.raises(MemoryError):
        recommend(model).apply(seed=1, bias=0.0)
    after = read_weights(all_weights(model))
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_recommend_leaves_model_and_seeds_alone():
    for model in (guarded(), transformer()):
        before, paths = read_weights(all_weights(model)), [w.path for w in model.weights]
        random.seed(1), np.random.seed(1)
        states = random.getstate(), np.random.get_state()[1].tolist()
        recommend(model)
        assert states == (random.getstate(), np.random.get_state()[1].tolist())
        after = read_weights(all_weights(model))
        assert all(np.array_equal(before[key], after[key]) for key in before)
        assert paths == [w.path for w in model.weights]


def test_the_table_and_the_dictionary():
    found = recommend(chain(L.Dense(4, "relu", name="fc"), L.Dense(2, name="out")))
    lines = str(found).splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [
        ["key", "layer"],
        ["fc/kernel", "Dense"],
        ["out/kernel", "Dense"],
    ]
    assert len({line.index("[") for line in lines[1:3]}) == 1
    assert lines[3] == f"[1] {found[0].why}."
    told = json.loads(json.dumps(found.to_dict()))
    assert told["advice"][0]["std"] == pytest.approx((2 / 16) ** 0.5)
    assert found.code.splitlines()[0] == "import tfinit"


def test_models_that_cannot_be_advised():
    with pytest.raises(InputError, match="not built"):
        recommend(keras.Sequential([L.Dense(2)]))
    with pytest.raises(InputError, match="no kernels"):
        recommend(chain(L.BatchNormalization()))
    with pytest.raises(InputError, match="Keras layer or model"):
        recommend("model")
    tf_keras = pytest.importorskip("tf_keras")
    with pytest.raises(InputError, match="tf_keras"):
        recommend(tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))]))


@pytest.mark.parametrize(
    "module",
    ["diagnostics.advising.advice", "diagnostics.advising.recommendation", "graph.nonlinearity"],
)
def test_examples_of_the_docstrings(module):
    activations = importlib.import_module("tfinit.graph.activations")
    names = {"keras": keras, "recommend": recommend, "Activation": activations.Activation}
    module = importlib.import_module(f"tfinit.{module}")
    assert doctest.testmod(module, extraglobs=names).failed == 0
