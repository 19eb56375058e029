"""A network of which channels are zero everywhere, and the one without them, are the same.

Networks of every kind of layer whose channels can be followed; of each group half is cut.
"""

import keras
import numpy as np
import pytest
from channel_cuts import check_same, fill, free_groups, masked_and_cut, outputs

from tfinit.graph.channels import follow
from tfinit.pruning import compact

L, ops = keras.layers, keras.ops


def conv(filters, size=1, name=None, **options):
    return L.Conv2D(filters, size, padding="same", name=name, **options)


def squeeze_excite(x, shape=(1, 1, 6)):
    gate = L.Dense(4, "relu", name="squeeze")(L.GlobalAveragePooling2D()(x))
    gate = L.Reshape(shape)(L.Dense(6, "sigmoid", name="excite")(gate))
    return L.Multiply()([x, gate])


def spatial(x):
    return x * conv(1, 3, "where", activation="sigmoid")(x)


def hard_swish(x):
    return x * (L.ReLU(6.0)(x + 3.0) * (1.0 / 6.0))


def arithmetic(x):
    y = (1.0 - ops.abs(x) / 2.0) ** 2
    return ops.clip(y * x, -4, 4) - ops.square(-x)


def positions(x):
    return x + ops.convert_to_tensor(np.arange(5.0, dtype="float32").reshape(5, 1))


# The name of a network → what is between conv6 and the head, with how many channels its groups
# have that may go; the first is that of conv6.
IMAGES = {
    "plain": (lambda x: x, [6]),
    "groups of two": (conv(9, 3, groups=3), [2, 3]),
    "depthwise by groups": (conv(12, 3, groups=6, activation="sigmoid"), [6]),
    "depthwise": (L.DepthwiseConv2D(3, depth_multiplier=2, activation="gelu"), [6]),
    "separable": (L.SeparableConv2D(4, 3, depth_multiplier=2, activation="relu"), [6, 4]),
    "transposed": (L.Conv2DTranspose(4, 3, strides=2, padding="same"), [6, 4]),
    "squeeze and excite": (squeeze_excite, [6, 4]),
    "of other ranks": (lambda x: squeeze_excite(x, (6,)), [6, 4]),
    "spatial gate": (spatial, [6]),
    "hard swish": (hard_swish, [6]),
    "arithmetic": (arithmetic, [6]),
    "a number for each row": (positions, [6]),
    "prelu": (L.PReLU("ones"), [6]),
    "prelu, shared positions": (L.PReLU("ones", shared_axes=[1, 2]), [6]),
    "prelu, shared channels": (L.PReLU("ones", shared_axes=[3]), [6]),
    "batch norm": (L.BatchNormalization(), [6]),
    "group norm": (L.GroupNormalization(3), [3]),
    "instance norm": (L.GroupNormalization(-1), [6]),
    "norm over positions": (L.LayerNormalization(axis=[1, 2]), [6]),
    "rescaled": (L.Rescaling(0.5, 1.0), [6]),
    "softmax over positions": (L.Softmax(axis=[1, 2]), [6]),
    "mean of rows": (lambda x: L.Dense(3, name="d")(ops.mean(x, axis=1)), [6, 3]),
    "sum, kept": (lambda x: x * ops.sum(x, axis=[1, 2], keepdims=True), [6]),
    "one row": (lambda x: L.Dense(3, name="d")(x[:, 0]), [6, 3]),
    "rows and an axis": (lambda x: x[:, 1:, None, ..., 2, :], [6]),
    "global, kept": (lambda x: x * L.GlobalMaxPooling2D(keepdims=True)(x), [6]),
    "adaptive pooling": (L.AdaptiveAveragePooling2D(2), [6]),
    "noise": (lambda x: L.GaussianNoise(1.0)(L.SpatialDropout2D(0.5)(x)), [6]),
}


