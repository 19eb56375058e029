"""Smaller models: what they compute, what they cost, what is refused."""

import doctest
import json

import keras
import numpy as np
import pytest

from tfinit.errors import InputError
from tfinit.graph.multiply_adds import count_uses
from tfinit.pruning import (
    ChannelPlan,
    ChannelPruning,
    channel_plan,
    prune_channels,
)
from tfinit.pruning.channels import plan as plan_module
from tfinit.pruning.channels import pruning as pruning_module
from tfinit.pruning.channels.costs import multiply_adds
from tfinit.variables import all_weights

L = keras.layers


def dense():
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((6,)),
        L.Dense(32, "sigmoid", name="one"),  # 0.5 of nothing: a mask must be of what reads it, too
        L.Dense(16, "relu", name="two"),
        L.Dense(3, name="out"),
    ]
    return keras.Sequential(layers, name="dense")


def residual():
    """Convolutions, branches that are added and concatenated, a model inside, Flatten."""
    keras.utils.set_random_seed(0)
    given = keras.Input((8, 8, 3))
    inside = keras.Sequential(
        [
            keras.Input((8, 8, 16)),
            L.Conv2D(12, 3, padding="same", activation="relu", name="first"),
            L.Conv2D(16, 1, name="second"),
        ],
        name="block",
    )
    y = L.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(given)
    y = L.ReLU()(L.BatchNormalization(name="norm")(y))
    y = L.Add()([y, inside(y)])
    y = L.DepthwiseConv2D(3, activation="sigmoid", name="depthwise")(y)
    y = L.Concatenate()([y, L.Conv2D(8, 1, activation="relu", name="side")(y)])
    y = L.Flatten()(L.MaxPooling2D()(y))
    y = L.Dense(16, "relu", name="hidden")(y)
    model = keras.Model(given, [L.Dense(3, name="a")(y), L.Dense(2, name="b")(y)], name="residual")
    rng = np.random.default_rng(1)
    for weight in model.get_layer("norm").weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


NETWORKS = {"dense": dense, "residual": residual}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    return NETWORKS[request.param]()


def outputs(model, inputs):
    made = model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
    return [keras.ops.convert_to_numpy(tensor) for tensor in keras.tree.flatten(made)]


def state(model):
    return [keras.ops.convert_to_numpy(v).copy() for v in model.variables]


def check_same_as_masked(model, plan, new, tolerance=1e-5):
    """The smaller model computes what the given one does with the masks on its weights."""
    rng = np.random.default_rng(0)
    inputs = [
        rng.integers(0, 11, (3, *t.shape[1:]))
        if "int" in t.dtype
        else rng.normal(size=(3, *t.shape[1:])).astype("f4")
        for t in model.inputs
    ]
    before, weights = state(model), all_weights(model)
    try:
        for key, mask in plan.masks(model).items():
            weights[key].assign(keras.ops.convert_to_numpy(weights[key]) * mask)
        masked = outputs(model, inputs)
    finally:
        for variable, value in zip(model.variables, before, strict=True):
            variable.assign(value)
    for expected, got in zip(masked, outputs(new, inputs), strict=True):
        assert got.shape == expected.shape and expected.any()
        assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max()


def counted(model):
    return {
        "macs": multiply_adds(model, count_uses(model)),
        "params": sum(int(np.prod(v.shape)) for v in all_weights(model).values()),
    }


@pytest.mark.parametrize(
    "target, allocation, score",
    [
        pytest.param({"macs": 0.5}, "global", "l2", marks=pytest.mark.backends),
        ({"macs": 0.25}, "uniform", "random"),
        ({"params": 0.3}, "isomorphic", "l1"),
        ({"channels": 0.6}, "global", "random"),
    ],
)
def test_what_is_left_costs_what_was_asked_and_is_exact(network, target, allocation, score):
    before = counted(network)
    result = prune_channels(network, target=target, score=score, allocation=allocation, round_to=2)
    after = counted(result.model)
    assert result.parameters_before == before["params"]
    assert result.parameters == after["params"]
    assert result.multiply_adds_before == before["macs"]
    assert result.multiply_adds == after["macs"]
    ((kind, part),) = target.items()
    groups = result.plan.groups
    left = {name: after[name] / before[name] for name in after}
    left["channels"] = sum(g.left for g in groups) / sum(g.channels for g in groups)
    assert 0.95 * part <= left[kind] <= part
    assert all(g.left % 2 == 0 and g.left >= 0.1 * g.channels for g in groups)
    check_same_as_masked(network, result.plan, result.model)


