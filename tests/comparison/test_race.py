"""The race itself, on tiny trainings: fair, repeatable, and who wins where theory says so."""

import json

import keras
import numpy as np
import pytest

from tfinit import datasets
from tfinit.comparison import compare
from tfinit.comparison.shared_network import SharedNetwork
from tfinit.errors import InputError
from tfinit.training import CompiledLoop, batch_indices
from tfinit.variables import all_weights, read_weights

DIGITS = datasets.load("digits")
L = keras.layers


def network(*hidden, rate=0.1, optimizer=None):
    """A dense network. With a convolution in it the loop is not compiled by XLA, which is slow."""
    layers = [keras.Input((8, 8, 1)), *hidden, L.Flatten(), L.Dense(10, name="output")]
    model = keras.Sequential(layers, name="net")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.SGD(rate), loss)
    return model


def shallow():
    return network()


def dense(units, activation=None, name="a"):
    """A dense layer for 8×8 images, as a convolution."""
    return L.Conv2D(units, 8, activation=activation, name=name)


def deep():
    return network(dense(32, "relu"), *(L.Dense(32, "relu", name=f"fc{n}") for n in range(12)))


@pytest.fixture(scope="module")
def race():
    """Of a 14-layer ReLU network, with all callbacks recorded."""
    done, runs = [], []
    found = compare(
        deep,
        "digits",
        {"none": "zeros", "xavier": "xavier", "he": "he", "huge": keras.initializers.Constant(1e9)},
        steps=60,
        seeds=(3, 4),
        batch_size=32,
        progress=done.append,
        finished=runs.append,
    )
    return found, sum(done), runs


def test_he_learns_zeros_do_not_and_divergence_is_a_result(race):
    found, _, _ = race
    rows = {row.label: row for row in found.rows}
    assert found.best == "he"
    assert found.rows[0].label == "he"
    assert rows["he"].final_loss.mean < 2.15
    # All that zero weights learn are the biases of the output: the frequencies of the classes.
    assert rows["none"].final_loss.mean == pytest.approx(np.log(10), abs=0.02)
    assert rows["none"].reached == 0
    assert (rows["huge"].rank, rows["huge"].diverged) == (4, 2)
    assert [run.diverged_at for run in found.of("huge")] == [1, 1]
    assert found.target_loss == pytest.approx(
        np.sqrt(
            np.median([r.final_loss for r in found.of("he")])
            * min(np.log(10), np.median([r.metrics.losses[0] for r in found.of("he")]))
        )
    )


def test_runs_steps_and_seconds_are_counted(race):
    found, done, runs = race
    assert done == 4 * 2 * 60
    assert {(r.label, r.seed) for r in runs} == {(r.label, r.seed) for r in found.runs}
    assert [(r.label, r.seed) for r in found.runs[:3]] == [("none", 3), ("none", 4), ("xavier", 3)]
    for run in found.of("he"):
        assert len(run.metrics.losses) == 60
        assert run.metrics.step.tolist() == [0, 60]
        assert 0 < run.seconds_per_step < 0.1
        assert run.seconds_to(found.target_loss) == pytest.approx(
            run.steps_to(found.target_loss) * run.seconds_per_step
        )


def test_it_is_diagnosed_before_the_first_step(race):
    found, _, _ = race
    risk = {row.label: row.risk for row in found.rows}
    assert risk["he"] < risk["xavier"] < risk["none"]
    assert found.prediction > 0.5
    assert all(row.verdict for row in found.rows)
    assert max(map(len, str(found).splitlines())) <= 100
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_run_is_the_training_by_hand():
    """Weights by `initialize`, batches by `batch_indices`, gradients by NumPy."""
    found = compare(shallow, DIGITS, ["he"], steps=4, seeds=(7,), batch_size=16, diagnose=False)
    model = shallow()
    from tfinit import initialize

    initialize(model, "he", seed=7)
    w = model.get_layer("output").kernel.numpy().astype(float)
    b, losses = np.zeros(10), []
    x, y = DIGITS.train[0].reshape(-1, 64), DIGITS.train[1]
    for rows in batch_indices(len(x), 16, 4, seed=7):
        logits = x[rows] @ w + b
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        losses.append(-np.log(p[np.arange(16), y[rows]]).mean())
        p[np.arange(16), y[rows]] -= 1
        w -= 0.1 * x[rows].T @ p / 16
        b -= 0.1 * p.mean(axis=0)
    (run,) = found.runs
    np.testing.assert_allclose(run.metrics.losses, losses, rtol=1e-5)
    right = (DIGITS.test[0].reshape(-1, 64) @ w + b).argmax(axis=1) == DIGITS.test[1]
    assert run.last("test_accuracy") == pytest.approx(right.mean())
    assert run.seconds_to(0.1) is None


