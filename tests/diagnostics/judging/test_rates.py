"""Findings about the learning rate and the optimizer."""

import keras
import numpy as np
import pytest
from rated import digits, loss_after, network, of_rate

import tfinit
from tfinit.diagnostics import diagnose

LAYERS = keras.layers
OPTIMIZERS = keras.optimizers


@pytest.mark.parametrize(
    ("optimizer", "kind"),
    [
        (lambda: OPTIMIZERS.SGD(1000.0), "rate far too large"),
        (lambda: OPTIMIZERS.SGD(10.0), "rate far too large"),
        (lambda: OPTIMIZERS.Adam(1.0), "rate far too large"),
        (lambda: OPTIMIZERS.SGD(1e-5), "rate too small"),
        (lambda: OPTIMIZERS.Adam(1e-8), "rate too small"),
        (lambda: OPTIMIZERS.Adadelta(), "rate too small"),  # Keras's own
    ],
    ids=["SGD 1000", "SGD 10", "Adam 1", "SGD 1e-5", "Adam 1e-8", "Adadelta"],
)
def test_a_rate_that_does_not_do_is_severe_and_the_one_named_does(optimizer, kind):
    x, y = digits()
    model = network(optimizer())
    (finding,) = of_rate(model, x, y)
    assert (finding.kind, finding.severity, finding.layer) == (kind, "severe", "")
    exec(finding.code, {"model": model})
    assert diagnose(model, x, y).healthy
    assert loss_after(model, 60, x, y) < 1.6  # 2.3 at the start


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: OPTIMIZERS.SGD(0.01),
        lambda: OPTIMIZERS.SGD(0.3),
        lambda: OPTIMIZERS.SGD(0.05, momentum=0.9, nesterov=True),
        lambda: OPTIMIZERS.Adam(1e-4),
        lambda: OPTIMIZERS.Adam(0.03),
        lambda: OPTIMIZERS.Adam(
            OPTIMIZERS.schedules.CosineDecay(0.0, 1000, warmup_target=1e-3, warmup_steps=100)
        ),
        lambda: OPTIMIZERS.SGD(
            OPTIMIZERS.schedules.PiecewiseConstantDecay([500, 900], [1e-6, 0.1, 1e-6])
        ),
        lambda: OPTIMIZERS.AdamW(1e-3, weight_decay=0.05, global_clipnorm=1.0),
        lambda: OPTIMIZERS.Adadelta(1.0),
    ],
    ids=["SGD", "fast", "momentum", "slow", "fast Adam", "warm-up", "steps", "AdamW", "Adadelta"],
)
def test_rates_that_do_are_no_finding(optimizer):
    assert of_rate(network(optimizer()), *digits()) == []


def test_small_rates_are_no_finding_where_a_network_is_tuned_finely():
    x, y = digits()
    model = network(OPTIMIZERS.Adam(0.01))
    loss_after(model, 30, x, y)
    model.compile(OPTIMIZERS.Adam(1e-7), "sparse_categorical_crossentropy")
    assert of_rate(model, x, y) == []
    frozen = network(OPTIMIZERS.Adam(1e-7), trainable=False)
    assert of_rate(frozen, x, y) == []


def test_a_schedule_is_judged_by_its_largest_rate():
    x, y = digits()
    slow = OPTIMIZERS.schedules.CosineDecay(0.0, 1000, warmup_target=1e-6, warmup_steps=100)
    (finding,) = of_rate(network(OPTIMIZERS.SGD(slow)), x, y)
    assert (finding.kind, finding.severity) == ("rate too small", "severe")
    assert "1e-06" in finding.evidence
    assert finding.code == ""  # Keras sets no number in the place of a schedule
    assert "schedule's largest rate" in finding.cure


def test_a_rate_of_0_moves_nothing():
    x, y = digits()
    (finding,) = of_rate(network(OPTIMIZERS.SGD(0.0)), x, y)
    assert (finding.kind, finding.severity) == ("rate too small", "severe")
    assert finding.code == "model.optimizer.learning_rate = 0.01"


def too_large(*arguments):
    found = [f for f in diagnose(*arguments).findings if f.kind == "rate too large"]
    return [f.fault for f in found]


def test_where_data_are_not_scaled_the_usual_rate_is_not_the_fault():
    x, y = digits()
    # As the data are, another rate would do, too.
    assert too_large(network(OPTIMIZERS.SGD(0.1)), 255 * x, y) == ["inputs", "rate"]
    keras.utils.set_random_seed(1)
    layers = [LAYERS.Dense(30, "relu"), LAYERS.Dense(30, "relu"), LAYERS.Dense(1)]
    model = keras.Sequential([keras.Input((64,)), *layers])
    model.compile(OPTIMIZERS.SGD(0.1), "mse")
    y = y[:, None].astype("float32")
    assert too_large(model, x, 100 + 50 * y) == ["targets", "rate"]
    assert too_large(model, x, y / 5 - 0.9) == []


def test_nothing_is_said_without_targets_or_a_compiled_model():
    x, y = digits()
    model = network(OPTIMIZERS.SGD(1000.0))
    assert of_rate(model) == of_rate(model, x) == []
    bare = keras.Sequential([keras.Input((64,)), LAYERS.Dense(10, "softmax")])
    assert of_rate(bare, x, y) == []


