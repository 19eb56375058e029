"""Rows 1 to 12 of what users of Keras pruning tripped over: which models, layers and weights.

The number in a test's name is that of the row. What needs TensorFlow is in
`test_what_can_be_pruned_tensorflow.py`. Which weights are chosen is plain Python, so that on the
other backends, where JAX takes seconds to compile each model, one test of each kind is enough.
"""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tfinit.errors import InputError
from tfinit.pruning import (
    ConstantSparsity,
    PrunableLayer,
    SparseOptimizer,
    UpdatePruningStep,
    get_masks,
    prune_low_magnitude,
    sparsity_report,
    strip_pruning,
)
from tfinit.variables import all_weights, find_prunable, weight_name

backends = pytest.mark.backends

HALF = ConstantSparsity(0.5, begin_step=1, frequency=1)  # an update before every step
# Tracing a step would take most of the time of these tests; JAX is slower still without.
EAGERLY = keras.backend.backend() != "jax"
X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


def train(model, x=X, epochs=1, optimizer=None, **kwargs):
    """One step, or some."""
    if optimizer is not None or not model.compiled:
        model.compile(optimizer or keras.optimizers.SGD(0.1), "mse", run_eagerly=EAGERLY)
    y = np.ones(np.shape(model(x)), "float32")
    model.fit(x, y, epochs=epochs, batch_size=len(y), verbose=0, **kwargs)
    return model


def zeros(model):
    """key → number of zeros and of weights, for every matrix that is no bias."""
    found = {}
    for key, variable in all_weights(model).items():
        value = ops.convert_to_numpy(variable)
        # Biases start at zero, and that of an attention's keys stays there.
        if value.ndim >= 2 and not key.endswith("bias"):
            found[key] = (int(np.sum(value == 0)), value.size)
    return found


def outputs(model, x=X):
    return ops.convert_to_numpy(model(x))


def values(model):
    return {k: np.array(ops.convert_to_numpy(v)) for k, v in all_weights(model).items()}


def sequential():
    return keras.Sequential(
        [layers.Input((4,)), layers.Dense(5, "tanh", name="a"), layers.Dense(2, name="b")]
    )


def functional():
    inputs = layers.Input((4,))
    x = layers.Dense(5, "tanh", name="a")(inputs)
    return keras.Model(inputs, layers.Dense(2, name="b")(x))


def not_built():
    return keras.Sequential([layers.Dense(5, "tanh", name="a"), layers.Dense(2, name="b")])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.one = layers.Dense(5, "tanh", name="a")
        self.two = layers.Dense(2, name="b")

    def call(self, x):
        return self.two(self.one(x))


def subclassed_and_called():
    model = Subclassed()
    model(X)
    return model


KINDS = [sequential, functional, not_built, Subclassed, subclassed_and_called]
kinds = pytest.mark.parametrize("make", KINDS)


# -- 1: Keras 3 models refused ---------------------------------------------------------------------


@backends
@kinds
def test_acceptance_01_every_kind_of_model(make):
    model = make()
    assert prune_low_magnitude(model, HALF) is model
    train(model)
    assert zeros(model) == {"a/kernel": (10, 20), "b/kernel": (5, 10)}


@kinds
def test_acceptance_01_every_kind_of_model_with_the_optimizer(make):
    model = make()
    model.compile(SparseOptimizer(keras.optimizers.Adam(), HALF), "mse", run_eagerly=EAGERLY)
    train(model)
    assert zeros(model) == {"a/kernel": (10, 20), "b/kernel": (5, 10)}


@backends
def test_acceptance_01_compiled():
    model = prune_low_magnitude(Subclassed(), HALF)
    model.compile("adam", "mse")
    train(model, epochs=2)
    assert zeros(model) == {"a/kernel": (10, 20), "b/kernel": (5, 10)}


@backends
@kinds
def test_acceptance_01_a_single_layer(make):
    model = make()
    layer = model.layers[-1]
    assert prune_low_magnitude(layer, HALF) is layer
    train(model)
    assert zeros(model) == {"a/kernel": (0, 20), "b/kernel": (5, 10)}


@kinds
def test_acceptance_01_a_list_of_layers(make):
    model = make()
    model_layers = [layer for layer in model.layers if layer.name in "ab"]
    assert prune_low_magnitude(model_layers, HALF) is model_layers
    train(model)
    assert zeros(model) == {"a/kernel": (10, 20), "b/kernel": (5, 10)}


@kinds
def test_acceptance_01_layers_with_schedules_of_their_own(make):
    model = make()
    prune_low_magnitude(model.layers[-1], ConstantSparsity(0.8, 1, frequency=1))
    prune_low_magnitude(model, HALF)  # the rest
    train(model)
    assert zeros(model) == {"a/kernel": (10, 20), "b/kernel": (8, 10)}


# -- 2, 3, 4: errors -------------------------------------------------------------------------------


