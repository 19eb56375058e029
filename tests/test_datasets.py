import os
from pathlib import Path

import numpy as np
import pytest

from tfinit import datasets
from tfinit.errors import InputError

MNIST = Path(__file__).parents[2] / "shared" / "data"


def test_digits_are_the_real_ones_of_scikit_learn():
    from sklearn.datasets import load_digits

    data = datasets.load("digits")
    assert [len(s[0]) for s in (data.train, data.validation, data.test)] == [1097, 300, 400]
    x = np.concatenate([s[0] for s in (data.train, data.validation, data.test)])
    y = np.concatenate([s[1] for s in (data.train, data.validation, data.test)])
    assert x.dtype == np.float32
    assert y.dtype == np.int32
    assert (x.min(), x.max()) == (0, 1)
    theirs, labels = load_digits(return_X_y=True)
    ours = {(bytes((16 * a).astype("uint8")), int(b)) for a, b in zip(x, y, strict=True)}
    assert ours == {(bytes(a.astype("uint8")), int(b)) for a, b in zip(theirs, labels, strict=True)}


def test_splits_share_no_example_and_classes_are_in_proportion():
    data = datasets.load("digits")
    seen = [{x.tobytes() for x in s[0]} for s in (data.train, data.validation, data.test)]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    for _, y in (data.train, data.validation, data.test):
        share = np.bincount(y, minlength=10) / len(y)
        assert np.all(abs(share - 0.1) < 0.02)


def test_the_split_is_the_same_every_time():
    a, b = datasets.load("digits"), datasets.load("digits")
    np.testing.assert_array_equal(a.test[0], b.test[0])
    np.testing.assert_array_equal(a.validation[1], b.validation[1])


def test_mnist_from_the_data_directory(monkeypatch):
    directory = os.environ.get(datasets.DATA_DIR, str(MNIST))
    if not (Path(directory) / "mnist.npz").exists():
        pytest.skip("no mnist.npz here")
    monkeypatch.setenv(datasets.DATA_DIR, directory)
    data = datasets.load("mnist")
    assert [len(s[0]) for s in (data.train, data.validation, data.test)] == [55000, 5000, 10000]
    assert data.train[0].shape[1:] == (28, 28, 1)
    assert data.train[0].max() == 1
    assert set(data.validation[1]) == set(range(10))


def test_an_unknown_name():
    with pytest.raises(InputError, match="`dataset` must be one of digits, mnist, received 'cifr'"):
        datasets.load("cifr")


@pytest.mark.parametrize("content", [None, b"", b"PK not a zip"])
def test_a_bad_file_in_the_data_directory(monkeypatch, tmp_path, content):
    if content is not None:
        (tmp_path / "mnist.npz").write_bytes(content)
    monkeypatch.setenv(datasets.DATA_DIR, str(tmp_path))
    with pytest.raises(InputError, match=r"mnist\.npz cannot be read"):
        datasets.load("mnist")


def test_a_file_with_other_arrays(monkeypatch, tmp_path):
    np.savez(tmp_path / "mnist.npz", images=np.ones(3))
    monkeypatch.setenv(datasets.DATA_DIR, str(tmp_path))
    with pytest.raises(InputError, match="x_train"):
        datasets.load("mnist")