def noisy():
    momentum = keras.optimizers.Adam(0.01)
    return network(
        dense(16),
        L.BatchNormalization(name="norm"),
        L.Activation("relu"),
        L.Dropout(0.5),
        optimizer=momentum,
    )


def test_nothing_of_an_earlier_run_or_of_the_process_is_left():
    """Alone, second or in another build: the same bits, with dropout, normalization and Adam."""
    kept = {"steps": 6, "batch_size": 16, "diagnose": False}
    together = compare(noisy, DIGITS, ["large", "he"], seeds=(1, 2), **kept)
    keras.utils.set_random_seed(99)
    alone = compare(noisy, DIGITS, ["he"], seeds=(2,), **kept)
    np.testing.assert_array_equal(together.of("he")[1].metrics.losses, alone.runs[0].metrics.losses)
    assert together.of("he")[1].metrics.values["test_loss"].tolist() == (
        alone.runs[0].metrics.values["test_loss"].tolist()
    )


def test_at_equal_seed_all_starts_are_equal_but_for_the_scheme():
    from tfinit.comparison.initializations import read_schemes

    def only_a(model, x, seed):
        model.get_layer("a").kernel.assign(np.full((8, 8, 1, 16), 0.5, "float32"))

    model = noisy()
    model.get_layer("output").bias.assign(np.arange(10, dtype="float32"))
    network = SharedNetwork(model, DIGITS)
    he, mine = read_schemes(["he", only_a])
    starts = []
    for initialization, seed in ((he, 1), (mine, 1), (mine, 2)):
        network.start(initialization, seed)
        starts.append(read_weights(all_weights(model)))
        model.get_layer("norm").moving_mean.assign(np.ones(16, "float32"))  # as training would
    first, second, other = starts
    differ = {key for key in first if not np.array_equal(first[key], second[key])}
    assert differ == {"a/kernel", "output/kernel"}
    assert (second["a/kernel"] == 0.5).all()
    # What the scheme leaves alone is drawn by the seed from the layer's own initializer.
    assert not np.array_equal(second["output/kernel"], other["output/kernel"])
    assert abs(second["output/kernel"]).max() <= np.sqrt(6 / 26)
    np.testing.assert_array_equal(second["output/bias"], np.arange(10))
    assert not second["norm/moving_mean"].any()


def test_weights_that_are_lost_without_a_loss_that_tells_are_a_divergence():
    """√ has no finite slope at 0: a first update of NaN, whose outputs the network then hides."""

    def hide(z):
        return keras.ops.sqrt(keras.ops.relu(keras.ops.where(keras.ops.abs(z) < 1e30, z, 0.0)))

    def build():
        return network(dense(8), L.Activation(hide))

    found = compare(build, "digits", ["he"], steps=40, seeds=(0,), evaluate_every=10)
    (run,) = found.of("he")
    assert run.diverged_at == 10
    assert run.metrics.step.tolist() == [0]
    assert len(run.metrics.losses) == 9 and np.isfinite(run.metrics.losses).all()


def test_the_losses_before_a_divergence_are_kept():
    """One huge rate: the first steps have a loss, then it overflows."""
    found = compare(
        lambda: network(dense(8), rate=1e6),
        DIGITS,
        ["he"],
        steps=50,
        seeds=(0,),
        batch_size=16,
        evaluate_every=1,
        diagnose=False,
    )
    (run,) = found.runs
    assert 1 < run.diverged_at <= 50
    assert len(run.metrics.losses) == run.diverged_at - 1
    assert np.isfinite(run.metrics.losses).all()
    assert run.metrics.step.tolist() == list(range(run.diverged_at))
    assert found.best is None


