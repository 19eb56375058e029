"""Weight selection: the very rows that it claims, consistently through the network."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfinit.errors import InputError
from tfinit.schemes import initialize
from tfinit.schemes.weight_selection import evenly


def mlp(width, depth, classes=4, named=True):
    names = [f"h{i}" if named else None for i in range(depth)]
    hidden = [L.Dense(width, "relu", name=name) for name in names]
    return keras.Sequential(
        [keras.Input((5,)), *hidden, L.Dense(classes, name="head" if named else None)]
    )


def conv(width, blocks):
    x = inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(width, 3, padding="same", name="stem")(x)
    for i in range(blocks):
        y = L.Conv2D(2 * width, 3, padding="same", use_bias=False, name=f"b{i}_a")(x)
        y = L.DepthwiseConv2D(3, padding="same", name=f"b{i}_d")(y)
        y = L.ReLU()(L.BatchNormalization(name=f"b{i}_n")(y))
        x = L.Add()([x, L.Conv2D(width, 1, name=f"b{i}_b")(y)])
    x = L.Flatten()(L.MaxPooling2D(4)(x))
    return keras.Model(inputs, L.Dense(3, name="head")(x))


def filled(model):
    random = np.random.default_rng(0)
    for weight in model.weights:
        value = random.normal(size=weight.shape)
        weight.assign(abs(value) if "variance" in weight.path else value)
    return model


def weights(model):
    return {w.path: np.array(w.numpy()) for w in model.weights}


def test_the_places_of_the_paper():
    assert evenly(12, 4).tolist() == [0, 3, 6, 9]
    assert evenly(10, 4).tolist() == [0, 3, 6, 9]
    assert evenly(9, 4).tolist() == [0, 3, 5, 8]


@pytest.mark.parametrize("units", ["uniform", "first", "best"])
def test_dense_layers_take_rows_and_columns_of_the_same_units(units):
    large, small = filled(mlp(12, 2)), mlp(4, 2)
    report = initialize(small, "weight_selection", source=large, units=units, seed=1)
    of, own = (
        [[np.array(w.numpy()) for w in layer.weights] for layer in model.layers]
        for model in (large, small)
    )

    def chosen(before, after):
        if units == "best":
            strength = (of[before][0] ** 2).sum(0) + (of[after][0] ** 2).sum(1)
            return sorted(np.argsort(-strength)[:4].tolist())
        return [0, 1, 2, 3] if units == "first" else [0, 3, 6, 9]

    first, second = chosen(0, 1), chosen(1, 2)
    assert np.array_equal(own[0][0], of[0][0][:, first])
    assert np.array_equal(own[0][1], of[0][1][first])
    assert np.array_equal(own[1][0], of[1][0][np.ix_(first, second)])
    assert np.array_equal(own[2][0], of[2][0][second])
    assert np.array_equal(own[2][1], of[2][1])
    told = [", ".join(map(str, part)) for part in (first, second)]
    assert (
        report["h1/kernel"].note == f"h1/kernel, axis 0: {told[0]} of 12, axis 1: {told[1]} of 12"
    )


def test_convolutions_choose_together_what_is_added_and_behind_flatten():
    large, small = filled(conv(8, 3)), conv(4, 2)
    report = initialize(small, "weight_selection", source=large, seed=1)
    of, own = weights(large), weights(small)
    stream, inner = [0, 2, 4, 6], [0, 2, 4, 6, 8, 10, 12, 14]
    for i in range(2):
        assert np.array_equal(own[f"b{i}_a/kernel"], of[f"b{i}_a/kernel"][:, :, stream][..., inner])
        assert np.array_equal(own[f"b{i}_d/kernel"], of[f"b{i}_d/kernel"][:, :, inner])
        assert np.array_equal(own[f"b{i}_n/moving_variance"], of[f"b{i}_n/moving_variance"][inner])
        assert np.array_equal(own[f"b{i}_b/bias"], of[f"b{i}_b/bias"][stream])
    rows = of["head/kernel"].reshape(2, 2, 8, 3)[:, :, stream].reshape(-1, 3)
    assert np.array_equal(own["head/kernel"], rows)
    assert "b2_a" in report.notes[0] and "b1_a" not in report.notes[0]


def test_gates_and_heads_are_chosen_as_units():
    def network(units, heads):
        x = inputs = keras.Input((6, 3))
        x = L.LSTM(units, return_sequences=True, name="lstm")(x)
        x = L.MultiHeadAttention(heads, 4, name="attention")(x, x)
        return keras.Model(inputs, L.Dense(2, name="head")(x))

    large, small = filled(network(8, 4)), network(4, 2)
    initialize(small, "weight_selection", source=large, seed=1)
    of, own = (m.get_layer("lstm").cell for m in (large, small))
    by_gate = of.recurrent_kernel.numpy().reshape(8, 4, 8)[::2, :, ::2].reshape(4, 16)
    assert np.array_equal(own.recurrent_kernel.numpy(), by_gate)
    of, own = (m.get_layer("attention").weights for m in (large, small))
    assert np.array_equal(own[0].numpy(), of[0].numpy()[::2, ::2])
    assert own[0].shape == (4, 2, 4)


def test_layers_without_names_are_matched_in_stages():
    large, small = filled(mlp(12, 6, named=False)), mlp(4, 3, named=False)
    initialize(small, "weight_selection", source=large, units="first", seed=1)
    for i, j in ((0, 0), (1, 1), (2, 2), (3, 6)):
        own, of = small.layers[i].kernel.numpy(), large.layers[j].kernel.numpy()
        assert np.array_equal(own, of[: own.shape[0], : own.shape[1]])
    shallow = mlp(4, 1, named=False)
    initialize(shallow, "weight_selection", source=large, units="first", seed=1)
    assert np.array_equal(shallow.layers[1].bias.numpy(), large.layers[6].bias.numpy())
    swapped = mlp(4, 2, named=False)
    layers = {"dense_1": "dense_5"}
    report = initialize(swapped, "weight_selection", source=large, layers=layers, seed=1)
    assert report["dense_1/kernel"].note.startswith("dense_5/kernel, axis 0: 0, 3")


def test_other_classes_are_left_and_a_frozen_layer_too(tmp_path):
    filled(mlp(12, 2, classes=9)).save(tmp_path / "large.keras")
    small = mlp(4, 2)
    small.get_layer("h0").trainable = False
    before = small.get_layer("head").kernel.numpy()
    source = tmp_path / "large.keras"
    report = initialize(small, "weight_selection", source=source, seed=1)
    assert np.array_equal(small.get_layer("head").kernel.numpy(), before)
    assert "output of another number" in report["head/kernel"].note
    assert report["h0/kernel"].note == "frozen"
    assert report["h1/kernel"].action == "set"


def test_a_layer_that_cannot_be_followed_is_told():
    large, small = filled(mlp(12, 3)), mlp(4, 3)
    large.get_layer("h1").enable_lora(2)
    before = small.get_layer("h1").kernel.numpy()
    report = initialize(small, "weight_selection", source=large, seed=1)
    assert report["h1/kernel"].note == "units of h1 cannot be followed"
    assert np.array_equal(small.get_layer("h1").kernel.numpy(), before)
    assert report["h0/kernel"].action == report["head/kernel"].action == "set"


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (lambda: mlp(3, 2), {}, r"has 3 units at 'h0/kernel', `model` has 4"),
        (lambda: mlp(8, 1), {}, r"do not match those of `model`, h0, h1, head"),
        (lambda: conv(8, 1), {}, "do not match"),
        (lambda: mlp(8, 2), {"units": "last"}, "`units` must be one of uniform, first, best"),
        (lambda: mlp(8, 2), {"layers": {"h0": "h9"}}, "h9"),
        (lambda: 3, {}, "must be a Keras layer or model"),
    ],
)
def test_errors_change_nothing(source, options, message):
    small = mlp(4, 2)
    before = small.get_weights()
    with pytest.raises(InputError, match=message):
        initialize(small, "weight_selection", source=source(), **options)
    assert all(np.array_equal(*pair) for pair in zip(before, small.get_weights(), strict=True))
