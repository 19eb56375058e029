"""Moments by formula against sampling, and unit variance through networks of many layers."""

import hashlib

import keras
import numpy as np
import pytest
from keras import layers as L

from tests.graph.test_tracing import transformer
from tests.schemes.test_lsuv import normal, pre_activations
from tfinit.errors import InputError
from tfinit.graph.activations import Activation
from tfinit.schemes import initialize
from tfinit.schemes.engine.moments import Moments, through_activation, through_layer


@pytest.mark.parametrize(
    ("name", "signal", "mean", "variance"),
    [
        # of max(z, 0): 1/√(2π) and 1/2 - 1/(2π)
        ("relu", Moments(0, 1), 0.3989423, 0.3408451),
        ("relu", Moments(0, 4), 0.7978846, 1.3633802),
        ("linear", Moments(2, 3), 2, 3),
        ("selu", Moments(0, 1), 0, 1),
        # E[exp z] and var exp z of a normal z
        ("exponential", Moments(0, 0.25), np.exp(0.125), np.exp(0.25) * (np.exp(0.25) - 1)),
    ],
)
def test_moments_behind_activations_are_the_closed_forms(name, signal, mean, variance):
    found = through_activation(Activation(name, name), signal)
    assert found == pytest.approx((mean, variance), abs=1e-5)


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (L.Add(), [(64, 64), (64, 64)]),
        (L.Average(), [(64, 64), (64, 64)]),
        (L.Multiply(), [(64, 64), (64, 64)]),
        (L.Concatenate(), [(64, 16), (64, 48)]),
        (L.MaxPooling2D(2), [(32, 32, 8)]),
        (L.AveragePooling2D(3), [(30, 30, 8)]),
        (L.GlobalAveragePooling1D(), [(8, 512)]),
        (L.Rescaling(3.0, -1.0), [(64, 64)]),
        (L.RMSNormalization(), [(16, 256)]),
        (L.LayerNormalization(), [(16, 256)]),
        (L.Dropout(0.3), [(64, 64)]),
        (L.GaussianNoise(0.5), [(64, 64)]),
        (L.UpSampling2D(2), [(16, 16, 4)]),
        (L.ZeroPadding2D(2), [(16, 16, 4)]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_moments_behind_layers_are_those_of_samples(layer, shapes):
    keras.utils.set_random_seed(0)
    signals = [Moments(0.5, 2.0), Moments(-1.0, 0.5)][: len(shapes)]
    xs = [
        s.mean + s.variance**0.5 * np.random.default_rng(i).normal(size=(32, *shape))
        for i, (s, shape) in enumerate(zip(signals, shapes, strict=True))
    ]
    xs = [x.astype("float32") for x in xs]
    y = (
        layer(xs if len(xs) > 1 else xs[0], training=True)
        if hasattr(layer, "rate") or hasattr(layer, "stddev")
        else layer(xs if len(xs) > 1 else xs[0])
    )
    found = through_layer(layer, signals, shapes)
    assert found.mean == pytest.approx(float(np.mean(y)), abs=0.02)
    assert found.variance == pytest.approx(float(np.var(y)), rel=0.05)


# GELU's variance map has an unstable fixed point, which finite widths leave after some layers.
@pytest.mark.parametrize(
    ("activation", "depth"),
    [("relu", 30), ("tanh", 30), ("sigmoid", 30), ("softplus", 30), ("gelu", 6)],
)
def test_variance_stays_1_through_many_layers(activation, depth):
    layers = [L.Dense(256, activation) for _ in range(depth)]
    model = keras.Sequential([keras.Input((256,)), *layers])
    report = initialize(model, "autoinit", seed=1)
    second = float(np.mean(np.square(layers[0].activation(normal(1_000_000)))))
    assert report[1].std == pytest.approx((256 * second) ** -0.5, rel=0.01)
    # One layer of width 256 is off by some percent, and 30 of them add up.
    stds = pre_activations(model, normal(256, 256))
    assert max(abs(np.log(std)) for std in stds.values()) < np.log(1.8)


def test_topology_is_followed():
    inputs = keras.Input((16, 16, 8))
    a = L.Conv2D(32, 3, padding="same", activation="relu")(inputs)
    b = L.Conv2D(32, 3, padding="same", name="second")(a)
    x = L.ReLU()(L.Add()([a, b]))
    x = L.Concatenate()([x, inputs])
    x = L.Dense(64, name="joined")(L.GlobalMaxPooling2D(name="pool")(x))
    model = keras.Model(inputs, x)
    report = initialize(model, "autoinit", seed=1)
    # a: E[relu²] = 1/2 → ν + μ² = 1/2
    assert report["second/kernel"].std == pytest.approx((9 * 32 * 0.5) ** -0.5, rel=1e-3)
    assert report.notes == ["moments by trial: pool"]
    x = normal(64, 16, 16, 8)
    assert pre_activations(model, x)["second"] == pytest.approx(1, abs=0.15)


def test_moments_of_the_inputs_count():
    model = keras.Sequential([keras.Input((64,)), L.Dense(64, name="fc")])
    report = initialize(model, "autoinit", seed=1, mean=3.0, variance=4.0)
    assert report["fc/kernel"].std == pytest.approx((64 * 13) ** -0.5)


def test_frozen_kernels_are_measured():
    model = keras.Sequential([keras.Input((64,)), L.Dense(64, name="a"), L.Dense(64, name="b")])
    model.layers[0].kernel.assign(np.full((64, 64), 0.5))
    model.layers[0].trainable = False
    report = initialize(model, "autoinit", seed=1)
    assert report["b/kernel"].std == pytest.approx((64 * 64 * 0.25) ** -0.5)


def test_transformer_with_composites_by_trial():
    model = transformer(depth=2)
    report = initialize(model, "autoinit", seed=1)
    assert {record.action for record in report} == {"set"}
    assert "block/multi_head_attention" in report.notes[0]


def test_signal_that_ends_is_an_error():
    model = keras.Sequential(
        [keras.Input((4,)), L.BatchNormalization(gamma_initializer="zeros"), L.Dense(4)]
    )
    with pytest.raises(InputError, match="signal ends at 'batch_normalization'"):
        initialize(model, "autoinit", seed=1)


def recurrent_net(recurrent):
    inputs = keras.Input((5, 8))
    x = recurrent(L.Dense(12, name="before")(inputs))
    return keras.Model(inputs, L.Dense(4, name="after")(x))


class Cell(L.Layer):
    """A cell of the user's own, whose kernels are those of a layer in it."""

    def __init__(self, **options):
        super().__init__(**options)
        self.state_size, self.dense = 6, L.Dense(6, "tanh")

    def build(self, shape):
        self.dense.build((None, shape[-1] + 6))

    def call(self, x, states):
        h = self.dense(keras.ops.concatenate([x, states[0]], axis=-1))
        return h, [h]


@pytest.mark.parametrize(
    "recurrent",
    [
        L.LSTM(6),
        L.Bidirectional(L.GRU(6)),
        L.RNN([L.SimpleRNNCell(6), L.LSTMCell(3)]),
        L.RNN(Cell()),
    ],
    ids=["lstm", "bidirectional", "stacked", "own"],
)
def test_recurrent_layers_are_left_and_measured(recurrent):
    """Bingham & Miikkulainen leave them to their own initializers, and sample what they put out."""
    model = recurrent_net(recurrent)
    before = [w.numpy() for w in recurrent.weights]
    report = initialize(model, "autoinit", seed=1)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, recurrent.weights, strict=True))
    inside = [record for record in report if record.key.split("/")[0] not in ("before", "after")]
    assert {(r.action, r.note.split(":")[0]) for r in inside} == {("kept", "recurrent")}
    assert len(report.notes) == 1
    assert report.notes[0].startswith("moments by trial: ")
    # What follows is drawn for what they put out: σ² = 1 / (fan_in · E[h²]) on normal inputs.
    h = recurrent(normal(2048, 5, 12))
    second = float(np.mean(np.square(h)))
    assert report["after/kernel"].std == pytest.approx((h.shape[1] * second) ** -0.5, rel=0.25)


