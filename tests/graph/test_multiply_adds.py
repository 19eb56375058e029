"""Multiply-adds, against counts made by hand. Also runs with KERAS_BACKEND=jax and torch."""

import keras
import numpy as np
import pytest
from keras_hub_backbones import BACKBONES
from models_of_ones import on, ones

from tfinit.errors import InputError
from tfinit.pruning.counting.report import sparsity_report
from tfinit.variables import walk_layers

L = keras.layers


# Layer, input shape, multiply-adds: (entries of the kernels) × (positions).
BY_HAND = {
    "dense": (lambda: L.Dense(5), (3,), 15),
    "dense on a sequence": (lambda: L.Dense(5), (7, 3), 15 * 7),
    "conv1d causal": (lambda: L.Conv1D(4, 3, padding="causal"), (10, 2), 24 * 10),
    "conv1d dilated": (lambda: L.Conv1D(4, 3, dilation_rate=2), (10, 2), 24 * 6),
    "conv2d": (lambda: L.Conv2D(4, 3), (8, 8, 3), 108 * 36),
    "conv2d strided": (lambda: L.Conv2D(4, 3, 2, "same"), (8, 8, 3), 108 * 16),
    "conv2d groups": (lambda: L.Conv2D(6, 3, groups=2), (4, 4, 4), (9 * 2 * 6) * 4),
    "conv2d channels first": (
        lambda: L.Conv2D(4, 3, data_format="channels_first"),
        (3, 8, 8),
        108 * 36,
    ),
    "conv3d": (lambda: L.Conv3D(2, 2), (3, 3, 3, 1), 16 * 8),
    "conv1d transposed": (lambda: L.Conv1DTranspose(3, 4), (6, 2), 24 * 6),
    "conv2d transposed": (lambda: L.Conv2DTranspose(5, 3, 2, "same"), (4, 4, 2), 90 * 16),
    "conv3d transposed": (lambda: L.Conv3DTranspose(2, 2), (2, 2, 2, 3), 48 * 8),
    "depthwise1d": (lambda: L.DepthwiseConv1D(3), (5, 4), 12 * 3),
    "depthwise2d": (lambda: L.DepthwiseConv2D(3, depth_multiplier=2), (5, 5, 4), 72 * 9),
    "separable1d": (lambda: L.SeparableConv1D(6, 3, 2), (7, 4), (12 + 24) * 3),
    "separable2d": (lambda: L.SeparableConv2D(6, 3), (5, 5, 4), (36 + 24) * 9),
    "einsum": (lambda: L.EinsumDense("abc,cde->abde", (None, 2, 5)), (7, 3), 30 * 7),
    "einsum dots": (lambda: L.EinsumDense("...x,xy->...y", 5), (7, 3), 15 * 7),
    "einsum trailing dots": (
        lambda: L.EinsumDense("ab...,bc->ac...", (3, 5, 2)),
        (6, 5, 2),
        18 * 10,
    ),
    "einsum experts": (lambda: L.EinsumDense("bex,exy->bey", (4, 5)), (4, 3), 4 * 15),
    "embedding": (lambda: L.Embedding(100, 8), (5,), 0),
    "lstm": (lambda: L.LSTM(4), (6, 3), (48 + 64) * 6),
    "gru": (lambda: L.GRU(4), (6, 3), (36 + 48) * 6),
    "simple rnn": (lambda: L.SimpleRNN(4, unroll=True), (6, 3), (12 + 16) * 6),
    "bidirectional": (lambda: L.Bidirectional(L.LSTM(4)), (6, 3), 2 * (48 + 64) * 6),
    "stacked cells": (
        lambda: L.RNN([L.LSTMCell(4), L.GRUCell(5)]),
        (6, 3),
        (48 + 64 + 60 + 75) * 6,
    ),
    "conv lstm 1d": (
        lambda: L.ConvLSTM1D(2, 3, 2, return_sequences=True),
        (5, 9, 1),
        (24 + 48) * 5 * 4,
    ),
    "conv lstm 2d": (
        lambda: L.ConvLSTM2D(2, 3, padding="same", return_state=True),
        (5, 4, 4, 1),
        (72 + 144) * 5 * 16,
    ),
    "time distributed dense": (lambda: L.TimeDistributed(L.Dense(5)), (7, 3), 15 * 7),
    "time distributed conv": (lambda: L.TimeDistributed(L.Conv2D(4, 3)), (2, 5, 5, 1), 36 * 18),
    "spectral": (lambda: L.SpectralNormalization(L.Dense(5)), (3,), 15),
    "prelu": (lambda: L.PReLU(), (4, 3), 0),
    "group norm": (lambda: L.GroupNormalization(1), (4, 3), 0),
}


