"""Schemes on Keras's other backends: the same bits as on TensorFlow, or the same numbers where
they compute with the model; and what scores that take gradients say there."""

import contextlib
import io
import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import hashlib, json, keras, numpy as np
from keras import layers as L
from tfinit.pruning.scoring.before_training import score_model
from tfinit.schemes import initialize

def model():
    inputs = keras.Input((8, 8, 3))
    x = L.BatchNormalization()(L.Conv2D(4, 3, padding="same", name="conv")(inputs))
    x = L.Add()([x, L.Conv2D(4, 3, padding="same", name="end")(L.ReLU()(x))])
    return keras.Model(inputs, L.Dense(3, name="head")(L.Flatten()(x)))

bits = {}
for scheme in ("he", "orthogonal", "delta_orthogonal", "depth_scaled", "fixup", "alexnet"):
    made = model()
    initialize(made, scheme, seed=1)
    weights = b"".join(np.asarray(w.numpy()).tobytes() for w in made.weights if "kernel" in w.name)
    bits[scheme] = hashlib.sha256(weights).hexdigest()
made = model()
initialize(made, "reinitialize", seed=1)
initialize(made, "autoinit", seed=1)
x = np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype("float32")
initialize(made, "lsuv", x, seed=1)
bits["std"] = float(np.std(keras.ops.convert_to_numpy(made(x))))
def small():
    return keras.Sequential([keras.Input((6,)), L.Dense(6, "tanh"), L.Dense(3)])

computed, x = {}, x.reshape(-1, 6)[:32]
few = {"steps": 3, "rate": 0.01}
for scheme in ("weightnorm_data", "krahenbuhl", "metainit"):
    made = small()
    initialize(made, scheme, x, seed=1, **(few if scheme == "metainit" else {}))
    computed[scheme] = [float(np.square(w.numpy()).sum()) for w in made.weights]
y, loss = np.arange(32) % 3, keras.losses.SparseCategoricalCrossentropy(from_logits=True)
initialize(made, "he", seed=1)
for score in ("snip", "grasp", "synflow"):
    found = score_model(score, made, x, y, loss=loss)
    computed[score] = [float(np.abs(values).sum()) for values in found.values()]
bits["computed"] = computed
print(json.dumps(bits))
"""


def bits_on(backend):
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def here():
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(PROGRAM, {})
    return json.loads(printed.getvalue().splitlines()[-1])


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_same_bits_on_other_backends(backend, here):
    pytest.importorskip(backend)
    there = bits_on(backend)
    for bits in (there, here):
        assert abs(bits["std"] - 1) < 0.01
    ours, theirs = here["computed"], there["computed"]
    assert ours.keys() == theirs.keys()
    for name, numbers in ours.items():
        assert theirs[name] == pytest.approx(numbers, rel=2e-3, abs=1e-6), name
    left_out = {"std": 0, "computed": {}}
    assert there | left_out == here | left_out