@pytest.mark.backends
def test_steps_are_tried_on_copies():
    """Rates are tried with dropout and a normalization, and leave everything as it was."""
    x, y = digits()
    keras.utils.set_random_seed(1)
    inside = [LAYERS.Dense(16, "relu"), LAYERS.BatchNormalization(), LAYERS.Dropout(0.2)]
    model = keras.Sequential([keras.Input((64,)), *inside, LAYERS.Dense(10, "softmax")])
    model.compile(OPTIMIZERS.SGD(1e6), "sparse_categorical_crossentropy")
    before = [np.array(v) for v in (*model.variables, *model.optimizer.variables)]
    found = diagnose(model, x, y)
    after = [np.array(v) for v in (*model.variables, *model.optimizer.variables)]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    rates = found.measurement.rates
    assert rates.given.losses[0] == pytest.approx(found.measurement.loss, rel=0.1)  # dropout
    assert "rate far too large" in {f.kind for f in found.findings}
    model.optimizer.learning_rate = rates.cure.rate
    assert loss_after(model, 30, x, y) < 2.0


def test_a_gradient_that_is_too_small_is_not_the_rate_s_fault():
    """Narrow weights under two sigmoids, as beginners draw them."""
    x, y = digits()
    keras.utils.set_random_seed(1)
    normal = keras.initializers.RandomNormal
    hidden = [
        LAYERS.Dense(8, "sigmoid", kernel_initializer=normal(0, 0.05, seed=n)) for n in range(2)
    ]
    head = LAYERS.Dense(1, "sigmoid", kernel_initializer=normal(0, 0.05, seed=9))
    model = keras.Sequential([keras.Input((64,)), *hidden, head])
    model.compile(OPTIMIZERS.SGD(0.01), "mse")
    half = (y[:, None] > 4).astype("float32")
    found = {f.kind: f for f in diagnose(model, x, half).findings}
    assert found["gradient too small"].fault == "activation"
    assert found["gradient too small"].severity == "severe"


def line(optimizer, x):
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((x.shape[1],)), LAYERS.Dense(1)])
    model.compile(optimizer, "mse")
    return model


@pytest.mark.parametrize("optimizer", [OPTIMIZERS.RMSprop, OPTIMIZERS.Adam])
def test_a_single_layer_far_from_its_targets_takes_thousands_of_usual_steps(optimizer):
    x = np.linspace(1, 2, 100, dtype="float32")[:, None]
    model = line(optimizer(0.001), x)
    assert loss_after(line(optimizer(0.001), x), 300, x, 5 * x) > 10 * np.var(5 * x)
    (finding,) = of_rate(model, x, 5 * x)
    assert (finding.kind, finding.severity) == ("rate too small", "severe")
    exec(finding.code, {"model": model})
    assert diagnose(model, x, 5 * x).healthy
    assert loss_after(model, 300, x, 5 * x) < 0.2 * np.var(5 * x)


def test_a_single_layer_near_its_targets_is_no_finding():
    x = np.random.default_rng(0).normal(size=(100, 4)).astype("float32")
    assert of_rate(line(OPTIMIZERS.Adam(0.001), x), x, x.sum(1, keepdims=True)) == []
    # No map explains these, so that no rate lowers the loss to the half.
    noise = np.random.default_rng(1).normal(size=(100, 1)).astype("float32")
    assert of_rate(line(OPTIMIZERS.Adam(0.001), x), x, noise) == []


def small(hidden, optimizer):
    """Weights near zero."""
    near_zero = keras.initializers.RandomNormal(0, 0.01, seed=3)
    layers = [
        LAYERS.Dense(6, hidden, kernel_initializer=near_zero),
        LAYERS.Dense(1, "sigmoid", kernel_initializer=near_zero),
    ]
    model = keras.Sequential([keras.Input((2,)), *layers])
    model.compile(optimizer, "binary_crossentropy")
    return model


def test_weights_near_zero_whose_gradient_stays_next_to_none():
    """As of exclusive or, where nothing but the product of two layers tells the classes apart."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 8, "float32")
    y = (x.sum(1, keepdims=True) == 1).astype("float32")
    model = small("sigmoid", OPTIMIZERS.SGD(0.1))
    (finding,) = [f for f in diagnose(model, x, y).findings if f.kind == "gradient too small"]
    assert (finding.severity, finding.fault) == ("severe", "initial")
    assert loss_after(small("sigmoid", OPTIMIZERS.SGD(0.1)), 300, x, y) > 0.99 * np.log(2)
    exec(finding.code, {"tfinit": tfinit, "model": model})
    model.compile(OPTIMIZERS.Adam(0.05), "binary_crossentropy")
    assert diagnose(model, x, y).healthy
    assert loss_after(model, 300, x, y) < 0.3


def test_a_gradient_that_grows_from_weights_near_zero_is_no_finding():
    x = np.random.default_rng(0).normal(size=(64, 2)).astype("float32") / 2
    y = (x[:, :1] > 0).astype("float32")
    y[:32], x[:32] = 1 - y[32:], -x[32:]  # as many of each, so that the bias stays at 0
    model = small("tanh", OPTIMIZERS.SGD(0.2))
    model.layers[0].kernel.assign(model.layers[0].kernel / 10)
    model.layers[1].kernel.assign(model.layers[1].kernel / 10)
    found = diagnose(model, x, y)
    assert found.measurement.rates.slow.steeper > 1.1
    assert "gradient too small" not in {f.kind for f in found.findings}
    assert loss_after(model, 600, x, y) < 0.3