@pytest.mark.backends
@pytest.mark.parametrize("name", BY_HAND)
def test_multiply_adds_by_hand(name):
    layer, shape, expected = BY_HAND[name]
    inputs = keras.Input(shape)
    outputs = layer()(inputs)
    model = ones(keras.Model(inputs, outputs))
    total = sparsity_report(model).total
    assert (total.multiply_adds, total.multiply_adds_left) == (expected, expected)
    assert type(total.multiply_adds) is int
    assert total.parameters == model.count_params()
    # Half of the entries of each kernel: half of the multiply-adds. Biases are no matter.
    for weight in model.weights:
        half = np.zeros(int(np.prod(weight.shape)), "float32")
        half[: half.size // 2] = 1
        weight.assign(half.reshape(weight.shape))
    total = sparsity_report(model).total
    assert total.multiply_adds == expected
    kernels = [w for w in model.weights if len(w.shape) > 1]
    if all(np.prod(w.shape) % 2 == 0 for w in kernels):
        assert total.multiply_adds_left == expected // 2


def decoders(projections, matrices, more=0):
    """Two blocks on 5 tokens of 16 units: projections, queries with keys and values, the rest."""
    return 2 * (5 * projections + 5 * 5 * 16 * 2 + 5 * (matrices * 16 * 24) + 5 * more)


GROUPED = 2 * 16 * 16 + 2 * 16 * 8  # queries and output; keys and values of half as many heads
BY_KERAS_HUB = {
    "Llama": decoders(GROUPED, 3),
    # Each half of the gate has half of the 24.
    "Gemma": decoders(GROUPED, 1.5),
    # A router, and each of 3 experts on each token, as its einsums compute.
    "Mixtral": decoders(GROUPED, 3 * 3, more=16 * 3),
    # An encoder, and a decoder that attends to it too.
    "T5": 2 * decoders(4 * 256, 3) + 2 * (5 * 4 * 256 + 5 * 5 * 16 * 2),
}


@pytest.mark.parametrize("name", BY_KERAS_HUB)
def test_backbones_of_keras_hub_by_hand(name):
    model = ones(BACKBONES[name](pytest.importorskip("keras_hub").models))
    data = {name: np.ones((2, 5), "int32") for name in model.input}
    report = sparsity_report(model, data)
    expected = BY_KERAS_HUB[name]
    assert not report.notes and not any("rule" in record.note for record in report)
    assert (report.total.multiply_adds, report.total.multiply_adds_left) == (expected, expected)
    assert report.total.parameters == model.count_params()
    matrices = sum(int(np.prod(w.shape)) for w in model.weights if len(w.shape) >= 2)
    assert report.total.prunable == matrices


def mha(query, value):
    # With dropout: the other way, on JAX, needs values of the size of keys.
    return L.MultiHeadAttention(2, 4, value_dim=3, dropout=0.1, name="it")(query, value)


def axes(query, value):
    return L.MultiHeadAttention(1, 2, attention_axes=2, name="it")(query, query)


def grouped(query, value):
    return L.GroupQueryAttention(4, 4, 2, name="it")(query, query)


@pytest.mark.backends
@pytest.mark.parametrize(
    ("attend", "query", "value", "products", "total"),
    [
        # Queries × keys × heads × (key size + value size); query, key, value, output kernels.
        (mha, (5, 8), (7, 6), 5 * 7 * 2 * 7, 5 * 64 + 7 * 48 + 7 * 36 + 5 * 48 + 490),
        (axes, (4, 3, 8), (1,), 4 * 3 * 3 * 1 * 4, 4 * (12 * 16) + 144),
        (grouped, (5, 8), (1,), 5 * 5 * 4 * 8, 5 * (128 + 64 + 64 + 128) + 800),
        (
            lambda query, value: L.Attention(name="it")([query, value]),
            (5, 8),
            (7, 8),
            5 * 7 * 16,
            560,
        ),
        (
            lambda query, value: L.Attention(name="it", score_mode="concat")([query, value]),
            (5, 8),
            (7, 8),
            5 * 7 * 8,
            280,
        ),
        (
            lambda query, value: L.AdditiveAttention(name="it")([query, value]),
            (5, 8),
            (7, 8),
            5 * 7 * 16,
            560,
        ),
    ],
    ids=["multi-head", "axes", "grouped", "dot", "concat", "additive"],
)
def test_attention_by_hand(attend, query, value, products, total):
    inputs = keras.Input(query), keras.Input(value)
    model = ones(keras.Model(inputs, attend(*inputs)))
    report = sparsity_report(model)
    assert report["it"].multiply_adds == report["it"].multiply_adds_left == products
    assert report.total.multiply_adds == report.total.multiply_adds_left == total
    # The products have no weights that could be zero.
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape, "float32"))
    assert sparsity_report(model).total.multiply_adds_left == products


