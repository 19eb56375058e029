"""Which channels of a network stand or fall together, by hand-made tables."""

import keras
import numpy as np
import pytest

from tfinit.graph import layer_kinds
from tfinit.graph.channel_rules import RULES
from tfinit.graph.channels import coupled_groups, follow

L = keras.layers


def table(model):
    """Of each group: how many channels, who makes them, who reads them, is it held."""
    return [
        (
            group.size,
            {name: entries.tolist() for name, entries in group.made.items()},
            {name: entries.tolist() for name, entries in group.read.items()},
            bool(group.held),
        )
        for group in coupled_groups(follow(model))
    ]


def test_the_coupled_groups_of_a_residual_network_with_heads():
    given = keras.Input((4, 2))
    x = L.Dense(3, name="stem")(given)
    y = L.BatchNormalization(name="bn")(L.Dense(3, name="branch")(x))
    x = L.Add()([x, y])
    parts = L.Concatenate()([x, L.Dense(2, name="beside")(x)])
    query = L.Dense(4, name="query")(parts)
    attended = L.MultiHeadAttention(2, 2, name="heads")(query, query)
    model = keras.Model(given, L.Dense(1, name="out")(attended))
    assert table(model) == [
        (2, {}, {"stem": [0, 1]}, True),  # the model is given them
        (
            3,
            {"stem": [0, 1, 2], "branch": [0, 1, 2], "bn": [0, 1, 2]},
            {
                "branch": [0, 1, 2],
                "bn": [0, 1, 2],
                "beside": [0, 1, 2],
                "query": [0, 1, 2, -1, -1],
            },
            False,
        ),
        (2, {"beside": [0, 1]}, {"query": [-1, -1, -1, 0, 1]}, False),
        (4, {"query": [0, 1, 2, 3]}, {"heads": [0, 1, 2, 3] * 3}, False),  # query, key, value
        (2, {"heads": [0, 1]}, {"heads": [0, 1]}, False),  # two heads
        (4, {"heads": [0, 1, 2, 3]}, {"out": [0, 1, 2, 3]}, False),
        (1, {"out": [0]}, {}, True),  # the model returns them
    ]


def test_a_group_says_where_its_channels_are_in_the_weights():
    given = keras.Input((8, 8, 2))
    x = L.Conv2D(3, 3, name="conv", use_bias=False)(given)
    x = L.DepthwiseConv2D(3, depth_multiplier=2, name="depth")(x)
    x = L.BatchNormalization(scale=False, name="bn")(x)
    model = keras.Model(given, L.Dense(1, name="out")(L.GlobalAveragePooling2D()(x)))
    group = coupled_groups(follow(model))[1]
    twice = [0, 0, 1, 1, 2, 2]
    assert [(s.name, s.key, s.axis, s.entries.tolist()) for s in group.spots] == [
        ("conv", "kernel", 3, [0, 1, 2]),
        ("depth", "kernel", 2, [0, 1, 2]),
        ("depth", "bias", 0, twice),
        ("bn", "beta", 0, twice),
        ("bn", "moving_mean", 0, twice),
        ("bn", "moving_variance", 0, twice),
        ("out", "kernel", 0, twice),
    ]


def test_the_calls_of_one_layer_and_of_a_model_inside_are_coupled():
    left, right = keras.Input((2,)), keras.Input((2,))
    inner = keras.Sequential([keras.Input((3,)), L.Dense(2, name="inner")], name="tower")
    one, two = inner(L.Dense(3, name="a")(left)), inner(L.Dense(3, name="b")(right))
    shared = L.Dense(1, name="out")
    model = keras.Model([left, right], [shared(one), shared(two)])
    assert table(model)[2:] == [
        (3, {"a": [0, 1, 2], "b": [0, 1, 2]}, {"tower/inner": [0, 1, 2]}, False),
        (2, {"tower/inner": [0, 1]}, {"out": [0, 1]}, False),
        (1, {"out": [0]}, {}, True),
    ]