@pytest.mark.backends
def test_the_least_important_go_and_the_rest_stays_as_it_was():
    model = dense()
    kernel = keras.ops.convert_to_numpy(model.layers[0].kernel).copy()
    kernel[:, ::2] *= 100
    model.layers[0].kernel.assign(kernel)
    result = prune_channels(model, target={"channels": 0.5}, filters="one", round_to=1, protect=0)
    assert result.removed["one"] == (24, 32)  # `two` keeps its 16, and is not asked
    (one,) = result.plan.groups
    assert set(one.removed) > set(range(1, 32, 2))
    stay = [n for n in range(32) if n not in one.removed]
    new = result.model
    assert (keras.ops.convert_to_numpy(new.layers[0].kernel) == kernel[:, stay]).all()
    two = keras.ops.convert_to_numpy(model.layers[1].kernel)
    assert (keras.ops.convert_to_numpy(new.layers[1].kernel) == two[stay]).all()
    assert [layer.name for layer in new.layers] == ["one", "two", "out"]


def test_groups_of_layers_that_are_added_go_together_and_what_stays_is_told(network):
    if network.name == "dense":
        plan = channel_plan(network, target={"channels": 0.5})
        assert [(g.name, g.channels, g.layers) for g in plan.groups] == [
            ("one", 32, ("one",)),
            ("two", 16, ("two",)),
        ]
        assert [(one.path, one.reason) for one in plan.skipped] == [
            ("out", "the model returns them")
        ]
        return
    plan = channel_plan(network, target={"channels": 0.5}, round_to=1)
    assert [(g.name, g.channels, g.layers) for g in plan.groups] == [
        ("stem", 16, ("stem", "block/second")),
        ("block/first", 12, ("block/first",)),
        ("side", 8, ("side",)),
        ("hidden", 16, ("hidden",)),
    ]
    assert {one.path for one in plan.skipped} == {"a", "b"}


@pytest.fixture(scope="module")
def transformer():
    keras.utils.set_random_seed(0)
    words = keras.Input((6,), dtype="int32")
    x = L.Embedding(11, 32, name="words")(words)
    y = L.MultiHeadAttention(8, 4, name="attention")(L.LayerNormalization(name="norm")(x), x)
    x = L.Add()([x, y])
    x = L.Add()([x, L.Dense(32, name="narrow")(L.Dense(64, "gelu", name="wide")(x))])
    return keras.Model(words, L.Dense(3, name="head")(L.GlobalAveragePooling1D()(x)), name="words")


def test_heads_and_the_width_are_groups_of_their_own(transformer):
    plan = channel_plan(transformer, target={"macs": 0.5}, protect=0)
    assert [(g.name, g.channels, g.layers) for g in plan.groups] == [
        ("words", 32, ("words", "attention/output_shape", "narrow")),
        ("attention/num_heads", 8, ("attention/num_heads",)),
        ("wide", 64, ("wide",)),
    ]
    # Of heads of 4 columns two make 8 of them.
    assert [g.left % unit for g, unit in zip(plan.groups, (8, 2, 8), strict=True)] == [0, 0, 0]
    result = plan.apply(transformer)
    assert result.multiply_adds == counted(result.model)["macs"]
    assert 0.475 <= result.multiply_adds / result.multiply_adds_before <= 0.5
    if plan.groups[0].removed:
        (note,) = result.notes
        assert note.startswith("the mean and variance of norm are of fewer channels")


@pytest.mark.backends
def test_heads_and_hidden_units_are_exact(transformer):
    fractions = {"attention/num_heads": 0.5, "wide": 0.25}
    result = prune_channels(transformer, allocation=fractions)
    assert result.removed == {"attention/num_heads": (4, 8), "wide": (48, 64)}
    assert result.model.get_layer("attention").num_heads == 4
    assert not result.notes
    check_same_as_masked(transformer, result.plan, result.model)


