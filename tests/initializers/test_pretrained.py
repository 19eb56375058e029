import json

import h5py
import keras
import numpy as np
import pytest
import tf_keras
from hostile_files import GOOD, HDF5, SECRET, SHAPE, Place, naming

import tfinit
from tfinit.errors import InputError
from tfinit.initializers import Pretrained
from tfinit.pruning import compact
from tfinit.schemes import initialize


def model_of(library):
    return library.Sequential(
        [
            library.layers.InputLayer((3,)),
            library.layers.Dense(4, name="fc1"),
            library.layers.Dense(2, name="fc2"),
        ]
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    model, legacy = model_of(keras), model_of(tf_keras)
    model.save(folder / "new.keras")
    model.save(folder / "new.h5")
    model.save_weights(folder / "new.weights.h5")
    legacy.save(folder / "old.h5")
    legacy.save(folder / "old.keras")
    kernels = {
        "new": model.get_layer("fc2").kernel.numpy(),
        "old": legacy.get_layer("fc2").kernel.numpy(),
    }
    np.savez(folder / "arrays.npz", **kernels)
    return folder, kernels


@pytest.mark.parametrize(
    ("name", "key", "which"),
    [
        ("new.keras", "layers/dense_1/vars/0", "new"),
        ("new.keras", "fc2/vars/0", "new"),
        ("new.weights.h5", "fc2/vars/0", "new"),
        ("new.h5", "fc2/kernel", "new"),
        ("old.h5", "fc2/kernel:0", "old"),
        ("old.keras", "layers/dense_1/vars/0", "old"),
        ("arrays.npz", "new", "new"),
    ],
)
def test_the_tensor_of_the_file(files, name, key, which):
    folder, kernels = files
    pretrained = Pretrained(folder / name, key)
    assert np.array_equal(pretrained((4, 2)), kernels[which])
    half = np.asarray(pretrained((4, 2), dtype="float16"))
    assert np.array_equal(half, kernels[which].astype("float16"))


def test_a_layer_starts_from_it(files):
    folder, kernels = files
    initializer = Pretrained(str(folder / "arrays.npz"), "new")
    layer = keras.layers.Dense(2, kernel_initializer=initializer)
    layer.build((None, 4))
    assert np.array_equal(layer.kernel.numpy(), kernels["new"])


def test_a_mismatch_says_both_shapes(files):
    with pytest.raises(
        InputError, match=r"has shape \(4, 2\), the weight to fill has shape \(4, 3"
    ):
        Pretrained(files[0] / "new.keras", "fc2/vars/0")((4, 3))


def test_what_is_not_there_is_said(files):
    folder, _ = files
    with pytest.raises(InputError, match=r"names no tensors.*layers/fc2/vars/0"):
        Pretrained(folder / "new.keras", "fc3/vars/0")((4, 2))
    with pytest.raises(
        InputError, match=r"names 2 tensors.*layers/dense_1/vars/0 \(layers/fc2/vars/0\)"
    ):
        Pretrained(folder / "new.keras", "vars/0")((4, 2))
    with pytest.raises(InputError, match=r"nowhere.keras' is not a file"):
        Pretrained("nowhere.keras", "a")((4, 2))
    with pytest.raises(InputError, match=r"must end in one of.*received 'model.pt'"):
        Pretrained("model.pt", "a")


def test_a_layers_place_and_anothers_name_are_not_mixed_up(tmp_path):
    # Keras stores the first Dense as "dense", whatever its name, and the second as "dense_1".
    dense = keras.layers.Dense
    model = keras.Sequential([keras.Input((3,)), dense(3, name="fc1"), dense(3, name="dense")])
    model.save(tmp_path / "model.keras")
    place = Pretrained(tmp_path / "model.keras", "layers/dense/vars/0")
    assert np.array_equal(place((3, 3)), model.get_layer("fc1").kernel.numpy())
    with pytest.raises(InputError, match="names 2 tensors"):
        Pretrained(tmp_path / "model.keras", "dense/vars/0")((3, 3))


# -- who may have a file read ----------------------------------------------------------------------


@pytest.fixture
def place(tmp_path):
    return Place.made(tmp_path / "place")


def test_a_model_file_names_a_source_and_nothing_reads_it(place, tmp_path):
    """Neither while the model is loaded nor later, and no error tells whether the file exists."""
    told = {}
    for name in ("secret", "missing"):
        naming(f"{name}.npz")(tmp_path / f"{name}.keras", place)
        model = keras.saving.load_model(tmp_path / f"{name}.keras")
        assert np.array_equal(model.get_weights()[0], GOOD)  # from its own file
        config = json.loads(model.to_json())
        later = {
            "reinitialize": lambda m=model: initialize(m, "reinitialize", seed=1),
            "clone": lambda m=model: keras.models.clone_model(m),
            "config": lambda m=model: type(m).from_config(m.get_config()),
            "JSON": lambda c=config: keras.models.model_from_json(json.dumps(c)),
            "call": lambda m=model: m.layers[0].kernel_initializer(SHAPE),
            "copy": lambda m=model: m.layers[0].kernel_initializer.clone()(SHAPE),
        }
        for how, read in later.items():
            with pytest.raises(InputError, match="opens no file for that alone") as raised:
                read()
            told.setdefault(how, []).append(str(raised.value).replace(f"{name}.npz", ""))
        assert np.array_equal(model.get_weights()[0], GOOD)
        # What needs no initializer goes on as ever.
        assert np.array_equal(compact(model).model.get_weights()[0], GOOD)
        tfinit.recommend(model)
    assert all(one == other for one, other in told.values())


def test_the_cure_that_the_error_names(place, tmp_path):
    naming("secret.npz")(tmp_path / "m.keras", place)
    model = keras.saving.load_model(tmp_path / "m.keras")
    Pretrained(place.canaries / "secret.npz", "other")  # another tensor is not asked for by this
    with pytest.raises(
        InputError, match=r"make tfinit\.initializers\.Pretrained\('/.*npz', 'kernel'"
    ):
        initialize(model, "reinitialize", seed=1)
    Pretrained(place.canaries / "secret.npz", "kernel")
    initialize(model, "reinitialize", seed=1)
    assert np.array_equal(model.get_weights()[0], np.full(SHAPE, SECRET, "f4"))


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_ones_own_model_is_loaded_without_the_source(library, suffix, tmp_path):
    """Also after the source is gone: the weights are in the model's file."""
    np.savez(tmp_path / "source.npz", kernel=GOOD)
    initializer = Pretrained(tmp_path / "source.npz", "kernel")
    dense = library.layers.Dense(4, kernel_initializer=initializer)
    model = library.Sequential([library.layers.InputLayer((4,)), dense])
    dense.kernel.assign(GOOD + 1)
    model.save(tmp_path / f"m{suffix}")
    again = library.models.load_model(tmp_path / f"m{suffix}")
    assert np.array_equal(again.get_weights()[0], GOOD + 1)
    copy = library.models.clone_model(again)  # of a source that this process has named itself
    assert np.array_equal(copy.get_weights()[0], GOOD)
    (tmp_path / "source.npz").unlink()
    again = library.models.load_model(tmp_path / f"m{suffix}")
    assert np.array_equal(again.get_weights()[0], GOOD + 1)


def test_a_configuration_is_read_for_ones_own_call_only(tmp_path):
    np.savez(tmp_path / "source.npz", kernel=GOOD)
    config = {"source": str(tmp_path / "source.npz"), "key": "kernel"}
    layer = keras.layers.Dense(4, kernel_initializer=Pretrained.from_config(config))
    model = keras.Sequential([keras.Input((4,)), layer])  # built here, by this line
    assert np.array_equal(layer.kernel, GOOD)
    with pytest.raises(InputError, match="opens no file for that alone"):
        keras.models.model_from_json(model.to_json())  # built by Keras, as the text says


def test_compact_makes_layers_smaller_than_the_tensor(tmp_path):
    np.savez(tmp_path / "source.npz", kernel=np.eye(4, dtype="f4"))
    initializer = Pretrained(tmp_path / "source.npz", "kernel")
    layers = [keras.layers.Dense(4, "relu", kernel_initializer=initializer), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.layers[0].kernel.assign(np.diag([1.0, 1, 0, 1]))  # the third unit is dead
    small = compact(model).model
    assert small.layers[0].kernel.shape == (4, 3)
    x = np.arange(8.0).reshape(2, 4)
    made, wanted = (keras.ops.convert_to_numpy(one(x)) for one in (small, model))
    np.testing.assert_allclose(made, wanted, rtol=1e-6)


@pytest.mark.parametrize("kind", HDF5)
def test_a_hostile_source_is_refused_in_a_line(kind, tmp_path):
    place = Place(tmp_path)
    place.canaries.mkdir()
    (place.canaries / "secret.bin").write_bytes(np.full(SHAPE, SECRET, "f4").tobytes())
    (place.canaries / "words.txt").write_text("secret words, many of them")
    with h5py.File(place.canaries / "secret.h5", "w") as file:
        file["layers/fc/vars/0"] = np.full(SHAPE, SECRET, "f4")
    HDF5[kind](tmp_path / "w.weights.h5", place)
    with pytest.raises(InputError) as raised:
        Pretrained(tmp_path / "w.weights.h5", "fc/vars/0")(SHAPE)
    assert "\n" not in str(raised.value)


def test_bfloat16_as_keras_stores_it(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, dtype="bfloat16")])
    model.layers[0].kernel.assign(GOOD)
    model.save(tmp_path / "m.keras")
    found = Pretrained(tmp_path / "m.keras", "dense/vars/0")(SHAPE, "float32")
    assert np.array_equal(found, GOOD)  # small whole numbers are exact


def test_a_key_is_a_text():
    with pytest.raises(InputError, match=r"`key` must be text, received \['a'\]"):
        Pretrained("a.npz", ["a"])


@pytest.mark.parametrize("source", [17, ["a.npz"], "/etc/passwd", None])
def test_a_configuration_with_another_source(source):
    with pytest.raises(InputError, match=r"`source` must (end in one of|be a path)"):
        Pretrained.from_config({"source": source, "key": "k"})