def test_kernels_are_the_bits_of_their_stream_times_the_formula():
    """A promise: SFC64 seeded with SHA-256 of seed and key; recurrent layers change none of it."""
    model = recurrent_net(L.GRU(6))
    report = initialize(model, "autoinit", seed=1)
    for key, std in (("before/kernel", 8**-0.5), ("after/kernel", report["after/kernel"].std)):
        digest = hashlib.sha256(f"1/{key}".encode()).digest()
        random = np.random.Generator(np.random.SFC64(int.from_bytes(digest, "big")))
        kernel = model.get_layer(key.split("/")[0]).kernel.numpy()
        drawn = random.standard_normal(kernel.shape, np.float32) * np.float32(std)
        assert np.array_equal(kernel, drawn)


def test_a_stateful_layer_is_tried_in_its_own_batch():
    inputs = keras.Input((4, 3), batch_size=1)
    model = keras.Model(inputs, L.Dense(2)(L.LSTM(5, stateful=True)(inputs)))
    assert initialize(model, "autoinit", seed=1)[-1].action == "set"
    assert not any(np.any(state.numpy()) for state in model.layers[1].states)


@pytest.mark.parametrize(("mean", "told"), [(2000.0, True), (100.0, False)])
def test_a_mean_that_hides_the_variance_is_told(mean, told, recwarn):
    model = keras.Sequential([keras.Input((8,)), L.Dense(4, name="fc"), L.Dense(4)])
    initialize(model, "autoinit", seed=1, mean=mean, variance=100.0)
    seen = [str(w.message) for w in recwarn if "at 'fc/kernel' the signal's mean" in str(w.message)]
    assert len(seen) == told