def test_filters_choose_among_the_groups_of_a_layer(transformer):
    given = {"target": {"channels": 0.95}, "round_to": 1, "protect": 0}
    plan = channel_plan(transformer, filters=".*/num_heads", **given)
    assert [group.name for group in plan.groups] == ["attention/num_heads"]
    # The width, which `attention` makes with others, stays.
    plan = channel_plan(transformer, filters="attention", **given)
    assert [group.name for group in plan.groups] == ["attention/num_heads"]


def test_what_two_groups_have_of_one_layer_has_a_fraction_for_each(transformer):
    plan = channel_plan(transformer, allocation={"attention": 0.5}, protect=0)
    assert [g.left for g in plan.groups] == [16, 4, 64]
    plan = channel_plan(transformer, allocation={"attention/num_heads": 0.25}, protect=0)
    assert [g.left for g in plan.groups] == [32, 2, 64]


def test_fractions_for_layers(network):
    layer = {"dense": "one", "residual": "block/second"}[network.name]
    plan = channel_plan(network, allocation={layer: 0.26}, round_to=4, protect=0)
    (lost,) = [group for group in plan.groups if group.removed]
    assert layer in lost.layers and lost.left == {"one": 8, "stem": 4}[lost.name]


def test_filters_are_names_or_expressions_and_spare_the_rest():
    model = residual()

    def lost(filters):
        plan = channel_plan(model, target={"channels": 0.9}, filters=filters, round_to=1)
        return [group.name for group in plan.groups], dict.fromkeys(
            one.path for one in plan.skipped
        )

    assert lost("hidden") == (["hidden"], {"a": None, "b": None})
    assert lost(["hid.*", "side"])[0] == ["side", "hidden"]
    assert lost(r"block/.*|side")[0] == ["block/first", "side"]
    assert "stem" in lost(r"block/.*|side")[1]  # with which block/second stands or falls
    assert lost("(?!stem).*")[0] == ["block/first", "side", "hidden"]


@pytest.mark.backends
def test_a_plan_can_be_saved_changed_and_made(network):
    plan = channel_plan(network, target={"macs": 0.5}, round_to=1)
    assert ChannelPlan.from_json(plan.to_json()) == plan
    edited = json.loads(plan.to_json())
    last = edited["groups"][-1]
    last["removed"] = [3, 0]
    again = ChannelPlan.from_json(json.dumps(edited))
    assert again.groups[-1].removed == (0, 3)
    assert again == plan.removing(last["name"], [3, 0])
    result = again.apply(network)
    assert isinstance(result, ChannelPruning)
    assert result.removed[last["name"]] == (2, 16)
    check_same_as_masked(network, again, result.model)


REFUSED = {
    "target": (
        (None, "`target` must be one of .*macs"),
        ({"macs": 0.01}, r"cannot be reached, the least that can be had is 0\.\d+"),
        ({"macs": 1.0}, r"`target\['macs'\]`"),
        ({"flops": 0.5}, "`target` must be one of"),
        ({"macs": 0.5, "params": 0.5}, "`target` must be one of"),
    ),
    "filters": (
        ("nothing", "`filters` has 'nothing', which matches no layer"),
        ("on", "'on', which matches no layer"),  # the whole name
        ([], "`filters` must be"),
        ("(", "`filters` must be .* It is none"),
        ("out", "no channels that can be removed. out: the model returns them"),
    ),
    "allocation": (
        ("everywhere", "`allocation` must be one of uniform, global, isomorphic"),
        ({"one": 0.5}, "`target` and an `allocation` of fractions exclude each other"),
    ),
    "score": (
        ("l3", "`score` must be one of l1, l2, batchnorm, taylor, random"),
        ("taylor", "needs a loss|needs data"),
        ("batchnorm", "no channels that can be removed.*none of its weights counts"),
        (lambda weights, initial: weights, "needs `initial`"),
    ),
    "round_to": ((0, "`round_to`"), (1.5, "`round_to`")),
    "protect": ((1.5, "`protect`"), (1.0, "the least that can be had is 1")),
}