@pytest.mark.backends
def test_shared_and_nested_layers_count_at_every_call():
    small, large = keras.Input((6, 6, 2)), keras.Input((10, 10, 2))
    image = keras.Input((None, None, 2))
    x = L.Conv2D(3, 3, use_bias=False, name="conv")(image)
    backbone = keras.Model(image, L.Conv2D(3, 3, use_bias=False, name="conv_2")(x), name="back")
    pool = L.GlobalAveragePooling2D()
    head = L.Dense(5, use_bias=False, name="head")
    model = keras.Model([small, large], [head(pool(backbone(t))) for t in (small, large)])
    report = sparsity_report(ones(model))
    assert {r.key: r.multiply_adds for r in report} == {
        "back/conv": 54 * (16 + 64),
        "back/conv_2": 81 * (4 + 36),
        "head": 15 * 2,
    }
    assert report.total.parameters == model.count_params() == 54 + 81 + 15
    assert report.input_shapes == ((6, 6, 2), (10, 10, 2))


@pytest.mark.backends
def test_where_places_were_moved_to_the_axis_of_the_batch_the_model_is_run():
    x = keras.Input((4, 6))
    y = L.Dense(5, use_bias=False)(keras.ops.reshape(x, (-1, 6)))
    model = ones(keras.Model(x, keras.ops.reshape(y, (-1, 4, 5))))
    recorded, run = sparsity_report(model), sparsity_report(model, input_shape=(None, 4, 6))
    assert recorded[0].multiply_adds == run[0].multiply_adds != 30  # what the record would say


