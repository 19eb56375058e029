"""Rows 6 to 9 of what users of Keras pruning tripped over: which layers and weights of a model.

The number in a test's name is that of the row.
"""

import keras
import numpy as np
import pytest
from keras import layers, ops
from pruned_in_one_step import (
    HALF,
    sequential,
    train,
    values,
    zeros,
)

from tfinit.pruning import (
    ConstantSparsity,
    PrunableLayer,
    SparseOptimizer,
    get_masks,
    prune_low_magnitude,
    sparsity_report,
)
from tfinit.variables import find_prunable, weight_name

backends = pytest.mark.backends


# -- 6: nested models ------------------------------------------------------------------------------


def backbone():
    inputs = layers.Input((6, 6, 1))
    x = layers.Conv2D(4, 3, name="conv1")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = keras.Sequential([layers.ReLU(), layers.Conv2D(2, 3, name="conv2")], name="block")(x)
    return keras.Model(inputs, x, name="backbone")


def transfer(base):
    inputs = layers.Input((6, 6, 1))
    x = base(inputs, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


IMAGES = np.random.default_rng(1).normal(size=(8, 6, 6, 1)).astype("float32")


def test_acceptance_06_a_backbone_is_pruned_inside():
    model = train(prune_low_magnitude(transfer(backbone()), HALF), IMAGES)
    assert zeros(model) == {
        "backbone/conv1/kernel": (18, 36),
        "backbone/block/conv2/kernel": (36, 72),
        "head/kernel": (3, 6),
    }


def test_acceptance_06_only_the_backbone():
    base = prune_low_magnitude(backbone(), HALF)
    model = train(transfer(base), IMAGES)
    assert zeros(model) == {
        "backbone/conv1/kernel": (18, 36),
        "backbone/block/conv2/kernel": (36, 72),
        "head/kernel": (0, 6),
    }
    assert zeros(base) == {"conv1/kernel": (18, 36), "block/conv2/kernel": (36, 72)}


def test_acceptance_06_a_frozen_backbone_is_pruned_once_it_is_unfrozen():
    base = backbone()
    base.trainable = False
    model = train(prune_low_magnitude(transfer(base), HALF), IMAGES)
    frozen = {"backbone/conv1/kernel": (0, 36), "backbone/block/conv2/kernel": (0, 72)}
    assert zeros(model) == frozen | {"head/kernel": (3, 6)}
    base.trainable = True
    train(model, IMAGES, optimizer=keras.optimizers.SGD(0.01))
    assert zeros(model) == {
        "backbone/conv1/kernel": (18, 36),
        "backbone/block/conv2/kernel": (36, 72),
        "head/kernel": (3, 6),
    }


class Block(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [layers.Dense(4, name="first"), {"inner": sequential()}]

    def call(self, x):
        return self.parts[1]["inner"](self.parts[0](x))


@backends
def test_acceptance_06_layers_in_layers_of_a_subclassed_model():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.block = Block(name="block")

        def call(self, x):
            return self.block(x)

    model = train(prune_low_magnitude(Model(), HALF))
    assert sorted(zeros(model).values()) == [(5, 10), (8, 16), (10, 20)]


# -- 7: what cannot be pruned is skipped -----------------------------------------------------------


class Scale(layers.Layer):
    """A layer of which nobody knows what may be zero."""

    def build(self, shape):
        self.table = self.add_weight(shape=(shape[-1], 3), name="table")

    def call(self, x):
        return ops.matmul(x, self.table)


def test_acceptance_07_unknown_layers_and_operations_do_no_harm():
    inputs = layers.Input((4,))
    x = layers.Rescaling(1 / 255)(inputs) * 255.0  # an operation, no layer
    x = layers.BatchNormalization(name="norm")(x)
    x = ops.tanh(layers.Dense(6, name="a")(x)) + 1.0
    x = layers.LayerNormalization()(layers.Lambda(lambda t: t * 2, output_shape=(6,))(x))
    x = layers.Dropout(0.1)(layers.GaussianNoise(0.1)(x))
    x = Scale(name="scale")(layers.Reshape((6,))(x))
    model = keras.Model(inputs, layers.Softmax()(x))
    train(prune_low_magnitude(model, HALF))
    assert zeros(model) == {"a/kernel": (12, 24), "scale/table": (0, 18)}
    assert list(get_masks(model)) == ["a/kernel"]
    skipped = {record.key: record.skipped for record in sparsity_report(model)}
    assert (skipped["norm"], skipped["a"], skipped["scale"]) == ("normalization", "bias", "table")


def test_acceptance_07_depthwise_kernels_are_left_alone(rng):
    model = keras.Sequential(
        [
            layers.Input((6, 6, 2)),
            layers.DepthwiseConv2D(3, name="deep"),
            layers.Conv2D(3, 1, name="wide"),
        ]
    )
    train(prune_low_magnitude(model, HALF), rng.normal(size=(4, 6, 6, 2)).astype("float32"))
    assert zeros(model) == {"deep/kernel": (0, 18), "wide/kernel": (3, 6)}


# -- 8: custom layers ------------------------------------------------------------------------------


class Known(Scale):
    def get_prunable_weights(self):
        return [self.table]


class Biased(layers.Dense, PrunableLayer):
    def get_prunable_weights(self):
        return [self.kernel, self.bias]


class Spared(layers.Dense, PrunableLayer):
    def get_prunable_weights(self):
        return []


@backends
def test_acceptance_08_custom_layers_say_what_is_pruned():
    model = keras.Sequential([Known(name="k"), Biased(4, name="b"), Spared(4, name="s")])
    train(prune_low_magnitude(model, HALF))
    assert zeros(model) == {"k/table": (6, 12), "b/kernel": (6, 12), "s/kernel": (0, 16)}
    assert int(np.sum(values(model)["b/bias"] == 0)) == 2


@backends
def test_acceptance_08_a_predicate_chooses_variables():
    model = keras.Sequential(
        [layers.Input((4,)), Scale(name="one"), Scale(name="two"), layers.Dense(2, name="three")]
    )
    scope = lambda variable: variable.name == "table" and "two" in variable.path  # noqa: E731
    train(model, optimizer=SparseOptimizer(keras.optimizers.SGD(0.1), HALF, scope=scope))
    # 4.5 of 9 survive: rounded to an even number, as TFMOT does.
    assert zeros(model) == {"one/table": (0, 12), "two/table": (5, 9), "three/kernel": (0, 6)}


# -- 9: layers with layers inside ------------------------------------------------------------------

L = layers


def attention(cls, *args):
    def make():
        inputs = layers.Input((6, 4))
        return keras.Model(inputs, cls(*args, name="it")(inputs, inputs))

    return make


def one(layer, shape=(6, 4)):
    return lambda: keras.Sequential([layers.Input(shape), layer()])


LSTM = {"lstm_cell/kernel": (16, 32), "lstm_cell/recurrent_kernel": (8, 16)}
# layer → (how it is made, its zeros and sizes)
INNER = {
    "Bidirectional": (
        one(lambda: L.Bidirectional(L.LSTM(2), name="it")),
        {f"{way}_lstm/{key}": n for way in ("forward", "backward") for key, n in LSTM.items()},
    ),
    "TimeDistributed": (
        one(lambda: L.TimeDistributed(L.Dense(2, name="in"), name="it")),
        {"in/kernel": (4, 8)},
    ),
    "SimpleRNN": (
        one(lambda: L.SimpleRNN(2, name="it")),
        {"simple_rnn_cell/kernel": (4, 8), "simple_rnn_cell/recurrent_kernel": (2, 4)},
    ),
    "LSTM": (one(lambda: L.LSTM(2, name="it")), LSTM),
    "GRU": (
        one(lambda: L.GRU(2, name="it")),
        {"gru_cell/kernel": (12, 24), "gru_cell/recurrent_kernel": (6, 12)},
    ),
    "RNN of cells": (
        one(lambda: L.RNN([L.LSTMCell(2, name="p"), L.GRUCell(2, name="q")], name="it")),
        {
            "stacked_rnn_cells/p/kernel": (16, 32),
            "stacked_rnn_cells/p/recurrent_kernel": (8, 16),
            "stacked_rnn_cells/q/kernel": (6, 12),
            "stacked_rnn_cells/q/recurrent_kernel": (6, 12),
        },
    ),
    "ConvLSTM1D": (
        one(lambda: L.ConvLSTM1D(2, 2, name="it"), (3, 6, 4)),
        {"conv_lstm_cell/kernel": (32, 64), "conv_lstm_cell/recurrent_kernel": (16, 32)},
    ),
    "MultiHeadAttention": (
        attention(L.MultiHeadAttention, 2, 2),
        dict.fromkeys((f"{n}/kernel" for n in ("query", "key", "value")), (8, 16))
        | {"attention_output/kernel": (8, 16)},
    ),
    "GroupQueryAttention": (
        attention(L.GroupQueryAttention, 2, 2, 1),
        {
            "query/kernel": (8, 16),
            "key/kernel": (4, 8),
            "value/kernel": (4, 8),
            "attention_output/kernel": (8, 16),
        },
    ),
    "EinsumDense": (
        one(lambda: L.EinsumDense("abc,cd->abd", (None, 2), name="it")),
        {"kernel": (4, 8)},
    ),
    "SeparableConv1D": (
        one(lambda: L.SeparableConv1D(4, 3, name="it")),
        {"depthwise_kernel": (0, 12), "pointwise_kernel": (8, 16)},
    ),
    "SeparableConv2D": (
        one(lambda: L.SeparableConv2D(4, 3, name="it"), (6, 6, 4)),
        {"depthwise_kernel": (0, 36), "pointwise_kernel": (8, 16)},
    ),
    "Conv2DTranspose": (
        one(lambda: L.Conv2DTranspose(2, 3, name="it"), (6, 6, 4)),
        {"kernel": (36, 72)},
    ),
    "Embedding": (one(lambda: L.Embedding(10, 4, name="it"), (5,)), {"embeddings": (20, 40)}),
}


@pytest.mark.parametrize("name", INNER)
def test_acceptance_09_kernels_inside(name, rng):
    make, expected = INNER[name]
    model = prune_low_magnitude(make(), HALF)
    shape = model.input_shape[1:]
    # Integers for an Embedding, which no other layer minds.
    train(model, rng.integers(0, 10, (2, *shape)).astype("float32"))
    assert zeros(model) == {f"it/{key}": n for key, n in expected.items()}


# Every weight of rank 2 or more that a layer of Keras trains, and whether pruning takes it.
MATRICES = {
    "Dense": (lambda: L.Dense(2), (4,), {"kernel": True}),
    "EinsumDense": (lambda: L.EinsumDense("ab,bc->ac", 2), (4,), {"kernel": True}),
    "Embedding": (lambda: L.Embedding(5, 2), (3,), {"embeddings": True}),
    "ReversibleEmbedding": (lambda: L.ReversibleEmbedding(5, 2), (3,), {"embeddings": True}),
    "ReversibleEmbedding, not tied": (
        lambda: L.ReversibleEmbedding(5, 2, tie_weights=False),
        (3,),
        {"embeddings": True, "reverse_embeddings": True},
    ),
    "Conv1D": (lambda: L.Conv1D(2, 3), (8, 2), {"kernel": True}),
    "Conv2D": (lambda: L.Conv2D(2, 3), (8, 8, 2), {"kernel": True}),
    "Conv3D": (lambda: L.Conv3D(2, 3), (8, 8, 8, 2), {"kernel": True}),
    "Conv1DTranspose": (lambda: L.Conv1DTranspose(2, 3), (8, 2), {"kernel": True}),
    "Conv2DTranspose": (lambda: L.Conv2DTranspose(2, 3), (8, 8, 2), {"kernel": True}),
    "Conv3DTranspose": (lambda: L.Conv3DTranspose(2, 3), (8, 8, 8, 2), {"kernel": True}),
    "DepthwiseConv1D": (lambda: L.DepthwiseConv1D(3), (8, 2), {"kernel": False}),
    "DepthwiseConv2D": (lambda: L.DepthwiseConv2D(3), (8, 8, 2), {"kernel": False}),
    "SeparableConv1D": (
        lambda: L.SeparableConv1D(2, 3),
        (8, 2),
        {"depthwise_kernel": False, "pointwise_kernel": True},
    ),
    "SeparableConv2D": (
        lambda: L.SeparableConv2D(2, 3),
        (8, 8, 2),
        {"depthwise_kernel": False, "pointwise_kernel": True},
    ),
    "SimpleRNN": (lambda: L.SimpleRNN(2), (3, 4), {"kernel": True, "recurrent_kernel": True}),
    "LSTM": (lambda: L.LSTM(2), (3, 4), {"kernel": True, "recurrent_kernel": True}),
    # The GRU's bias is two rows, of the input and of the state.
    "GRU": (
        lambda: L.GRU(2),
        (3, 4),
        {"kernel": True, "recurrent_kernel": True, "bias": False},
    ),
    "ConvLSTM1D": (
        lambda: L.ConvLSTM1D(2, 2),
        (3, 6, 4),
        {"kernel": True, "recurrent_kernel": True},
    ),
    "Bidirectional": (
        lambda: L.Bidirectional(L.LSTM(2)),
        (3, 4),
        {"kernel": True, "recurrent_kernel": True},
    ),
    "TimeDistributed": (lambda: L.TimeDistributed(L.Dense(2)), (3, 4), {"kernel": True}),
    "SpectralNormalization": (
        lambda: L.SpectralNormalization(L.Dense(2)),
        (4,),
        {"kernel": True},
    ),
    "PReLU": (lambda: L.PReLU(), (3, 4), {"alpha": False}),
    "LayerNormalization": (
        lambda: L.LayerNormalization(axis=[1, 2]),
        (3, 4),
        {"gamma": False, "beta": False},
    ),
    "STFTSpectrogram": (
        lambda: L.STFTSpectrogram(frame_length=4, frame_step=2, fft_length=4, trainable=True),
        (16, 1),
        {"real_kernel": False, "imag_kernel": False},
    ),
}


@backends
@pytest.mark.parametrize("name", MATRICES)
def test_the_weights_of_keras_that_are_pruned_and_that_are_not(name):
    make, shape, expected = MATRICES[name]
    inputs = keras.Input(shape)
    model = keras.Model(inputs, make()(inputs))
    pruned = {id(v) for v in find_prunable(model).values()}
    trained = [v for v in model.trainable_variables if len(v.shape) >= 2]
    assert {weight_name(v): id(v) in pruned for v in trained} == expected


@backends
def test_both_ways_of_a_reversible_embedding_are_pruned():
    words = L.ReversibleEmbedding(10, 4, tie_weights=False, name="words")
    inputs = keras.Input((5,))
    model = keras.Model(inputs, words(words(inputs), reverse=True))
    model.compile(SparseOptimizer("sgd", ConstantSparsity(0.5, 1), scope=model), "mse")
    model.optimizer.build(model.trainable_variables)
    model.fit(np.ones((4, 5)), np.ones((4, 5, 10)), verbose=0)
    assert zeros(model) == dict.fromkeys(("words/embeddings", "words/reverse_embeddings"), (20, 40))
    total = sparsity_report(model).total
    assert (total.prunable, total.prunable_zeros) == (80, 40)
