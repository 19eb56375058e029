"""Weights from elsewhere: a trained network's, or the layers' own initializers again."""

import h5py
import keras
import numpy as np
import pytest
from hostile_files import HDF5, KERAS, Place
from keras import layers as L

from tfinit.errors import InputError
from tfinit.schemes import initialize
from tfinit.variables import all_weights, read_weights


def net(classes=5, name="lstm"):
    inputs = keras.Input((4, 4, 3))
    x = L.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    x = L.Reshape((16, 4))(L.BatchNormalization()(x))
    return keras.Model(inputs, L.Dense(classes)(L.LSTM(3, name=name)(x)))


def trained():
    model = net()
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape))
    return model


def same(a, b):
    return all(np.array_equal(v, w) for v, w in zip(a.weights, b.weights, strict=True))


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5", ".npz", None])
def test_every_kind_of_source_gives_all_its_weights_back(tmp_path, suffix):
    source, model = trained(), net()
    path = tmp_path / f"model{suffix}"
    if suffix is None:
        path = source
    elif suffix == ".npz":
        np.savez(path, **read_weights(all_weights(source)))
    elif suffix == ".weights.h5":
        source.save_weights(path)
    else:
        source.save(path)
    report = initialize(model, "pretrained", seed=1, source=path)
    assert same(source, model)
    assert {record.action for record in report} == {"set"}


def test_new_head_and_new_name_are_told_apart():
    source, model = trained(), net(classes=7, name="renamed")
    head = model.layers[-1].kernel.numpy()
    report = initialize(model, "pretrained", seed=1, source=source)
    assert report["conv2d/kernel"].note == "conv2d/kernel by name"
    assert report["renamed/lstm_cell/kernel"].note == "lstm/lstm_cell/kernel by shape"
    assert report["dense/kernel"].action == "kept"
    assert report["dense/kernel"].note == "the source's has shape (3, 5)"
    assert report.notes == ["not used of the source: dense/bias, dense/kernel"]
    assert np.array_equal(model.layers[-1].kernel.numpy(), head)
    assert np.array_equal(
        model.get_layer("renamed").cell.kernel.numpy(), source.get_layer("lstm").cell.kernel.numpy()
    )


def test_freeze_stops_what_matched_and_nothing_else():
    model = net(classes=7)
    initialize(model, "pretrained", seed=1, source=trained(), freeze=True)
    assert [w.path.split("/")[-1] for w in model.trainable_weights] == ["kernel", "bias"]
    assert model.layers[-1].trainable


def test_frozen_layers_keep_their_weights():
    model = net()
    model.layers[1].trainable = False
    before = model.layers[1].kernel.numpy()
    report = initialize(model, "pretrained", seed=1, source=trained())
    assert np.array_equal(model.layers[1].kernel.numpy(), before)
    assert report["conv2d/kernel"].note == "frozen"


def test_source_without_anything_in_common_is_refused():
    other = keras.Sequential([keras.Input((2,)), L.Dense(9, name="other")])
    with pytest.raises(InputError, match="no weight that matches"):
        initialize(net(), "pretrained", seed=1, source=other)


def test_file_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "broken.keras"
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        initialize(net(), "pretrained", seed=1, source=path)


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras"])
def test_values_in_another_file_are_not_read(tmp_path, suffix):
    place = Place.made(tmp_path / "place")
    table = KERAS if suffix == ".keras" else HDF5
    prefix = "weights: " if suffix == ".keras" else ""
    model = keras.Sequential([keras.Input((4,)), L.Dense(4, name="fc")])
    before = model.get_weights()
    for kind in ("values in another file", "a link to another file", "a virtual data set"):
        path = tmp_path / f"{kind}{suffix}"
        table[prefix + kind](path, place)
        with pytest.raises(InputError, match=r"`source` .* cannot be read: its .* another file"):
            initialize(model, "pretrained", seed=1, source=path)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


def test_what_is_there_for_another_is_not_read(tmp_path):
    """An array of gigabytes that no byte stands for, beside the one that is asked for."""
    path = tmp_path / "w.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/fc/vars/0"] = np.ones((4, 4), "f4")
        file.create_dataset("layers/fc/vars/1", (20_000, 20_000), "f4")
        file["layers/fc/vars/2"] = ["text"] * 4
    model = keras.Sequential([keras.Input((4,)), L.Dense(4, name="fc")])
    report = initialize(model, "pretrained", seed=1, source=path)
    assert model.get_weights()[0].tolist() == np.ones((4, 4)).tolist()
    assert report["fc/bias"].action == "kept"


def test_texts_are_no_weights(tmp_path):
    np.savez(tmp_path / "w.npz", **{"fc/kernel": np.ones((4, 4)), "fc/bias": np.array(["a"] * 4)})
    model = keras.Sequential([keras.Input((4,)), L.Dense(4, name="fc")])
    report = initialize(model, "pretrained", seed=1, source=tmp_path / "w.npz")
    assert report["fc/bias"].note == "the source's holds <U1, no numbers"


class Odd(keras.layers.Layer):
    """A layer that does not keep its initializers."""

    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=(shape[-1],), initializer="ones")
        self.token = self.add_weight(
            name="token",
            shape=(1, shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=3),
        )

    def call(self, x):
        return x * self.scale + self.token


def test_reinitialize_gives_every_weight_its_own_initializer_again():
    inputs = keras.Input((16, 4))
    inner = keras.Sequential([keras.Input((16, 4)), L.GRU(200, return_sequences=True)], name="in")
    x = L.BatchNormalization()(inner(inputs))
    x = L.LSTM(3, name="lstm")(Odd(name="odd")(x))
    model = keras.Model(inputs, L.Dense(300, bias_initializer="ones", name="head")(x))
    for weight in model.weights:
        weight.assign(np.full(weight.shape, 9.0))
    report = initialize(model, "reinitialize", seed=1)
    assert {record.action for record in report} == {"set"}
    w = read_weights(all_weights(model))
    assert w["odd/scale"].tolist() == [1] * 200
    assert 2.5 < w["odd/token"].std() < 3.5
    assert w["lstm/lstm_cell/bias"].tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert w["batch_normalization/moving_variance"].tolist() == [1] * 200
    assert w["batch_normalization/moving_mean"].tolist() == [0] * 200
    assert w["head/bias"].tolist() == [1] * 300
    recurrent = w["in/gru/gru_cell/recurrent_kernel"]  # orthogonal by Keras's default
    assert np.abs(recurrent @ recurrent.T - np.eye(200)).max() < 1e-5
    limit = (6 / (3 + 300)) ** 0.5  # of Glorot's uniform distribution
    assert 0.9 * limit < np.abs(w["head/kernel"]).max() <= limit


def test_reinitialize_keeps_what_it_cannot_ask():
    class Closed(L.Layer):
        def __init__(self, width):  # no config to make it again from
            super().__init__(name="closed")
            self.w = self.add_weight(name="w", shape=(width,), initializer="ones")

        def call(self, x):
            return x * self.w

    model = keras.Sequential([keras.Input((4,)), Closed(4), L.Dense(2, name="head")])
    model.layers[0].w.assign([5.0] * 4)
    report = initialize(model, "reinitialize", seed=1)
    assert report["closed/w"].action == "kept"
    assert model.layers[0].w.numpy().tolist() == [5] * 4
    assert report["head/kernel"].action == "set"
