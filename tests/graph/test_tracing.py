"""The walk of a model: who follows whom, what is a residual branch, and that nothing is left."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfinit.graph.calls import bears_kernel
from tfinit.graph.kernels import find_kernels
from tfinit.graph.residual import residual_branches
from tfinit.graph.tracing import trace
from tfinit.variables import walk_layers


def activations(model):
    return {k.key: str(k.activations[0]) for k in find_kernels(model, trace(model))}


class Block(keras.layers.Layer):
    def __init__(self, width, raw=False):
        super().__init__()
        self.raw = raw
        self.norm = L.LayerNormalization()
        self.attention = L.MultiHeadAttention(2, width // 2)
        self.up, self.down = L.Dense(2 * width), L.Dense(width)

    def call(self, x):
        if self.raw:
            x = keras.ops.convert_to_tensor(np.asarray(x))  # needs real values
        normed = self.norm(x)
        x = x + self.attention(normed, normed)
        return x + self.down(keras.ops.gelu(self.up(x)))


class Transformer(keras.Model):
    def __init__(self, depth=2, raw=False):
        super().__init__()
        self.tokens, self.positions = L.Embedding(11, 8), L.Embedding(5, 8)
        self.blocks = [Block(8, raw) for _ in range(depth)]
        self.head = L.Dense(11)

    def call(self, x):
        x = self.tokens(x) + self.positions(keras.ops.arange(5))
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def transformer(**options):
    model = Transformer(**options)
    model(np.zeros((2, 5), "int32"))
    return model


def test_activation_is_found_inside_after_and_behind_normalization():
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, activation="tanh", name="inside")(inputs)
    x = L.Conv2D(4, 3, name="after")(x)
    x = L.LeakyReLU(negative_slope=0.2)(x)
    x = L.Conv2D(4, 1, name="normalized")(x)
    x = L.Dropout(0.1)(L.BatchNormalization()(x))
    x = L.MaxPooling2D()(L.ReLU()(x))
    x = L.Dense(4, name="operation")(L.Flatten()(x))
    x = L.Dense(4, name="none")(keras.ops.silu(x))
    outputs = L.Dense(2, activation="softmax", name="head")(x)
    assert activations(keras.Model(inputs, outputs)) == {
        "inside/kernel": "tanh",
        "after/kernel": "leaky_relu",
        "normalized/kernel": "relu",
        "operation/kernel": "silu",
        "none/kernel": "linear",
        "head/kernel": "softmax",
    }


def test_activation_is_found_past_the_end_of_a_nested_model():
    backbone = keras.Sequential([keras.Input((4,)), L.Dense(4, name="last")], name="backbone")
    model = keras.Sequential([keras.Input((4,)), backbone, L.ReLU(), L.Dense(2, name="head")])
    assert activations(model) == {"backbone/last/kernel": "relu", "head/kernel": "linear"}


def test_activation_after_a_residual_addition_counts_for_the_branch():
    inputs = keras.Input((8, 8, 4))
    x = L.Conv2D(4, 3, padding="same", activation="relu", name="first")(inputs)
    x = L.Conv2D(4, 3, padding="same", name="second")(x)
    outputs = L.ReLU()(L.Add()([inputs, x]))
    assert activations(keras.Model(inputs, outputs))["second/kernel"] == "relu"


def test_gates_have_their_own_activations():
    model = keras.Sequential([keras.Input((5, 3)), L.LSTM(4, name="lstm")])
    kernel, recurrent = find_kernels(model, trace(model))
    assert kernel.key == "lstm/lstm_cell/kernel"
    assert [str(a) for a in kernel.activations] == ["sigmoid", "sigmoid", "tanh", "sigmoid"]
    assert kernel.activations == recurrent.activations


def test_wrapped_layer_and_attention_pass_on_what_follows_them():
    inputs = keras.Input((5, 8))
    x = L.TimeDistributed(L.Dense(8, name="dense"), name="wrapped")(inputs)
    x = L.MultiHeadAttention(2, 4, name="attention")(L.ReLU()(x), x)
    outputs = L.Activation("gelu")(x)
    found = activations(keras.Model(inputs, outputs))
    assert found["wrapped/dense/kernel"] == "relu"
    assert found["attention/query/kernel"] == "linear"
    assert found["attention/attention_output/kernel"] == "gelu"


def test_shared_layer_is_one_kernel_with_its_first_call():
    shared = L.Dense(4, name="shared")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, shared(L.ReLU()(shared(inputs))))
    assert activations(model) == {"shared/kernel": "relu"}
    assert [bears_kernel(step.op) for step in trace(model).steps].count(True) == 2


def test_subclassed_model_is_opened():
    model = transformer()
    graph = trace(model)
    assert graph.guessed == []
    keys = [step.key for step in graph.steps if bears_kernel(step.op)]
    assert keys[1:4] == ["block/multi_head_attention", "block/dense", "block/dense_1"]
    assert activations(model)["block_1/dense/kernel"] == "gelu"


def test_layers_of_a_model_that_cannot_be_opened_are_taken_in_order():
    model = transformer(depth=1, raw=True)
    graph = trace(model)
    assert graph.guessed == [model.name]
    assert len(find_kernels(model, graph)) == 9


def test_tracing_leaves_the_model_as_it_was():
    model = transformer()
    before = [(len(x._inbound_nodes), len(x._outbound_nodes)) for _, x in walk_layers(model)]
    trace(model)
    trace(model)
    assert before == [
        (len(x._inbound_nodes), len(x._outbound_nodes)) for _, x in walk_layers(model)
    ]


def test_branches_of_a_transformer_and_no_other_additions():
    branches = residual_branches(trace(transformer(depth=3)))
    assert [len(branch.steps) for branch in branches] == [1, 2] * 3
    assert all(len(branch.last) == 1 for branch in branches)


def test_projection_is_the_shortcut_and_the_longer_path_the_branch():
    inputs = keras.Input((8, 8, 4))
    x = L.Conv2D(6, 3, padding="same", name="a")(inputs)
    x = L.Conv2D(6, 3, padding="same", name="b")(L.ReLU()(x))
    outputs = L.Add()([L.Conv2D(6, 1, name="projection")(inputs), x])
    graph = trace(keras.Model(inputs, outputs))
    (branch,) = residual_branches(graph)
    assert [graph.steps[i].key for i in branch.steps] == ["a", "b"]
    assert [graph.steps[i].key for i in branch.last] == ["b"]


def test_equal_paths_are_not_residual():
    inputs = keras.Input((8,))
    outputs = L.Add()([L.Dense(4)(inputs), L.Dense(4)(inputs)])
    assert residual_branches(trace(keras.Model(inputs, outputs))) == []


@pytest.mark.parametrize("depth", [600])
def test_deep_models_do_not_exhaust_the_stack(depth):
    inputs = x = keras.Input((2,))
    for _ in range(depth):
        x = L.Identity()(x)
    model = keras.Model(inputs, L.ReLU()(L.Dense(2, name="fc")(x)))
    assert activations(model) == {"fc/kernel": "relu"}


@keras.saving.register_keras_serializable("tfinit-tests")
class Twice(keras.Model):
    """A functional model whose call is more than its graph."""

    def call(self, inputs, training=None, mask=None):
        once = super().call(inputs, training=training, mask=mask)
        return super().call(once, training=training, mask=mask)


def test_a_functional_model_with_a_call_of_its_own_is_traced_by_its_call():
    given = keras.Input((3,))
    model = Twice(given, keras.layers.Dense(3, "relu", name="dense")(given))
    outer = keras.Input((3,))
    for traced, key in (model, "dense"), (keras.Model(outer, model(outer)), "twice/dense"):
        graph = trace(traced)
        kernels = [step.key for step in graph.steps if bears_kernel(step.op)]
        assert kernels == [key, key] and not graph.guessed


def test_a_model_inside_that_is_given_a_dict_is_read_by_the_names_of_its_inputs():
    p, q = keras.Input((4,), name="p"), keras.Input((4,), name="q")
    out = keras.layers.Subtract(name="out")([q, keras.layers.Dense(4, name="dense")(p)])
    inner = keras.Model([q, p], out, name="inner")
    outer = [keras.Input((4,)), keras.Input((4,))]
    graph = trace(keras.Model(outer, inner({"p": outer[0], "q": outer[1]})), composites=False)
    [dense, subtract] = graph.steps
    assert dense.inputs == (graph.inputs[0],)
    assert subtract.inputs == (graph.inputs[1], dense.outputs[0])
    [nested] = graph.nested
    assert (nested.inputs, nested.start, nested.stop) == (tuple(graph.inputs[::-1]), 0, 2)


def test_a_sequential_model_of_tf_keras_is_opened_as_a_functional_one_is():
    legacy = pytest.importorskip("tf_keras")
    dense = legacy.layers.Dense
    inner = legacy.Sequential([legacy.Input((3,)), dense(3, "relu"), dense(3)])
    inputs = legacy.Input((3,))
    chain = legacy.Sequential([legacy.Input((3,)), inner, legacy.layers.ReLU(), dense(2)])
    for model in (chain, legacy.Model(inputs, chain(inputs))):
        graph = trace(model)
        assert [type(step.op).__name__ for step in graph.steps] == [
            "Dense",
            "Dense",
            "ReLU",
            "Dense",
        ]
        kernels = find_kernels(model, graph)
        assert [str(k.activations[0]) for k in kernels] == ["relu", "relu", "linear"]
        assert all(k.ends_step for k in kernels)


def test_a_composite_may_be_told_training_without_taking_it():
    """Keras leaves the argument out for a `call` that has none."""

    class Inner(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.up, self.down = L.Dense(6, "relu"), L.Dense(4)

        def call(self, x):
            return self.down(self.up(x))

    class Outer(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def call(self, x, training=None):
            return x + self.inner(x, training=training)

    model = Outer()
    model(np.zeros((2, 4), "float32"))
    graph = trace(model)
    assert graph.reasons == {}
    assert [branch.steps for branch in residual_branches(graph)] == [(0, 1)]
