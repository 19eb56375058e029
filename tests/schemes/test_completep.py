"""CompleteP: the training of a network whose branches are multiplied, by its weights and rates."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfinit.errors import InputError
from tfinit.learning_rates import ScaledLearningRates, scaled_learning_rates
from tfinit.schemes import initialize

X = np.random.default_rng(0).normal(size=(16, 6)).astype("f4")
Y = np.random.default_rng(1).normal(size=(16, 2)).astype("f4")
BLOCKS, BASE = 4, 2


def residual(blocks, scale=None, width=8):
    """Pre-norm blocks; with ``scale`` each branch is multiplied."""
    inputs = keras.Input((6,))
    x = L.Dense(width, name="in")(inputs)
    for n in range(blocks):
        h = L.Dense(2 * width, "tanh", name=f"up_{n}")(L.LayerNormalization(name=f"norm_{n}")(x))
        h = L.Dense(width, name=f"down_{n}")(h)
        x = L.Add()([x, h if scale is None else L.Rescaling(scale)(h)])
    return keras.Model(inputs, L.Dense(2, name="out")(L.LayerNormalization(name="last")(x)))


@pytest.mark.parametrize(("alpha", "optimizer"), [(1.0, "adam"), (0.5, "adam"), (0.75, "sgd")])
def test_training_is_that_of_multiplied_branches(alpha, optimizer):
    more = BLOCKS / BASE
    model, plain = residual(BLOCKS), residual(BLOCKS, more**-alpha)
    report = initialize(model, "completep", seed=1, depth=BASE, alpha=alpha, optimizer=optimizer)
    for layer in plain.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
        if layer.name.startswith("down"):
            layer.kernel.assign(layer.kernel * more**alpha)

    def made():
        return keras.optimizers.Adam(0.02, epsilon=1e-20) if optimizer == "adam" else "sgd"

    # The paper's rates, of the network that has the multipliers.
    in_branch = more ** (alpha - 1) if optimizer == "adam" else more ** (2 * alpha - 1)
    rates = [
        in_branch if v.path.startswith(("up_", "down_", "norm_")) else 1.0
        for v in plain.trainable_variables
    ]
    model.compile(scaled_learning_rates(made(), model, report), "mse", run_eagerly=True)
    plain.compile(ScaledLearningRates(made(), rates), "mse", run_eagerly=True)
    before = model(X)
    np.testing.assert_allclose(before, plain(X), rtol=1e-4, atol=1e-5)
    for one in (model, plain):
        one.fit(X, Y, batch_size=16, epochs=2, shuffle=False, verbose=0)
    assert np.abs(model(X) - before).max() > 0.01
    np.testing.assert_allclose(model(X), plain(X), rtol=2e-3, atol=2e-4)


def test_at_the_base_depth_and_width_it_is_plain_and_with_a_base_it_is_mup():
    report = initialize(residual(2), "completep", seed=1, depth=2)
    assert {record.multiplier for record in report} == {1.0}
    by_width = initialize(residual(2, width=32), "mup", seed=1, base=residual(2))
    both = initialize(residual(2, width=32), "completep", seed=1, depth=2, base=residual(2))
    assert [(r.std, r.multiplier) for r in both] == [(r.std, r.multiplier) for r in by_width]


@pytest.mark.parametrize(
    ("model", "options", "told"),
    [
        (lambda: keras.Sequential([keras.Input((4,)), L.Dense(4)]), {}, "needs a residual network"),
        (lambda: residual(2), {"depth": 0}, "`depth` must be a whole number"),
        (lambda: residual(2), {"alpha": 0.2}, "`alpha` must be a number from 0.5 to 1"),
        (lambda: residual(2), {"base": residual(3)}, "same architecture"),
    ],
)
def test_errors(model, options, told):
    with pytest.raises(InputError, match=told):
        initialize(model(), "completep", **{"depth": 2, **options})


def test_a_branch_whose_scale_is_undone_is_refused():
    inputs = keras.Input((6,))
    h = L.LayerNormalization()(L.Dense(6, name="undone")(inputs))
    model = keras.Model(inputs, L.Add()([inputs, h]))
    with pytest.raises(InputError, match="a normalization follows 'undone/kernel'"):
        initialize(model, "completep", depth=1)
