import keras
import numpy as np
import pytest
import tf_keras

from tfinit import datasets
from tfinit.datasets import Dataset
from tfinit.errors import InputError
from tfinit.training import (
    METRICS,
    CompiledLoop,
    Diverged,
    FitLoop,
    batch_indices,
    evaluation_steps,
)
from tfinit.variables import all_weights, read_weights, write_weights

RNG = np.random.default_rng(0)


def examples(rows):
    return RNG.normal(size=(rows, 5)).astype("f4"), RNG.integers(0, 3, rows).astype("i4")


DATA = Dataset("made up", examples(50), examples(20), examples(30), classes=3)


def network(k, hidden=()):
    layers = k.layers
    return k.Sequential(
        [
            layers.Input((5,)),
            layers.Dense(8, activation="relu", name="a"),
            *hidden,
            layers.Dense(3, name="b"),
        ]
    )


def compiled(k, optimizer=None, **kwargs):
    model = network(k, **kwargs)
    loss = k.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or k.optimizers.Adam(0.01), loss)
    return model


def test_each_epoch_is_a_permutation_cut_into_batches():
    order = batch_indices(rows=10, batch_size=3, steps=7, seed=4)
    assert order.shape == (7, 3)
    assert order.dtype == np.int32
    for epoch in (order[:3], order[3:6]):
        assert len(set(epoch.ravel())) == 9
    assert not np.array_equal(order[:3], order[3:6])


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    long = batch_indices(10, 3, 30, seed=4)
    np.testing.assert_array_equal(batch_indices(10, 3, 7, seed=4), long[:7])
    assert not np.array_equal(batch_indices(10, 3, 7, seed=5), long[:7])


@pytest.mark.parametrize("batch_size", [0, -1, 11])
def test_a_batch_that_does_not_fit(batch_size):
    with pytest.raises(InputError, match=rf"`batch_size` must be in 1\.\.10.*{batch_size}"):
        batch_indices(10, batch_size, 1, seed=0)


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [(30, 20, [0, 20, 30]), (40, 20, [0, 20, 40]), (1, 100, [0, 1]), (3, 1, [0, 1, 2, 3])],
)
def test_evaluation_steps(steps, every, expected):
    np.testing.assert_array_equal(evaluation_steps(steps, every), expected)


def by_hand(k, model, order):
    """The same batches through Keras's own `train_on_batch`."""
    x, y = DATA.train
    for rows in order:
        model.train_on_batch(x[rows], y[rows])


@pytest.mark.parametrize(
    ("k", "loop"), [(keras, CompiledLoop), (tf_keras, FitLoop)], ids=["keras", "tf_keras"]
)
def test_a_loop_trains_as_train_on_batch_does(k, loop):
    ours, theirs = compiled(k), compiled(k)
    write_weights(all_weights(theirs), read_weights(all_weights(ours)))
    by_hand(k, theirs, batch_indices(50, 8, 25, seed=3))
    loop(ours, DATA)(steps=25, batch_size=8, seed=3, evaluate_every=10)
    for key, value in read_weights(all_weights(theirs)).items():
        np.testing.assert_allclose(
            value, read_weights(all_weights(ours))[key], rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize(
    ("k", "loop"), [(keras, CompiledLoop), (tf_keras, FitLoop)], ids=["keras", "tf_keras"]
)
def test_metrics_are_those_of_evaluate(k, loop):
    model = compiled(k)
    steps = []
    metrics = loop(model, DATA)(25, 8, 3, evaluate_every=10, progress=steps.append)
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


def test_batch_normalization_and_dropout_train_and_reset_to_the_same_bits():
    hidden = [keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    model = compiled(keras, hidden=hidden)
    loop, weights = CompiledLoop(model, DATA), all_weights(model)
    start = read_weights(weights)
    trained = []
    for _ in range(2):
        write_weights(weights, start)
        loop.reset()
        loop(steps=20, batch_size=8, seed=1, evaluate_every=20)
        trained.append(read_weights(weights))
    for key, value in trained[0].items():
        assert value.tobytes() == trained[1][key].tobytes(), key
        assert not np.array_equal(value, start[key]), key
    write_weights(weights, start)
    loop.reset()
    loop(steps=20, batch_size=8, seed=2, evaluate_every=20)
    assert any(not np.array_equal(v, trained[0][k]) for k, v in read_weights(weights).items())


def test_without_reset_the_optimizer_goes_on():
    model = compiled(keras)
    loop = CompiledLoop(model, DATA)
    loop(steps=5, batch_size=8, seed=1, evaluate_every=5)
    loop(steps=5, batch_size=8, seed=1, evaluate_every=5)
    assert int(model.optimizer.iterations.numpy()) == 10
    loop.reset()
    assert int(model.optimizer.iterations.numpy()) == 0


def test_training_again_traces_nothing_new():
    model = compiled(keras)
    loop = CompiledLoop(model, DATA)
    loop(steps=10, batch_size=8, seed=1, evaluate_every=5)
    traces = loop._run.experimental_get_tracing_count()
    loop(steps=10, batch_size=8, seed=2, evaluate_every=5)
    assert loop._run.experimental_get_tracing_count() == traces == 1


@pytest.mark.parametrize(
    ("k", "loop"), [(keras, CompiledLoop), (tf_keras, FitLoop)], ids=["keras", "tf_keras"]
)
def test_the_first_step_whose_loss_is_not_finite_is_named(k, loop):
    """The data is not finite only in a row that is reached at step 4."""
    x, y = DATA.train
    poisoned = x.copy()
    order = batch_indices(50, 8, 10, seed=6)
    late = next(r for r in order[3] if r not in order[:3])
    # One infinity, not NaN: on some processors relu(NaN) is 0.
    poisoned[late].ravel()[0] = np.inf
    data = Dataset("poisoned", (poisoned, y), DATA.validation, DATA.test, 3)
    with pytest.raises(Diverged, match="step 4") as error:
        loop(compiled(k), data)(steps=10, batch_size=8, seed=6, evaluate_every=5)
    assert error.value.step == 4


def test_a_model_that_is_not_compiled():
    with pytest.raises(InputError, match=r"must be compiled: call model\.compile"):
        CompiledLoop(network(keras), DATA)


def test_convolutions_train_too():
    data = datasets.load("digits")
    model = keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    metrics = CompiledLoop(model, data)(60, 60, seed=0, evaluate_every=30)
    assert metrics.values["test_accuracy"][-1] > 0.7
