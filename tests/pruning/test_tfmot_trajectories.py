"""A tf_keras model that TFMOT prunes and a Keras 3 model that tfinit prunes end in equal masks."""

import functools

import keras
import numpy as np
import pytest
import tf_keras

import tfinit.pruning as sparsity
from tfinit.pruning.tfmot_api.tfmot import load_tfmot

X = np.random.default_rng(3).normal(size=(96, 12)).astype("float32")
Y = np.random.default_rng(4).integers(0, 4, 96)
IMAGES = np.random.default_rng(5).normal(size=(48, 8, 8, 2)).astype("float32")


def dense(k):
    return k.Sequential(
        [k.Input((12,)), k.layers.Dense(24, "relu"), k.layers.Dense(16, "tanh"), k.layers.Dense(4)]
    )


def convolutional(k):
    return k.Sequential(
        [
            k.Input((8, 8, 2)),
            k.layers.Conv2D(8, 3, activation="relu"),
            k.layers.Conv2D(8, 1, activation="relu"),
            k.layers.Flatten(),
            k.layers.Dense(4),
        ]
    )


OPTIMIZERS = {
    "sgd": lambda o: o.SGD(0.05),
    "momentum": lambda o: o.SGD(0.02, momentum=0.9),
    "adam": lambda o: o.Adam(0.003),
}


def train(k, model, data, optimizer, steps, callbacks=()):
    x, y = data
    loss = k.losses.SparseCategoricalCrossentropy(from_logits=True)
    # tf_keras compiles nothing with XLA either. A built optimizer spares Keras a second trace.
    model.compile(OPTIMIZERS[optimizer](k.optimizers), loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    per_epoch = len(x) // 8
    assert steps % per_epoch == 0
    model.fit(
        x, y, batch_size=8, epochs=steps // per_epoch, shuffle=False, verbose=0, callbacks=callbacks
    )


def both(network, data, schedule, optimizer="sgd", steps=36, **how):
    """Masks of TFMOT and of tfinit after the same training from the same weights."""
    theirs, ours = network(tf_keras), network(keras)
    rng = np.random.default_rng(6)
    weights = [np.float32(rng.normal(size=w.shape) * 0.4) for w in ours.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    api = load_tfmot().sparsity.keras
    kind, arguments = schedule
    pruned = api.prune_low_magnitude(theirs, getattr(api, kind)(**arguments), **how)
    train(tf_keras, pruned, data, optimizer, steps, [api.UpdatePruningStep()])
    masks = [
        mask.numpy().astype(bool)
        for layer in pruned.layers
        for _, mask, _ in getattr(layer, "pruning_vars", [])
    ]
    ours = sparsity.prune_low_magnitude(ours, getattr(sparsity, kind)(**arguments), **how)
    train(keras, ours, data, optimizer, steps)
    return masks, list(sparsity.get_masks(ours).values()), pruned, ours


CONSTANT = ("ConstantSparsity", {"target_sparsity": 0.6, "begin_step": 7, "frequency": 5})
DECAY = (
    "PolynomialDecay",
    {
        "initial_sparsity": 0.1,
        "final_sparsity": 0.85,
        "begin_step": 0,
        "end_step": 30,
        "frequency": 4,
    },
)
SCHEDULES = {"constant": CONSTANT, "decay": DECAY}


@functools.cache
def both_dense(schedule, optimizer):
    return both(dense, (X, Y), SCHEDULES[schedule], optimizer)


@pytest.mark.parametrize(
    ("schedule", "optimizer"), [("constant", "momentum"), ("decay", "sgd"), ("decay", "adam")]
)
def test_dense_layers(schedule, optimizer):
    theirs, ours, *_ = both_dense(schedule, optimizer)
    assert len(theirs) == len(ours) == 3
    for a, b in zip(theirs, ours, strict=True):
        assert 0 < a.mean() < 0.5
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "how",
    [{}, {"sparsity_m_by_n": (2, 4)}],
    ids=["elements", "2:4"],
)
def test_convolutions(how):
    theirs, ours, *_ = both(convolutional, (IMAGES, Y[:48]), DECAY, steps=36, **how)
    assert len(theirs) == len(ours) == 3
    # Two input channels are too few for 2:4 to take any.
    assert [bool(m.all()) for m in ours] == [bool(how), False, False]
    for a, b in zip(theirs, ours, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("pooling", ["AVG", "MAX"])
def test_blocks(pooling):
    how = {"block_size": (2, 2), "block_pooling_type": pooling}
    theirs, ours, *_ = both(dense, (X, Y), DECAY, steps=36, **how)
    for a, b in zip(theirs, ours, strict=True):
        assert not a.all()
        np.testing.assert_array_equal(a, b)


def test_the_survivors_are_equal_too():
    # One update only: TFMOT's zeros move by a step before they are masked again, ours never do.
    _, ours, pruned, model = both_dense("constant", "momentum")
    survivors = [w for w in pruned.get_weights() if w.ndim == 2 and w.size > 1]
    kernels = [v.numpy() for v in model.trainable_variables if len(v.shape) == 2]
    found = 0
    for kernel in kernels:
        for w in survivors:
            if w.shape == kernel.shape and not np.isin(w, (0, 1)).all():
                np.testing.assert_allclose(w, kernel, rtol=1e-3, atol=1e-5)
                found += 1
    assert found == len(ours) == 3