SHAPES = {  # a layer on (2, 3), channels last; what a Dense reads of it, and are they held
    "flatten": (lambda: L.Flatten(), [0, 1, 2, 0, 1, 2], False),
    "reshape": (lambda: L.Reshape((1, 2, 3)), [0, 1, 2], False),
    "merged": (lambda: L.Reshape((-1,)), [0, 1, 2, 0, 1, 2], False),
    "added axis": (lambda: lambda x: keras.ops.expand_dims(x, 1), [0, 1, 2], False),
    "parted": (lambda: L.Reshape((3, 2)), [0, 0], False),
    "moved away": (lambda: L.Permute((2, 1)), [0, 1], True),
    "moved and back": (
        lambda: lambda x: keras.ops.swapaxes(L.Permute((2, 1))(x), 1, 2),
        [0, 1, 2],
        False,
    ),
    "moved and flat": (
        lambda: lambda x: L.Flatten()(keras.ops.transpose(x, (0, 2, 1))),
        [0, 0, 1, 1, 2, 2],
        False,
    ),
    "rows become batch": (lambda: lambda x: keras.ops.reshape(x, (-1, 3)), [0, 1, 2], False),
    "batch moves": (lambda: lambda x: keras.ops.transpose(x, (1, 0, 2)), [0, 1, 2], True),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_channels_are_followed_through_reshapes_as_far_as_they_have_an_axis(shape):
    make, read, held = SHAPES[shape]
    given = keras.Input((2, 5))
    model = keras.Model(given, L.Dense(1, name="out")(make()(L.Dense(3, name="in")(given))))
    groups = coupled_groups(follow(model))
    [reader] = [group for group in groups if "out" in group.read]
    [maker] = [group for group in groups if "in" in group.made]
    assert reader.read["out"].tolist() == read
    assert (reader is not maker) == held == bool(maker.held)


def test_constants_survive_a_reshape_where_all_that_is_one_channel_is_the_same():
    given = keras.Input((1,))
    parts = L.Reshape((2, 3))(L.Dense(6, name="in")(given))
    model = keras.Model(given, L.Dense(1, name="out")(parts))
    model.get_layer("in").set_weights(
        [np.array([[1, 0, 0, 0, 0, 0]]), np.array([0, 2, 3, 0, 2, 4])]
    )
    channels = follow(model)
    [out] = [mixing for mixing in channels.mixings.values() if mixing.name == "out"]
    np.testing.assert_equal(out.taken.constants, [np.nan, 2, np.nan])


def test_what_a_layer_takes_along_another_axis_says_so():
    given = keras.Input((2, 5))
    model = keras.Model(given, L.Dense(1, name="out")(L.Permute((2, 1))(L.Dense(3)(given))))
    reasons = [group.held for group in coupled_groups(follow(model))]
    assert ("out reads along another axis",) in reasons


def test_positions_that_are_put_one_after_the_other_have_the_same_channels():
    given, token = keras.Input((4, 3)), keras.Input((1, 2))
    one, two = L.Dense(5, name="one"), L.Dense(5, name="two")
    both = L.Concatenate(axis=1)([one(token), two(given)])
    model = keras.Model([given, token], L.Dense(1, name="out")(both))
    one.bias.assign([1.0, 2.0, 3.0, 0.0, 0.0])
    two.bias.assign([1.0, 0.0, 3.0, 0.0, 0.0])
    for layer in one, two:
        layer.kernel.assign(keras.ops.zeros_like(layer.kernel))
    channels = follow(model)
    [group] = [group for group in coupled_groups(channels) if "one" in group.made]
    assert group.made.keys() == {"one", "two"} and group.size == 5 and not group.held
    [out] = [mixing for mixing in channels.mixings.values() if mixing.name == "out"]
    np.testing.assert_equal(out.taken.constants, [1.0, np.nan, 3.0, 0.0, 0.0])


def test_what_is_done_to_words_and_to_masks_is_no_barrier():
    words = keras.Input((4,), dtype="int32")
    places = keras.ops.cumsum(keras.ops.ones_like(words), axis=1)
    hidden = L.Embedding(5, 3, name="words")(words) + L.Embedding(6, 3, name="places")(places)
    channels = follow(keras.Model(words, L.Dense(1, name="out")(hidden)))
    assert channels.barriers == {}
    spots = [({spot.name for spot in g.spots}, g.held) for g in coupled_groups(channels)]
    assert ({"words", "places", "out"}, ()) in spots


def test_the_table_of_layer_kinds_names_the_rules():
    tables = (*layer_kinds._HOMES.values(), layer_kinds._OPERATIONS)
    rows = [row for table in tables for row in table.values()]
    assert {row.channels for row in rows} - {""} == set(RULES)
