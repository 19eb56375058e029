"""A learning rate for each weight, against the optimizers' formulas in NumPy."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfinit.errors import InputError
from tfinit.learning_rates import ScaledLearningRates, scaled_learning_rates
from tfinit.pruning import ConstantSparsity, SparseOptimizer
from tfinit.schemes import initialize

O = keras.optimizers  # noqa: E741
X = np.random.default_rng(0).normal(size=(8, 4)).astype("f4")
Y = np.random.default_rng(1).normal(size=(8, 3)).astype("f4")
MULTIPLIERS = (0.25, 3.0)
STEPS = 4


def linear(optimizer=None, **options):
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, name="fc", **options)])
    model.layers[0].kernel.assign(np.linspace(-1, 1, 12).reshape(4, 3))
    if optimizer is not None:
        model.compile(optimizer, "mse")
    return model


def train(model, steps=STEPS):
    model.fit(X, Y, batch_size=8, epochs=steps, verbose=0, shuffle=False)
    return model.get_weights()


def by_hand(rule, rate, steps=STEPS):
    """The kernel and the bias of `linear` after some steps; a rule makes a step of a gradient."""
    weights, states = [np.linspace(-1, 1, 12).reshape(4, 3), np.zeros(3)], [{}, {}]
    for step in range(1, steps + 1):
        error = 2 * (X @ weights[0] + weights[1] - Y) / Y.size
        for n, gradient in enumerate((X.T @ error, error.sum(axis=0))):
            weights[n] = weights[n] - MULTIPLIERS[n] * rate * rule(gradient, states[n], step)
    return weights


def momentum(gradient, state, step):
    state["m"] = 0.9 * state.get("m", 0) + gradient
    return state["m"]


def adam(gradient, state, step):
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * gradient
    state["v"] = 0.999 * state.get("v", 0) + 0.001 * gradient**2
    first, second = state["m"] / (1 - 0.9**step), state["v"] / (1 - 0.999**step)
    return first / (np.sqrt(second) + 1e-7)


@pytest.mark.backends
@pytest.mark.parametrize(
    ("inner", "rule", "rate"),
    [(lambda: O.SGD(0.1, momentum=0.9), momentum, 0.1), (lambda: O.Adam(0.05), adam, 0.05)],
)
def test_each_weight_moves_at_its_own_rate_also_after_loading(inner, rule, rate, tmp_path):
    model = linear(ScaledLearningRates(inner(), MULTIPLIERS))
    for found, wanted in zip(train(model), by_hand(rule, rate), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.multipliers == MULTIPLIERS
    for found, wanted in zip(train(loaded, 2), by_hand(rule, rate, STEPS + 2), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_rate_is_the_inner_optimizers_and_a_multiplier_of_zero_keeps_a_weight():
    optimizer = ScaledLearningRates(O.SGD(0.5), [0, 1])
    model = linear(optimizer)
    optimizer.learning_rate = 0.25
    assert float(optimizer.inner_optimizer.learning_rate) == 0.25
    kernel, bias = train(model, 1)
    assert np.array_equal(kernel, linear().get_weights()[0]) and bias.any()


def test_constraints_hold_and_pruned_weights_stay_at_zero():
    scaled = ScaledLearningRates(O.SGD(0.5), [0.5, 1])
    model = linear(
        SparseOptimizer(scaled, ConstantSparsity(0.5, 1), scope=lambda v: len(v.shape) > 1),
        kernel_constraint=keras.constraints.UnitNorm(axis=0),
    )
    kernel, _ = train(model, 3)
    assert np.count_nonzero(kernel) == 6
    plain = linear(ScaledLearningRates(O.SGD(0.5), [0.5, 1]), kernel_constraint="unit_norm")
    np.testing.assert_allclose(np.linalg.norm(train(plain, 3)[0], axis=0), 1, rtol=1e-5)


def test_multipliers_by_name_and_of_a_scheme():
    model = keras.Sequential([keras.Input((4,)), L.Dense(16, name="a"), L.Dense(3, name="b")])
    base = keras.Sequential([keras.Input((4,)), L.Dense(4, name="a"), L.Dense(3, name="b")])
    made = scaled_learning_rates(O.SGD(), model, {"b/kernel": 0.1})
    assert made.multipliers == (1, 1, 0.1, 1)
    report = initialize(model, "mup", seed=1, base=base)
    assert scaled_learning_rates(O.Adam(), model, report).multipliers == (1, 1, 0.25, 1)
    # SGD's rates of hidden biases grow with the width, as those of inputs.
    report = initialize(model, "mup", seed=1, base=base, optimizer="sgd")
    assert scaled_learning_rates(O.SGD(), model, report).multipliers == (4, 4, 0.25, 1)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda m: ScaledLearningRates("nothing", [1]), "an optimizer of Keras 3 or its name"),
        (lambda m: ScaledLearningRates(O.SGD(use_ema=True), [1]), "keeps averages"),
        (lambda m: ScaledLearningRates(O.SGD(), [-1]), "`multipliers` must be a number"),
        (lambda m: ScaledLearningRates(O.SGD(), [1]).build(m.trainable_variables), "are 1 numbers"),
        (lambda m: scaled_learning_rates("sgd", m, {"no": 1}), "has 'no', which is no weight"),
        (lambda m: scaled_learning_rates("sgd", m, initialize(m, "he")), "gives no learning rates"),
    ],
)
def test_errors(make, told):
    with pytest.raises(InputError, match=told):
        make(linear())