@backends
@pytest.mark.parametrize(
    ("received", "named"),
    [
        (None, "builtins.NoneType"),
        ("model", "builtins.str"),
        ([], "builtins.list"),
        ([layers.Dense(2), 3], "builtins.int"),
        (layers.Dense, "builtins.type"),
        (keras.optimizers.Adam(), "Adam"),
    ],
)
def test_acceptance_02_no_model(received, named):
    with pytest.raises(InputError, match="must be a model, a layer or a list of layers") as error:
        prune_low_magnitude(received, HALF)
    assert "Keras 3 (`import keras`) or of tf_keras" in str(error.value)
    assert str(error.value).endswith(f"{named}.")


def tensors():
    inputs = layers.Input((4,))
    return [inputs, layers.Dense(2)(inputs), ops.ones((2, 2)), np.ones((2, 2))]


@backends
@pytest.mark.parametrize("i", range(4))
def test_acceptance_03_a_tensor_is_no_layer(i):
    with pytest.raises(
        InputError, match=r"is a tensor .*: pass the layer or model, not its output"
    ):
        prune_low_magnitude(tensors()[i], HALF)


@backends
def test_acceptance_03_a_tensor_is_no_scope():
    with pytest.raises(InputError, match="pass the layer itself, not its output"):
        SparseOptimizer(keras.optimizers.SGD(), HALF, scope=tensors()[1])


@backends
def test_acceptance_04_a_dict_is_no_schedule():
    model = sequential()
    params = {"pruning_schedule": HALF}
    with pytest.raises(InputError, match=r"received a dict .*'pruning_schedule'.*\*\*pruning_par"):
        prune_low_magnitude(model, params)
    with pytest.raises(InputError, match="received a dict"):
        SparseOptimizer(keras.optimizers.SGD(), params)
    # The model is as it was: nothing prunes it.
    train(model)
    assert zeros(model) == {"a/kernel": (0, 20), "b/kernel": (0, 10)}
    prune_low_magnitude(model, **params)


@backends
@pytest.mark.parametrize("schedule", [0.5, "constant", ConstantSparsity, lambda step: True])
def test_acceptance_04_other_things_that_are_no_schedule(schedule):
    with pytest.raises(InputError, match="must be a PruningSchedule, received"):
        prune_low_magnitude(sequential(), schedule)


@backends
def test_acceptance_04_a_misspelt_argument():
    with pytest.raises(InputError, match=r"does not take .'frequency'.; give the layer its own"):
        prune_low_magnitude(sequential(), HALF, frequency=3)


# -- 5: subclassed models --------------------------------------------------------------------------


@backends
@pytest.mark.parametrize("make", [Subclassed, subclassed_and_called])
def test_acceptance_05_subclassed_models_are_pruned_and_stripped(make):
    model = train(prune_low_magnitude(make(), HALF), epochs=3)
    before, weights = outputs(model), len(model.weights)
    stripped = strip_pruning(model)
    assert zeros(stripped) == {"a/kernel": (10, 20), "b/kernel": (5, 10)}
    assert len(stripped.weights) == weights == 4
    np.testing.assert_array_equal(outputs(stripped), before)
    # A plain model again: compiled anew, it is trained as any other.
    train(stripped, optimizer=keras.optimizers.SGD(0.1))
    assert sum(n for n, _ in zeros(stripped).values()) < 15


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


# -- 10: shared layers -----------------------------------------------------------------------------


@backends
def test_acceptance_10_one_mask_for_a_shared_variable():
    shared = layers.Dense(4, name="shared")
    inner = keras.Sequential([layers.Input((4,)), shared], name="inner")
    inputs = layers.Input((4,))
    x = layers.Add()([shared(shared(inputs)), inner(inputs)])
    model = keras.Model(inputs, layers.Dense(2, name="out")(x))
    train(prune_low_magnitude(model, HALF))
    assert list(get_masks(model)) == ["shared/kernel", "out/kernel"]
    masks = [v for v in model.optimizer.variables if v.dtype == "bool"]
    assert [tuple(m.shape) for m in masks] == [(4, 4), (4, 2)]
    assert zeros(model) == {"shared/kernel": (8, 16), "out/kernel": (4, 8)}


# -- 11: nothing to prune --------------------------------------------------------------------------


def without_kernels():
    return [layers.BatchNormalization(), layers.ReLU()]


@backends
def test_acceptance_11_a_built_model_without_kernels():
    model = keras.Sequential([layers.Input((4,)), *without_kernels()])
    with pytest.raises(InputError, match="has nothing to prune"):
        prune_low_magnitude(model, HALF)
    model.compile("sgd", "mse")
    assert not isinstance(model.optimizer, SparseOptimizer)


@backends
def test_acceptance_11_a_frozen_model():
    model = sequential()
    model.trainable = False
    with pytest.raises(InputError, match="Unfreeze a layer"):
        prune_low_magnitude(model, HALF)


@backends
def test_acceptance_11_a_policy_that_allows_nothing():
    class Nothing:
        def allow_pruning(self, layer):
            return False

        def ensure_model_supports_pruning(self, model):
            pass

    with pytest.raises(InputError, match="in a layer that is allowed"):
        prune_low_magnitude(sequential(), HALF, pruning_policy=Nothing())