@pytest.mark.parametrize(
    "argument, value, told",
    [(argument, *case) for argument, cases in REFUSED.items() for case in cases],
)
def test_what_is_refused_leaves_the_model_as_it_was(argument, value, told):
    model = dense()
    model.compile("adam", "mse")
    before = state(model)
    given = {"target": {"macs": 0.5}, "round_to": 1, argument: value}
    with pytest.raises(InputError, match=told):
        prune_channels(model, **given)
    assert all((a == b).all() for a, b in zip(before, state(model), strict=True))


def test_fractions_are_of_layers_whose_channels_may_go():
    model = residual()
    with pytest.raises(InputError, match="'a', which has no channels that may go: the model ret"):
        channel_plan(model, allocation={"a": 0.5})
    with pytest.raises(InputError, match=r"`allocation` has \[0.5, 0.75\] for stem, block/second"):
        channel_plan(model, allocation={"stem": 0.5, "block/second": 0.75})
    with pytest.raises(InputError, match="Nothing would be removed"):
        channel_plan(model, allocation={"stem": 1})


def test_a_plan_that_does_not_fit_is_refused():
    model = dense()
    plan = channel_plan(model, target={"macs": 0.5}, round_to=1)
    with pytest.raises(InputError, match="of another model: it has 32 channels of 'one'"):
        plan.apply(residual())
    with pytest.raises(InputError, match="removes all 16 channels of 'two'"):
        plan.removing("two", range(16))
    with pytest.raises(InputError, match="`channels` must be different whole numbers from 0 to 15"):
        plan.removing("two", [16])
    with pytest.raises(InputError, match="`group` must be one of one, two"):
        plan.removing("three", [1])
    with pytest.raises(InputError, match="removes no channel"):
        plan.removing("one", []).removing("two", []).apply(model)
    for text in ("{}", "no JSON", '{"groups": [{"name": "one"}]}', "[]"):
        with pytest.raises(InputError, match="`plan` is no plan"):
            ChannelPlan.from_json(text)


def test_a_model_whose_layers_cannot_be_followed():
    class Own(keras.Model):
        def call(self, x):
            return x

    own = Own()
    own.build((None, 2))
    with pytest.raises(InputError, match="a class of its own"):
        prune_channels(own, target={"macs": 0.5})

    class Doubled(L.Layer):
        def call(self, x):
            return 2 * x

    model = keras.Sequential(
        [keras.Input((4,)), L.Dense(8, name="a"), Doubled(name="twice"), L.Dense(2, name="b")]
    )
    with pytest.raises(InputError, match=r"no channels that can be removed.*twice: what it does"):
        prune_channels(model, target={"macs": 0.5})


def test_open_sizes_need_examples_for_multiply_adds():
    layers = [
        L.Conv2D(8, 3, activation="relu", name="a"),
        L.Conv2D(8, 3, activation="relu", name="b"),
        L.GlobalAveragePooling2D(),
        L.Dense(2),
    ]
    model = keras.Sequential([keras.Input((None, None, 3)), *layers])
    with pytest.raises(InputError, match="which it leaves open"):
        prune_channels(model, target={"macs": 0.5}, round_to=1)
    x = np.zeros((2, 12, 12, 3), "f4")
    result = prune_channels(model, x, target={"macs": 0.5}, round_to=1)
    shape = (None, 12, 12, 3)
    before = multiply_adds(model, count_uses(model, shape))
    after = multiply_adds(result.model, count_uses(result.model, shape))
    assert 0.475 <= after / before <= 0.5 and result.multiply_adds is None
    assert "multiply-adds" not in str(result)


def test_it_prints_what_it_did():
    result = prune_channels(dense(), target={"channels": 0.5})
    assert str(result).splitlines() == [
        f"dense: 752 → {result.multiply_adds} multiply-adds "
        f"({result.multiply_adds / 752:.1%}), 803 → {result.parameters} parameters "
        f"({result.parameters / 803:.1%})",
        "  one  32 → 16",
        "  two  16 → 8",
        "  out  not touched: the model returns them",
    ]
    assert str(result.plan).splitlines()[:3] == [
        "group  channels  left",
        "one          32    16",
        "two          16     8",
    ]


@pytest.mark.parametrize("module", [plan_module, pruning_module])
def test_the_examples_in_the_docstrings(module):
    names = {"keras": keras, "np": np, "channel_plan": channel_plan}
    found = doctest.testmod(module, extraglobs=names)
    assert found.failed == 0 and found.attempted > 3
