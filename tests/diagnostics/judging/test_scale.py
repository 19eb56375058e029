"""Jumps of scale: at the layer that makes them, and not behind what bounds the signal."""

import keras
import numpy as np
import pytest
from diagnosed import trains

import tfinit
from tfinit.diagnostics import diagnose

L = keras.layers
X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 64)


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
    x = [
        np.random.default_rng(2).normal(size=(8, 6, 16)).astype("float32"),
        np.ones((8, 6, 6), "int32"),
    ]
    assert [f.layer for f in diagnose(model, x).findings if f.kind == "scale jump"] == []


def sigmoids(depth, std, units=8):
    keras.utils.set_random_seed(0)
    start = [keras.initializers.RandomNormal(0, std, seed=n) for n in range(depth)]
    hidden = [
        L.Dense(units, "sigmoid", kernel_initializer=i, name=f"fc{n}") for n, i in enumerate(start)
    ]
    model = keras.Sequential([keras.Input((8,)), *hidden, L.Dense(3, "softmax")])
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy", jit_compile=False)
    return model


CLASSES = np.digitize(X[:, 0], [-0.5, 0.5])


def test_sigmoids_that_leave_a_constant_are_found_and_cured():
    model = sigmoids(2, 0.02)
    (finding,) = diagnose(model, X, CLASSES).severe
    assert (finding.rule, finding.layer, finding.fault) == ("TFI010", "fc1", "activation")
    assert [(c.of, c.value) for c in finding.changes] == [(f"fc{n}", "relu") for n in range(2)]
    exec(finding.code, {"tfinit": tfinit, "model": model})
    assert diagnose(model, X, CLASSES).healthy
    assert trains(model, X, CLASSES)


def test_few_sigmoids_and_gates_of_sigmoids_are_no_finding():
    assert "vanishing" not in {f.kind for f in diagnose(sigmoids(2, 0.5), X, CLASSES).findings}
    x = keras.Input((8,))
    gate = L.Dense(16, "sigmoid", kernel_initializer=keras.initializers.RandomNormal(0, 1e-3))(x)
    gated = keras.Model(x, L.Dense(3)(L.Dense(16, "relu")(x) * gate))
    assert "vanishing" not in {f.kind for f in diagnose(gated, X, CLASSES).findings}
