import dataclasses
import hashlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tfinit import datasets
from tfinit.errors import InputError, MissingPackage, WorkError

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
    # The bits of the first experiments: divided in float64, the first 5000 of an order held out.
    with np.load(Path(directory) / "mnist.npz") as arrays:
        x, y = arrays["x_train"], arrays["y_train"]
    rows = np.random.default_rng(0).permutation(60000)
    for (ours, labels), part in ((data.validation, rows[:5000]), (data.train, rows[5000:])):
        np.testing.assert_array_equal(ours, (x[part][..., None] / 255.0).astype(np.float32))
        np.testing.assert_array_equal(labels, y[part])


def test_pixels_are_the_float64_quotients_rounded_once():
    x = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    data = datasets.from_arrays((x, [0, 1, 2, 3]), (x, [0, 1, 2, 3]))
    np.testing.assert_array_equal(data.test[0][..., 0], (x / 255.0).astype(np.float32))


@pytest.mark.parametrize("directory", [None, "tmp_path"])
def test_an_unknown_name(monkeypatch, tmp_path, directory):
    monkeypatch.delenv(datasets.DATA_DIR, raising=False)
    if directory:
        monkeypatch.setenv(datasets.DATA_DIR, str(tmp_path))
    where = str(tmp_path) if directory else "which is not set"
    with pytest.raises(InputError) as error:
        datasets.load("cifr")
    with pytest.raises(InputError, match="the path of an"):
        datasets.load("n" * 300)
    assert str(error.value) == (
        "`dataset` must be one of digits, mnist, fashion_mnist, cifar10, blobs, circles, moons, "
        "xor, spiral, the name of an .npz file "
        f"in TFINIT_DATA_DIR ({where}), the path of an .npz file, or tfds:NAME, received 'cifr'. "
        "Did you mean 'cifar10'?"
    )


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


def arrays_of(n, shape, classes=10, seed=0, dtype="uint8"):
    random = np.random.default_rng(seed)
    x = random.integers(0, 256, (n, *shape)).astype(dtype)
    return x, np.arange(n) % classes


def save(path, train, test):
    np.savez(path, x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])


@pytest.fixture
def directory(monkeypatch, tmp_path):
    monkeypatch.setenv(datasets.DATA_DIR, str(tmp_path))
    return tmp_path


