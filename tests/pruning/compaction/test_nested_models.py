"""`compact` on models inside models, and on functional models of a class of their own."""

import keras
import numpy as np
import pytest

from tfinit.errors import InputError
from tfinit.pruning import compact

L = keras.layers


def same_outputs(model, new, *inputs):
    """Whether both compute the same of random input, to rounding; `inputs`: other than that."""
    rng = np.random.default_rng(0)
    given = inputs or [rng.normal(size=(3, *t.shape[1:])).astype("float32") for t in model.inputs]
    one, two = (
        keras.tree.flatten(m(given[0] if len(given) == 1 else list(given), training=False))
        for m in (model, new)
    )
    return all(
        np.abs(np.array(a) - np.array(b)).max() <= 1e-5 * np.abs(np.array(a)).max() > 0
        for a, b in zip(one, two, strict=True)
    )


def removed(result):
    return {name: tuple(counts) for name, counts in result.removed.items()}


def kill(layer, units=(), unread=()):
    """Let units be the constant 1, and inputs be unread."""
    kernel, bias = np.ones(layer.kernel.shape), np.arange(1.0, layer.bias.shape[0] + 1)
    kernel *= np.arange(1, kernel.size + 1).reshape(kernel.shape) / kernel.size
    kernel[..., list(units)] = 0
    kernel[..., list(unread), :] = 0
    layer.set_weights([kernel, bias])


def fill(layers):
    """Two dead units in each; the last of the second is not read by the third."""
    one, two, three = layers
    kill(one, units=[0, 2])
    kill(two, units=[1])
    kill(three, unread=[3])


def dense():
    return [L.Dense(5, "relu", name="one"), L.Dense(4, "tanh", name="two"), L.Dense(2, name="out")]


def flat(layers):
    return keras.Sequential([keras.Input((3,)), *layers])


def sequential_inside(layers):
    inner = keras.Sequential([keras.Input((5,)), layers[1]], name="inner")
    return keras.Sequential([keras.Input((3,)), layers[0], inner, layers[2]])


def deep_inside(layers):
    given = keras.Input((5,), name="given")
    innermost = keras.Model(given, layers[1](given), name="innermost")
    given = keras.Input((3,), name="x")
    inner = keras.Model({"x": given}, {"y": innermost(layers[0](given))}, name="inner")
    given = keras.Input((3,))
    return keras.Model(given, layers[2](inner({"x": given})["y"]))


@pytest.mark.parametrize(
    "make, names",
    [
        (flat, ["one", "two"]),
        (sequential_inside, ["one", "inner/two"]),
        (deep_inside, ["inner/one", "inner/innermost/two"]),
    ],
)
def test_the_same_units_go_from_a_flat_model_and_from_one_inside(make, names):
    layers = dense()
    model = make(layers)
    fill(layers)
    result = compact(model)
    assert removed(result) == dict(zip(names, [(2, 5), (2, 4)], strict=True))
    assert result.parameters == 3 * 3 + 3 + 3 * 2 + 2 + 2 * 2 + 2
    assert same_outputs(model, result.model)
    for old, new in zip(model.layers, result.model.layers, strict=True):
        assert (type(new), new.name) == (type(old), old.name)


def test_a_model_inside_that_is_called_twice_is_made_once():
    left, right = keras.Input((3,)), keras.Input((3,))
    layers = dense()
    tower = keras.Sequential([keras.Input((3,)), *layers[:2]], name="tower")
    model = keras.Model([left, right], layers[2](L.Subtract()([tower(left), tower(right)])))
    fill(layers)
    result = compact(model)
    assert removed(result) == {"tower/one": (2, 5), "tower/two": (2, 4)}
    assert result.parameters == 12 + 8 + 6
    assert same_outputs(model, result.model)


def test_inputs_of_a_model_inside_go_only_if_no_call_reads_them():
    given = keras.Input((3,))
    a, b = L.Dense(4, name="a"), L.Dense(4, name="b")
    inner = keras.Sequential([keras.Input((4,)), L.Dense(2, name="two")], name="inner")
    model = keras.Model(given, L.Add()([inner(a(given)), inner(b(given))]))
    kill(a, units=[0, 1]), kill(b, units=[1, 2])
    kill(inner.layers[0], unread=[3])
    result = compact(model)  # the second is 2 in both; the fourth is not read
    assert removed(result) == {"a": (2, 4), "b": (2, 4)}
    assert result.model.get_layer("inner").input_shape == (None, 2)
    assert same_outputs(model, result.model)


def test_inputs_of_a_model_inside_that_are_given_by_name_keep_their_names():
    p, q = keras.Input((2,), name="p"), keras.Input((4,), name="q")
    two = L.Dense(1, name="two")
    inner = keras.Model([q, p], two(L.Concatenate()([q, p])), name="inner")  # not sorted
    given = keras.Input((3,))
    a, b = L.Dense(2, name="a"), L.Dense(4, name="b")
    model = keras.Model(given, inner({"p": a(given), "q": b(given)}))
    kill(a, units=[1]), kill(b, units=[0]), kill(two, unread=[2])
    result = compact(model)
    assert removed(result) == {"a": (1, 2), "b": (2, 4)}
    assert same_outputs(model, result.model)


