"""`tfinit export`: a table or JSON, and one line for what goes wrong."""

import json

import keras
import numpy as np
import pytest

from tfinit.cli import main

L = keras.layers


def run(capfd, *arguments):
    """Exit code and the two outputs of ``tfinit export`` with some arguments."""
    try:
        main(["export", *map(str, arguments)])
        code = 0
    except SystemExit as stop:
        code = stop.code
    out, err = capfd.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A network for the digits, 8 of 10 of its first layer's blocks empty, never called."""
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), L.Flatten(), L.Dense(40, "relu", name="fc"), L.Dense(10)]
    )
    kernel = np.random.default_rng(0).normal(size=(16, 4, 40))
    kernel *= (np.arange(16 * 40).reshape(16, 1, 40) % 5) == 0
    model.layers[1].kernel.assign(kernel.reshape(64, 40))
    path = tmp_path_factory.mktemp("model") / "m.keras"
    model.save(path)
    return path


def test_a_sparse_file_as_a_table(capfd, saved, tmp_path):
    out = tmp_path / "deep" / "m.tflite"
    code, text, err = run(capfd, saved, out, "--sparse", "--data", "digits", "--seconds", "0.1")
    assert (code, err) == (0, "")
    lines = text.splitlines()
    assert lines[0].split()[:4] == ["format", "bytes", "gzipped", "zeros"]
    rows = [line.split() for line in lines[1:5]]
    assert [row[:2] for row in rows] == [
        [label, "litert"] for label in ("dense", "pruned", "int8", "sparse")
    ]
    assert rows[0][4] == "0.0%" and "1.00×" in rows[0]
    assert "dense: the same model with small random numbers in place of its zeros" in text
    assert any(line.startswith("Choose ") for line in lines)
    assert lines[-1] == f"{out}: run by LiteRT, agrees with Keras."
    assert [p.name for p in out.parent.iterdir()] == ["m.tflite"]


def test_an_int8_onnx_file_as_json(capfd, saved, tmp_path):
    out = tmp_path / "m.onnx"
    flags = ["--quantize", "int8", "--data", "digits", "--baseline", saved]
    code, text, err = run(capfd, saved, out, *flags, "--seconds", "0.01", "--json")
    assert (code, err) == (0, "")
    report = json.loads(text)
    assert [row["label"] for row in report["rows"]] == ["baseline", "pruned", "int8"]
    assert [row["format"] for row in report["rows"]] == ["onnx"] * 3
    assert [row["path"] for row in report["rows"]] == [None, None, str(out)]
    assert report["choice"]["size"] == "int8" and report["left_out"] == []
    assert abs(report["rows"][2]["accuracy"] - report["rows"][0]["accuracy"]) < 0.05
    assert report["examples"] == 400


def test_data_of_several_inputs_and_outputs(capfd, tmp_path):
    a, b = (keras.Input((3,), name=name) for name in "ab")
    outputs = [L.Dense(2, name="c")(a + b), L.Dense(1, name="d")(a - b)]
    keras.Model([a, b], outputs).save(tmp_path / "m.keras")
    x = {f"x_{part}_{name}": np.eye(3, dtype="f4") for part in ("train", "test") for name in "ab"}
    y = {f"y_test_{name}": np.zeros(3, int) for name in "cd"}
    np.savez(tmp_path / "data.npz", **x, **y)
    out = tmp_path / "m.tflite"
    flags = ["--data", tmp_path / "data.npz", "--seconds", "0", "--json"]
    code, text, err = run(capfd, tmp_path / "m.keras", out, *flags)
    assert (code, err) == (0, "")
    (row,) = json.loads(text)["rows"]
    assert row["accuracy"] is None and row["difference"] < 1e-5  # of which output would it be?


def test_a_long_layer_is_told_before_one_waits(capfd, tmp_path, monkeypatch):
    monkeypatch.setattr("tfinit.exporting.unrolling._LONG", 3)
    layers = [L.SimpleRNN(2, return_sequences=True, name="long"), L.Flatten()]
    keras.Sequential([keras.Input((3, 2)), *layers]).save(tmp_path / "m.keras")
    flags = [tmp_path / "m.tflite", "--seconds", "0"]
    code, _, err = run(capfd, tmp_path / "m.keras", *flags)
    assert (code, err) == (0, "Writing out the 3 steps of 'long': this may take minutes.\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{m}", "m.tflite", "--format", "tflite"], ["--format must be one of", "'tflite'"]),
        (["{m}", "m.tflite", "--quantize", "int8"], ["--data", "digits, mnist"]),
        (["{m}", "{m}", "--format", "keras"], ["OUT is the model itself"]),
        (
            ["nowhere.keras", "m.tflite"],
            ["MODEL 'nowhere.keras' does not exist", "a .keras file"],
        ),
        (["{m}", "m.tflite", "--data", "nowhere.npz"], ["--data must be digits", "nowhere.npz"]),
        (["{m}", "m.onnx", "--sparse"], ["--sparse is for format 'litert'", "'onnx'"]),
        (["{m}", "m.onnx", "--format", "litert"], ["must end in .tflite", "Leave --format out"]),
        (["{m}", "m.pb"], ["OUT must end in .tflite, .onnx, .keras, or have no suffix", "m.pb"]),
        (["{m}", "m.weights.h5"], ["m.weights.h5", "model.save_weights"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    capfd, saved, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capfd, *(word.format(m=saved) for word in arguments))
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("tfinit: ")
    for word in words:
        assert word in line
    assert not list(tmp_path.iterdir())


def test_code_in_a_model_file_is_not_run(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.Sequential([keras.Input((2,)), L.Lambda(lambda x: x + 1)]).save("code.keras")
    code, out, err = run(capfd, "code.keras", "m.tflite")
    assert (code, out) == (2, "") and "holds Python code" in err
    assert [p.name for p in tmp_path.iterdir()] == ["code.keras"]
