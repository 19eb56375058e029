"""Another activation in the hidden layers: which, and what stays."""

import keras
import numpy as np
import pytest

from tfinit.comparison.hidden_activations import with_activation
from tfinit.errors import InputError

L = keras.layers


def compiled(model):
    model.compile(keras.optimizers.SGD(0.25, momentum=0.5), "sparse_categorical_crossentropy")
    return model


def test_hidden_ones_are_replaced_at_any_depth_and_the_rest_stays():
    inner = keras.Sequential([keras.Input((4,)), L.Dense(4, "relu", name="deep")], name="inner")
    x = keras.Input((6,))
    y = L.Dense(4, "elu", name="a")(x)
    y = inner(y)
    y = L.Dense(4, name="linear")(y)
    y = L.BatchNormalization(name="norm")(y)
    y = L.LeakyReLU(name="leaky")(y)
    y = L.ReLU(name="rectified")(y)
    model = compiled(keras.Model(x, L.Dense(3, "softmax", name="output")(y)))
    model.get_layer("a").bias.assign([1.0, 2.0, 3.0, 4.0])
    model.get_layer("norm").moving_mean.assign([1.0, 2.0, 3.0, 4.0])
    copy = with_activation(model, "tanh")
    names = {
        name: copy.get_layer(name).activation.__name__
        for name in ("a", "linear", "leaky", "rectified", "output")
    }
    assert names == {
        "a": "tanh",
        "linear": "linear",
        "leaky": "tanh",
        "rectified": "tanh",
        "output": "softmax",
    }
    assert copy.get_layer("inner").get_layer("deep").activation.__name__ == "tanh"
    assert model.get_layer("a").activation.__name__ == "elu"
    assert float(copy.optimizer.learning_rate) == 0.25
    assert copy.optimizer.momentum == 0.5
    np.testing.assert_array_equal(copy.get_layer("a").bias.numpy(), [1, 2, 3, 4])
    np.testing.assert_array_equal(copy.get_layer("norm").moving_mean.numpy(), [1, 2, 3, 4])


def test_it_computes_with_the_function():
    layers = [keras.Input((4,)), L.Dense(3, "relu", name="a"), L.Dense(2, name="b")]
    copy = with_activation(compiled(keras.Sequential(layers)), keras.activations.softsign)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    before = x @ copy.get_layer("a").kernel.numpy()
    expected = (before / (1 + abs(before))) @ copy.get_layer("b").kernel.numpy()
    np.testing.assert_allclose(copy(x), expected, rtol=1e-4, atol=1e-6)


class Own(keras.Model):
    def build(self, shape):
        self.built = True

    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Own(), "Functional or Sequential model, received Own. Give `build_model` a parameter"),
        (keras.Sequential([keras.Input((4,)), L.Dense(2, "relu")]), "no hidden activation"),
    ],
)
def test_errors(model, message):
    with pytest.raises(InputError, match=message):
        with_activation(compiled(model), "tanh")


class Sine(L.Layer):
    def call(self, x):
        return keras.ops.sin(x)


def test_activations_by_any_name_are_replaced_or_refused():
    layers = [L.Dense(4, keras.ops.sin), L.Dense(4), Sine(name="own"), L.Lambda(keras.ops.cos)]
    layers = [keras.Input((4,)), *layers, L.Dropout(0.5), L.Dense(2, "sigmoid")]
    copy = with_activation(compiled(keras.Sequential(layers)), "tanh")
    names = [getattr(getattr(layer, "activation", None), "__name__", "") for layer in copy.layers]
    assert names == ["tanh", "linear", "tanh", "tanh", "", "sigmoid"]

    inputs = keras.Input((4,))
    x = keras.ops.sin(L.Dense(4, "relu")(inputs))
    model = compiled(keras.Model(inputs, keras.ops.sin(L.Dense(2)(x))))
    with pytest.raises(InputError, match="computes sin by the operation 'sin"):
        with_activation(model, "tanh")
