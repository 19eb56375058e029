"""Kinds of models that exporters have trouble with: a right file, or one line with a cure."""

import importlib
import math
import re
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

from tfinit.errors import InputError, WorkError
from tfinit.exporting import export
from tfinit.exporting.inputs import names_of, random_inputs
from tfinit.exporting.isolated_runs import Job, run_outputs
from tfinit.exporting.writers import write

L = keras.layers


def in_this_process(model, path, format, inputs):
    """What a file computes; a process of its own would take seconds to load TensorFlow."""
    write(model, path, format)
    job = Job(path, format, names_of(model), model.inputs[0].shape[0], here=True)
    return run_outputs(job, inputs, 60)


def test_every_type_of_input(tmp_path):
    """bfloat16 in ONNX too; LiteRT has none."""
    types = ("bool", "uint8", "int8", "uint16", "int16", "int32", "uint32", "int64", "float16")
    for format, more in (("litert", ()), ("onnx", ("bfloat16", "float64", "uint64"))):
        inputs = [keras.Input((3,), dtype=t, name=f"in_{t}") for t in (*types, *more)]
        x = L.Concatenate()([keras.ops.cast(one, "float32") for one in inputs])
        model = keras.Model(inputs, L.Dense(2)(x))
        suffix = {"litert": ".tflite"}.get(format, ".onnx")
        row = export(model, tmp_path / f"m{suffix}", format, seconds=0).file
        assert row.difference < 1e-5


@keras.saving.register_keras_serializable("test_kinds")
class Own(L.Layer):
    """A layer that no other process knows."""

    def call(self, x):
        return keras.ops.cast(x, "float32") * 2


def texts():
    """Text to numbers, bfloat16 through, and words out."""
    words = keras.Input((), dtype="string", name="words")
    codes = keras.Input((), dtype="bfloat16", name="codes")
    x = L.TextVectorization(vocabulary=["a", "b"], output_sequence_length=2, name="vectorize")(
        words
    )
    y = L.Dense(2)(L.Flatten()(L.Embedding(4, 3)(x))) + Own()(codes)[:, None]
    back = L.StringLookup(vocabulary=["a", "b"], invert=True, mask_token="", name="back")(x)
    return keras.Model([words, codes], [y, back])


def test_text_in_and_out(tmp_path):
    model = texts()
    x = [np.array(["b a", "a é", "b"]), np.array([1, 2, 3])]
    report = export(model, tmp_path / "m.keras", "keras", representative_data=x, seconds=0)
    assert report.file.difference < 1e-6
    assert "It names classes or functions that are not Keras's" in report.file.notes[0]
    x = [x[0], x[1].astype("f4")]
    found = in_this_process(model, tmp_path / "saved", "saved_model", x)
    y = model([keras.ops.convert_to_tensor(each) for each in x])[0]
    for how in ("single", "batch"):
        np.testing.assert_allclose(found[how][0], y, rtol=1e-5, atol=1e-6)
        assert found[how][1].tolist() == [["b", "a"], ["a", "[UNK]"], ["b", ""]]
    with pytest.raises(InputError, match="first output of the model is text"):
        words = keras.Model(model.inputs, model.outputs[::-1])
        export(words, tmp_path / "m.keras", "keras", x=x, y=[0, 1, 1])


def recurrence(model, x):
    """h ← tanh(x w + h u + b) in batches of 2 that go on, by NumPy; then the Dense layer."""
    cell, dense = model.layers[0].cell, model.layers[1]
    w, u, b = (v.numpy() for v in (cell.kernel, cell.recurrent_kernel, cell.bias))
    h, out = np.zeros((2, cell.units)), []
    for batch in x.reshape(-1, 2, *x.shape[1:]):
        for t in range(x.shape[1]):
            h = np.tanh(batch[:, t] @ w + h @ u + b)
        out.append(h @ dense.kernel.numpy() + dense.bias.numpy())
    return np.concatenate(out)


def test_a_stateful_layer_goes_on_in_its_file(tmp_path, rng):
    rnn = L.SimpleRNN(4, stateful=True, name="memory")
    model = keras.Sequential([keras.Input((3, 2), batch_size=2), rnn, L.Dense(2)])
    rnn.states[0].assign(np.full((2, 4), 0.5))
    x = rng.normal(size=(6, 3, 2)).astype("f4")
    # Data that do not fill their last batch.
    row = export(model, tmp_path / "m.tflite", x=x[:5], y=[0, 1, 0, 1, 1], seconds=0.02).file
    assert row.accuracy is not None and "It takes batches of 2" in " ".join(row.notes)
    # Keras's states are neither moved nor in the file.
    np.testing.assert_array_equal(rnn.states[0], np.full((2, 4), 0.5, "f4"))
    runner = Interpreter(row.path).get_signature_runner()
    (name,) = runner.get_input_details()
    found = [next(iter(runner(**{name: x[n : n + 2]}).values())) for n in (0, 2, 4)]
    np.testing.assert_allclose(np.concatenate(found), recurrence(model, x), rtol=1e-4, atol=1e-5)
    rnn.reset_states()
    found = in_this_process(model, tmp_path / "saved", "saved_model", [x])["single"]
    np.testing.assert_allclose(found[0], recurrence(model, x), rtol=1e-4, atol=1e-5)
    with pytest.raises(
        InputError, match=r"'memory', and an .onnx file keeps nothing .*Build it wi"
    ):
        export(model, tmp_path / "m.onnx", "onnx")


