"""Files of arrays that are not trusted: what is in them, or one line that says what is wrong."""

import doctest
import sys

import keras
import numpy as np
import pytest

from tfinit import arrays_by_name, saved_data
from tfinit.array_files import read_arrays
from tfinit.comparison.config import CompareConfig
from tfinit.comparison.from_config import compare_named
from tfinit.errors import InputError
from tfinit.lottery.config import LotteryConfig
from tfinit.lottery.experiment import checked_data
from tfinit.saved_data import (
    load_batch,
    read_data,
    read_examples,
    read_sample_weights,
    read_splits,
)

X = np.arange(12.0).reshape(4, 3)
Y = np.array([0.5, 1.5, 2.5, 3.5])


def test_all_arrays_by_name_and_a_single_one_as_x(tmp_path):
    np.savez(tmp_path / "two.npz", left=X, right=Y)
    np.save(tmp_path / "one.npy", X)
    assert {k: v.tolist() for k, v in read_arrays(tmp_path / "two.npz", "").items()} == {
        "left": X.tolist(),
        "right": Y.tolist(),
    }
    assert read_arrays(tmp_path / "one.npy", "")["x"].tolist() == X.tolist()


def test_splits_are_taken_as_they_are(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x_train=X, y_train=Y, x_test=X[:1], y_test=Y[:1])
    (x, y), (x_test, y_test) = read_splits(str(path))
    assert (x.tolist(), y.tolist()) == (X.tolist(), Y.tolist())
    assert (x_test.tolist(), y_test.tolist()) == ([[0, 1, 2]], [0.5])
    np.savez(path, x_train=X)
    (x, y), test = read_splits(str(path), need_targets=False)
    assert (x.tolist(), y, test) == (X.tolist(), None, None)
    with pytest.raises(InputError, match=r"with x_train and y_train.*holds x_train"):
        read_splits(str(path))


def test_several_inputs_and_targets_by_name(tmp_path):
    path = tmp_path / "data.npz"
    arrays = {"x_train_a": X, "x_train_b": Y, "y_train_c": Y, "sample_weight_train": Y}
    np.savez(path, **arrays, sample_weight_test_c=Y[:1], x_test_a=X[:1], y_test=Y[:1])
    (x, y), (x_test, y_test) = read_splits(str(path))
    assert {name: part.tolist() for name, part in x.items()} == {"a": X.tolist(), "b": Y.tolist()}
    assert (list(y), list(x_test), y_test.tolist()) == (["c"], ["a"], [0.5])
    train, test = read_sample_weights(str(path))
    assert (train.tolist(), test["c"].tolist()) == (Y.tolist(), [0.5])
    # The plain name goes first, as ever: what else is in the file is not asked for.
    np.savez(path, **arrays, x_train=X, y_train=Y)
    assert read_splits(str(path))[0][0].tolist() == X.tolist()
    np.savez(path, x_train=X, y_train=Y, sample_weight_train=Y[:2])
    with pytest.raises(InputError, match=r"sample_weight_train of shape \(2,\). Give one number"):
        read_sample_weights(str(path))
    np.savez(path, x_train=X, y_train=Y, sample_weight_train=-np.ones(len(X)))
    with pytest.raises(InputError, match=r"with -1.0 in it. Give one number, 0 or more"):
        read_sample_weights(str(path))
    both = {"sample_weight_train": Y, "sample_weight_train_c": Y}
    np.savez(path, x_train=X, y_train_c=Y, **both)
    with pytest.raises(InputError, match=r"_train and sample_weight_train_c\. Give one"):
        read_sample_weights(str(path))
    assert read_sample_weights("digits") == (None, None)


def test_a_data_set_by_name():
    (x, y), (x_test, _) = read_splits("digits")
    assert x.shape == (1097, 8, 8, 1) and y.shape == (1097,) and len(x_test) == 400


def cut_short(path):
    np.savez(path, x_train=X, y_train=Y)
    path.write_bytes(path.read_bytes()[:200])


def altered(path):
    np.savez(path, x_train=X, y_train=Y)
    content = bytearray(path.read_bytes())
    content[150] ^= 1  # in the numbers: the checksum of the archive does not fit
    path.write_bytes(content)


def compressed_and_altered(path):
    np.savez_compressed(path, x_train=np.arange(1000.0), y_train=Y)
    content = bytearray(path.read_bytes())
    content[200:230] = bytes(30)
    path.write_bytes(content)


def objects(path):
    np.savez(path, x_train=np.array([{}], object), y_train=Y)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("no arrays"),
        cut_short,
        altered,
        compressed_and_altered,
        objects,
    ],
    ids=["missing", "directory", "empty", "text", "cut short", "altered", "compressed", "objects"],
)
def test_what_cannot_be_read_is_named(make, tmp_path):
    path = tmp_path / "data.npz"
    make(path)
    with pytest.raises(InputError, match=r"`data` must be digits, .*data\.npz' cannot be read"):
        read_splits(str(path))
    with pytest.raises(InputError, match=r"`data` must be digits, .* an \.npz or \.npy file"):
        load_batch(path, None, 1)  # of `tfinit diagnose`