def test_a_model_inside_in_training_is_not_followed():
    given = keras.Input((3,))
    layers = dense()
    inner = keras.Sequential([keras.Input((3,)), *layers[:2]], name="inner")
    model = keras.Model(given, layers[2](inner(given, training=True)))
    fill(layers)
    result = compact(model)
    assert removed(result) == {}
    assert "inner, which it is in, is called with training=True" in str(result)


def test_what_is_frozen_stays_frozen():
    layers = dense()
    model = sequential_inside(layers)
    fill(layers)
    model.get_layer("inner").trainable = False
    new = compact(model).model
    assert not new.get_layer("inner").trainable
    assert len(new.trainable_weights) == len(model.trainable_weights) == 4


def test_channels_first_and_reshapes_between():
    given = keras.Input((4,))
    x = L.Dense(12, "relu", name="in")(given)
    x = L.Reshape((3, 2, 2))(x)
    conv = L.Conv2D(4, 1, data_format="channels_first", activation="relu", name="conv")
    bn = L.BatchNormalization(axis=1, name="bn")
    x = L.Flatten(data_format="channels_first")(bn(conv(x)))
    model = keras.Model(given, L.Dense(2, name="out")(x))
    kernel = np.random.default_rng(0).normal(size=(4, 12))
    kernel[:, 4:8] = 0  # the second of three channels, at each of four positions
    kernel[:, :2] = 0  # the first, at two of them
    bias = np.ones(12)
    model.get_layer("in").set_weights([kernel, bias])
    kernel = np.random.default_rng(1).normal(size=(1, 1, 3, 4))
    kernel[..., 3] = 0
    conv.set_weights([kernel, np.ones(4)])
    result = compact(model)
    assert removed(result) == {"in": (4, 12), "conv": (1, 4)}
    assert result.model.layers[2].target_shape == (2, 2, 2)
    assert same_outputs(model, result.model)


class Trainer(keras.Model):
    """A class that trains in its own way, made of inputs and outputs."""

    def train_step(self, data):
        return {"loss": 0.0}


@keras.saving.register_keras_serializable("tfinit-tests")
class Net(keras.Model):
    """A class that makes its layers itself, as KerasHub's do."""

    def __init__(self, units=5, activation="relu", name="net", **kwargs):
        given = keras.Input((3,))
        made = L.Dense(2, name="out")(L.Dense(units, activation, name="one")(given))
        super().__init__(given, made, name=name, **kwargs)
        self.units = units

    def get_config(self):
        return {"units": self.units, "name": self.name}  # the activation is missing


class Doubled(Net):
    def call(self, x, training=None, mask=None):
        return 2 * super().call(x, training=training, mask=mask)


def test_a_class_of_inputs_and_outputs_stays():
    layers, given = dense(), keras.Input((3,))
    model = Trainer(given, layers[2](layers[1](layers[0](given))))
    fill(layers)
    result = compact(model)
    assert type(result.model) is Trainer and result.notes == ()
    assert removed(result) == {"one": (2, 5), "two": (2, 4)}


def test_a_class_that_makes_its_layers_itself_stays_where_nothing_goes():
    model = Net()
    result = compact(model)
    assert type(result.model) is Net and result.notes == ()
    assert same_outputs(model, result.model)


@pytest.mark.parametrize("case", ["a unit goes", "its configuration is not whole"])
def test_a_class_that_makes_its_layers_itself_becomes_a_plain_model(case):
    model = Net(activation="relu" if case == "a unit goes" else "tanh")
    kill(model.get_layer("one"), units=[1] if case == "a unit goes" else [])
    result = compact(model)
    assert type(result.model) is type(keras.Model(model.inputs, model.outputs))
    [note] = [note for note in result.notes if "plain" in note]
    assert note.startswith("net is a plain keras.Model now: its class Net makes its layers itself")
    assert [layer.name for layer in result.model.layers] == [x.name for x in model.layers]
    assert same_outputs(model, result.model)


def test_a_class_inside_stays_where_nothing_of_it_goes():
    given = keras.Input((3,))
    net, out = Net(), L.Dense(2, name="head")
    head = L.Dense(3, name="dead")
    model = keras.Model(given, out(head(net(given))))
    kill(head, units=[1])
    result = compact(model)
    assert removed(result) == {"dead": (1, 3)}
    assert type(result.model.get_layer("net")) is Net
    assert same_outputs(model, result.model)


def test_a_call_of_its_own_may_be_more_than_the_graph():
    with pytest.raises(InputError, match="Doubled, a class of its own"):
        compact(Doubled())
    given = keras.Input((3,))
    head = L.Dense(2, name="head")
    model = keras.Model(given, head(Doubled(name="net")(given)))
    result = compact(model)
    assert "net  not touched" in str(result)
    assert same_outputs(model, result.model)
