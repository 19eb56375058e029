"""Data sets of anything that Keras trains on: structures of arrays, any targets, weights."""

import doctest
import re
from pathlib import Path

import keras
import numpy as np
import pytest

import tfinit
from tfinit import array_trees, given_arrays, splits
from tfinit.datasets import Dataset, digest, from_arrays
from tfinit.errors import InputError

TOKENS = np.random.default_rng(0).integers(0, 50, (40, 6))
PIXELS = np.random.default_rng(1).integers(0, 256, (40, 8, 8), "uint8")
VECTORS = np.random.default_rng(2).normal(size=(40, 3))
SERIES = np.random.default_rng(3).normal(size=(40, 6, 3))
LABELS = np.arange(40) % 3
WEIGHTS = np.linspace(0, 1, 40)
SCALED = (PIXELS / 255).astype("f4")[..., None]


def made(x, y, *weights, **options):
    return from_arrays((x, y, *weights), (x, y, *weights), **options)


# What is given → the test split it becomes, and how many classes there are.
@pytest.mark.parametrize(
    ("given", "becomes", "classes"),
    [
        ((TOKENS, LABELS), (TOKENS, LABELS.astype("i4")), 3),
        ((TOKENS, TOKENS % 4), (TOKENS, TOKENS % 4), None),
        ((TOKENS > 3, VECTORS), (TOKENS > 3, VECTORS.astype("f4")), None),
        ((VECTORS, np.eye(3)[LABELS]), (VECTORS.astype("f4"), np.eye(3, dtype="f4")[LABELS]), None),
        ((VECTORS, LABELS[:, None]), (VECTORS.astype("f4"), LABELS.astype("i4")), 3),
        ((VECTORS, LABELS - 1), (VECTORS.astype("f4"), LABELS - 1), None),
        # As before: with class numbers, (n, height, width) are images. With others they are series.
        ((SERIES, LABELS), (SERIES.astype("f4")[..., None], LABELS.astype("i4")), 3),
        ((SERIES, VECTORS), (SERIES.astype("f4"), VECTORS.astype("f4")), None),
        ((PIXELS, PIXELS > 9), (SCALED, PIXELS > 9), None),
        ((PIXELS, PIXELS // 64), (SCALED, PIXELS // 64), None),
        ((PIXELS, PIXELS), (SCALED, SCALED), None),
        ((PIXELS, PIXELS.copy()), (SCALED, SCALED), None),
        (
            ({"image": PIXELS, "age": VECTORS[:, 0]}, [LABELS, VECTORS]),
            ({"image": SCALED, "age": VECTORS[:, 0].astype("f4")}, [LABELS, VECTORS.astype("f4")]),
            None,
        ),
        (((TOKENS, VECTORS), LABELS), ((TOKENS, VECTORS.astype("f4")), LABELS.astype("i4")), 3),
        ((VECTORS.tolist(), LABELS.tolist()), (VECTORS.astype("f4"), LABELS.astype("i4")), 3),
        ((list(VECTORS), list(LABELS)), (VECTORS.astype("f4"), LABELS.astype("i4")), 3),
        (
            (np.array(["a", "b"] * 20, object)[:, None], LABELS),
            (np.array(["a", "b"] * 20)[:, None], LABELS.astype("i4")),
            3,
        ),
        (
            (VECTORS, VECTORS, WEIGHTS),
            (VECTORS.astype("f4"), VECTORS.astype("f4"), WEIGHTS.astype("f4")),
            None,
        ),
        (
            (VECTORS, {"a": VECTORS, "b": LABELS}, {"a": WEIGHTS, "b": LABELS}),
            (
                VECTORS.astype("f4"),
                {"a": VECTORS.astype("f4"), "b": LABELS},
                {"a": WEIGHTS.astype("f4"), "b": LABELS},
            ),
            None,
        ),
    ],
)
def test_what_arrays_become(given, becomes, classes):
    data = made(*given)
    assert (data.classes, data.rows) == (classes, 36)
    keras.tree.assert_same_structure(data.test, becomes)
    for found, wanted in zip(
        keras.tree.flatten(data.test), keras.tree.flatten(becomes), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype


def test_the_same_rows_are_held_out_of_all_arrays():
    rows = np.arange(40)
    plain = made(VECTORS, rows)
    data = made({"a": VECTORS, "b": [rows[:, None]]}, (rows, VECTORS), rows)
    for own, (x, y, weights) in [
        (plain.train[1], data.train),
        (plain.validation[1], data.validation),
    ]:
        for found in (x["b"][0][:, 0], y[0], weights):
            np.testing.assert_array_equal(found, own)
        np.testing.assert_array_equal(x["a"], VECTORS[own].astype("f4"))
    few = data.subset(7, seed=3)
    assert few.rows == 7
    np.testing.assert_array_equal(few.train[1][0], plain.subset(7, seed=3).train[1])


def test_what_is_its_own_target_is_not_there_twice():
    data = made(PIXELS, PIXELS)
    for x, y in (data.train, data.validation, data.test, data.subset(5).train):
        assert x is y


NAN = np.where(VECTORS.max() == VECTORS, np.nan, VECTORS)
RAGGED = np.array([[1, 2], [3]] * 20, object)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((NAN, LABELS), "`train` of data set 'mine' has inputs that are NaN .*numpy.nan_to_num"),
        ((VECTORS, NAN), "`train` of data set 'mine' has targets that are NaN or infinite in f"),
        ((VECTORS, LABELS, abs(NAN)), "has sample weights that are NaN or infinite"),
        (({"a": [VECTORS, NAN]}, LABELS), r"inputs that are NaN .* in x\['a'\]\[1\]\. Remove"),
        ((VECTORS, {"a": NAN}), r"targets that are NaN or infinite in float32 in y\['a'\]\. "),
        ((VECTORS, LABELS, -WEIGHTS), r"sample weights of at least 0, received -\d\S+ 0 leaves"),
        ((VECTORS, LABELS, {"a": -WEIGHTS}), r"received -\d\S+ in sample_weight\['a'\]\. 0"),
        (
            ({"a": VECTORS, "b": TOKENS[:9]}, LABELS),
            r"has 40 rows in x\['a'\], 9 rows in x\['b'\] ",
        ),
        ((VECTORS, LABELS, WEIGHTS[:4]), "40 inputs, 40 targets and 4 sample weights. Pass one"),
        (({"a": VECTORS[:0]}, LABELS[:0]), r"in x\['a'\] must have inputs of shape .* \(0, 3\)"),
        (({}, LABELS), "`train` of data set 'mine' has no inputs. Pass one array or more"),
        (({"a": None}, LABELS), r"in x\['a'\] has None for inputs\. Pass an array"),
        ((VECTORS, [LABELS, None]), r"in y\[1\] has None for targets\. .* them as targets, too"),
        ((VECTORS, LABELS.astype(str)), "must have targets that are numbers, received '0'.*unique"),
        (({"a": RAGGED}, LABELS), r"in x\['a'\] holds objects of Python, such as list\. .*pad_seq"),
        (([[1], [2, 3]], [0, 1]), r"`train` must be an array of numbers.*pad_sequences"),
        (({"a": VECTORS + 1j}, LABELS), r"`train: x\['a'\]` has complex numbers"),
        (({"a": object()}, LABELS), r"in x\['a'\] holds objects of Python, such as object"),
        ((VECTORS,), r"`train` must be a pair \(x, y\) of arrays, received tuple of 1\. Pass"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(InputError, match=message) as error:
        from_arrays(given, given, name="mine")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            ({"b": VECTORS}, LABELS),
            r"one shape, received {'train': {\"x\['b'\]\": \(3,\)}, 'test': ",
        ),
        ((VECTORS[:, :2], LABELS), r"shape, received {'train': \(2,\), 'test': \(3,\)}\. Resize"),
        ((VECTORS, VECTORS), r"The targets of data set 'mine' .* {'train': \(3,\), 'test': \(\)}"),
    ],
)
def test_splits_that_differ(train, message):
    with pytest.raises(InputError, match=message):
        from_arrays(train, (VECTORS, LABELS), name="mine")


def test_a_count_of_classes_of_what_are_none():
    with pytest.raises(InputError, match=r"labels, 0 to 2, one .* float64 of shape \(40, 3\)"):
        made(VECTORS, VECTORS, classes=3)
    assert made(VECTORS, LABELS).class_count("it") == 3
    with pytest.raises(InputError, match=r"^`model` 'vgg' needs one class number .* \(36, 3\)\. P"):
        made(VECTORS, VECTORS).class_count("`model` 'vgg'")


def test_the_digest_of_structures():
    x, y = {"a": VECTORS, "b": TOKENS}, (LABELS, VECTORS)
    told = made(x, y, WEIGHTS).digest()
    assert told == made({"b": TOKENS, "a": VECTORS}, y, WEIGHTS).digest()
    others = [
        made({"a": VECTORS, "c": TOKENS}, y, WEIGHTS),
        made((VECTORS, TOKENS), y, WEIGHTS),
        made(x, y),
        made(x, y, 1 - WEIGHTS),
    ]
    assert len({told, *(other.digest() for other in others)}) == 5
    text = np.array(["a", "bc"], object)
    assert digest(text) == digest(text.copy()) == digest(text.astype("U"))
    data = Dataset("it", (VECTORS, LABELS), None, (VECTORS, LABELS), 3)
    assert data.digest() == digest(VECTORS, LABELS, None, VECTORS, LABELS)


def test_examples():
    for module in (array_trees, given_arrays, splits):
        failed, tried = doctest.testmod(module, extraglobs={"tfinit": tfinit})
        assert (failed, tried > 0) == (0, True)


def test_the_guide_runs():
    guide = (Path(__file__).parents[1] / "docs/data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    namespace = {"np": np, "tfinit": tfinit}
    for block in blocks:
        exec(compile(block, "data.md", "exec"), namespace)
    assert len(blocks) == 2 and namespace["data"].rows is None
