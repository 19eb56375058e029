"""SynFlow's law, in the range of any dtype; its formula by hand is in `test_before_training.py`."""

import keras
import numpy as np
import pytest
from scored_networks import conv_net, normal

from tfinit.errors import InputError
from tfinit.pruning.scoring import before_training as scores

L = keras.layers


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_synaptic_flow_is_conserved_from_layer_to_layer(activation):
    found = scores.synflow(conv_net(activation))
    sums = [score.sum(dtype="float64") for score in found.values()]
    assert len(sums) == 4
    np.testing.assert_allclose(sums, sums[0], rtol=1e-6)


@pytest.mark.backends
def test_synflow_sends_ones_past_the_offsets_of_preprocessing():
    layers = [
        L.Rescaling(2.0, offset=[-3.0] * 4),
        L.Normalization(mean=[5.0] * 4, variance=[1.0] * 4),
    ]
    model = keras.Sequential([keras.Input((4,)), *layers, L.Dense(3, name="a")])
    expected = 2 * abs(model.layers[-1].kernel.numpy())
    np.testing.assert_allclose(scores.synflow(model)["a/kernel"], expected, rtol=1e-5)
    assert model.layers[0].offset == [-3.0] * 4
    np.testing.assert_array_equal(np.ravel(model.layers[1].mean), [5.0] * 4)


@pytest.mark.backends
# In the range of float64, and beyond, to either side.
@pytest.mark.parametrize(("scale", "depth"), [(1e3, 60), (1e-3, 200), (1e3, 200)])
def test_synflow_of_a_deep_net_stays_in_range(scale, depth):
    """60 layers of gain 1e±3: R is 1e±180. The ratios are those of layers of gain 1."""
    kernels = [abs(normal(4, 4, seed=i)) * scale for i in range(depth)]
    model = keras.Sequential([keras.Input((4,)), *[L.Dense(4, use_bias=False) for _ in kernels]])
    model.set_weights(kernels)
    found = list(scores.synflow(model).values())
    sums = [score.sum(dtype="float64") for score in found]
    np.testing.assert_allclose(sums, sums[0], rtol=1e-4)
    forward, backward = [np.ones(4)], [np.ones(4)]
    for kernel in kernels:
        forward.append(forward[-1] @ (kernel / scale).astype("float64"))
    for kernel in reversed(kernels):
        backward.append((kernel / scale).astype("float64") @ backward[-1])
    for i in (0, 40, depth - 1):
        expected = np.outer(forward[i], backward[depth - 1 - i]) * kernels[i]
        np.testing.assert_allclose(found[i] / found[i].sum(), expected / expected.sum(), rtol=1e-4)


def test_synflow_of_a_deep_residual_net_is_exact():
    """60 branches of gain 1e3: beyond float32, and no layer may be scaled alone."""
    kernels = [abs(normal(4, 4, seed=i)) * 1e3 for i in range(60)]
    x = inputs = keras.Input((4,))
    for _ in kernels:
        x = L.Add()([x, L.Dense(4, "relu", use_bias=False)(x)])
    model = keras.Model(inputs, x)
    model.set_weights(kernels)
    found = scores.synflow(model)
    forward, backward = [np.ones(4)], [np.ones(4)]
    for kernel in kernels:
        forward.append(forward[-1] + forward[-1] @ kernel.astype("float64"))
    for kernel in reversed(kernels):
        backward.append(backward[-1] + kernel.astype("float64") @ backward[-1])
    for i, score in enumerate(found.values()):
        expected = np.outer(forward[i], backward[59 - i]) * kernels[i]
        np.testing.assert_allclose(score, expected, rtol=1e-6)


def test_synflow_in_the_models_own_dtypes_where_float64_does_not_fit():
    import tensorflow as tf

    class Fixed(L.Layer):
        def call(self, x):
            return x * tf.constant([1.0, 2.0, 3.0])  # of float32

    model = keras.Sequential([keras.Input((4,)), L.Dense(3, name="a"), Fixed()])
    a = abs(model.layers[0].kernel.numpy())
    np.testing.assert_allclose(scores.synflow(model)["a/kernel"], a * [1, 2, 3], rtol=1e-6)
    for scale in (1e30, 1e-30):  # and scaled
        model.layers[0].kernel.assign(a * scale)
        found = scores.synflow(model)["a/kernel"]
        np.testing.assert_allclose(
            found / found.sum(), a * [1, 2, 3] / (a * [1, 2, 3]).sum(), rtol=1e-5
        )


@pytest.mark.backends
def test_synflow_of_half_precision():
    layers = [L.Dense(64, "relu", dtype="mixed_float16") for _ in range(8)]
    model = keras.Sequential([keras.Input((64,)), *layers])
    found = scores.synflow(model)
    sums = [score.sum() for score in found.values()]
    assert sums[0] > 65504
    np.testing.assert_allclose(sums, sums[0], rtol=1e-6)


def test_synflow_takes_the_shape_of_x_where_the_model_leaves_it_open():
    model = keras.Sequential(
        [keras.Input((None, None, 3)), L.Conv2D(4, 3), L.GlobalMaxPooling2D(), L.Dense(2)]
    )
    with pytest.raises(InputError, match="Pass an example"):
        scores.synflow(model)
    first = scores.synflow(model, normal(2, 6, 6, 3))
    second = scores.synflow(model, normal(1, 6, 6, 3, seed=1))
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])


def test_synflow_says_when_the_output_does_not_depend_on_the_weights():
    model = keras.Sequential([keras.Input((4,)), L.Dense(3), L.Lambda(lambda x: x * 0.0)])
    with pytest.raises(InputError, match="zero everywhere"):
        scores.synflow(model)