@pytest.mark.parametrize("name", IMAGES)
def test_half_of_each_group_of_an_image_network_is_cut(name):
    between, sizes = IMAGES[name]
    given = keras.Input((5, 5, 2))
    x = between(conv(6, 3, "conv6")(given))
    model = keras.Model(given, L.Dense(2, name="head")(L.Flatten()(x)))
    fill(model)
    assert [group.size for group in free_groups(model)] == sizes
    new, gone = masked_and_cut(model)
    assert gone == [size // 2 for size in sizes] and follow(model).barriers == {}
    assert new.count_params() < model.count_params()
    check_same(model, new)


SIGNALS = {
    "separable": (L.SeparableConv1D(4, 3), [6, 4]),
    "transposed": (L.Conv1DTranspose(4, 3), [6, 4]),
    "groups": (L.Conv1D(6, 3, groups=2, use_bias=False), [3, 3]),
    "repeated": (lambda x: L.RepeatVector(3)(L.GlobalMaxPooling1D()(x)), [6]),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_half_of_each_group_of_a_signal_network_is_cut(name):
    between, sizes = SIGNALS[name]
    given = keras.Input((5, 2))
    x = between(L.Conv1D(6, 3, padding="same")(given))
    model = keras.Model(given, L.Dense(2)(L.Flatten()(x)))
    fill(model)
    new, gone = masked_and_cut(model)
    assert gone == [size // 2 for size in sizes] and follow(model).barriers == {}
    check_same(model, new)


NORMALIZING = {
    "layer": (L.LayerNormalization(), True),
    "all of the positions too": (L.LayerNormalization(axis=[1, 2]), True),
    "rms": (L.RMSNormalization(), True),
    "unit": (L.UnitNormalization(), False),
    "one group": (L.GroupNormalization(1), True),
}


@pytest.mark.parametrize("name", NORMALIZING)
def test_channels_that_are_normalized_over_say_so_and_may_go(name):
    layer, weights = NORMALIZING[name]
    given = keras.Input((5, 2))
    x = layer(L.Dense(6, name="in")(given))
    model = keras.Model(given, L.Dense(2, name="out")(x))
    fill(model)
    [group] = free_groups(model)
    assert (group.size, group.normalized) == (6, (layer.name,))
    assert (layer.name in {spot.name for spot in group.spots}) == weights
    new, [gone] = masked_and_cut(model, normalized=True)
    assert gone == 3
    # What is left, computed by the layers of the new model: normalized over three.
    kernel, bias = model.get_layer("in").get_weights()
    kept = (kernel != 0).any(axis=0)
    x = np.random.default_rng(0).normal(size=(3, 5, 2)).astype("float32")
    inside = (x @ kernel + bias)[..., kept]
    scaled = keras.ops.convert_to_numpy(new.get_layer(layer.name)(inside))
    kernel, bias = model.get_layer("out").get_weights()
    np.testing.assert_allclose(outputs(new)[0], scaled @ kernel[kept] + bias, rtol=1e-5, atol=1e-5)


def test_what_is_normalized_over_is_in_use():
    given = keras.Input((2,))
    x = L.LayerNormalization(name="norm")(L.Dense(4, name="in")(given))
    model = keras.Model(given, L.Dense(2, name="out")(x))
    fill(model)
    kernel, bias = model.get_layer("in").get_weights()
    kernel[:, 0] = bias[0] = 0
    model.get_layer("in").set_weights([kernel, bias])
    result = compact(model)
    assert result.removed == {}
    assert [(k.layer, k.units, k.reason) for k in result.kept] == [
        ("in", 1, "norm normalizes over them")
    ]


def test_dead_groups_and_gates_are_removed_by_compact():
    given = keras.Input((5, 5, 2))
    x = conv(6, 3, "conv6")(given)
    x = squeeze_excite(L.GroupNormalization(3, name="norm")(x))
    model = keras.Model(given, L.Dense(2, name="head")(L.GlobalMaxPooling2D()(x)))
    fill(model)
    masked_and_cut(model)
    result = compact(model)
    assert {name: tuple(counts) for name, counts in result.removed.items()} == {
        "conv6": (2, 6),
        "squeeze": (2, 4),
        "excite": (2, 6),
    }
    assert result.model.get_layer("norm").groups == 2
    check_same(model, result.model)


HELD = {
    "softmax": (L.Softmax(name="it"), "it is a softmax over them"),
    "activation": (L.Activation("softmax", name="it"), "of it: its activation softmax may mix"),
    "a number for each": (
        lambda x: x * np.arange(6.0, dtype="float32"),
        "has a number of its own for each",
    ),
    "data": (L.Normalization(mean=np.zeros(6), variance=np.ones(6), name="it"), "a mean of each"),
    "part": (lambda x: x[..., :4], "takes some of them by their numbers"),
    "divided": (lambda x: 1.0 / x, "divides by them"),
    "mean of channels": (
        lambda x: ops.mean(x, axis=-1, keepdims=True),
        "it reduces the channels to one",
    ),
}


@pytest.mark.parametrize("name", HELD)
def test_channels_that_cannot_go_say_why(name):
    between, why = HELD[name]
    given = keras.Input((5, 2))
    model = keras.Model(given, L.Dense(2, name="out")(between(L.Dense(6, name="in")(given))))
    reasons = [root.reason for root in follow(model).roots]
    assert free_groups(model) == [] and any(why in reason for reason in reasons)


def words(width=6, **options):
    return L.Embedding(9, width, name="words", **options)(keras.Input((5,), dtype="int32"))


def numbers(width=6):
    return L.Dense(width, name="in")(keras.Input((5, 2)))


def attended(x):
    y = L.MultiHeadAttention(4, 3, value_dim=2, name="heads")(x, x)
    return L.Dense(3, name="d")(y)


def residual_attention(x):
    x = x + L.MultiHeadAttention(4, 3, name="heads")(x, x, use_causal_mask=True)
    return x + L.Dense(6, name="down")(L.Dense(8, "gelu", name="up")(x))


def crossed(x):
    memory = L.Dense(4, name="memory")(L.Dense(5)(x[:, :3]))
    y = L.MultiHeadAttention(2, 3, output_shape=8, use_bias=False)(x, memory, key=memory)
    return L.Dense(3)(y)


def grouped_queries(x):
    return x + L.GroupQueryAttention(3, 6, 2, use_gate=True)(x, x)


def dot_attention(x):
    key = L.Dense(4, name="k")(x)
    return L.Attention(use_scale=True)([L.Dense(4)(x), L.Dense(2)(x), key])


def additive_attention(x):
    return L.AdditiveAttention()([x, L.Dense(6, name="k")(x)])


def projected(x):
    """Heads by hand: their widths can go, of all heads alike."""
    heads = L.EinsumDense("abc,cde->abde", (5, 2, 4), bias_axes="de", activation="tanh")(x)
    return L.EinsumDense("abde,dec->abc", (5, 8), bias_axes="c")(heads)


def seq2seq(x):
    _, h, c = L.LSTM(6, return_state=True, name="encoder")(x)
    y = L.LSTM(6, return_sequences=True, name="decoder")(x[:, :3], initial_state=[h, c])
    return L.TimeDistributed(L.Dense(4, "relu", name="inner"))(y)


def both_ways(x):
    x = L.Bidirectional(L.LSTM(6, return_sequences=True))(x)
    return L.Bidirectional(L.GRU(4), merge_mode="sum")(x)


def over_places(x):
    """As in an MLP-Mixer: Dense layers over places, each channel by itself."""
    y = L.Permute((2, 1))(L.BatchNormalization()(x))
    y = L.Dense(5, name="back")(L.Dense(8, "gelu", name="places")(y))
    return x + L.Permute((2, 1))(y)


def both_axes(x):
    """Channels on two axes of one tensor, which are read one after the other; four are held."""
    y = L.Dense(8, "relu", name="rows")(L.Permute((2, 1))(x))  # (channels, rows)
    y = y * 0.5 + L.Dense(8, name="more")(y)
    y = L.Dense(4, name="columns")(L.Permute((2, 1))(y))
    return L.Dense(3, name="last")(L.Permute((2, 1))(y))


def frames(x):
    x = L.TimeDistributed(L.Reshape((1, 1, 6)))(x)
    x = L.TimeDistributed(L.Conv2D(4, 1, activation="relu"))(x)
    x = L.TimeDistributed(L.BatchNormalization())(x)
    return L.TimeDistributed(L.GlobalAveragePooling2D())(x)


SEQUENCES = {
    "embedding": (words, lambda x: x, [6]),
    "attention": (numbers, attended, [6, 4, 6, 3]),
    "transformer": (words, residual_attention, [6, 4, 8]),
    "attention to a memory": (numbers, crossed, [6, 5, 4, 2, 8, 3]),
    "grouped queries": (numbers, grouped_queries, [6, 2]),
    "grouped queries of a memory": (
        numbers,
        lambda x: L.GroupQueryAttention(3, 2, 2)(x, L.Dense(6)(x)),
        [6, 2],
    ),
    "dot-product attention": (numbers, dot_attention, [6, 4, 2]),
    "additive attention": (numbers, additive_attention, [6]),
    "einsum": (numbers, L.EinsumDense("...x,yx->...y", 4, bias_axes="y"), [6, 4]),
    "einsum by heads": (numbers, projected, [6, 4, 8]),
    "over places": (numbers, over_places, [6, 8]),
    "over places and back": (numbers, both_axes, [6, 8, 3]),
    "lstm": (numbers, L.LSTM(4), [6, 4]),
    "lstm without bias": (numbers, L.LSTM(4, use_bias=False), [6, 4]),
    "gru": (numbers, L.GRU(4, return_sequences=True), [6, 4]),
    "gru, reset before": (numbers, L.GRU(4, reset_after=False), [6, 4]),
    "simple rnn": (numbers, L.SimpleRNN(4), [6, 4]),
    "masked": (lambda: words(mask_zero=True), L.LSTM(4), [6, 4]),
    "encoder and decoder": (words, seq2seq, [6, 6, 4]),
    "both ways": (numbers, both_ways, [6, 6, 4]),
    "each frame": (numbers, frames, [6, 4]),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_half_of_each_group_of_a_sequence_network_is_cut(name):
    start, between, sizes = SEQUENCES[name]
    begun = start()
    made = L.Dense(2, name="head")(L.Flatten()(between(begun)))
    model = keras.Model(begun._keras_history.operation.input, made)
    fill(model)
    assert [group.size for group in free_groups(model)] == sizes
    new, gone = masked_and_cut(model)
    assert gone == [size // 2 for size in sizes] and follow(model).barriers == {}
    check_same(model, new)


def test_heads_units_and_widths_that_are_zero_everywhere_are_dead():
    begun = numbers()
    x = L.GRU(4, return_sequences=True, name="gru")(attended(begun))
    given = begun._keras_history.operation.input
    model = keras.Model(given, L.Dense(2, name="head")(L.Flatten()(x)))
    fill(model)
    masked_and_cut(model)
    result = compact(model)
    assert {name: tuple(counts) for name, counts in result.removed.items()} == {
        "in": (3, 6),
        "heads": (2, 4),
        "d": (1, 3),
        "gru": (2, 4),
    }
    assert result.model.get_layer("heads").output.shape[-1] == 3
    check_same(model, result.model)