def test_build_model_is_called_once_or_for_each_seed_or_activation():
    calls = []

    def build(seed=None, activation="relu"):
        calls.append((seed, activation))
        return network(dense(4, activation))

    kept = {"steps": 2, "batch_size": 8, "diagnose": False}
    compare(lambda: build(), DIGITS, ["he", "xavier"], seeds=(1, 2), **kept)
    compare(lambda number: build(number), DIGITS, ["he", "xavier"], seeds=(1, 2), **kept)
    pair = ("he", "tanh")
    compare(lambda activation="elu": build(0, activation), DIGITS, [pair], seeds=(1,), **kept)
    assert calls == [(None, "relu"), (1, "relu"), (2, "relu"), (0, "tanh")]


def test_a_pair_replaces_the_activation():
    schemes = {"relu": "he", "tanh": ("xavier", "tanh")}
    found = compare(
        lambda: network(dense(8, "relu")),
        DIGITS,
        schemes,
        steps=2,
        seeds=(0,),
        batch_size=8,
        diagnose=False,
    )
    from tfinit import initialize

    for scheme, activation in (("he", "relu"), ("xavier", "tanh")):
        model = network(dense(8, activation))
        initialize(model, scheme, seed=0)
        expected = CompiledLoop(model, DIGITS)(2, 8, 0, 2)
        np.testing.assert_allclose(
            found.of(activation)[0].metrics.losses, expected.losses, rtol=1e-5
        )


def test_arrays_are_data_too():
    x, y = np.random.default_rng(0).normal(size=(60, 5)), np.arange(60) % 3
    model = keras.Sequential([keras.Input((5,)), L.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    found = compare(
        lambda: model, ((x, y), (x[:9], y[:9])), ["he"], steps=2, batch_size=9, diagnose=False
    )
    assert (found.classes, len(found.runs)) == (3, 3)


def without_loss():
    model = keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(10)])
    model.compile("sgd")
    return model


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"build_model": shallow()}, "`build_model` must be a function .*received Sequential"),
        ({"build_model": lambda: 3}, "must return a model of Keras 3 .*received builtins.int"),
        ({"build_model": lambda: keras.Sequential([L.Dense(1)])}, "must return a compiled model"),
        ({"build_model": lambda a, b: 3}, "it also needs a, b. Give them defaults"),
        ({"build_model": lambda activation: 3}, "needs an `activation`: give each of `schemes`"),
        ({"data": 3}, "`data` must be a tfinit.datasets.Dataset, .* received int"),
        ({"data": "digitz"}, "`data` must be one of digits"),
        ({"schemes": ["hee"]}, "`schemes` must be among"),
        ({"steps": 0}, "`steps` must be a whole number of at least 1, received 0"),
        ({"evaluate_every": 0}, "`evaluate_every` must be .* received 0"),
        ({"seeds": ()}, r"`seeds` must be one or more different .* received \(\)"),
        ({"seeds": (1, 1)}, "different"),
        ({"seeds": (-1,)}, "at least 0"),
        ({"batch_size": 5000}, r"`batch_size` must be in 1..1097"),
        ({"target_loss": 0.0}, "`target_loss` must be a positive number, or None, received 0.0"),
        ({"target_loss": "1"}, "`target_loss` must be a positive number, or None, received '1'"),
        ({"build_model": without_loss}, "No loss to compute.* Compile it with a loss"),
    ],
)
def test_errors(arguments, message):
    asked = {"build_model": shallow, "data": DIGITS, "schemes": ["he"], "diagnose": False}
    with pytest.raises(InputError, match=message):
        compare(**{**asked, **arguments})


def test_examples():
    import doctest

    from tfinit.comparison import config, hidden_activations, race

    for module in (config, hidden_activations, race):
        failed, tried = doctest.testmod(module, extraglobs={"keras": keras})
        assert (failed, tried > 0) == (0, True)
