"""Findings in other networks than chains of dense layers, and the cures that go with them."""

import keras
import numpy as np
import pytest

import tfinit
from tfinit.diagnostics import diagnose

LAYERS = keras.layers


def vectors(n=32, size=8, classes=3):
    """Examples whose features have mean 0 and variance 1, to rounding."""
    x = np.random.default_rng(n).normal(size=(n, size))
    return ((x - x.mean(0)) / x.std(0)).astype("float32"), np.arange(n) % classes


def normal(std, seed=0):
    return keras.initializers.RandomNormal(0, std, seed=seed)


def cured(model, x, y, finding):
    exec(finding.code, {"tfinit": tfinit, "model": model, "x": x})
    return diagnose(model, x, y).healthy


def test_a_bias_that_cuts_all_off_is_found_where_it_begins(rng):
    """Behind the first layer nothing varies: those that follow are its victims."""
    bias = keras.initializers.Constant(-10.0)
    convs = [
        LAYERS.Conv2D(8, 3, activation="relu", bias_initializer=bias, name=f"conv{n}")
        for n in range(3)
    ]
    layers = [keras.Input((10, 10, 2)), *convs, LAYERS.Flatten(), LAYERS.Dense(3)]
    model = keras.Sequential(layers)
    x = rng.normal(size=(16, 10, 10, 2)).astype("float32")
    y = np.arange(16) % 3
    finding = diagnose(model, x, y).severe[0]
    assert (finding.kind, finding.layer) == ("bias off", "conv0")
    assert cured(model, x, y, finding)


@pytest.mark.parametrize("first", [True, False])
def test_small_branches_beside_a_shortcut_are_no_jump(first):
    """What a branch reads is the sum, or its normalization, and not the branch before it."""
    inputs = keras.Input((8,))
    h = LAYERS.Dense(16)(inputs)
    for n in range(4):
        branch = LAYERS.LayerNormalization()(h) if first else h
        branch = LAYERS.Dense(16, "relu", kernel_initializer=normal(1e-3, n))(branch)
        branch = LAYERS.Dense(16, kernel_initializer=normal(1e-3, 9 + n))(branch)
        h = LAYERS.Add()([h, branch])
        h = h if first else LAYERS.LayerNormalization()(h)
    model = keras.Model(inputs, LAYERS.Dense(3)(h))
    assert diagnose(model, *vectors()).healthy


def test_what_attention_reads_of_one_tensor_is_its_normalization(rng):
    """Queries, keys and values of one input: not of the small branch before it."""
    inputs = h = keras.Input((6, 16))
    for n in range(2):
        normed = LAYERS.LayerNormalization()(h)
        h = h + LAYERS.MultiHeadAttention(4, 4, name=f"attention{n}")(normed, normed)
        branch = LAYERS.Dense(24, "gelu", kernel_initializer=normal(0.02))(
            LAYERS.LayerNormalization()(h)
        )
        h = h + LAYERS.Dense(16, kernel_initializer=normal(0.02))(branch)
    h = LAYERS.GlobalAveragePooling1D()(LAYERS.LayerNormalization()(h))
    model = keras.Model(inputs, LAYERS.Dense(3)(h))
    x = rng.normal(size=(8, 6, 16)).astype("float32")
    assert [f.layer for f in diagnose(model, x).findings if f.kind == "scale jump"] == []


def test_one_layer_of_a_branch_that_jumps_is_found():
    inputs = keras.Input((8,))
    h = LAYERS.Dense(16)(inputs)
    for n in range(4):
        branch = LAYERS.LayerNormalization()(h)
        kernel = normal(250.0 if n == 2 else 0.25, n)
        branch = LAYERS.Dense(16, "relu", kernel_initializer=kernel, name=f"in{n}")(branch)
        h = LAYERS.Add()([h, LAYERS.Dense(16, kernel_initializer=normal(0.1, 9 + n))(branch)])
    model = keras.Model(inputs, LAYERS.Dense(3)(LAYERS.LayerNormalization()(h)))
    x, y = vectors()
    finding = diagnose(model, x, y).severe[0]
    assert (finding.kind, finding.layer) == ("scale jump", "in2")
    assert "rms 1 before" in finding.evidence
    assert cured(model, x, y, finding)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_recurrent_layers_of_zeros_are_twins(kind, rng):
    """Nothing comes back to the first: what reads its units weights them all alike."""
    zeros = {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}
    first = getattr(LAYERS, kind)(4, return_sequences=True, name="first", **zeros)
    layers = [keras.Input((5, 3)), first, getattr(LAYERS, kind)(4, **zeros), LAYERS.Dense(2)]
    model = keras.Sequential(layers)
    x = rng.normal(size=(16, 5, 3)).astype("float32")
    y = np.arange(16) % 2
    finding = diagnose(model, x, y).severe[0]
    assert (finding.kind, finding.layer) == ("twins", "first")
    assert cured(model, x, y, finding)


def test_no_gradient_at_all_is_severe():
    inputs = keras.Input((8,))
    h = keras.ops.stop_gradient(LAYERS.Dense(3, name="fc")(inputs))
    diagnosis = diagnose(keras.Model(inputs, h), *vectors())
    assert [(f.kind, f.layer) for f in diagnosis.severe] == [("vanishing", "fc")]