def two_by_two():
    inputs = [keras.Input((3,), name="left"), keras.Input((1,), name="right")]
    joined = keras.layers.Concatenate()(inputs)
    outputs = [keras.layers.Dense(n, name=name)(joined) for n, name in ((2, "kind"), (1, "size"))]
    return keras.Model(inputs, outputs)


def test_diagnose_reads_what_prune_reads(tmp_path):
    path, model = tmp_path / "data.npz", two_by_two()
    named = {"x_train_right": Y[:, None], "x_train_left": X, "y_train_size": Y, "y_train_kind": -Y}
    np.savez(path, **named)
    (x, y, _), test = read_examples(str(path), model)
    *batch, none = load_batch(path, model, 2)
    assert (test, none) == (None, None)
    assert [a.tolist() for a in x] == [X.tolist(), Y[:, None].tolist()]
    assert [a.tolist() for a in y] == [(-Y).tolist(), Y.tolist()]
    drawn = [Y.tolist().index(size) for size in batch[1][1]]
    assert len(drawn) == 2 and drawn == sorted(drawn)
    assert [[a.tolist() for a in part] for part in batch] == [
        [X[drawn].tolist(), Y[drawn][:, None].tolist()],
        [(-Y)[drawn].tolist(), Y[drawn].tolist()],
    ]
    with pytest.raises(InputError, match=r"has y_train_size, and `model` has the outputs kind, si"):
        np.savez(path, x_train_left=X, x_train_right=Y[:, None], y_train_size=Y)
        load_batch(path, model, 2)


def test_diagnose_reads_inputs_by_their_own_names(tmp_path):
    np.savez(tmp_path / "data.npz", right=Y[:, None], left=X)
    x, y, _ = load_batch(tmp_path / "data.npz", two_by_two(), 4)
    assert ([a.tolist() for a in x], y) == ([X.tolist(), Y[:, None].tolist()], None)


def test_examples_that_stand_in_a_row_by_their_class_are_drawn_of_all(tmp_path):
    y = np.repeat([0, 1, 2], 100)
    np.savez(tmp_path / "data.npz", x=np.arange(300)[:, None], y=y)
    x, labels, _ = load_batch(tmp_path / "data.npz", None, 30)
    assert {*labels} == {0, 1, 2} and len(labels) == 30
    assert y[x[:, 0]].tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (
            {"x_train": X, "y_train": Y[:3]},
            r"x_train of shape \(4, 3\) and y_train of shape \(3,\)",
        ),
        ({"x_train": X[:0], "y_train": Y[:0]}, r"x_train of shape \(0, 3\)"),
        ({"x_train": np.float32(1), "y_train": Y}, r"x_train of shape \(\)"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "x_test and y_test; .* holds x_test, x_train"),
        ({"x_train": X * np.nan, "y_train": Y}, "x_train that are NaN or infinite"),
        (
            {"x_train": X, "y_train": Y, "x_test": np.full_like(X, np.inf), "y_test": Y},
            "x_test that are NaN",
        ),
        ({"images": X}, "holds images"),
        ({"x_train_a": X, "x_train_b": X[:2], "y_train": Y}, r"x_train_a of .*b of shape \(2, 3\)"),
        (
            {"x_train_a": X, "x_train_b": X * np.inf, "y_train": Y},
            "x_train_b that are NaN or infinite",
        ),
    ],
)
def test_what_does_not_fit_is_named(arrays, words, tmp_path):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(InputError, match=words):
        read_splits(str(tmp_path / "data.npz"))


