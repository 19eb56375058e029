"""Data may be tensors of the backend, of PyTorch's also those that NumPy cannot read by itself.

Those lie on a GPU, or follow gradients: here the latter, which need no GPU.
"""

import keras
import numpy as np
import pytest

import tfinit
from tfinit import arguments
from tfinit.datasets import Dataset, from_arrays
from tfinit.pruning import prune_after_training
from tfinit.training.checks import checked

pytestmark = pytest.mark.backends
L = keras.layers
X = np.random.default_rng(0).normal(size=(12, 4)).astype("f4")
Y = np.arange(12, dtype="i4") % 3


def tensor(values):
    made = keras.ops.convert_to_tensor(values)
    follows = keras.backend.backend() == "torch" and made.is_floating_point()
    return made.requires_grad_() if follows else made


def network():
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def test_an_array_is_its_numbers():
    np.testing.assert_array_equal(arguments.array("x", tensor(X)), X)


def test_a_split_has_the_numbers():
    data = from_arrays((tensor(X), tensor(Y)), validation=(X, Y), test=(X, Y))
    np.testing.assert_array_equal(data.train[0], X)


def test_examples_in_a_list_are_stacked():
    data = from_arrays(([tensor(x) for x in X], Y), validation=(X, Y), test=(X, Y))
    np.testing.assert_array_equal(data.train[0], X)


def test_a_loop_takes_them():
    data = checked(network(), Dataset("made up", (tensor(X), tensor(Y)), None, (X, Y), 3))
    np.testing.assert_array_equal(data.train[0], X)


def test_they_are_diagnosed_as_arrays_are():
    model = network()
    found = tfinit.diagnose(model, tensor(X), tensor(Y))
    assert str(found) == str(tfinit.diagnose(model, X, Y))


def test_they_calibrate_pruning():
    models = [network(), network()]
    models[1].set_weights(models[0].get_weights())
    for model, x in zip(models, (X, tensor(X)), strict=True):
        prune_after_training(model, x, 0.5, score="wanda")
    for mine, theirs in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(mine, theirs)
