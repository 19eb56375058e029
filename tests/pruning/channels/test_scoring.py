"""Scores of channels, beside the same formulas written out in NumPy."""

import keras
import numpy as np
import pytest

from tfinit.errors import InputError
from tfinit.graph.channels import follow
from tfinit.pruning import channel_plan
from tfinit.pruning.channels.groups import find_groups, weights_with_channels
from tfinit.pruning.channels.scoring import SCORES, channel_scores, check_channel_score
from tfinit.pruning.scoring import channel_names
from tfinit.pruning.scoring.before_training import grasp

L = keras.layers


def scores(model, score, x=None, y=None, loss=None, seed=0):
    channels = follow(model)
    weights = list(weights_with_channels(channels))
    free = [group for group in find_groups(channels, weights) if not group.held]
    data = {"x": x, "y": y, "loss": loss, "batch_size": 4, "sample_weight": None}
    return channel_scores(check_channel_score(score), model, channels, weights, free, data, seed)


def weights(model):
    """Layer → its weights by their names."""
    return {
        layer.name: {w.name: keras.ops.convert_to_numpy(w).astype("float64") for w in layer.weights}
        for layer in model.layers
    }


@pytest.fixture(scope="module")
def convolutional():
    """A residual block with BatchNormalization, a depthwise convolution, and what flattens it."""
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 6, 3))
    stem = L.BatchNormalization(name="norm")(L.Conv2D(4, 3, padding="same", name="stem")(x))
    inner = L.Conv2D(5, 3, padding="same", activation="relu", name="inner")(stem)
    y = L.Add()([stem, L.Conv2D(4, 1, name="outer")(inner)])
    y = L.Flatten()(L.DepthwiseConv2D(3, strides=3, name="depthwise")(y))
    model = keras.Model(x, L.Dense(2, name="head")(y))
    gamma = model.get_layer("norm").gamma
    gamma.assign([1.0, -2.0, 3.0, 0.5])
    return model


def by_hand(model, value):
    """The sums of `value` of the weights over all that makes, normalizes and reads a channel."""
    w = {
        layer: {name: value(array) for name, array in own.items()}
        for layer, own in weights(model).items()
    }
    outputs, inputs = (0, 1, 2), (0, 1, 3)
    head = w["head"]["kernel"].reshape(2, 2, 4, 2)  # of the places and channels of 2×2×4
    stem = w["stem"]["kernel"].sum(outputs) + w["outer"]["kernel"].sum(outputs)
    stem = stem + w["norm"]["gamma"] + w["inner"]["kernel"].sum(inputs)
    stem = stem + w["depthwise"]["kernel"].sum(inputs) + head.sum((0, 1, 3))
    inner = w["inner"]["kernel"].sum(outputs) + w["outer"]["kernel"].sum(inputs)
    return {"stem": stem, "inner": inner}


@pytest.mark.backends
@pytest.mark.parametrize("score, value", [("l1", np.abs), ("l2", np.square)])
def test_norms_are_sums_over_all_that_makes_and_reads_a_channel(convolutional, score, value):
    found, expected = scores(convolutional, score), by_hand(convolutional, value)
    assert found.keys() == expected.keys()
    for name, sums in expected.items():
        np.testing.assert_allclose(found[name], sums, rtol=1e-5)


@pytest.mark.backends
def test_the_lowest_of_all_groups_go_each_divided_by_its_mean(convolutional):
    sums = by_hand(convolutional, np.square)
    relative = np.concatenate([sums[name] / sums[name].mean() for name in ("stem", "inner")])
    lowest = np.argsort(relative)[:4]
    given = {"target": {"channels": 0.56}, "round_to": 1, "protect": 0}  # 5 of 9
    stem, inner = channel_plan(convolutional, **given).groups
    assert set(stem.removed) == {n for n in lowest if n < 4}
    assert set(inner.removed) == {n - 4 for n in lowest if n >= 4}


@pytest.mark.backends
def test_batchnorm_is_the_scale_of_groups_that_have_one(convolutional):
    found = scores(convolutional, "batchnorm")
    assert {name: own.tolist() for name, own in found.items()} == {"stem": [1.0, 2.0, 3.0, 0.5]}


