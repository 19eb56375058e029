"""The output's biases from the targets: against the loss that the prior alone has."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfinit.comparison.initializations import names, read_schemes
from tfinit.demo.menu import initializations as menu
from tfinit.errors import InputError
from tfinit.models import initializations
from tfinit.schemes import initialize

RARE = np.array([0] * 80 + [1] * 15 + [2] * 5)
ODDS = np.array([[1.0]] * 10 + [[0.0]] * 90)
PRIOR = np.array([80.5, 15.5, 5.5]) / 101.5


def network(units, activation=None, **kwargs):
    kwargs = {"kernel_initializer": "zeros", "name": "head", **kwargs}
    return keras.Sequential([keras.Input((4,)), L.Dense(units, activation, **kwargs)])


def of_squares(units):
    model = network(units)
    model.compile("sgd", "mse")
    return model


def bias(model, name="head"):
    return keras.ops.convert_to_numpy(model.get_layer(name).bias)


@pytest.mark.parametrize("y", [RARE, RARE[:, None], np.eye(3)[RARE]])
@pytest.mark.parametrize("activation", ["softmax", None])
def test_classes_get_the_logarithms_of_their_shares(y, activation):
    model = network(3, activation)
    sparse = "sparse_" if y.shape[-1] != 3 else ""
    kind = getattr(keras.losses, f"{'Sparse' if sparse else ''}CategoricalCrossentropy")
    model.compile("sgd", kind(from_logits=activation is None))
    report = initialize(model, "output_bias", y)
    np.testing.assert_allclose(bias(model), np.log(PRIOR), rtol=1e-5)
    assert report["head/bias"].note == "log prior, -2.92 to -0.232"
    x = np.random.default_rng(0).normal(size=(100, 4))
    entropy = -np.mean(np.log(PRIOR)[RARE])
    assert model.evaluate(x, y, verbose=0) == pytest.approx(entropy, rel=1e-4)


@pytest.mark.backends
def test_one_output_of_two_classes_gets_their_log_odds():
    for activation, loss in (("sigmoid", "mse"), (None, "binary_crossentropy")):
        model = network(1, activation)
        model.compile("sgd", loss)
        initialize(model, "output_bias", ODDS)
        np.testing.assert_allclose(bias(model), [np.log(10.5 / 90.5)], rtol=1e-5)
    several = network(2, "sigmoid")
    initialize(several, "output_bias", np.hstack([ODDS, 1 - ODDS]))
    np.testing.assert_allclose(bias(several), np.log(10.5 / 90.5) * np.array([1, -1]), rtol=1e-5)


@pytest.mark.parametrize("activation", [None, "linear", "relu", "softplus", "exponential", "tanh"])
def test_numbers_get_their_mean(activation):
    scale = 0.01 if activation == "tanh" else 1.0
    y = scale * np.array([[10.0, 40.0], [30.0, 40.0]])
    model = network(2, activation)
    initialize(model, "output_bias", y)
    out = model.predict(np.zeros((1, 4)), verbose=0)
    np.testing.assert_allclose(out, scale * np.array([[20.0, 40.0]]), rtol=1e-5)


def test_each_output_gets_its_own_and_the_kernels_stay():
    inputs = keras.Input((4,))
    outputs = {
        "kind": L.Dense(3, "softmax", name="a")(inputs),
        "size": L.Dense(1, name="b")(inputs),
    }
    model = keras.Model(inputs, outputs)
    before = [w.numpy() for w in (model.get_layer("a").kernel, model.get_layer("b").kernel)]
    sizes = np.arange(100.0)
    report = initialize(model, "output_bias", {"kind": RARE, "size": sizes})
    assert [record.action for record in report] == ["set", "set"]
    np.testing.assert_allclose(bias(model, "a"), np.log(PRIOR), rtol=1e-5)
    np.testing.assert_allclose(bias(model, "b"), [49.5], rtol=1e-6)
    after = [w.numpy() for w in (model.get_layer("a").kernel, model.get_layer("b").kernel)]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    report = initialize(model, "output_bias", {"size": sizes + 1})
    assert [(r.action, r.note) for r in report] == [("kept", "no targets"), ("set", "mean, 50.5")]


def test_pixels_are_classes_too():
    model = keras.Sequential([keras.Input((4, 4, 1)), L.Conv2D(3, 1, name="head")])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    initialize(model, "output_bias", np.resize(RARE, (25, 2, 2)))
    np.testing.assert_allclose(bias(model), np.log(PRIOR), rtol=1e-5)


REFUSED = {
    "no bias": lambda: (network(3, "softmax", use_bias=False), RARE),
    "frozen": lambda: (network(3, "softmax", trainable=False), RARE),
    "its targets are no classes of 2": lambda: (network(2, "softmax"), RARE),
    "its targets are not in": lambda: (network(1, "sigmoid"), ODDS - 1),
    "relu does not reach the mean": lambda: (network(1, "relu"), -ODDS),
    "what becomes a mean behind sin": lambda: (network(1, keras.ops.sin), ODDS),
    "it has 2 units": lambda: (of_squares(2), np.ones((5, 3))),
    "batch_normalization and softmax behind it": lambda: (
        keras.Sequential([network(3), L.BatchNormalization(), L.Softmax()]),
        RARE,
    ),
    "none NaN or infinite": lambda: (network(1), ODDS * np.nan),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_has_no_such_bias_is_refused(why):
    model, y = REFUSED[why]()
    before = [w.numpy() for w in model.weights]
    with pytest.raises(InputError, match=why):
        initialize(model, "output_bias", y)
    assert all(np.array_equal(a, w.numpy()) for a, w in zip(before, model.weights, strict=True))


def test_targets_are_asked_for_and_compared_with_the_outputs():
    with pytest.raises(InputError, match=r'needs the targets .*"output_bias", y\)'):
        initialize(network(1), "output_bias")
    inputs = keras.Input((4,))
    two = keras.Model(inputs, [L.Dense(1, name="a")(inputs), L.Dense(1, name="b")(inputs)])
    with pytest.raises(InputError, match="one array for each of the outputs a, b"):
        initialize(two, "output_bias", ODDS)
    with pytest.raises(InputError, match="targets, are of c; the outputs of `model` are a, b"):
        initialize(two, "output_bias", {"c": ODDS})


def test_it_is_no_initialization_to_start_from():
    assert "output_bias" not in {*names(), *initializations(), *menu()}
    with pytest.raises(InputError, match="`schemes` must be among"):
        read_schemes(["output_bias"])