class Across(L.Layer):
    """Computes with the size of the batch."""

    def call(self, x):
        return keras.ops.reshape(keras.ops.reshape(x, (4 * 6,))[::-1], (4, 6))


def test_a_fixed_batch(tmp_path, rng):
    model = keras.Sequential([keras.Input((6,), batch_size=4), Across(), L.Dense(3)])
    x = rng.normal(size=(10, 6)).astype("f4")
    for name, format, quantize in (("m.tflite", "litert", "int8"), ("m.onnx", "onnx", None)):
        row = export(model, tmp_path / name, format, quantize, False, x, seconds=0).file
        assert row.difference < (0.1 if quantize else 1e-5)
        assert row.notes[0].startswith("It takes batches of 4")


def test_augmentation_is_for_training_only(tmp_path, rng):
    """Keras's exporters call the model without `training`, and these layers train by default."""
    layers = [L.RandomRotation(0.5), L.RandomContrast(0.5), L.RandomFlip(), L.Flatten()]
    model = keras.Sequential([keras.Input((3, 3, 2)), *layers])
    x = rng.normal(size=(8, 3, 3, 2)).astype("f4")
    report = export(model, tmp_path / "m.onnx", "onnx", representative_data=x, seconds=0)
    assert report.file.difference == 0
    found = in_this_process(model, tmp_path / "saved", "saved_model", [x])
    np.testing.assert_array_equal(found["batch"][0], x.reshape(8, 18))
    assert "call" not in vars(layers[0])


def test_a_model_that_cannot_be_called_is_one_line(tmp_path):
    short = keras.Sequential([keras.Input((None,)), L.Reshape((3, 3)), L.Flatten()])
    with pytest.raises(InputError, match=r"called on inputs of shape \(8, 32\): .*Give `represe"):
        export(short, tmp_path / "m.tflite", seconds=0)
    assert not list(tmp_path.iterdir())


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def test_operations_that_tf2onnx_does_not_know(tmp_path):
    """Erfc of GELU, Expm1 of CELU, Log1p; convolutions in groups; constants that are tensors."""
    inputs = keras.Input((6, 6, 4))
    normalize = L.Normalization(mean=[0.0, 1, 2, 3], variance=[1.0, 2, 3, 4])
    x = L.Conv2D(6, 3, groups=2, strides=2, padding="same", activation="gelu")(normalize(inputs))
    x = L.Dense(5, "celu")(L.Flatten()(x))
    model = keras.Model(inputs, [keras.activations.gelu(3 * x), keras.ops.log1p(keras.ops.abs(x))])
    row = export(model, tmp_path / "m.onnx", "onnx", seconds=0).file
    assert row.difference < 1e-5
    session = onnxruntime.InferenceSession(row.path)
    assert [node.name for node in session.get_inputs()] == names_of(model)
    (images,) = random_inputs(model, 8)
    y, log = session.run(None, {names_of(model)[0]: images})
    z = keras.Model(inputs, x)(images).numpy()
    np.testing.assert_allclose(y, gelu(3 * z), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(log, np.log1p(np.abs(z)), rtol=1e-4, atol=1e-5)


def test_half_precision_may_round(tmp_path):
    model = keras.Sequential([keras.Input((64,)), L.Dense(64, "relu"), L.Dense(8)])
    half = keras.models.clone_model(
        model, clone_function=lambda e: type(e).from_config({**e.get_config(), "dtype": "float16"})
    )
    half.set_weights(model.get_weights())
    assert 1e-4 < export(half, tmp_path / "m.onnx", "onnx", seconds=0).file.difference < 16 / 1024


def no_kernel():
    inputs = keras.Input((4, 4), name="x")
    definite = keras.ops.matmul(inputs, keras.ops.transpose(inputs, (0, 2, 1))) + keras.ops.eye(4)
    return keras.Model(inputs, keras.ops.logdet(definite))


def quantized():
    model = keras.Sequential([keras.Input((16,)), L.Dense(8, name="first"), L.Dense(4)])
    model.layers[0].quantize("float8")
    return model


@pytest.mark.parametrize(
    ("format", "make", "words"),
    [
        ("litert", no_kernel, ["Cholesky", "saved_model, which holds all"]),
        ("onnx", no_kernel, ["Cholesky", "saved_model, which holds all"]),
        ("litert", quantized, ["'first' (Dense)", "as it was before `model.quantize`"]),
    ],
)
def test_what_a_format_lacks_is_one_line_and_nothing_else(tmp_path, capfd, make, words, format):
    with pytest.raises(WorkError) as failed:
        export(make(), tmp_path / {"litert": "m.tflite", "onnx": "m.onnx"}[format], format)
    line = str(failed.value)
    assert all(word in line for word in words) and "Nothing was written." in line
    assert "\n" not in line and "loc(" not in line and "Flex" not in line and len(line) < 500
    # Neither MLIR nor tf2onnx's errors.
    assert capfd.readouterr() == ("", "") and not list(tmp_path.iterdir())
    cause = failed.value.__cause__
    assert cause is None or ("loc(" not in str(cause) and "\n" not in str(cause))


@pytest.fixture
def matrix(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    return importlib.import_module("export_matrix")


def test_the_cures_in_the_lines_work(matrix, capsys):
    """The whole table is `scripts/export_matrix.py`."""
    assert matrix.main(["--kind", "string input", "--format", "litert"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert re.match(r"string input line, cured (0e\+00|\de-0[789]) \[1\]", table[1])
