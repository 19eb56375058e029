"""What is left of multiply-adds and parameters, beside a count of the smaller model."""

import keras
import numpy as np
import pytest
from architectures import ARCHITECTURES

from tfinit.graph.channels import follow
from tfinit.graph.multiply_adds import count_uses
from tfinit.pruning.channels import ChannelPlan, GroupPlan
from tfinit.pruning.channels.costs import Costs, multiply_adds
from tfinit.pruning.channels.groups import find_groups, weights_with_channels

L = keras.layers


def attending(attention):
    given = keras.Input((9, 4))
    parts = [L.Dense(size, name=name)(given) for name, size in (("q", 16), ("v", 24), ("k", 16))]
    y = L.GlobalAveragePooling1D()(attention(parts))
    return keras.Model(given, L.Dense(2, name="out")(y))


def heads():
    given = keras.Input((5, 12))
    y = given + L.MultiHeadAttention(4, 3)(given, given)
    y = L.Dense(12)(L.Dense(20, "relu")(y))
    return keras.Model(given, L.Dense(2, name="out")(y))


NETWORKS = {
    "heads": heads,
    "dot": lambda: attending(L.Attention()),
    "concat": lambda: attending(L.Attention(score_mode="concat")),
    "additive": lambda: attending(L.AdditiveAttention()),
    "sum": lambda: attending(L.AdditiveAttention(use_scale=False)),
    **{name: ARCHITECTURES[name] for name in ("seq2seq", "mixer")},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_costs_are_those_of_the_smaller_model(name):
    model = NETWORKS[name]()
    channels = follow(model)
    weights = list(weights_with_channels(channels))
    groups = [group for group in find_groups(channels, weights) if not group.held]
    orders = {group.name: np.arange(group.size) for group in groups}
    costs = Costs(model, channels, weights, groups, orders, count_uses(model), 100)
    assert costs.of("macs", {}) == multiply_adds(model, count_uses(model))
    assert costs.of("params", {}) == model.count_params()
    assert costs.of("channels", {}) == 100
    removed = {group.name: group.size // (2 + n % 2) for n, group in enumerate(groups)}
    planned = [
        GroupPlan(group.name, group.size, group.layers, tuple(range(removed[group.name])))
        for group in groups
    ]
    smaller = ChannelPlan(tuple(planned)).apply(model).model
    assert len(groups) > 1 and smaller.count_params() < model.count_params()
    assert costs.of("params", removed) == smaller.count_params()
    assert costs.of("macs", removed) == multiply_adds(smaller, count_uses(smaller))
    assert costs.of("channels", removed) == 100 - sum(removed.values())
