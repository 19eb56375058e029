"""Measured variances against theory, layer by layer, forward and backward; acceptance item 1."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

from tfinit.errors import InputError
from tfinit.schemes import initialize

# Name, layer, input shape. Wide, with stride-free "valid" borders or none, so that edges do not
# dilute the sums; strided ones have windows that the stride divides.
LAYERS = {
    "Dense": (lambda: L.Dense(256), (256,)),
    "Conv1D": (lambda: L.Conv1D(96, 3), (40, 96)),
    "Conv2D": (lambda: L.Conv2D(64, 3), (20, 20, 64)),
    "Conv2D dilated": (lambda: L.Conv2D(64, 3, dilation_rate=2), (24, 24, 64)),
    "Conv2D strided": (lambda: L.Conv2D(64, 4, strides=2), (32, 32, 64)),
    "Conv3D": (lambda: L.Conv3D(24, 3), (10, 10, 10, 24)),
    "Conv2D grouped": (lambda: L.Conv2D(64, 3, groups=4), (20, 20, 64)),
    "DepthwiseConv1D": (lambda: L.DepthwiseConv1D(9), (40, 128)),
    "DepthwiseConv2D": (lambda: L.DepthwiseConv2D(5), (20, 20, 128)),
    "SeparableConv2D": (lambda: L.SeparableConv2D(128, 5), (20, 20, 128)),
    "Conv1DTranspose": (lambda: L.Conv1DTranspose(96, 4, strides=2), (40, 96)),
    "Conv2DTranspose": (lambda: L.Conv2DTranspose(64, 4, strides=2), (20, 20, 64)),
    "Conv3DTranspose": (lambda: L.Conv3DTranspose(24, 3), (9, 9, 9, 24)),
    "EinsumDense": (lambda: L.EinsumDense("abc,cde->abde", (20, 8, 32)), (20, 256)),
    "TimeDistributed": (lambda: L.TimeDistributed(L.Dense(128)), (10, 128)),
}


def standard(shape):
    return np.random.default_rng(3).normal(size=(8, *shape)).astype("float32")


def interior(values, cut):
    """The positions away from the borders, where every product of a sum is there."""
    spatial = values.ndim - 2
    return values[(slice(None), *[slice(cut, -cut)] * spatial, slice(None))] if spatial else values


@pytest.mark.parametrize("kind", LAYERS)
def test_fan_in_keeps_the_variance_forward(kind):
    make, shape = LAYERS[kind]
    model = keras.Sequential([keras.Input(shape), make()])
    initialize(model, "lecun", seed=1)
    outputs = model(standard(shape)).numpy()
    if "Transpose" in kind:
        outputs = interior(outputs, 4)
    variance = float(np.var(outputs))
    # The weights are the smallest sample: a depthwise kernel has some 1000. 3 standard errors of
    # their variance are 3 · √(2 / 1000) = 0.13; all the others are within 0.05.
    assert variance == pytest.approx(1, abs=0.13 if "epth" in kind or "Sep" in kind else 0.05)


@pytest.mark.parametrize("kind", LAYERS)
def test_fan_out_keeps_the_variance_backward(kind):
    make, shape = LAYERS[kind]
    model = keras.Sequential([keras.Input(shape), make()])
    initialize(model, "lecun", seed=1, mode="fan_out")
    inputs = tf.convert_to_tensor(standard(shape))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = model(inputs)
        noise = np.random.default_rng(4).normal(size=outputs.shape).astype("float32")
        loss = tf.reduce_sum(outputs * noise)
    gradient = tape.gradient(loss, inputs).numpy()
    cut = {1: 0, 2: 8, 3: 5, 4: 3}[len(shape)] if "Conv" in kind else 0
    gradient = interior(gradient, cut) if cut else gradient
    assert float(np.var(gradient)) == pytest.approx(
        1, abs=0.13 if "epth" in kind or "Sep" in kind else 0.06
    )


@pytest.mark.parametrize("attention", ["query", "value", "attention_output"])
@pytest.mark.parametrize(
    "make", [lambda: L.MultiHeadAttention(8, 32), lambda: L.GroupQueryAttention(32, 8, 4)]
)
def test_projections_of_attention_keep_the_variance(make, attention):
    inputs = keras.Input((6, 256))
    layer = make()
    model = keras.Model(inputs, layer(inputs, inputs))
    report = initialize(model, "lecun", seed=1)
    (record,) = [r for r in report if f"/{attention}/" in r.key]
    projection = next(x for x in layer._flatten_layers() if x.name == attention)
    shape = (6, 8, 32) if attention == "attention_output" else (6, 256)
    assert record.fan_in == 256
    assert float(np.var(projection(standard(shape)))) == pytest.approx(1, abs=0.05)


def test_embedding_rows_have_unit_variance():
    model = keras.Sequential([keras.Input((4,)), L.Embedding(500, 64)])
    initialize(model, "lecun", seed=1)
    outputs = model(np.random.default_rng(0).integers(0, 500, (64, 4)))
    assert float(np.var(outputs)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("make", "gates"), [(L.LSTM, 4), (L.GRU, 3), (L.SimpleRNN, 1)])
def test_each_gate_keeps_the_variance_of_inputs_and_of_states(make, gates):
    model = keras.Sequential([keras.Input((5, 128)), make(256)])
    initialize(model, "lecun", seed=1)
    cell = model.layers[0].cell
    for kernel, width in ((cell.kernel, 128), (cell.recurrent_kernel, 256)):
        made = standard((100, width)).reshape(-1, width) @ kernel.numpy()
        for gate in np.split(made, gates, axis=1):
            assert float(np.var(gate)) == pytest.approx(1, abs=0.05)


def test_he_undoes_what_the_activation_takes():
    model = keras.Sequential([keras.Input((512,)), L.Dense(512), L.LeakyReLU(0.3)])
    initialize(model, "he", seed=1)
    assert float(np.mean(np.square(model(standard((512,)))))) == pytest.approx(1, abs=0.05)


def test_gains_of_gates_are_their_activations():
    model = keras.Sequential([keras.Input((5, 64)), L.LSTM(64)])
    initialize(model, "he", seed=1)
    inputs, forget, candidate, output = np.split(model.layers[0].cell.kernel.numpy(), 4, axis=1)
    # 1 / √E[φ²] of sigmoid and tanh, over √64
    for gate, gain in ((inputs, 1.8463), (forget, 1.8463), (candidate, 1.5925), (output, 1.8463)):
        assert float(np.std(gate)) * 8 == pytest.approx(gain, rel=0.05)
    assert float(np.std(model.layers[0].cell.recurrent_kernel)) * 8 == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize("distribution", ["normal", "truncated_normal", "uniform"])
def test_distributions_have_the_variance_and_the_range(distribution):
    model = keras.Sequential([keras.Input((300,)), L.Dense(500, name="fc")])
    record = initialize(model, "xavier", seed=2, distribution=distribution)["fc/kernel"]
    kernel = model.layers[0].kernel.numpy() / record.std
    assert record.std == pytest.approx((2 / 800) ** 0.5)
    # 150 000 values: the standard error of the variance is 0.0037 at most
    assert float(np.var(kernel)) == pytest.approx(1, abs=0.015)
    largest = {"normal": 6, "truncated_normal": 2 / 0.8796256, "uniform": 3**0.5}[distribution]
    assert largest * 0.7 < float(np.abs(kernel).max()) <= largest * 1.00001


def test_biases_are_set_only_when_asked():
    model = keras.Sequential([keras.Input((3,)), L.Dense(2, bias_initializer="ones", name="fc")])
    initialize(model, "he", seed=1)
    assert model.layers[0].bias.numpy().tolist() == [1, 1]
    initialize(model, "he", seed=1, bias=0.25)
    assert model.layers[0].bias.numpy().tolist() == [0.25, 0.25]


@pytest.mark.parametrize(
    "options", [{"mode": "fan"}, {"distribution": "cauchy"}, {"gain": "relu"}, {"gain": 0.0}]
)
def test_bad_options_name_what_was_received(options):
    model = keras.Sequential([keras.Input((3,)), L.Dense(2)])
    with pytest.raises(InputError, match=str(next(iter(options.values())))):
        initialize(model, "he", seed=1, **options)
