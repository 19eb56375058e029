"""KerasHub's backbones, tiny: three here, all twelve by ``scripts/keras_hub_table.py``."""

from importlib.util import find_spec

import keras
import numpy as np
import pytest
from keras import layers as L
from keras_hub_backbones import backbone

from tfinit import diagnose, initialize
from tfinit.graph.attention import score_steps
from tfinit.graph.kernels import find_kernels
from tfinit.graph.residual import residual_branches
from tfinit.graph.tracing import trace

pytestmark = pytest.mark.skipif(find_spec("keras_hub") is None, reason="KerasHub is not installed")

# Kernel → fan_in, fan_out, what follows. 16 units, 4 heads of 4 (2 of keys and values), 24 inside.
ATTENTION = {
    "self_attention/query": (16, 16, "linear"),
    "self_attention/key": (16, 8, "linear"),
    "self_attention/value": (16, 8, "linear"),
    "self_attention/attention_output": (16, 16, "linear"),
}
EXPERTS = "mixtral_sparse_moe_block/experts/expert_feedforward"
BLOCKS = {
    "Llama": {
        **{f"{name}/kernel": row for name, row in ATTENTION.items()},
        # SwiGLU.
        "feedforward_gate_dense/kernel": (16, 24, "silu"),
        "feedforward_intermediate_dense/kernel": (16, 24, "linear"),
        "feedforward_output_dense/kernel": (24, 16, "linear"),
    },
    "Mixtral": {
        **{f"{name}/kernel": row for name, row in ATTENTION.items()},
        "mixtral_sparse_moe_block/sparse_feedforward_gate_dense/kernel": (16, 3, "softmax"),
        f"{EXPERTS}_gate_dense": (16, 24, "silu"),
        f"{EXPERTS}_intermediate_dense": (16, 24, "linear"),
        f"{EXPERTS}_output_dense": (24, 16, "linear"),
    },
    # GeGLU; half of the 24 for each factor.
    "Gemma": {
        "attention/query/kernel": (16, 16, "linear"),
        "attention/key/kernel": (16, 8, "linear"),
        "attention/value/kernel": (16, 8, "linear"),
        "attention/attention_output/kernel": (16, 16, "linear"),
        "ffw_gating/kernel": (16, 12, "gelu"),
        "ffw_gating_2/kernel": (16, 12, "linear"),
        "ffw_linear/kernel": (12, 16, "linear"),
    },
}
# The table and, untied, the way back from 16 units to 29 words.
TABLES = {
    "Gemma": {"token_embedding/embeddings": (1, 16, "linear")},
    "Llama": {
        "token_embedding/embeddings": (1, 16, "linear"),
        "token_embedding/reverse_embeddings": (16, 29, "linear"),
    },
}
TABLES["Mixtral"] = TABLES["Llama"]


@pytest.mark.parametrize("name", BLOCKS)
def test_kernels_of_a_decoder_by_hand(name):
    model, _ = backbone(name)
    graph = trace(model)
    assert graph.reasons == {}
    block = "decoder_block" if name == "Gemma" else "transformer_layer"
    expected = TABLES[name] | {
        f"{block}_{n}/{key}": row for n in range(2) for key, row in BLOCKS[name].items()
    }
    found = {k.key: k for k in find_kernels(model, graph)}
    assert {
        key: (k.fan_in, k.fan_out, str(k.activations[0])) for key, k in found.items()
    } == expected
    # What ends the two branches of each block, and what only says who attends to whom.
    ends = [graph.steps[i].key for branch in residual_branches(graph) for i in branch.last]
    inner = (
        ("attention/attention_output", "ffw_linear")
        if name == "Gemma"
        else (
            "self_attention/attention_output",
            "mixtral_sparse_moe_block/experts" if name == "Mixtral" else "feedforward_output_dense",
        )
    )
    assert ends == [f"{block}_{n}/{end}" for n in range(2) for end in inner]
    scores = {graph.steps[i].key.split("/", 1)[1] for i in score_steps(graph)}
    router = {"mixtral_sparse_moe_block/sparse_feedforward_gate_dense"}
    attention = "attention" if name == "Gemma" else "self_attention"
    assert scores == {f"{attention}/query", f"{attention}/key"} | (
        router if name == "Mixtral" else set()
    )


