import keras
import numpy as np
import pytest
import tf_keras

from tfinit.errors import InputError
from tfinit.initializers import Pretrained


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
    with pytest.raises(InputError, match=r"names no tensor.*layers/fc2/vars/0"):
        Pretrained(folder / "new.keras", "fc3/vars/0")((4, 2))
    with pytest.raises(InputError, match="names several tensors"):
        Pretrained(folder / "new.keras", "vars/0")((4, 2))
    with pytest.raises(InputError, match=r"nowhere.keras' is not a file"):
        Pretrained("nowhere.keras", "a")((4, 2))
    with pytest.raises(InputError, match=r"must end in one of.*received 'model.pt'"):
        Pretrained("model.pt", "a")
