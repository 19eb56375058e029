"""Layers of one's own, whose channels run as their rules say."""

import doctest

import keras
import pytest
from channel_cuts import check_same, fill, free_groups, masked_and_cut

from tfinit.errors import InputError
from tfinit.graph.channel_rules import OWN
from tfinit.graph.channels import follow
from tfinit.pruning import compact, prune_channels, register_channel_rule
from tfinit.pruning.compaction import own_layers

L = keras.layers


@pytest.fixture(autouse=True)
def registered():
    """What a test registers is forgotten after it."""
    yield
    OWN.clear()


class Positions(L.Layer):
    """A number for each position and channel, and a token before all of them."""

    def __init__(self, width, **options):
        super().__init__(**options)
        self.width = width

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, self.width), name="token")
        self.table = L.Embedding(shape[1] + 1, self.width, name="table")
        self.table.build(())

    def call(self, x):
        token = keras.ops.broadcast_to(self.token, (keras.ops.shape(x)[0], 1, self.width))
        x = keras.ops.concatenate([token, x], axis=1)
        return x + self.table(keras.ops.arange(x.shape[1]))

    def get_config(self):
        return super().get_config() | {"width": self.width}


def through_positions(channels, call):
    taken = channels.along(-1, call)
    weights = {"token": (None, None, taken), "table/embeddings": (None, taken)}
    channels.weigh(call, weights, {"width": taken})
    return taken


class Mixer(L.Layer):
    """As many outputs as units, by a kernel that only it knows of."""

    def __init__(self, units=4, **options):
        super().__init__(**options)
        self.units = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(self.units, shape[-1]), name="own_kernel")

    def call(self, x):
        return keras.ops.sigmoid(x @ keras.ops.transpose(self.kernel))

    def get_config(self):
        return super().get_config() | {"units": self.units}


def through_mixer(channels, call):
    taken = channels.along(-1, call)
    made = channels.fresh(call.layer.units, taken.axis)
    channels.weigh(call, {"own_kernel": (made, taken)}, {"units": made})
    return made


def network(layer):
    given = keras.Input((5, 2))
    x = layer(L.Dense(6, name="in")(given))
    model = keras.Model(given, L.Dense(2, name="out")(L.GlobalMaxPooling1D()(x)))
    fill(model)
    return model


def test_the_example_of_the_docstring():
    failed, tried = doctest.testmod(own_layers, extraglobs={"prune_channels": prune_channels})
    assert failed == 0 and tried > 5


@pytest.mark.parametrize(
    "layer, rule, sizes",
    [(lambda: Positions(6), through_positions, [6]), (Mixer, through_mixer, [6, 4])],
)
def test_a_network_with_a_layer_of_one_s_own_is_cut(layer, rule, sizes):
    model = network(layer())
    assert free_groups(model) == [] and len(follow(model).barriers) == 1
    register_channel_rule(type(model.layers[2]), rule)
    assert [group.size for group in free_groups(model)] == sizes
    new, gone = masked_and_cut(model)
    assert gone == [size // 2 for size in sizes]
    check_same(model, new)


def test_what_a_layer_of_one_s_own_reads_is_in_use():
    """Nothing is known of its weights, so no input of it is dead, not even a constant."""
    register_channel_rule(Mixer, through_mixer)
    model = network(Mixer())
    before = model.get_layer("in")
    kernel, bias = before.get_weights()
    kernel[:, 2] = 0
    before.set_weights([kernel, bias])
    result = compact(model)
    assert result.removed == {}
    check_same(model, result.model)


def test_a_subclass_is_another_layer():
    register_channel_rule(Mixer, through_mixer)
    model = network(type("Other", (Mixer,), {})(4))
    assert "Other" in next(iter(follow(model).barriers.values()))


def test_a_rule_may_say_that_it_is_not_for_a_layer():
    def refusing(channels, call):
        raise ValueError("it has four units")

    register_channel_rule(Mixer, refusing)
    assert list(follow(network(Mixer())).barriers.values()) == ["it has four units"]


@pytest.mark.parametrize(
    "returned, message",
    [
        (lambda channels, call: None, "must return the channels of its output"),
        (lambda channels, call: [], "a list of those of its 1 outputs"),
        (lambda channels, call: call.taken[0], "gives 6 channels on axis 2 of an output of shape"),
        (lambda channels, call: channels.fresh(7, 1), "gives 7 channels on axis 1"),
    ],
)
def test_what_a_rule_returns_is_checked(returned, message):
    register_channel_rule(Mixer, returned)
    with pytest.raises(InputError, match=message):
        follow(network(Mixer()))


@pytest.mark.parametrize(
    "layer, rule, message",
    [
        (Mixer(), through_mixer, "`layer` must be a class of Keras layers"),
        (L.Dense, through_mixer, "Its channels are followed already"),
        (Mixer, "dense", "`rule` must be a function"),
    ],
)
def test_what_cannot_be_registered_is_an_error(layer, rule, message):
    with pytest.raises(InputError, match=message):
        register_channel_rule(layer, rule)
