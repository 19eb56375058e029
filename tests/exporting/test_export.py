"""Files that were exported, read and run by hand: the numbers are right, or there is no file."""

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tfinit.errors import InputError, MissingPackage, WorkError
from tfinit.exporting import Variant, blocks, export, export_models, one_file, side_by_side
from tfinit.exporting.checks import numbers_of
from tfinit.exporting.formats import FORMATS
from tfinit.exporting.isolated_runs import Job, check

L = keras.layers
SPARSITY = tf.lite.Optimize.EXPERIMENTAL_SPARSITY


def blocky(rng, shape, density):
    full = rng.random((-(-shape[0] // 4), shape[1])) < density
    return np.repeat(full, 4, axis=0)[: shape[0]] * rng.normal(size=shape)


def scattered(rng, shape, density):
    return (rng.random(shape) < density) * rng.normal(size=shape)


def mlp(*units, inputs=64, fill=blocky, density=0.1, seed=0):
    dense = [L.Dense(n, "relu", name=f"fc{k}") for k, n in enumerate(units, 1)]
    model = keras.Sequential([keras.Input((inputs,), name="pixels"), *dense])
    rng = np.random.default_rng(seed)
    for layer in dense:
        layer.kernel.assign(fill(rng, layer.kernel.shape, density))
        layer.bias.assign(rng.normal(size=layer.bias.shape))
    return model


def by_numpy(model, x):
    for layer in model.layers:
        x = np.maximum(x @ layer.kernel.numpy() + layer.bias.numpy(), 0)
    return x


def run(path, x):
    """What LiteRT makes of one example, called by hand."""
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def encodings(path):
    return {w.shape: (w.encoding, w.unpacked) for w in FORMATS["litert"].weights(Path(path))}


X = np.random.default_rng(1).normal(size=(40, 64)).astype("f4")
ODD = np.random.default_rng(2).normal(size=(8, 30)).astype("f4")


# -- the known-wrong combinations --------------------------------------------------------------


@pytest.fixture(scope="module")
def odd():
    """30 inputs, then 31 units: 4 divides neither."""
    return mlp(31, 10, inputs=30, density=0.15)


def test_inputs_that_4_does_not_divide_come_out_right(odd, tmp_path):
    report = export(odd, tmp_path / "odd.tflite", sparse=True, seconds=0)
    expected = by_numpy(odd, ODD[:1])
    np.testing.assert_allclose(run(report.file.path, ODD[:1]), expected, rtol=1e-4, atol=1e-4)
    # The sparse kernel does run, on 2 more inputs and 1 more.
    assert encodings(report.file.path) == {(31, 32): ("blocks", False), (10, 32): ("blocks", False)}
    assert "Inputs of fc1, fc2 are padded to a multiple of 4" in str(report)
    assert [note.sparse_kernel for note in report.file.layers] == [True, True]


def test_too_few_empty_blocks_in_odd_kernels_come_out_right_too(tmp_path, rng):
    """The converter counts the columns that it drops as empty blocks."""
    model = mlp(7, 3, 20, inputs=35, density=0.6)
    x = rng.normal(size=(1, 35)).astype("f4")
    report = export(model, tmp_path / "m.tflite", sparse=True, seconds=0)
    np.testing.assert_allclose(run(report.file.path, x), by_numpy(model, x), rtol=1e-4, atol=1e-4)
    assert not any(w == ("blocks", False) for w in encodings(report.file.path).values())


def test_without_the_padding_the_numbers_would_be_wrong_and_that_is_found(odd, tmp_path):
    odd.export(tmp_path / "wrong.tflite", format="litert", verbose=False, optimizations=[SPARSITY])
    expected = by_numpy(odd, ODD)
    apart = run(tmp_path / "wrong.tflite", ODD[:1]) - expected[:1]
    assert np.abs(apart).max() > 0.05 * np.abs(expected).max()
    with pytest.raises(WorkError, match="computes something else from it than Keras does at batch"):
        check(Job(tmp_path / "wrong.tflite", "litert"), [ODD], [expected], 1e-3, 60)


def test_blocks_that_turn_out_wrong_are_stored_unpacked(odd, tmp_path, monkeypatch):
    """As LiteRT would have it: blocks in kernels that were not padded."""
    encoding_of, steered = blocks.encoding_of, blocks.steered

    def unpadded(*args):
        encoding = encoding_of(*args)
        return replace(encoding, padding=0) if encoding.how == "blocks" else encoding

    monkeypatch.setattr(blocks, "encoding_of", unpadded)
    monkeypatch.setattr(blocks, "steered", lambda k, e: k if e.how == "blocks" else steered(k, e))
    report = export(odd, tmp_path / "odd.tflite", sparse=True, seconds=0)
    np.testing.assert_allclose(
        run(report.file.path, ODD[:1]), by_numpy(odd, ODD[:1]), rtol=1e-4, atol=1e-4
    )
    assert encodings(report.file.path) == {(31, 32): ("sparse", True), (10, 32): ("sparse", True)}
    assert "4 does not divide" in report.file.notes[-1]
    assert not any(note.sparse_kernel for note in report.file.layers)


def half():
    return keras.Sequential([keras.Input((8,)), L.Dense(4, dtype="mixed_float16")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparse": True, "quantize": "int8", "representative_data": X}, "garbage, NaN or crash"),
        ({"sparse": True, "format": "onnx"}, "ONNX Runtime has neither a file form nor kernels"),
        ({"quantize": "int8"}, "needs `representative_data`"),
        ({"quantize": "int8", "format": "keras", "representative_data": X}, "compute in float32"),
        ({"quantize": "float16"}, "must be one of None, int8, received 'float16'"),
        ({"format": "tflite"}, "one of litert, onnx, keras, saved_model, received 'tflite'"),
        ({"path": "m.onnx", "format": "litert"}, r"must end in .tflite for litert, received"),
        ({"path": "m.keras", "format": "saved_model"}, "`path` is a directory for saved_model"),
        ({"path": "m.txt"}, "`path` must end in .tflite, .onnx, .keras, or have no suffix"),
        ({"model": half(), "sparse": True}, "float32 only, and `model` has float16"),
        ({"model": keras.Sequential([L.Dense(2)])}, "not built"),
        ({"model": L.Dense(2)}, "must be a Keras model, received Dense"),
        ({"representative_data": X[:, :9]}, r"examples of shape \(9,\) .*'pixels'.*\(64,\)"),
        ({"x": X, "y": X}, "`y` must have one class for each of the 40 examples"),
        ({"x": X}, "`x` was passed without `y`"),
        ({"y": np.zeros(40)}, "`y` was passed without `x`"),
        ({"x": X * np.nan, "y": np.zeros(40)}, "NaN or infinite"),
        ({"timeout": 0}, "`timeout` must be a number above 0"),
    ],
)
def test_what_is_refused(tmp_path, arguments, message):
    given = {"model": mlp(8), "path": "m.tflite"} | arguments
    given["path"] = tmp_path / given["path"]
    with pytest.raises(InputError, match=message):
        export(**given)
    assert not list(tmp_path.iterdir())


def test_examples_with_classes_under_their_former_name(tmp_path):
    with (
        pytest.warns(DeprecationWarning, match="export: `data` is now `x` and `y`"),
        pytest.raises(InputError, match="`y` must have one class for each of the 40 examples"),
    ):
        export(mlp(8), tmp_path / "m.keras", data=(X, X))
    variants = [Variant("a", mlp(8), "keras")]
    with (
        pytest.warns(DeprecationWarning, match="side_by_side: `data` "),
        pytest.raises(InputError, match="`y` must have one class for each of the 40 examples"),
    ):
        side_by_side(variants, X, (X, X))


def test_an_exporter_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match=r"export to onnx needs onnx: pip .*tfinit\[export\]"):
        export(mlp(8), tmp_path / "m.onnx", "onnx")


# -- what must not stand -----------------------------------------------------------------------


@pytest.mark.parametrize("what", ["cut", "another model", "zeros"])
def test_a_file_that_is_wrong_is_removed_and_the_old_one_stays(tmp_path, monkeypatch, what):
    """As if the converter or the disk had made it so."""
    path = tmp_path / "m.tflite"
    path.write_bytes(b"the old one")

    def corrupt(model, file, *rest):
        result = real(mlp(6, seed=1) if what == "another model" else model, file, *rest)
        content = file.read_bytes()
        file.write_bytes(
            {"cut": content[: len(content) // 2], "zeros": bytes(99)}.get(what, content)
        )
        return result

    real = FORMATS["litert"].write
    monkeypatch.setattr(FORMATS["litert"], "write", corrupt)
    with pytest.raises(WorkError, match=r"m.tflite was removed: .*LiteRT.*Export it in another"):
        export(mlp(6), path, seconds=0)
    assert path.read_bytes() == b"the old one"
    assert [p.name for p in tmp_path.iterdir()] == ["m.tflite"]


def test_an_exporter_that_fails_leaves_nothing(tmp_path):
    class Odd(L.Layer):
        def call(self, x):
            return tf.ensure_shape(tf.py_function(lambda a: a, [x], tf.float32), x.shape)

    model = keras.Sequential([keras.Input((4,)), Odd()])
    with pytest.raises(
        WorkError, match=r"no EagerPyFunc as layer 'odd' .* Nothing was .* keras.ops"
    ):
        export(model, tmp_path / "m.tflite", seconds=0)
    assert not list(tmp_path.iterdir())


# -- side by side ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    dense = mlp(256, 256, 10, fill=lambda rng, shape, _: rng.normal(size=shape))
    block, loose, sparser = (
        mlp(256, 256, 10, fill=fill, density=density)
        for fill, density in ((blocky, 0.1), (scattered, 0.1), (scattered, 0.05))
    )
    y = by_numpy(dense, X).argmax(axis=1)
    variants = [
        Variant("dense", dense),
        Variant("1x4", block, sparse=True),
        Variant("loose", loose, sparse=True),
        Variant("sparser", sparser, sparse=True),
        Variant("int8", dense, quantize="int8"),
        Variant("onnx", loose, "onnx"),
        Variant("onnx int8", dense, "onnx", quantize="int8"),
    ]
    models = {variant.label: variant.model for variant in variants}
    report = side_by_side(variants, X, x=X, y=y, folder=folder, seconds=0.05)
    return report, models


def test_zeros_are_counted_in_the_files(compared):
    report, models = compared
    for row in report.rows:
        kernels = [w.numpy() for w in models[row.label].weights if len(w.shape) == 2]
        zeros = sum(int((k == 0).sum()) for k in kernels)
        assert row.model_zeros == zeros
        assert row.weights == sum(k.size for k in kernels)
        # int8 rounds small numbers to zero
        assert row.zeros == zeros or (row.quantize and row.zeros >= zeros)
        assert Path(row.path).stat().st_size == row.bytes


def test_sizes_accuracy_and_agreement(compared):
    report, _ = compared
    assert report["dense"].accuracy == 1
    assert report["int8"].accuracy > 0.8
    assert report["1x4"].accuracy < 0.8  # other weights
    assert report["1x4"].bytes < 0.2 * report["dense"].bytes
    assert report["int8"].bytes < 0.35 * report["dense"].bytes
    assert report["onnx"].bytes > 0.9 * report["dense"].bytes
    for row in report.rows:
        assert row.difference < (0.3 if row.quantize else 1e-4)
        assert 0 < row.latency.low <= row.latency.median <= row.latency.high


def test_scattered_zeros_run_sparse_from_95_percent_on_only(compared):
    report, models = compared
    assert set(encodings(report["1x4"].path).values()) == {("blocks", False)}
    assert set(encodings(report["loose"].path).values()) == {("sparse", True)}
    assert encodings(report["sparser"].path)[256, 256] == ("blocks", False)
    expected = by_numpy(models["sparser"], X[:1])
    np.testing.assert_allclose(run(report["sparser"].path, X[:1]), expected, rtol=1e-4, atol=1e-3)


def test_what_the_report_says(compared):
    report, _ = compared
    text = str(report)
    assert max(map(len, text.splitlines())) <= 100
    assert report.verdict("loose").startswith("size only: 0.")
    assert "fast" in report.verdict("1x4") and report.verdict("dense") == ""
    reasons = {row.label: {n.layer: n.why for n in row.layers} for row in report.rows}
    assert reasons["dense"] == {}
    assert "scattered, 6" in reasons["loose"]["fc2"]
    assert [n.sparsity > 0.8 for n in report["1x4"].layers] == [True, True, True]
    assert "sparse kernel runs it" in reasons["1x4"]["fc2"]
    assert reasons["onnx"]["fc1"] == "ONNX Runtime never skips zeros"
    assert json.loads(json.dumps(report.to_dict()))["rows"][2]["verdict"] == report.verdict("loose")
    frame = report.to_frame().set_index("label")
    assert list(frame.index) == [row.label for row in report.rows]
    assert frame.loc["int8", "latency_median"] == report["int8"].latency.median
    with pytest.raises(InputError, match="`label` must be one of"):
        report["int4"]


# -- other models and formats ------------------------------------------------------------------


def test_a_pruned_convolutional_network_is_size_only(tmp_path, rng):
    """As MobileNetV2 and ResNet50, which benchmarks/export.py does; with a 2:4 head."""
    inputs = keras.Input((16, 16, 3))
    x = L.Conv2D(32, 3, use_bias=False, name="c1")(inputs)
    x = L.ReLU(6)(L.BatchNormalization()(x))
    x = L.DepthwiseConv2D(3, padding="same", name="dw")(x)
    x = L.Add()([x, L.Conv2D(32, 1, name="c2")(x)])
    model = keras.Model(inputs, L.Dense(8, name="head")(L.GlobalAveragePooling2D()(x)))
    for layer in (model.get_layer("c1"), model.get_layer("c2")):
        layer.kernel.assign(scattered(rng, layer.kernel.shape, 0.2))
    model.get_layer("head").kernel.assign(
        np.tile([1, 0, 0, 1], 8)[:, None] * rng.normal(size=(32, 8))
    )
    weights = model.get_weights()
    report = export(model, tmp_path / "m.tflite", sparse=True, seconds=0.01)
    assert [row.label for row in report.rows] == ["dense", "pruned", "sparse"]
    assert report.verdict("sparse").startswith("size only: ")
    (told,) = report.left_out  # without data for the ranges of its activations
    assert told.startswith("int8 was not compared. It quantizes") and "representative_data" in told
    why = {note.layer: note.why for note in report.file.layers}
    assert "no sparse kernel for Conv2D" in why["c1"] and "2:4" in why["head"]
    assert not any(note.sparse_kernel for note in report.file.layers)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_inputs_and_outputs_are_told_apart_by_name(tmp_path, rng):
    """The files keep them in orders of their own."""
    b, a, n = keras.Input((6,), name="b"), keras.Input((6,), name="a"), keras.Input((), name="n")
    outs = [L.Dense(3, name="z")(b + 2 * a), L.Dense(3, name="y")(a) * L.Reshape((1,))(n)]
    model = keras.Model([b, a, n], outs)
    x = [rng.normal(size=(9, 6)), rng.normal(size=(9, 6)), rng.normal(size=9)]
    for format, suffix in (("litert", "tflite"), ("onnx", "onnx")):
        for quantize in (None, "int8"):
            report = export(model, tmp_path / f"m.{suffix}", format, quantize, False, x, seconds=0)
            assert report.file.difference < (0.1 if quantize else 1e-5)
    named = dict(zip("ban", x, strict=True))
    assert export(model, tmp_path / "m.tflite", representative_data=named, seconds=0)
    with pytest.raises(InputError, match=r"must hold 3 arrays, .*\(b, a, n\), received 2"):
        export(model, tmp_path / "m.tflite", representative_data=x[:2])


def test_a_saved_model_and_a_keras_file(tmp_path):
    model = mlp(20, 10, density=0.5)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    zeros = sum(int((w.numpy() == 0).sum()) for w in model.weights if len(w.shape) == 2)
    saved = tmp_path / "saved"
    (saved / "old").mkdir(parents=True)
    with pytest.raises(InputError, match="something else than a SavedModel in it, which would be"):
        export(model, saved, "saved_model", seconds=0)
    (saved / "saved_model.pb").touch()  # now it is one, and replaced whole
    report = export(model, saved, "saved_model", seconds=0)
    assert report.file.zeros == zeros and not (saved / "old").exists()
    assert "size only, and only once compressed" in str(report)
    # Codes of 4 bits, two in a byte, are two weights.
    first, last = model.layers
    last.quantize("int4")
    last.bias.assign(np.zeros(10))
    last.activation = keras.activations.linear
    coded = last(np.eye(20, dtype="float32")).numpy()
    zeros = int((first.kernel.numpy() == 0).sum() + (coded == 0).sum())
    row = export(model, tmp_path / "m.keras", "keras", seconds=0).file
    assert (row.label, row.weights) == ("pruned float32+int4", 64 * 20 + 20 * 10)
    assert row.zeros == row.model_zeros == zeros >= 500
    back = keras.saving.load_model(tmp_path / "m.keras")
    assert not getattr(back, "optimizer", None) and model.optimizer is not None
    np.testing.assert_allclose(back(X), model(X), rtol=1e-4, atol=1e-4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.keras", "saved"]


@pytest.mark.parametrize(
    ("mode", "policy", "label"),
    [("int8", None, "int8"), ("int4", None, "int4"), (None, "bfloat16", "bfloat16")],
)
def test_a_model_is_called_what_its_numbers_are(mode, policy, label):
    model = keras.Sequential([keras.Input((8,)), L.Dense(4, dtype=policy)])
    assert numbers_of(keras.Sequential([keras.Input((8,)), L.Flatten()])) == "float32"
    if mode:
        model.layers[0].quantize(mode)
    assert numbers_of(model) == label
    both = keras.Sequential([keras.Input((8,)), *model.layers, L.Dense(4)])
    assert numbers_of(both) == "+".join(sorted(["float32", label]))


def test_agreeing_on_constant_outputs_is_called_what_it_is(tmp_path):
    report = export(
        mlp(6, fill=lambda rng, shape, _: np.zeros(shape)), tmp_path / "m.tflite", seconds=0
    )
    assert "that it agrees says little" in report.file.notes[0]


def test_examples(tmp_path):
    import doctest

    for module in (export_models, one_file):
        failed, _ = doctest.testmod(module, extraglobs={"keras": keras, "tmp": tmp_path})
        assert failed == 0
