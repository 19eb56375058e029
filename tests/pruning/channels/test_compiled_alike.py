"""The smaller model's optimizer goes on where that of the given one is."""

import keras
import numpy as np
import pytest

from tfinit.pruning import (
    PolynomialDecay,
    SparseOptimizer,
    get_masks,
    prune_channels,
    sparsity_report,
)

L = keras.layers


def dense():
    keras.utils.set_random_seed(0)
    layers = [L.Dense(32, "sigmoid", name="one"), L.Dense(16, "relu", name="two"), L.Dense(3)]
    return keras.Sequential([keras.Input((6,)), *layers])


def take_steps(model, steps=3):
    """Steps of the optimizer with random gradients."""
    rng = np.random.default_rng(0)
    weights = model.trainable_variables
    for _ in range(steps):
        drawn = [rng.normal(size=w.shape).astype("float32") for w in weights]
        model.optimizer.apply([keras.ops.convert_to_tensor(g) for g in drawn], weights)


def test_the_smaller_model_is_compiled_alike():
    model = dense()
    model.compile("adam", "mse", metrics=["mae"])
    new = prune_channels(model, target={"macs": 0.5}).model
    assert isinstance(new.optimizer, keras.optimizers.Adam)
    history = new.fit(np.zeros((4, 6)), np.zeros((4, 3)), verbose=0).history
    assert history.keys() == {"loss", "mae"}


def stays(model, name):
    """For each layer of a chain of Dense layers: the units that are left of it."""
    groups = {group.name: group for group in model.plan.groups}
    return [n for n in range(groups[name].channels) if n not in groups[name].removed]


@pytest.mark.backends
def test_the_optimizer_goes_on_with_what_is_left_of_its_momenta():
    model = dense()
    model.compile(keras.optimizers.Adam(0.01), "mse")
    take_steps(model)
    result = prune_channels(model, target={"macs": 0.5}, round_to=1)
    one, two = stays(result, "one"), stays(result, "two")
    before, after = (
        [keras.ops.convert_to_numpy(v) for v in each.optimizer.variables]
        for each in (model, result.model)
    )
    assert int(before[0]) == int(after[0]) == 3 and np.float32(0.01) == after[1]
    every = slice(None)
    cut = {(6, 32): (every, one), (32,): one, (32, 16): np.ix_(one, two), (16,): two}
    cut |= {(16, 3): two, (3,): every}
    kept = [v for v in before[2:] if v.ndim]
    assert len(kept) == 12 and all(v.any() for v in kept)
    for slot, now in zip(kept, after[2:], strict=True):
        assert (slot[cut[slot.shape]] == now).all()


@pytest.mark.backends
def test_a_sparse_optimizer_goes_on_with_what_is_left_of_its_masks():
    model = dense()
    schedule = PolynomialDecay(0.0, 0.6, 0, 6, frequency=2)
    model.compile(SparseOptimizer(keras.optimizers.Adam(), schedule, scope=model), "mse")
    take_steps(model)
    masks = get_masks(model)
    result = prune_channels(model, target={"macs": 0.5}, round_to=1)
    one, two = stays(result, "one"), stays(result, "two")
    new = result.model
    left = get_masks(new)
    assert 0 < left["two/kernel"].sum() < left["two/kernel"].size
    assert (left["one/kernel"] == masks["one/kernel"][:, one]).all()
    assert (left["two/kernel"] == masks["two/kernel"][np.ix_(one, two)]).all()
    assert new.optimizer.steps_taken == model.optimizer.steps_taken == 3
    take_steps(new)
    assert sparsity_report(new).total.sparsity == pytest.approx(0.6, abs=0.02)
    assert not result.notes
