"""The compiled loop does what Keras's own `fit` and `evaluate` do."""

import keras
import numpy as np
import pytest
from small_networks import DATA, LOSS, L, bits, compiled

from tfinit.datasets import Dataset
from tfinit.pruning import SparseOptimizer, set_masks
from tfinit.training import (
    METRICS,
    CompiledLoop,
    batch_indices,
)
from tfinit.variables import prunable_weights

BACKEND = keras.backend.backend()
pytestmark = [
    pytest.mark.backends,
    pytest.mark.skipif(BACKEND == "torch", reason="PyTorch trains with fit"),
]
PLAIN = False if BACKEND == "tensorflow" else None

# Models, and data that is no more than arrays.


def scheduled():
    rate = keras.optimizers.schedules.ExponentialDecay(0.2, decay_steps=5, decay_rate=0.5)
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, clipnorm=0.1)
    first = {"kernel_regularizer": "l2", "activity_regularizer": "l1"}
    return compiled(optimizer, **first), DATA


def decayed_and_averaged():
    optimizer = keras.optimizers.AdamW(
        0.02, weight_decay=0.3, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=7
    )
    return compiled(optimizer, [L.BatchNormalization(momentum=0.7), L.Dropout(0.4)]), DATA


def dropped_out():
    return compiled(keras.optimizers.SGD(0.1), [L.BatchNormalization(), L.Dropout(0.4)]), DATA


def averaged_at_the_end():
    return compiled(keras.optimizers.Adam(0.02, use_ema=True, ema_momentum=0.9)), DATA


def accumulated():
    return compiled(keras.optimizers.Adam(0.02, gradient_accumulation_steps=3)), DATA


def weighted_inputs_in_a_dictionary():
    inputs = {"left": L.Input((2,), name="left"), "right": L.Input((3,), name="right")}
    x = L.Concatenate()([L.Dense(4)(inputs["left"]), inputs["right"]])
    model = keras.Model(inputs, L.Dense(3)(x))
    model.compile(keras.optimizers.RMSprop(0.01), LOSS)

    def split(x, y):
        weight = np.linspace(0, 2, len(y), dtype="f4")
        return {"left": x[:, :2], "right": x[:, 2:]}, y, weight

    return model, Dataset("weighted", split(*DATA.train), split(*DATA.validation), None, 3)


def numbers_to_predict():
    x = DATA.train[0]
    model = compiled(keras.optimizers.Adam(0.01), loss="mae")
    return model, Dataset("numbers", (x, x[:, :3] + 1), (x, x[:, :3] + 1), None, 0)


def half_precision():
    first = {"dtype": "mixed_float16"}
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    return compiled(optimizer, [L.Activation("relu", dtype="mixed_float16")], **first), DATA


class Penalized(L.Layer):
    def call(self, x):
        self.add_loss(0.1 * keras.ops.mean(x**2))
        return x


def two_outputs_of_a_pruned_network():
    x = L.Input((5,))
    hidden = Penalized()(L.Dense(6, activation="relu")(x))
    outputs = {"size": L.Dense(1, name="size")(hidden), "kind": L.Dense(3, name="kind")(hidden)}
    model = keras.Model(x, outputs)
    optimizer = SparseOptimizer(keras.optimizers.Adam(0.02), scope=model)
    model.compile(optimizer, {"size": "mse", "kind": LOSS}, loss_weights={"size": 0.3, "kind": 1.0})
    optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)
    masks = {key: rng.random(w.shape) < 0.6 for key, w in prunable_weights(model).items()}
    set_masks(model, masks)

    def split(x, y):
        return x, {"size": x[:, :1] + 1, "kind": y}

    return model, Dataset("two", split(*DATA.train), split(*DATA.validation), None, 3)


STEPS = 25
# XLA draws other numbers than TensorFlow's kernels do from the same state: with Dropout a loop
# equals a `fit` that is compiled in the same way.
CASES = [
    (scheduled, True),
    (dropped_out, True),
    (decayed_and_averaged, False),
    (averaged_at_the_end, False),
    (accumulated, False),
    (weighted_inputs_in_a_dictionary, False),
    (numbers_to_predict, False),
    (two_outputs_of_a_pruned_network, False),
    (half_precision, False),
]