def test_a_sure_start_is_cured_where_its_cause_is():
    """Large inputs: a smaller last layer alone would not do."""
    x, y = vectors()
    model = keras.Sequential([keras.Input((8,)), LAYERS.Dense(16, "relu"), LAYERS.Dense(3)])
    diagnosis = diagnose(model, 1000 * x, y)
    (finding,) = diagnosis.severe
    assert (finding.kind, finding.fault) == ("scale jump", "inputs")
    assert {f.kind: f.severity for f in diagnosis.findings}["confident start"] == "warning"
    names = {"x": 1000 * x}
    exec(finding.code, names)
    assert diagnose(model, names["x"], y).healthy


def test_a_broken_bias_is_cured_and_a_broken_normalization_is_told():
    x, y = vectors()
    layers = [keras.Input((8,)), LAYERS.Dense(8, name="fc"), LAYERS.BatchNormalization(name="bn")]
    model = keras.Sequential([*layers, LAYERS.ReLU(name="relu"), LAYERS.Dense(3)])
    fc, bn = model.get_layer("fc"), model.get_layer("bn")
    fc.bias.assign([np.inf] + [0.0] * 7)
    finding = diagnose(model, x, y).severe[0]
    assert (finding.kind, finding.layer) == ("not finite", "fc/bias")
    assert cured(model, x, y, finding)
    # No scheme sets these: no code, but words.
    bn.beta.assign(np.full(8, -100.0))
    finding = diagnose(model, x, y).severe[0]
    assert (finding.kind, finding.layer, finding.code) == ("dead units", "relu", "")
    assert "'bn' puts them there" in finding.cure
    bn.moving_mean.assign(np.full(8, np.nan))
    finding = diagnose(model, x, y).severe[0]
    assert (finding.layer, finding.code) == ("bn/moving_mean", "")


def test_a_frozen_layer_is_not_told_to_be_redrawn():
    x, y = vectors()
    frozen = LAYERS.Dense(8, "relu", kernel_initializer="zeros", name="frozen", trainable=False)
    model = keras.Sequential([keras.Input((8,)), frozen, LAYERS.Dense(3)])
    finding = diagnose(model, x, y).severe[0]
    assert (finding.layer, finding.code) == ("frozen", "")
    assert "It is frozen" in finding.cure
    model.trainable = False
    assert any("all weights are frozen" in note for note in diagnose(model, x, y).measurement.notes)


def test_a_network_too_short_for_a_trend_makes_up_none():
    x, y = vectors()
    verdict = diagnose(keras.Sequential([keras.Input((8,)), LAYERS.Dense(3)]), x, y).verdict
    assert "too little was seen to tell a growth" in verdict


def offset_net(*before):
    keras.utils.set_random_seed(0)
    layers = [LAYERS.Dense(32, "relu", name="fc1"), LAYERS.Dense(32, "relu"), LAYERS.Dense(3)]
    model = keras.Sequential([keras.Input((8,)), *before, *layers])
    tfinit.initialize(model, "he", seed=1)
    if not before:  # what makes pre-activations of size 1 of inputs of 2000
        layers[0].kernel.assign(layers[0].kernel / 2000)
    return model


def test_inputs_whose_mean_hides_what_varies_are_no_healthy_start():
    x, y = vectors(64)
    far = 2000 + 10 * x
    (finding,) = diagnose(offset_net(), far, y).severe
    assert (finding.kind, finding.layer) == ("scale jump", "")
    assert "rms 2e+03 and vary by 10" in finding.evidence
    assert "(x - mean) / std" in finding.cure
    one = np.where(np.arange(8) == 3, far, x)  # a column of years
    assert [f.kind for f in diagnose(offset_net(), one, y).severe] == ["scale jump"]


@pytest.mark.parametrize(
    ("before", "x"),
    [
        ([LAYERS.Rescaling(0.1, -200.0)], 2000 + 10 * vectors(64)[0]),
        ([LAYERS.BatchNormalization()], 2000 + 10 * vectors(64)[0]),
        ([LAYERS.Rescaling(1.0)], 0.9 + 0.1 * vectors(64)[0]),  # bright images
        ([LAYERS.Rescaling(1.0)], np.ones((64, 8), "float32")),  # tells nothing of the data
        ([LAYERS.Rescaling(1.0)], np.full((1, 8), 2.0, "float32")),
    ],
    ids=["rescaled", "normalized", "bright", "ones", "one example"],
)
def test_inputs_that_vary_or_tell_nothing_are_no_finding(before, x):
    assert "scale jump" not in {f.kind for f in diagnose(offset_net(*before), x).findings}


def test_an_offset_that_no_kernel_reads_is_no_finding():
    x, y = vectors(64)
    a, b = keras.Input((8,)), keras.Input((8,))
    by_hand = LAYERS.Dense(8, "relu")((a - 2000.0) / 10.0)
    bins = LAYERS.Discretization(bin_boundaries=[1990.0, 2000.0], output_mode="multi_hot")(b)
    model = keras.Model([a, b], LAYERS.Dense(3)(by_hand) + LAYERS.Dense(3)(bins))
    found = diagnose(model, [2000 + 10 * x, 2000 + 10 * x], y)
    assert "scale jump" not in {f.kind for f in found.findings}
    mask = np.ones((64, 8), "float32")
    mask[5, 2] = 0  # one padded step in all the batch
    masked = keras.Model([a, b], LAYERS.Dense(3)(LAYERS.Dense(8, "relu")(a) * b))
    assert "scale jump" not in {f.kind for f in diagnose(masked, [x, mask], y).findings}
    found = diagnose(masked, [100 * x, mask], y).findings
    (told,) = [f.evidence for f in found if f.kind == "scale jump"]
    assert told.startswith("The inputs have rms 1")  # 100: the mask hides no other input
