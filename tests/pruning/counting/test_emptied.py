"""Tensors that a global choice would empty: told everywhere, and kept by a floor."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

from tfinit.errors import InputError
from tfinit.pruning import (
    ConstantSparsity,
    PruningRule,
    SparseOptimizer,
    get_masks,
    prune_at_initialization,
    sparsity_report,
)
from tfinit.pruning.counting.emptied import warn_of_emptied
from tfinit.pruning.scoring.sparsities import floor_counts

pytestmark = pytest.mark.backends
X = np.array([[0, 1, 2], [3, 4, 5]] * 8)


def network():
    """An embedding of small entries before a layer of large ones, as trained transformers have."""
    inputs = keras.Input((3,))
    x = keras.layers.Embedding(10, 4, name="words")(inputs)
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(5, name="out")(x))
    rng = np.random.default_rng(0)
    model.get_layer("words").embeddings.assign(rng.uniform(0.001, 0.01, (10, 4)))
    model.get_layer("out").kernel.assign(rng.uniform(1.0, 2.0, (12, 5)))
    return model


def pruned(**settings):
    model = network()
    half = ConstantSparsity(0.5, 1)
    optimizer = SparseOptimizer("sgd", half, scope=model, allocation="global", **settings)
    model.compile(optimizer, "mse")
    optimizer.build(model.trainable_variables)
    return model


def kept(model):
    return {key: int(mask.sum()) for key, mask in get_masks(model).items()}


def test_a_fit_that_empties_a_tensor_says_so_and_the_report_too():
    model = pruned()
    with pytest.warns(UserWarning, match=r"Nothing is left of words/embeddings.*`min_density`"):
        model.fit(X, np.ones((16, 5)), verbose=0)
    assert kept(model) == {"words/embeddings": 0, "out/kernel": 50}
    report = sparsity_report(model)
    assert "nothing is left of embeddings" in report["words"].note
    assert report["out"].note == ""


def test_a_floor_keeps_the_best_of_each_tensor_and_the_count_in_all():
    model = pruned(min_density=0.2)
    before = {k: np.abs(v) for k, v in zip(("words", "out"), start(), strict=True)}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.fit(X, np.ones((16, 5)), verbose=0)
    assert kept(model) == {"words/embeddings": 8, "out/kernel": 42}
    masks = get_masks(model)
    for key, count in {"words/embeddings": 8, "out/kernel": 42}.items():
        w = before[key.split("/")[0]]
        np.testing.assert_array_equal(masks[key], w >= np.sort(w, axis=None)[-count])


def start():
    return [ops.convert_to_numpy(v) for v in network().trainable_variables if len(v.shape) == 2]


@pytest.mark.parametrize(
    ("min_density", "sparsity", "expected"),
    [
        (0.0, 0.5, (0, 50)),
        (0.001, 0.5, (1, 49)),
        (0.2, 0.5, (8, 42)),
        (0.5, 0.5, (20, 30)),  # as "uniform"
        (0.9, 0.5, (20, 30)),  # above the overall density, which takes its place
        (0.1, 0.98, (1, 1)),
    ],
)
def test_the_floor_before_training(min_density, sparsity, expected):
    model = network()
    model.compile("sgd", "mse")
    done = prune_at_initialization(model, sparsity, "magnitude", min_density=min_density)
    assert tuple(kept(model).values()) == expected
    assert done.collapsed == (() if expected[0] else ("words/embeddings",))


def test_floors_round_as_counts_do_and_leave_one():
    floors = floor_counts([100, 1000, 3, 7], 500, 0.05)
    assert [int(n) for n in floors] == [5, 50, 1, 1]  # 0.15 and 0.35: one is left
    floors = floor_counts([100, 900], 100, 0.5)
    assert [int(n) for n in floors] == [10, 90]


def test_a_monotone_rule_does_not_lose_places_to_what_it_has_ruled_out():
    model = pruned(min_density=0.2, monotone=True)
    optimizer = model.optimizer
    words = np.zeros((10, 4), bool)
    words[0, :3] = True
    embeddings = model.get_layer("words").embeddings
    optimizer.assign_masks([(embeddings, words)])
    group = optimizer._pruner.groups[0]
    optimizer._pruner._prune(group, 0.5, {})
    assert kept(model)["words/embeddings"] == 3
    np.testing.assert_array_equal(get_masks(model)["words/embeddings"], words)


def test_the_setting_is_saved_and_files_from_before_it_load():
    rule = PruningRule(ConstantSparsity(0.5, 1), allocation="global", min_density=0.1)
    config = rule.get_config()
    assert PruningRule.from_config(config).min_density == 0.1
    del config["min_density"]
    assert PruningRule.from_config(config).min_density == 0.0


@pytest.mark.parametrize("value", [-0.1, 1.5, None, True, "0.1"])
def test_bad_floors(value):
    with pytest.raises(InputError, match="min_density"):
        PruningRule(ConstantSparsity(0.5, 1), allocation="global", min_density=value)


def test_a_floor_without_a_global_choice_is_an_error():
    with pytest.raises(InputError, match="allocation='global'"):
        PruningRule(ConstantSparsity(0.5, 1), min_density=0.1)


def test_warning_of_arrays():
    with pytest.warns(UserWarning, match="Nothing is left of a, c"):
        assert warn_of_emptied({"a": np.zeros(3), "b": np.eye(2), "c": np.zeros(1, bool)}) == (
            "a",
            "c",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert warn_of_emptied({"b": np.eye(2)}) == ()