@keras.saving.register_keras_serializable("tests.report")
class Block(L.Layer):
    """A composite with a shape rule of its own, which hides its layers from symbolic calls."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.wide = L.Dense(8, name="wide")
        self.narrow = L.Dense(4, name="narrow")
        self.never = L.Dense(4, name="never")

    def build(self, shape):
        self.wide.build(shape)
        self.narrow.build((*shape[:-1], 8))
        self.never.build(shape)

    def compute_output_shape(self, shape):
        return (*shape[:-1], 4)

    def call(self, x, training=False):
        if training:
            return self.never(x)
        for _ in range(2):
            x = self.narrow(self.wide(x))
        return x


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.block = Block(name="block")
        self.out = L.Dense(3, name="out")

    def call(self, x):
        return self.out(self.block(x))


@pytest.mark.backends
def test_subclassed_model():
    model = Net()
    model(np.ones((5, 4), "float32"))
    report = sparsity_report(ones(model))
    assert {r.key: (r.multiply_adds, r.note) for r in report} == {
        "block/wide": (32 * 2, ""),
        "block/narrow": (32 * 2, ""),
        "block/never": (0, "not called"),
        "out": (12, ""),
    }
    # As on a sequence of 7.
    assert sparsity_report(model, (None, 7, 4)).total.multiply_adds == 7 * 140


@pytest.mark.backends
def test_composite_layer_in_a_functional_model():
    assert sparsity_report(on((4,), Block(name="block"))).total.multiply_adds == 128
    layer = Block(name="block")
    layer(np.ones((2, 4), "float32"))
    assert sparsity_report(ones(layer)).total.multiply_adds == 128


@pytest.mark.backends
def test_the_model_is_left_as_it_was():
    model = Net()
    x = np.ones((5, 4), "float32")
    before = keras.ops.convert_to_numpy(model(x))
    nodes = [len(layer._inbound_nodes) for _, layer in walk_layers(model)]
    sparsity_report(model)
    with pytest.raises(InputError):
        sparsity_report(model, (None, 3))
    for _, layer in walk_layers(model):
        assert "call" not in vars(layer)
    assert nodes == [len(layer._inbound_nodes) for _, layer in walk_layers(model)]
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(x)), before)


class Matrix(L.Layer):
    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], 2), name="kernel")

    def call(self, x):
        return x @ self.kernel


@pytest.mark.backends
def test_a_layer_without_a_rule_counts_nothing_and_says_so():
    report = sparsity_report(on((4,), L.Dense(3, name="fc"), Matrix(name="own")))
    assert report["own"].prunable == 6
    assert report["own"].multiply_adds == 0
    assert report["own"].note == "multiply-adds: no rule for Matrix"
    assert report.total.multiply_adds == 12
    assert report.notes == ("The total is without the multiply-adds of own: no rule.",)


@pytest.mark.backends
def test_own_recurrent_cells_have_no_rule():
    class Cell(L.Layer):
        state_size = output_size = 3

        def __init__(self):
            super().__init__(name="cell")
            self.dense = L.Dense(3, name="dense")

        def build(self, shape):
            self.dense.build((shape[0], shape[1] + 3))

        def call(self, x, states):
            y = self.dense(keras.ops.concatenate([x, states[0]], -1))
            return y, [y]

    report = sparsity_report(on((6, 2), L.RNN(Cell(), name="rnn")))
    assert report["rnn/cell/dense"].note == "multiply-adds: no rule for Dense"


@pytest.mark.backends
def test_a_cell_in_a_loop_of_ones_own():
    class Loop(L.Layer):
        def __init__(self):
            super().__init__(name="loop")
            self.cell = L.SimpleRNNCell(3, name="cell")

        def build(self, shape):
            self.cell.build((shape[0], shape[-1]))

        def call(self, x):
            y = keras.ops.zeros((x.shape[0] or 1, 3))
            for t in range(4):
                y, _ = self.cell(x[:, t], [y])
            return y

    layer = Loop()
    layer(np.ones((1, 4, 2), "float32"))
    assert sparsity_report(ones(layer)).total.multiply_adds == 4 * (6 + 9)


@pytest.mark.backends
def test_tied_embedding():
    if not hasattr(L, "ReversibleEmbedding"):
        pytest.skip("this Keras has no ReversibleEmbedding")
    tokens = keras.Input((5,), dtype="int32")
    embedding = L.ReversibleEmbedding(100, 8, name="tokens")
    hidden = L.Dense(8, name="fc")(embedding(tokens))
    report = sparsity_report(ones(keras.Model(tokens, embedding(hidden, reverse=True))))
    assert {r.key: r.multiply_adds for r in report} == {"tokens": 5 * 800, "fc": 5 * 64}


@pytest.mark.backends
@pytest.mark.parametrize("mode", ["int8", "int4"])  # of these two weights in a byte
def test_quantized(mode):
    model = on((8,), L.Dense(5, name="fc"))
    model.layers[0].quantize(mode)
    record = sparsity_report(model)["fc"]
    assert (record.multiply_adds, record.multiply_adds_left, record.note) == (40, 40, "")


def test_a_traced_function():
    """What tf.function has traced before, it would not run again on placeholders."""
    import tensorflow as tf

    class Traced(keras.Model):
        def __init__(self):
            super().__init__()
            self.fc = L.Dense(3, name="fc")

        @tf.function
        def call(self, x):
            return self.fc(x)

    model = Traced()
    x = np.ones((1, 4), "float32")
    before = model(x).numpy()
    assert sparsity_report(model)["fc"].multiply_adds == 12
    np.testing.assert_array_equal(model(x).numpy(), before)


def test_known_figures():
    """Of the papers, in multiply-adds: MobileNetV2 "300M", ResNet-50 "3.8 × 10⁹".

    Convolutions and dense layers count, over all output positions, those in the padding too.
    Keras's ResNet50 has the strides in the 1×1 convolutions, as the paper: 3.86, not 4.1.
    """
    mobile = keras.applications.MobileNetV2(weights=None)
    report = sparsity_report(mobile)
    assert report.total.multiply_adds == 300_774_272
    assert report.total.parameters == mobile.count_params() == 3_538_984
    resnet = keras.applications.ResNet50(weights=None)
    report = sparsity_report(resnet)
    assert report.total.multiply_adds == 3_857_973_248
    assert report.total.parameters == resnet.count_params() == 25_636_712
    assert report["conv1_conv"].multiply_adds == 7 * 7 * 3 * 64 * 112 * 112