def fitted(model, data, order):
    """What `fit` makes of the same batches, laid one after the other."""
    rows = order.ravel()
    x, y, weight = (*keras.tree.map_structure(lambda a: a[rows], tuple(data.train)), None)[:3]
    size = order.shape[1]
    return model.fit(x, y, sample_weight=weight, batch_size=size, shuffle=False, verbose=0)


@pytest.mark.parametrize(
    ("case", "xla"), CASES, ids=[f"{c.__name__}-{'xla' if x else 'graph'}" for c, x in CASES]
)
def test_it_trains_and_measures_as_fit_and_evaluate_do(case, xla):
    (ours, data), (theirs, _) = case(), case()
    if BACKEND == "tensorflow":
        theirs.jit_compile = xla
    begun = [np.array(w) for w in theirs.weights]
    for variable, value in zip(ours.weights, begun, strict=True):
        variable.assign(value)

    def same_noise():
        for mine, other in zip(ours.variables, theirs.variables, strict=True):
            if mine.name == "seed_generator_state":
                other.assign(np.array(mine))

    loop = CompiledLoop(ours, data, xla=xla if BACKEND == "tensorflow" else None)
    metrics = loop(STEPS, 8, seed=3, evaluate_every=10, at={0: same_noise})
    assert loop.engine == ("xla" if xla or BACKEND == "jax" else "graph")
    history = fitted(theirs, data, batch_indices(50, 8, STEPS, seed=3))

    # Half precision has 11 bits; else only the order of sums may differ.
    rtol = 1e-2 if case is half_precision else 1e-5
    both = zip(
        [*ours.weights, *ours.optimizer.variables],
        [*theirs.weights, *theirs.optimizer.variables],
        strict=True,
    )
    for mine, other in both:
        np.testing.assert_allclose(
            np.array(mine, "f8"), np.array(other, "f8"), rtol=rtol, atol=rtol / 5, err_msg=mine.path
        )
    moved = [not np.array_equal(v, np.array(w)) for v, w in zip(begun, theirs.weights, strict=True)]
    assert all(moved)
    x, y, weight = (*data.validation, None)[:3]
    expected = theirs.evaluate(x, y, sample_weight=weight, batch_size=50, verbose=0)
    expected = np.atleast_1d(expected)[0]
    np.testing.assert_allclose(metrics.values["validation_loss"][-1], expected, rtol=rtol)
    assert metrics.losses.shape == (STEPS,)
    if len(data.train) == 2:  # of weighted losses `fit` tells a weighted mean
        np.testing.assert_allclose(metrics.losses.mean(), history.history["loss"][0], rtol=rtol)


def test_the_last_row_is_that_of_the_averaged_weights():
    model, _ = averaged_at_the_end()
    seen = {}
    loop = CompiledLoop(model, DATA, xla=PLAIN)
    metrics = loop(6, 8, 3, evaluate_every=6, at={6: lambda: seen.update(w=bits(model))})
    assert seen["w"] == bits(model)
    averages = [v for v in model.optimizer.variables if "average" in v.path]
    for weight, average in zip(model.trainable_weights, averages, strict=True):
        np.testing.assert_array_equal(np.array(weight), np.array(average))
    x, y = DATA.test
    expected = model.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(metrics.values["test_loss"][-1], expected, rtol=1e-5)


def test_metrics_are_those_of_the_logits():
    model, steps = compiled(), []
    metrics = CompiledLoop(model, DATA, xla=PLAIN)(
        25, 8, 3, evaluate_every=10, progress=steps.append
    )
    np.testing.assert_array_equal(metrics.step, [0, 10, 20, 25])
    assert sum(steps) == 25
    assert tuple(metrics.values) == METRICS
    for split in ("validation", "test"):
        x, y = getattr(DATA, split)
        logits = np.asarray(model(x), "float64")
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        loss = -log_p[np.arange(len(y)), y].mean()
        np.testing.assert_allclose(metrics.values[f"{split}_loss"][-1], loss, rtol=1e-5)
        assert metrics.values[f"{split}_accuracy"][-1] == (logits.argmax(1) == y).mean()
