"""Rows 2, 3 and 7 of what can be pruned, where both Kerases or TensorFlow itself take part."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from tfinit.errors import InputError
from tfinit.pruning import (
    ConstantSparsity,
    SparseOptimizer,
    TfmotPruner,
    UpdatePruningStep,
    prune_low_magnitude,
    strip_pruning,
)
from tfinit.variables import prunable_weights

HALF = ConstantSparsity(0.5, begin_step=1, frequency=1)
X, Y = np.ones((8, 4), "float32"), np.ones((8, 2), "float32")


def network(k):
    return k.Sequential([k.layers.Input((4,)), k.layers.Dense(2, name="fc")])


def test_acceptance_02_a_tf_keras_model_goes_through_tfmot():
    model = prune_low_magnitude(network(tf_keras), HALF)
    assert isinstance(model, tf_keras.Sequential)
    assert type(model.layers[0]).__name__ == "PruneLowMagnitude"
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0, callbacks=[UpdatePruningStep()])
    stripped = strip_pruning(model)
    assert np.sum(stripped.layers[0].kernel.numpy() == 0) == 4
    assert isinstance(prune_low_magnitude(tf_keras.layers.Dense(2), HALF), tf_keras.layers.Wrapper)


def test_acceptance_02_layers_of_both_in_one_list():
    mixed = [keras.layers.Dense(2), tf_keras.layers.Dense(2)]
    with pytest.raises(InputError, match="mixes layers of Keras 3 and of tf_keras"):
        prune_low_magnitude(mixed, HALF)


def test_acceptance_02_the_optimizer_says_which_keras_it_is_for():
    with pytest.raises(InputError, match="`scope` is of tf_keras, and this optimizer is for Keras"):
        SparseOptimizer(keras.optimizers.SGD(), HALF, scope=network(tf_keras))
    for_keras_3 = r"must be a keras.optimizers.Optimizer of Keras 3, received tf_keras\.src\."
    with pytest.raises(InputError, match=for_keras_3):
        SparseOptimizer(tf_keras.optimizers.SGD(), HALF)


def test_acceptance_02_the_bridge_says_which_keras_it_is_for():
    with pytest.raises(InputError, match="tf_keras") as error:
        TfmotPruner(network(keras))
    assert "Keras 3" in str(error.value)


@pytest.mark.parametrize("make", [lambda: tf.ones((2, 2)), lambda: tf_keras.Input((4,))])
def test_acceptance_03_a_tensor_of_tensorflow_or_tf_keras(make):
    with pytest.raises(InputError, match=r"is a tensor .*: pass the layer or model"):
        prune_low_magnitude(make(), HALF)


class RawOperations(keras.Model):
    def __init__(self):
        super().__init__()
        self.fc = keras.layers.Dense(2, name="fc")
        self.shift = tf.Variable(tf.zeros((2, 2)))

    def call(self, x):
        return tf.nn.relu(tf.linalg.matmul(self.fc(x), tf.eye(2))) + self.shift[0]


def test_acceptance_07_raw_operations_of_tensorflow():
    model = prune_low_magnitude(RawOperations(), HALF)
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0)
    (kernel,) = prunable_weights(model).values()
    assert np.sum(kernel.numpy() == 0) == 4
    assert np.sum(strip_pruning(model).fc.kernel.numpy() == 0) == 4