def test_the_way_back_of_an_embedding_is_another_call_of_it():
    model, _ = backbone("Llama")
    words = model.token_embedding(keras.ops.relu(model.output), reverse=True)
    whole = keras.Model(model.input, words)
    graph = trace(whole)
    of = {k.key.split("/")[-1]: k for k in find_kernels(whole, graph)}
    assert of["embeddings"].step != of["reverse_embeddings"].step == len(graph.steps) - 1


@pytest.mark.parametrize("name", ["GPT2", "Llama", "Whisper"])
def test_fresh_backbones_are_sound_and_schemes_run(name):
    model, x = backbone(name, rows=4)
    made = keras.tree.flatten(model.output)[-1]
    whole = keras.Model(model.input, L.Dense(3, name="head")(keras.ops.mean(made, axis=1)))
    whole.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    found = diagnose(whole, x, np.arange(4) % 3)
    assert [f for f in found.findings if f.severity == "severe"] == []
    report = initialize(model, "depth_scaled", seed=0)
    additions = 10 if name == "Whisper" else 4
    assert report.notes == [f"{additions} residual additions"]
    ends = [record for record in report if record.note == "ends a residual branch"]
    assert len(ends) == additions
    assert {record.std for record in ends} == {0.02 / additions**0.5}
    assert initialize(model, "autoinit", seed=0)


class Block(L.Layer):
    """A composite that asks for the sizes of what it is given, and gives None beside a tensor."""

    def __init__(self):
        super().__init__()
        self.attend = Attend()
        self.down = L.Dense(6)

    def call(self, x):
        attended, nothing = self.attend(x)
        assert nothing is None
        return x + self.down(keras.ops.relu(attended * 2.0))


class Attend(L.Layer):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = L.Dense(6), L.Dense(6), L.Dense(6)

    def build(self, shape):
        for part in (self.query, self.key, self.value):
            part.build(shape)

    def call(self, x):
        batch, length, _ = keras.ops.shape(x)
        causal = np.tril(np.ones((batch, length, length)))
        scores = keras.ops.einsum("bqd,bkd->bqk", self.query(x), self.key(x))
        weights = keras.ops.softmax(scores - 1e9 * (1 - causal))
        return keras.ops.einsum("bqk,bkd->bqd", weights, self.value(x)), None


class Whole(keras.Model):
    """A functional model would refuse a layer that returns None."""

    def __init__(self):
        super().__init__()
        self.block = Block()

    def call(self, x):
        return self.block(x)


def test_a_composite_that_asks_for_sizes_is_traced_with_known_ones():
    model = Whole()
    model(np.zeros((2, 5, 6), "float32"))
    graph = trace(model)
    assert graph.reasons == {}
    (branch,) = residual_branches(graph)
    assert [graph.steps[i].key for i in branch.steps] == ["block/attend/dense_2", "block/dense"]
    assert {graph.steps[i].key for i in score_steps(graph)} == {
        "block/attend/dense",
        "block/attend/dense_1",
    }


class ByEinsums(L.Layer):
    """Attention whose projections are EinsumDense, which asks how long its scores are."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (
            L.EinsumDense(equation, shape)
            for equation, shape in (
                ("...c,cd->...d", (6,)),
                ("abc,cd->abd", (None, 6)),
                ("acb,bd->acd", (None, 6)),
            )
        )

    def call(self, x):
        scores = keras.ops.einsum("bqd,bkd->bqk", self.query(x), self.key(x))
        length = keras.ops.shape(scores)[-1]
        causal = keras.ops.arange(length)[:, None] >= keras.ops.arange(length)
        weights = keras.ops.softmax(keras.ops.where(causal, scores, -1e9))
        return x + keras.ops.einsum("bqk,bkd->bqd", weights, self.value(x))


def test_an_einsum_layer_makes_as_many_as_it_is_given_where_it_was_told_none():
    block, open_length = ByEinsums(), keras.Input((None, 6))
    model = keras.Model(open_length, block(open_length))
    graph = trace(model)
    assert graph.reasons == {}
    (branch,) = residual_branches(graph)
    assert [graph.steps[i].op for i in branch.steps] == [block.value]