def test_fashion_mnist(directory):
    train, test = arrays_of(40, (28, 28)), arrays_of(10, (28, 28), seed=1)
    save(directory / "fashion_mnist.npz", train, test)
    data = datasets.load("fashion_mnist")
    assert (data.name, data.classes) == ("fashion_mnist", 10)
    assert [s[0].shape for s in (data.train, data.validation, data.test)] == [
        (36, 28, 28, 1),
        (4, 28, 28, 1),
        (10, 28, 28, 1),
    ]
    np.testing.assert_array_equal(data.test[0][..., 0], np.float32(test[0] / 255.0))
    np.testing.assert_array_equal(data.test[1], test[1])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_cifar10_has_channels_of_mean_0_and_variance_1_over_the_training_images(directory, dtype):
    train, test = arrays_of(50, (32, 32, 3), dtype=dtype), arrays_of(20, (32, 32, 3), 4, 1, dtype)
    train[0][..., 1] = train[0][..., 1] // 2 + 7
    train[0][..., 2] = 9  # a constant channel: zeros, not NaN
    test[0][..., 2] = 9
    save(directory / "cifar10.npz", (train[0], train[1][:, None]), (test[0], test[1][:, None]))
    data = datasets.load("cifar10")
    x = np.concatenate([data.train[0], data.validation[0]]).astype(np.float64)
    assert x.shape == (50, 32, 32, 3)
    np.testing.assert_allclose(x.mean((0, 1, 2)), [0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(x.std((0, 1, 2)), [1, 1, 0], atol=1e-6)
    wide = train[0].astype(np.float64)
    expected = (test[0] - wide.mean((0, 1, 2)))[..., :2] / wide.std((0, 1, 2))[:2]
    np.testing.assert_allclose(data.test[0][..., :2], expected, atol=1e-6)
    assert data.test[1].tolist() == test[1].tolist()
    assert (data.train[1].dtype, data.train[1].shape, data.classes) == (np.int32, (45,), 10)
    assert data.train[0].dtype == np.float32


@pytest.mark.parametrize("how", ["name", "path"])
def test_a_file_of_ones_own(directory, how):
    train, test = arrays_of(30, (5, 4, 2), 3), arrays_of(7, (5, 4, 2), 3, seed=1)
    save(directory / "leaves.npz", train, test)
    name = "leaves" if how == "name" else str(directory / "leaves.npz")
    data = datasets.load(name)
    assert (data.name, data.classes) == (name, 3)
    assert [len(s[0]) for s in (data.train, data.validation, data.test)] == [27, 3, 7]


@pytest.mark.parametrize("content", [None, b"", b"PK not a zip"])
def test_a_path_that_is_no_such_file(tmp_path, content):
    path = tmp_path / "a.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz cannot be read .*x_test, y_test.*numpy\.savez"):
        datasets.load(str(path))


def test_a_failed_download_says_where_to_put_the_file(monkeypatch):
    import keras

    def load_data():
        raise Exception("URL fetch failure")

    monkeypatch.delenv(datasets.DATA_DIR, raising=False)
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", load_data)
    with pytest.raises(WorkError, match=r"URL fetch failure\. Put Keras's cifar10\.npz .*set TFIN"):
        datasets.load("cifar10")


def test_tensorflow_datasets(monkeypatch):
    train, test = arrays_of(20, (6, 6, 1), 4), arrays_of(8, (6, 6, 1), 4, seed=1)
    calls = []

    def load(name, **options):
        calls.append((name, options))
        if name != "leaves":
            raise ValueError(f"Dataset {name} not found.")
        return [list(zip(*split, strict=True)) for split in (train, test)]

    fake = SimpleNamespace(load=load, as_numpy=lambda found: found)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
    data = datasets.load("tfds:leaves")
    assert (data.name, data.classes, len(data.train[0])) == ("tfds:leaves", 4, 18)
    options = {"split": ["train", "test"], "as_supervised": True}
    assert calls == [("leaves", options)]
    np.testing.assert_array_equal(data.test[0], np.float32(test[0] / 255.0))
    with pytest.raises(InputError, match=r"'tfds:leafs' cannot .*not found.*from_arrays"):
        datasets.load("tfds:leafs")
    train = ([np.zeros((6, 6, 1)), np.zeros((6, 5, 1))], [0, 1])
    with pytest.raises(InputError, match=r"images of one size .*same shape"):
        datasets.load("tfds:leaves")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(MissingPackage, match=r"tensorflow-datasets.*tfinit\[datasets\]"):
        datasets.load("tfds:leaves")


# Training examples → how many are held out.
@pytest.mark.parametrize(("n", "held"), [(2, 1), (19, 1), (20, 2), (50000, 5000), (60000, 5000)])
def test_a_tenth_is_held_out_and_at_most_5000(n, held):
    x = np.arange(n, dtype=np.float32)[:, None]
    y = np.arange(n) % 2
    data = datasets.from_arrays((x, y), (x[:1], y[:1]))
    assert len(data.validation[0]) == held
    both = np.concatenate([data.validation[0], data.train[0]])[:, 0]
    assert sorted(both) == list(range(n))
    for inputs, labels in (data.train, data.validation):
        np.testing.assert_array_equal(inputs[:, 0] % 2, labels)


def test_from_arrays_takes_floats_as_they_are_and_validation_as_given():
    x, y = np.array([[-3.5], [7], [1]]), np.array([[0], [4], [1]], np.uint8)
    data = datasets.from_arrays((x, y), (x[:1], y[:1]), (x[1:], y[1:]), name="mine", classes=6)
    assert (data.name, data.classes) == ("mine", 6)
    assert data.train[0].tolist() == [[-3.5], [7], [1]]
    assert data.train[1].tolist() == [0, 4, 1]
    assert data.validation[1].tolist() == [4, 1]
    assert (data.train[0].dtype, data.train[1].dtype) == (np.float32, np.int32)
    given = x.astype(np.float32)
    assert datasets.from_arrays((given, y), (given, y), (given, y)).test[0] is given


GOOD = (np.zeros((4, 2), np.float32), np.array([0, 1, 2, 1]))


@pytest.mark.parametrize(
    ("pair", "options", "message"),
    [
        (GOOD[0], {}, r"`train` must be a pair \(x, y\) of arrays, received ndarray"),
        ((np.zeros(4), GOOD[1]), {}, r"at least, received \(4,\)\. .*x\[:, None\]"),
        ((np.zeros((0, 2)), []), {}, r"one at least, received \(0, 2\)"),
        ((GOOD[0], np.eye(4, dtype=int)), {}, r"targets .* one shape, .*{'train': \(4,\), 'test"),
        ((GOOD[0], GOOD[1][:3]), {}, "`train` of data set 'arrays' has 4 inputs and 3 targets"),
        ((GOOD[0], GOOD[1] - 1), {"classes": 3}, "0 to 2, one .* received int64 of shape .*unique"),
        (GOOD, {"classes": 2}, "`classes` is 2, so .* 0 to 1, received 2"),
        ((np.full((4, 2), np.nan), GOOD[1]), {}, "`train` .* NaN or infinite.*nan_to_num"),
        ((np.full((4, 2), -np.inf), GOOD[1]), {}, "NaN or infinite"),
        ((np.full((4, 2), 1e300), GOOD[1]), {}, "infinite in float32"),
        ((np.zeros((4, 3)), GOOD[1]), {}, r"one shape, received {'train': \(3,\), 'test': \(2,\)}"),
        ((GOOD[0][:1], GOOD[1][:1]), {}, "one example.*pass `validation`"),
    ],
)
def test_arrays_that_are_refused(pair, options, message):
    with pytest.raises(InputError, match=message):
        datasets.from_arrays(pair, GOOD, **options)


def test_which_argument_is_meant():
    bad = (np.full((4, 2), np.inf), GOOD[1])
    with pytest.raises(InputError, match="`test` of data set 'mine'"):
        datasets.from_arrays(GOOD, bad, name="mine")
    with pytest.raises(InputError, match="`validation` of data set 'mine'"):
        datasets.from_arrays(GOOD, GOOD, bad, name="mine")


def test_a_subset_of_the_training_examples():
    data = datasets.load("digits")
    few, more, other = data.subset(10), data.subset(30), data.subset(10, seed=1)
    assert [len(s[0]) for s in (few.train, few.validation, few.test)] == [10, 300, 400]
    np.testing.assert_array_equal(few.train[0], more.train[0][:10])
    assert few.test is data.test
    assert not np.array_equal(few.train[0], other.train[0])
    rows = {(x.tobytes(), int(y)) for x, y in zip(*data.train, strict=True)}
    assert all((x.tobytes(), int(y)) in rows for x, y in zip(*more.train, strict=True))
    assert len(data.subset(1097).train[0]) == 1097
    for bad in (0, 1098, 2.5, True):
        with pytest.raises(InputError, match="`train_rows` must be a whole number from 1 to 1097"):
            data.subset(bad)


def test_the_digest_is_of_types_shapes_and_bytes():
    x = np.arange(12, dtype="f4").reshape(3, 4)
    told = hashlib.sha256(b"<f4(3, 4);" + x.tobytes()).hexdigest()
    assert datasets.digest(x) == datasets.digest(np.asfortranarray(x)) == told
    other = x.copy()
    other[2, 3] = np.nextafter(other[2, 3], 0)
    arrays = [(x,), (x.T,), (x.ravel(),), (x.view("i4"),), (other,), (x, x), (x, None), (x[:0],)]
    assert len({datasets.digest(*a) for a in arrays}) == len(arrays)
    data = datasets.load("digits")
    assert data.digest() == datasets.load("digits").digest() != data.subset(100).digest()
    assert data.digest() == dataclasses.replace(data, name="another").digest()


def test_examples():
    import doctest

    failed, tried = doctest.testmod(datasets)
    assert (failed, tried > 0) == (0, True)
