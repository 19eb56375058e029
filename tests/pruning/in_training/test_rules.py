"""Which weights a rule means, and what is said where that cannot be."""

import warnings

import keras
import numpy as np
import pytest

from tfinit.errors import InputError
from tfinit.pruning import ConstantSparsity, PruningRule, SparseOptimizer

pytestmark = pytest.mark.backends

HALF = ConstantSparsity(0.5, 1)


def network():
    layers = [keras.layers.Dense(4, name=name) for name in ("c", "a", "b")]
    return keras.Sequential([keras.Input((4,)), *layers], name="net")


def built(**arguments):
    """An optimizer for that network; ``scope`` and the rules are functions of it."""
    model = network()
    for name in ("scope", "rules"):
        if name in arguments:
            arguments[name] = arguments[name](model)
    if "rules" not in arguments:
        arguments.setdefault("schedule", HALF)
    optimizer = SparseOptimizer("sgd", **arguments)
    optimizer.build(model.trainable_variables)
    return optimizer, model


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"scope": lambda m: lambda v: True, "block_size": (4, 1)},
            r"`block_size` needs weights of two axes or more, and `scope` names "
            r"\['net/c/bias', 'net/a/bias', 'net/b/bias'\] too. .*len\(v.shape\) >= 2",
        ),
        (
            {"scope": lambda m: m, "allocation": {"d": 0.5, "a/kernel": 0.5}},
            r"names \['d'\]. The keys are \['c/kernel', 'a/kernel', 'b/kernel'\]\.$",
        ),
        (
            {"allocation": {"d": 0.5}},
            r"The keys are \['net/c/kernel', 'net/a/kernel', 'net/b/kernel'\]\.$",
        ),
        (
            {"scope": lambda m: m, "allocation": {"c/kernel": 0.5, "net/c/kernel": 0.6}},
            r"names one weight twice, as \['c/kernel', 'net/c/kernel'\]",
        ),
        (
            {"scope": lambda m: lambda v: False},
            r"nothing to prune: the function `scope` is true for no variable. .*'net/c/kernel'",
        ),
        (
            {"rules": lambda m: [PruningRule(HALF, m), PruningRule(HALF, m.layers[0])]},
            r"the rules before it have all that its `scope` names, \['kernel'\]",
        ),
    ],
)
def test_what_cannot_be_bound_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        built(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score": "snip", "sparsity_m_by_n": (2, 4)}, "when `sparsity_m_by_n` is taken. Leave"),
        ({"score": "random", "regrow": "set", "schedule": HALF}, "does not ask `score`, 'random'"),
        ({"allocation": "erk", "sparsity_m_by_n": (2, 4)}, "does not ask `allocation`, 'erk'"),
        (
            {"allocation": "erk", "monotone": True},
            "`allocation` and `monotone` without a `schedule` would prune nothing",
        ),
        ({"block_size": "litert"}, "`block_size` without a `schedule`"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        PruningRule(**arguments)


@pytest.mark.parametrize(
    ("settings", "without_effect"),
    [
        ({"schedule": HALF, "regrow": "set"}, {"score": "random"}),
        ({"sparsity_m_by_n": (2, 4)}, {"allocation": "erk"}),
        ({}, {"allocation": "erk", "monotone": True, "score": "random"}),
    ],
)
def test_a_saved_rule_with_settings_that_did_nothing_is_loaded(settings, without_effect):
    rule = PruningRule(**settings)
    loaded = PruningRule.from_config(rule.get_config() | without_effect)
    assert loaded.get_config() == rule.get_config()


def test_names_of_one_weight_alone_are_accepted():
    for name in ("a/kernel", "net/a/kernel", "2"):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            optimizer, model = built(scope=lambda m: m, allocation={name: 0.25})
        left = [
            int(np.count_nonzero(optimizer.get_mask(v))) for v in model.trainable_variables[::2]
        ]
        assert left == [16, 12, 16]


def test_two_weights_of_one_path_have_a_share_of_their_own():
    """As of two networks in one optimizer; by hand as in the example of `sparsities`."""
    trained = [keras.Variable(np.ones(s, "float32"), name="kernel") for s in ((10, 10), (100, 100))]
    asked = {}
    counted = {
        "erk": [92, 918],
        lambda key, shape, sparsity: asked.setdefault(key, shape)[0] / 200: [95, 5000],
    }
    for allocation, left in counted.items():
        optimizer = SparseOptimizer("sgd", ConstantSparsity(0.9, 1), allocation=allocation)
        optimizer.build(trained)
        assert [int(optimizer.get_mask(v).sum()) for v in trained] == left
    assert asked == {"0": (10, 10), "1": (100, 100)}
