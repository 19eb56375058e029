"""Models in files that are not trusted: the honest ones as before, the hostile ones in a line."""

import os
import threading
import zipfile

import keras
import numpy as np
import pytest
from hostile_files import GOOD, HDF5, KERAS, KERAS_HARMLESS, Place

from tfinit.errors import InputError
from tfinit.saved_model import load_model


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place.made(tmp_path_factory.mktemp("place") / "place")


def test_every_form_of_an_honest_model(place, tmp_path):
    model = keras.saving.load_model(place.base)
    model.compile("adam", keras.losses.MeanSquaredError())  # by "mse" Keras cannot load .h5
    model.fit(np.ones((2, 4)), np.ones((2, 4)), verbose=0)
    model.save(tmp_path / "a.keras")
    model.save(tmp_path / "a.h5")
    model.save(tmp_path / "directory", zipped=False)
    with (
        zipfile.ZipFile(tmp_path / "a.keras") as old,
        zipfile.ZipFile(tmp_path / "packed.keras", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    for name in ("a.keras", "a.h5", "directory", "packed.keras"):
        found = load_model(tmp_path / name)
        for weight, expected in zip(found.weights, model.weights, strict=True):
            assert np.array_equal(weight, expected)
        assert type(found.loss) is keras.losses.MeanSquaredError
        assert getattr(load_model(tmp_path / name, compile=False), "optimizer", None) is None


# Two of them take seconds, to make or to import PyTorch: scripts/_attack_files.py has them. What is
# wrong with weights is told in test_hdf5_files.py; here, that they are looked at.
_WEIGHTS = {"values in another file", "an empty data set of the right shape", "cut short"}
_KINDS = KERAS.keys() - {
    "a configuration of 640 MiB",
    "a module of PyTorch",
    *(f"weights: {n}" for n in HDF5),
}


@pytest.mark.parametrize("kind", sorted(_KINDS | {f"weights: {name}" for name in _WEIGHTS}))
def test_a_hostile_file_is_refused_in_a_line(kind, place, tmp_path):
    KERAS[kind](tmp_path / "m.keras", place)
    add_weight = keras.layers.Layer.add_weight
    with pytest.raises(InputError) as raised:
        load_model(tmp_path / "m.keras", cure="Do not.")
    told = str(raised.value)
    assert told.startswith(f"`model` '{tmp_path / 'm.keras'}' ") and "\n" not in told
    assert "memory" not in told.lower() or "asks for" in told  # not by running out of it
    assert not place.ran.exists()
    assert keras.layers.Layer.add_weight is add_weight


@pytest.mark.filterwarnings("ignore:Skipping invalid path")
@pytest.mark.parametrize("kind", KERAS_HARMLESS)
def test_what_a_model_names_is_not_opened(kind, place, tmp_path):
    KERAS_HARMLESS[kind](tmp_path / "m.keras", place)
    assert np.array_equal(load_model(tmp_path / "m.keras").get_weights()[0], GOOD)
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"] and not place.ran.exists()


def test_a_layer_of_another_thread_is_not_counted(tmp_path):
    """Only what the file asks for is measured against it."""
    built, entered = [], threading.Event()

    class Waits(keras.layers.Layer):
        def build(self, shape):
            entered.set()
            if other.is_alive():
                other.join(timeout=60)

        def call(self, x):
            return x

    def build():
        entered.wait(60)
        layer = keras.layers.Dense(4)
        layer.build((None, 2**22))  # 64 MiB: more than a file of 20 KB can have
        built.append(layer)

    other = threading.Thread(target=build)
    model = keras.Sequential([keras.Input((4,)), Waits(), keras.layers.Dense(4)])
    model.save(tmp_path / "waits.keras")
    entered.clear()
    with keras.saving.custom_object_scope({"Waits": Waits}):
        other.start()
        load_model(tmp_path / "waits.keras")
    assert len(built) == 1


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "m.keras")
    with pytest.raises(InputError, match=r"m\.keras' is something else than a file"):
        load_model(tmp_path / "m.keras")
