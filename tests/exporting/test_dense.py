"""The dense model that a pruned one is compared with."""

import gzip

import keras
import numpy as np
import pytest

from tfinit.exporting import export
from tfinit.exporting.dense import dense_model, pruned_kernels

L = keras.layers


def network(units=64):
    return keras.Sequential(
        [
            keras.Input((units,), name="pixels"),
            L.Dense(units, "relu", name="a"),
            L.BatchNormalization(),
            L.Dense(units, "relu", name="b"),
            L.Dense(units, name="c"),
        ]
    )


def pruned(model, sparsity=0.9):
    """Its copy, the smallest weights of the first two layers zero."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for name in "ab":
        kernel = copy.get_layer(name).kernel.numpy()
        kernel[np.abs(kernel) < np.quantile(np.abs(kernel), sparsity)] = 0
        copy.get_layer(name).kernel.assign(kernel)
    return copy


def test_zeros_become_small_numbers_and_all_else_stays(rng):
    model = pruned(network())
    before = model.get_weights()
    dense = dense_model(model)
    for was, own, is_ in zip(before, model.get_weights(), dense.get_weights(), strict=True):
        np.testing.assert_array_equal(was, own)
        np.testing.assert_array_equal(is_[was != 0], was[was != 0])
    for name in "ab":
        was, filled = (m.get_layer(name).kernel.numpy() for m in (model, dense))
        assert (filled != 0).all()
        # In the places of those that were pruned, and none larger than what was kept.
        assert np.abs(filled[was == 0]).max() <= np.quantile(np.abs(was[was != 0]), 0.1)
    assert [v.path.split("/")[-2] for v in pruned_kernels(model)] == ["a", "b"]
    assert pruned_kernels(network()) == [] and dense_model(network()) is None
    x = rng.normal(size=(9, 64)).astype("f4")
    assert np.ptp(dense(x)) < 3 * np.ptp(network()(x))  # what it computes stays in its range


def test_a_tensor_of_which_nothing_is_left():
    model = network(4)
    model.get_layer("a").kernel.assign(np.zeros((4, 4)))
    filled = dense_model(model).get_layer("a").kernel.numpy()
    assert (filled != 0).all() and np.abs(filled).max() <= 0.01


def test_codes_are_not_pruned():
    """Rounding makes a quarter of them zero."""
    model = network()
    model.get_layer("a").quantize("int4")
    assert pruned_kernels(model) == []


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    dense = network(128)
    model = pruned(dense)
    x = np.random.default_rng(0).normal(size=(60, 128)).astype("f4")
    y = dense(x).numpy().argmax(axis=1)
    path = folder / "m.tflite"
    report = export(model, path, sparse=True, representative_data=x, x=x, y=y, seconds=0.02)
    dense.export(folder / "dense.tflite", format="litert", verbose=False)
    model.export(folder / "pruned.tflite", format="litert", verbose=False)
    return report, {name: (folder / f"{name}.tflite").read_bytes() for name in ("dense", "pruned")}


def test_the_row_that_all_is_compared_with_is_the_dense_model(compared):
    """By the files that Keras writes of the network before it was pruned, and after."""
    report, files = compared
    assert [row.label for row in report.rows] == ["dense", "pruned", "int8", "sparse"]
    for name, content in files.items():
        row = report[name]
        assert row.bytes == pytest.approx(len(content), rel=0.002)
        assert row.gzip_bytes == pytest.approx(len(gzip.compress(content, 6)), rel=0.02)
    # What the zeros are worth once compressed is seen against the dense file only.
    assert report["dense"].gzip_bytes > 2 * report["pruned"].gzip_bytes
    assert (report["dense"].zeros, report["pruned"].zeros) == (0, report["pruned"].model_zeros)
    assert report.speedup("dense") == 1
    assert report.verdict("pruned").startswith("size only: 1.00× the bytes, 0.")


def test_what_stands_in_is_not_chosen_and_answers_nothing(compared):
    report, _ = compared
    assert report["dense"].accuracy is None and report["dense"].reference
    assert [row.reference for row in report.rows[1:]] == [False, False, False]
    assert (
        report["pruned"].accuracy
        == report["sparse"].accuracy
        == pytest.approx(report["int8"].accuracy, abs=0.2)
    )
    assert report.choice.size in ("int8", "sparse")
    assert report.file.label == "sparse" and report.file.path.endswith("m.tflite")
