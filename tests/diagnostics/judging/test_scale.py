"""Jumps of scale: at the layer that makes them, and not behind what bounds the signal."""

import keras
import numpy as np
import pytest

from tfinit.diagnostics import diagnose

L = keras.layers
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(64, 8)).astype("float32")
Y = RANDOM.integers(0, 3, 64)


def network(activation):
    keras.utils.set_random_seed(0)
    hidden = [L.Dense(32, activation, name=f"fc{n}") for n in range(1, 4)]
    return keras.Sequential([keras.Input((8,)), *hidden, L.Dense(3)])


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softsign"])
def test_a_bounded_layer_of_large_inputs_is_no_jump_of_the_next(activation):
    """What the next layer reads is within the bounds, whatever the kernel before them makes."""
    found = diagnose(network(activation), 1000 * X, Y).findings
    assert [f.layer for f in found if f.kind == "scale jump" and f.layer] == []
    assert "fc2" not in {f.layer for f in found if f.severity == "severe"}


def test_a_kernel_out_of_scale_behind_bounds_is_a_jump():
    model = network("tanh")
    fc2 = model.get_layer("fc2")
    fc2.kernel.assign(300 * fc2.kernel)
    assert ("scale jump", "fc2") in {(f.kind, f.layer) for f in diagnose(model, X, Y).severe}


def test_a_mask_beside_what_attention_reads_is_no_reason_to_blame_it():
    """Each block ends in a normalization, whose size is 1, behind a small branch."""
    h = inputs = keras.Input((6, 16))
    mask = keras.Input((6, 6), dtype="int32")
    small = keras.initializers.RandomNormal(0, 0.005, seed=1)
    for n in range(3):
        attention = L.MultiHeadAttention(4, 4, kernel_initializer=small, name=f"attention{n}")
        h = L.LayerNormalization()(h + attention(h, h, attention_mask=mask))
        branch = L.Dense(16, kernel_initializer=small)(
            L.Dense(24, "gelu", kernel_initializer=small)(h)
        )
        h = L.LayerNormalization()(h + branch)
    model = keras.Model([inputs, mask], L.Dense(3)(L.GlobalAveragePooling1D()(h)))
    x = [RANDOM.normal(size=(8, 6, 16)).astype("float32"), np.ones((8, 6, 6), "int32")]
    assert [f.layer for f in diagnose(model, x).findings if f.kind == "scale jump"] == []
