"""Net2Net: wider and deeper networks that compute the same, however their units are read."""

import doctest
import importlib

import keras
import numpy as np
import pytest
from keras import layers as L

from tfinit.errors import InputError
from tfinit.net2net import deeper, wider


def trained(model):
    """Weights as after training: none is 0, 1 or the same as another."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        if "seed" not in weight.path:
            value = random.normal(0, 0.4, weight.shape)
            weight.assign(np.abs(value) + 0.3 if "variance" in weight.path else value)
    return model


def inputs_of(model):
    random, shape = np.random.default_rng(1), (3, *model.inputs[0].shape[1:])
    shape = tuple(size or 6 for size in shape)
    if "int" in model.inputs[0].dtype:
        return random.integers(0, 9, shape)
    return random.normal(size=shape).astype("float32")


def difference(one, other):
    x = inputs_of(one)
    made, again = (keras.ops.convert_to_numpy(model(x)) for model in (one, other))
    return float(np.abs(made - again).max() / max(1, np.abs(made).max()))


def dense():
    stack = [L.Dense(5, "relu", name="a"), L.PReLU(), L.Dense(4, "tanh", name="b"), L.Dense(2)]
    return keras.Sequential([keras.Input((3,)), *stack])


def convolutional():
    x = inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, padding="same", name="a")(x)
    x = L.ReLU(name="relu")(L.BatchNormalization(name="norm")(x))
    y = L.SeparableConv2D(4, 3, padding="same", name="b", activation="relu")(x)
    y = L.DepthwiseConv2D(3, padding="same", depth_multiplier=1)(y)
    x = L.Concatenate()([L.Add()([x, y]), L.Conv2D(3, 1, name="side")(x)])
    x = L.Conv2DTranspose(5, 2, strides=2, name="up")(x)
    x = L.Flatten()(L.MaxPooling2D(4)(x))
    return keras.Model(inputs, L.Dense(2, name="head")(x))


def recurrent():
    stack = [
        L.Embedding(9, 5, name="table"),
        L.Bidirectional(L.GRU(3, return_sequences=True, name="gru"), name="both"),
        L.LSTM(4, return_sequences=True, name="lstm"),
        L.SimpleRNN(4, name="rnn"),
        L.Dense(2),
    ]
    return keras.Sequential([keras.Input((6,), dtype="int32"), *stack])


def attentive():
    x = inputs = keras.Input((6, 4))
    x = L.Dense(4, name="in")(x)
    y = L.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = L.LayerNormalization(name="norm")(L.Add()([x, y]))
    y = L.Dense(8, "gelu", name="up")(x)
    x = L.RMSNormalization(name="rms")(L.Add()([x, L.Dense(4, name="down")(y)]))
    return keras.Model(inputs, L.Dense(2, name="head")(x))


@pytest.mark.parametrize(
    ("make", "widths", "sizes", "spread"),
    [
        (dense, {"a": 8, "b": 11}, {"a": 8, "b": 11}, 0),
        (convolutional, {"a": 7, "side": 4, "up": 9}, {"a": 7, "b": 7, "side": 4, "up": 9}, 0.7),
        (recurrent, {"table": 8, "lstm": 6, "rnn": 9}, {"lstm": 6, "rnn": 9}, 0.7),
        (attentive, {"in": 8, "up": 13}, {"in": 8, "down": 8, "up": 13}, 0.7),
    ],
)
def test_a_wider_network_computes_the_same(make, widths, sizes, spread):
    model = trained(make())
    before = model.get_weights()
    larger = wider(model, widths, spread=spread, seed=1)
    assert difference(model, larger) < 1e-6
    for name, size in sizes.items():
        layer = larger.get_layer(name)
        assert getattr(layer, "units", getattr(layer, "filters", None)) == size
    assert larger.count_params() > model.count_params()
    assert all(np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True))


def test_heads_are_copied():
    model = trained(attentive())
    larger = wider(model, {"attention/num_heads": 5})
    assert larger.get_layer("attention").num_heads == 5
    assert difference(model, larger) < 1e-6


def test_copies_share_what_their_unit_gave_and_part_if_asked():
    model = trained(dense())
    larger = wider(model, {"a": 10})
    kernel, wide = model.get_layer("b").kernel.numpy(), larger.get_layer("b").kernel.numpy()
    assert np.array_equal(wide, np.repeat(kernel / 2, 2, axis=0))
    assert np.array_equal(
        larger.get_layer("a").kernel.numpy(), np.repeat(model.get_layer("a").kernel, 2, axis=1)
    )
    parted, again = (
        wider(model, {"a": 10}, spread=0.5).get_layer("b").kernel.numpy() for _ in range(2)
    )
    assert np.array_equal(parted, again)
    assert np.allclose(parted.reshape(5, 2, 4).sum(1), kernel, atol=1e-6)
    assert np.abs(parted[::2] - parted[1::2]).min() > 0


def test_it_is_compiled_alike_and_trains_on():
    model = trained(dense())
    model.compile(keras.optimizers.SGD(0.01), "mse")
    model.get_layer("a").trainable = False
    larger = deeper(wider(model, {"b": 6}), "a")
    x, y = inputs_of(model), np.ones((3, 2), "float32")
    assert larger.evaluate(x, y, verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0))
    assert not larger.get_layer("a").trainable
    assert larger.fit(x, y, epochs=3, verbose=0).history["loss"][-1] < larger.evaluate(
        x, y + 1, verbose=0
    )


@pytest.mark.parametrize(
    ("make", "after", "added"),
    [
        (dense, "a", ["a_deeper"]),
        (convolutional, ["a", "side"], ["a_deeper", "norm_deeper", "relu_deeper", "side_deeper"]),
        (attentive, ["in", "head"], ["in_deeper", "head_deeper"]),
    ],
)
def test_a_deeper_network_computes_the_same(make, after, added):
    model = trained(make())
    larger = deeper(model, after)
    assert difference(model, larger) < 1e-6
    names = [layer.name for layer in larger.layers]
    assert set(names) - {layer.name for layer in model.layers} == set(added)
    if make is convolutional:
        at = names.index("a_deeper")
        assert names[at - 1] == "relu" and larger.get_layer("a_deeper").kernel.shape == (3, 3, 4, 4)
    more = deeper(larger, added[0])
    assert difference(model, more) < 1e-6 and f"{added[0]}_deeper" in [x.name for x in more.layers]


def test_with_data_new_normalizations_compute_the_same_in_training_too():
    model = trained(convolutional())
    x = inputs_of(model)

    def moved(larger):
        made, again = (keras.ops.convert_to_numpy(one(x, training=True)) for one in (model, larger))
        return np.abs(made - again).max() / np.abs(made).max()

    before = model.get_weights()
    larger = deeper(deeper(model, "a", x), "a_deeper", x)
    assert all(np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True))
    assert difference(model, larger) < 1e-6
    assert moved(deeper(model, "a")) > 0.1 and moved(larger) < 1e-5
    with pytest.raises(InputError, match="`x`"):
        deeper(model, "a", x[:, :, :, :2])


@pytest.mark.parametrize(
    ("make", "widths", "message"),
    [
        (dense, {}, "`widths` must be the name of at least one layer"),
        (dense, {"c": 3}, "`widths` must be one of a, b"),
        (dense, {"a": 4}, r"`widths\['a'\]` must be"),
        (dense, {"dense": 3}, "must stay: the model returns them"),
        (
            attentive,
            {"in": 6},
            "normalizes: all must be copied equally often. Give a multiple of 4",
        ),
        (attentive, {"in": 8, "down": 12}, "8 units for 'in' and 12 for 'down', which go together"),
        (lambda: 3, {"a": 4}, "must be a Sequential or functional model"),
    ],
)
def test_what_cannot_be_wider_is_refused(make, widths, message):
    model = make()
    if isinstance(model, keras.Sequential):
        model.layers[-1].name = "dense"
    with pytest.raises(InputError, match=message):
        wider(model, widths)


def test_layers_that_see_copies_otherwise_are_refused():
    x = keras.Input((6, 4))
    y = L.Dense(4, name="a")(x)
    product = keras.Model(x, L.Dense(2)(L.Attention()([y, y])))
    with pytest.raises(InputError, match="reads units that are to be copied"):
        wider(product, {"a": 8})
    unit = keras.Model(x, L.Dense(2)(L.UnitNormalization(name="unit")(y)))
    with pytest.raises(InputError, match="unit normalizes the units of 'a' by a sum"):
        wider(unit, {"a": 8})
    grouped = keras.Model(x, L.Dense(2)(L.GroupNormalization(2, name="groups")(y)))
    with pytest.raises(InputError, match="groups normalizes in groups"):
        wider(grouped, {"a": 8})
    ids = keras.Input((6,), dtype="int32")
    table = L.ReversibleEmbedding(9, 4, name="table")
    tied = keras.Model(ids, table(L.Dense(4)(table(ids)), reverse=True))
    with pytest.raises(InputError, match="table reads its table the other way round"):
        wider(tied, {"table": 8})


def test_what_cannot_be_deeper_is_refused():
    with pytest.raises(InputError, match="'b', whose activation tanh makes something else"):
        deeper(dense(), "b")
    with pytest.raises(InputError, match="`after` must be one of a, b"):
        deeper(dense(), "c")
    layer, x = L.Dense(3, "relu", name="twice"), keras.Input((3,))
    with pytest.raises(InputError, match="'twice' is called 2 times"):
        deeper(keras.Model(x, layer(layer(x))), "twice")


@pytest.mark.parametrize("name", ["widening", "deepening"])
def test_examples_of_the_docstrings(name):
    module = importlib.import_module(f"tfinit.net2net.{name}")
    failed, tried = doctest.testmod(module)
    assert tried and not failed