OWN = """
import numpy as np
import tfinit

X = np.arange(60.0).reshape(20, 3) / 60
Y = np.arange(20) % 2

def load():
    return (X, Y), (X[:5], Y[:5])

def data():
    return tfinit.datasets.from_arrays((X, Y), (X[:5], Y[:5]), name="ready")

def several():
    x = {"left": X, "right": X[:, :1]}
    return (x, (Y, X), np.ones(20)), ({"right": X[:5, :1], "left": X[:5]}, (Y[:5], X[:5]))

def file():
    return "own.npz"

def again():
    return "own.py:again"

def wrong():
    return 3

def failing():
    return {}["no"]

def one_short():
    return (X, Y[1:]), (X, Y)

def stream():
    def batches():
        yield X, Y

    return batches, (X, Y), (X, Y)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own", raising=False)
    (tmp_path / "own.py").write_text(OWN)
    x, y = np.arange(60.0).reshape(20, 3) / 60, np.arange(20) % 2
    np.savez("own.npz", x_train=x, y_train=y, x_test=x[:5], y_test=y[:5])
    return tmp_path


def a_lottery(data):
    config = LotteryConfig(dataset=data, model="mlp-2-relu", run_dir="run")
    return checked_data(config, None, print, print)


def a_lottery_in_python(data):
    return checked_data(LotteryConfig(run_dir="run"), data, print, print)


def a_race(data):
    config = CompareConfig(data, "mlp-2-relu", ("he",), 1, (0,), 4)
    assert len(compare_named(config, progress=None).runs) == 1
    return read_data(data)


# Every place where tfinit is told of data by one word, and what it makes of it.
@pytest.mark.parametrize("entrance", [read_data, a_lottery, a_lottery_in_python, a_race])
@pytest.mark.parametrize("name", ["own.py:load", "own.py:data", "own.py:file", "own.npz", "blobs"])
def test_the_same_words_everywhere(own, entrance, name):
    data = entrance(name)
    assert data.digest() == read_data("own.py:load" if name != "blobs" else name).digest()
    model = keras.Sequential([keras.Input(data.test[0].shape[1:]), keras.layers.Dense(1)])
    (x, y, _), (x_test, y_test, _) = read_examples(name, model)
    few, targets, _ = load_batch(name, model, 4)
    assert (few.shape, targets.shape) == ((4, *x.shape[1:]), (4,))
    # What goes on with a model takes a file as it is; all else holds some examples out.
    assert len(x) == len(y) == (20 if name == "own.npz" else data.rows)
    np.testing.assert_allclose(x_test, data.test[0])
    np.testing.assert_array_equal(y_test, data.test[1])


def test_several_inputs_from_a_function(own):
    left, right = keras.Input((3,), name="left"), keras.Input((1,), name="right")
    both = keras.layers.Concatenate()([left, right])
    outputs = [keras.layers.Dense(1, name="a")(both), keras.layers.Dense(3, name="b")(both)]
    model = keras.Model([left, right], outputs)
    (x, y, weights), (x_test, y_test, none) = read_examples("own.py:several", model)
    assert [part.shape for part in (*x, *y, weights)] == [(18, 3), (18, 1), (18,), (18, 3), (18,)]
    assert [part.shape for part in (*x_test, *y_test)] == [(5, 3), (5, 1), (5,), (5, 3)]
    assert none is None
    x, y, few = load_batch("own.py:several", model, 4)
    assert [part.shape for part in (*x, *y)] == [(4, 3), (4, 1), (4,), (4, 3)]
    np.testing.assert_array_equal(few, weights[:4])
    # The same by names in a file, for an experiment.
    data = read_data("own.py:several")
    splits = {"train": data.train, "test": data.test, "validation": data.validation}
    arrays = {}
    for which, (x, y, *w) in splits.items():
        arrays |= {f"x_{which}_{name}": part for name, part in x.items()}
        arrays |= {f"y_{which}_{n}": part for n, part in enumerate(y)}
        arrays |= {f"sample_weight_{which}": part for part in w}
    np.savez("several.npz", **arrays)
    found = read_data("several.npz")
    assert found.rows == 18 and len(found.train) == 3
    for a, b in zip(keras.tree.flatten(found.train), keras.tree.flatten(data.train), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            "own.py:wrong",
            r"`it` must be a tfinit\.datasets\.Dataset, .*, received int\. tfinit\.dat",
        ),
        ("own.py:again", "`it` 'own.py:again' returned 'own.py:again': name that one"),
        ("own.py:failing", r"`it` 'own.py:failing' failed: KeyError: 'no' \(.*own.py, line \d+\)"),
        ("own.py:nothing", "own.py has no function nothing. It has again, "),
        ("gone.py:load", "there is no file gone.py"),
        ("own.py:one_short", "`train` of data set 'own.py:one_short' has 20 inputs and 19 targets"),
        ("gone", "`it` must be one of digits, .*received 'gone'"),
        (lambda: 3, r"`it` is a generator function, and nothing to evaluate on. Pass splits"),
        ((X,), r"`it` must be .*pairs \(\(x, y\), \(x_test, y_test\)\), received tuple of 1"),
        (None, "`it` must be .* received NoneType"),
        (dict, "`it` must be .* received the class dict"),
    ],
)
def test_what_is_no_data(own, data, message):
    with pytest.raises(InputError, match=message) as error:
        read_data(data, "it")
    assert "\n" not in str(error.value)


def test_what_prunes_needs_arrays(own):
    with pytest.raises(InputError, match=r"'own\.py:stream' must be arrays for this, received"):
        read_splits("own.py:stream")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    assert load_batch("own.py:stream", model, 4)[0].shape == (4, 3)


def test_examples():
    for module in (arrays_by_name, saved_data):
        failed, tried = doctest.testmod(module)
        assert (failed, tried > 0) == (0, True)