@pytest.mark.backends
def test_an_own_score_is_summed_over_kernels(convolutional):
    found = scores(convolutional, lambda weights: weights**2)
    gamma = weights(convolutional)["norm"]["gamma"]
    expected = by_hand(convolutional, np.square)
    np.testing.assert_allclose(found["stem"], expected["stem"] - gamma**2, rtol=1e-5)
    np.testing.assert_allclose(found["inner"], expected["inner"], rtol=1e-5)


@pytest.mark.backends
def test_taylor_is_the_sum_of_weights_times_gradients():
    keras.utils.set_random_seed(1)
    layers = [L.Dense(6, "relu", name="a"), L.Dense(2, name="b")]
    model = keras.Sequential([keras.Input((3,)), *layers])
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(10, 3)).astype("f4"), rng.normal(size=(10, 2)).astype("f4")
    found = scores(model, "taylor", x, y, "mse")["a"]
    w = weights(model)
    a, b = w["a"]["kernel"], w["b"]["kernel"]
    before = x @ a + w["a"]["bias"]
    hidden = np.maximum(before, 0)
    out = 2 * (hidden @ b + w["b"]["bias"] - y) / y.size  # ∂/∂ of the mean of squares
    to_b, to_a = hidden.T @ out, x.T @ ((out @ b.T) * (before > 0))
    expected = np.abs(a * to_a).sum(axis=0) + np.abs(b * to_b).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    given = {"target": {"channels": 0.5}, "score": "taylor", "loss": "mse", "round_to": 1}
    (planned,) = channel_plan(model, x, y, **given).groups
    assert set(planned.removed) == set(np.argsort(expected)[:3])


def test_scores_before_training_are_summed_over_kernels():
    keras.utils.set_random_seed(1)
    layers = [L.Dense(6, "relu", name="a"), L.Dense(2, name="b")]
    model = keras.Sequential([keras.Input((3,)), *layers])
    w = {layer: np.abs(own["kernel"]) for layer, own in weights(model).items()}
    flow = w["a"].sum(axis=0) * w["b"].sum(axis=1)  # of ones, through each hidden unit
    found = scores(model, "synflow")["a"]
    np.testing.assert_allclose(found, 2 * flow, rtol=1e-5)  # by what makes it, and what reads it
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(10, 3)).astype("f4"), rng.normal(size=(10, 2)).astype("f4")
    by_weight = grasp(model, x, y, loss="mse", batch_size=4)
    expected = by_weight["a/kernel"].sum(axis=0) + by_weight["b/kernel"].sum(axis=1)
    np.testing.assert_allclose(scores(model, "grasp", x, y, "mse")["a"], expected, rtol=1e-4)
    with pytest.raises(InputError, match="must be one of l1, l2, batchnorm, taylor, random"):
        check_channel_score("largest")


@pytest.mark.backends
def test_random_scores_are_a_stream_for_each_group(convolutional):
    first, again = scores(convolutional, "random", seed=3), scores(convolutional, "random", seed=3)
    other = scores(convolutional, "random", seed=4)
    assert all((first[name] == again[name]).all() for name in first)
    assert not any((first[name] == other[name]).any() for name in first)
    assert not np.isin(first["stem"], first["inner"]).any()


def test_a_score_that_is_not_finite_is_refused(convolutional):
    layer = convolutional.get_layer("inner")
    kernel = keras.ops.convert_to_numpy(layer.kernel).copy()
    bad = kernel.copy()
    bad[0, 0, 0, 0] = np.nan
    layer.kernel.assign(bad)
    try:
        with pytest.raises(InputError, match="NaN for 'inner/kernel'"):
            scores(convolutional, "l2")
        bad[0, 0, 0, 0] = np.inf
        layer.kernel.assign(bad)
        with pytest.raises(InputError, match="score of the channels of 'stem' is not finite"):
            scores(convolutional, "l2")
    finally:
        layer.kernel.assign(kernel)


def test_flags_know_every_score():
    assert tuple(SCORES) == channel_names.SCORES