@backends
def test_acceptance_11_a_model_without_kernels_that_is_not_built():
    model = prune_low_magnitude(keras.Sequential(without_kernels()), HALF)
    with pytest.raises(InputError, match="nothing to prune"):
        train(model)


@backends
@pytest.mark.parametrize("call", [lambda x: x, lambda x: [x]])
def test_acceptance_11_a_layer_without_kernels(call):
    model = keras.Sequential([layers.Input((4,)), layers.Dense(2), *without_kernels()])
    prune_low_magnitude(call(model.layers[-1]), HALF)
    with pytest.raises(InputError, match="nothing to prune"):
        train(model)


def test_acceptance_11_the_optimizer_with_a_scope_without_kernels():
    model = keras.Sequential([layers.Input((4,)), layers.Dense(2), *without_kernels()])
    for scope in (model.layers[1], lambda variable: False, None):
        inner = (
            model
            if scope is not None
            else keras.Sequential([layers.Input((4,)), *without_kernels()])
        )
        with pytest.raises(InputError, match="nothing to prune"):
            train(inner, optimizer=SparseOptimizer(keras.optimizers.SGD(), HALF, scope=scope))


# -- 12: pretrained weights ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    model = train(functional())
    path = tmp_path_factory.mktemp("weights") / "pretrained.weights.h5"
    model.save_weights(path)
    return path, model


@backends
@pytest.mark.parametrize("make", [functional, subclassed_and_called])
def test_acceptance_12_outputs_stay(make):
    model = make()
    before, weights = outputs(model), values(model)
    prune_low_magnitude(model, HALF)
    model.compile("sgd", "mse", run_eagerly=EAGERLY)
    np.testing.assert_array_equal(outputs(model), before)
    for key, value in values(model).items():
        np.testing.assert_array_equal(value, weights[key])


@pytest.mark.filterwarnings("ignore:What was saved of an optimizer does not fit")
@backends
def test_acceptance_12_load_and_mark_in_any_order(pretrained):
    path, source = pretrained

    def load_mark_compile(model):
        model.load_weights(path)
        prune_low_magnitude(model, HALF)
        model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=EAGERLY)

    def mark_load_compile(model):
        prune_low_magnitude(model, HALF)
        model.load_weights(path)
        model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=EAGERLY)

    def mark_compile_load(model):
        prune_low_magnitude(model, HALF)
        model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=EAGERLY)
        model.load_weights(path)

    def compile_load_mark(model):
        model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=EAGERLY)
        model.load_weights(path)
        prune_low_magnitude(model, HALF)

    results = []
    for order in (load_mark_compile, mark_load_compile, mark_compile_load, compile_load_mark):
        model = functional()
        order(model)
        np.testing.assert_array_equal(outputs(model), outputs(source))
        train(model)
        assert zeros(model) == {"a/kernel": (10, 20), "b/kernel": (5, 10)}
        results.append(values(model))
    for result in results[1:]:
        for key, value in result.items():
            first = results[0][key]
            np.testing.assert_array_equal(value != 0, first != 0)
            # Two matrix products of the same numbers may differ in the last bit.
            np.testing.assert_allclose(value, first, rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:What was saved of an optimizer does not fit")
def test_acceptance_12_weights_loaded_in_the_middle_are_masked_at_the_next_step(pretrained):
    once = ConstantSparsity(0.5, begin_step=1, frequency=1000)
    model = train(prune_low_magnitude(functional(), once))
    masks = get_masks(model)
    model.load_weights(pretrained[0])
    assert zeros(model) == {"a/kernel": (0, 20), "b/kernel": (0, 10)}
    train(model)
    for key, mask in masks.items():
        np.testing.assert_array_equal(values(model)[key] != 0, mask)


def test_acceptance_12_the_original_is_the_pruned_model():
    original = functional()
    returned = prune_low_magnitude(original, HALF)
    assert returned is original
    train(original)
    assert zeros(returned) == {"a/kernel": (10, 20), "b/kernel": (5, 10)}


def test_acceptance_12_a_model_that_was_compiled_before_keeps_its_optimizer_and_is_pruned():
    model = train(functional(), optimizer=keras.optimizers.Adam(0.01))
    optimizer = model.optimizer
    prune_low_magnitude(model, HALF)
    train(model)
    assert model.optimizer.inner_optimizer is optimizer
    assert int(model.optimizer.iterations) == 2
    assert zeros(model) == {"a/kernel": (10, 20), "b/kernel": (5, 10)}


@backends
def test_acceptance_12_the_mark_goes_with_a_copy():
    original = prune_low_magnitude(functional(), HALF)
    copy = keras.models.clone_model(original)
    train(copy, callbacks=[UpdatePruningStep()])
    assert zeros(strip_pruning(copy)) == {"a/kernel": (10, 20), "b/kernel": (5, 10)}
