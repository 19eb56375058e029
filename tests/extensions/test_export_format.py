"""An export format that is added: in help, errors, reports; its files are run and timed."""

from pathlib import Path

import keras
import numpy as np
import pytest
from recipes import recipe

from tfinit.cli import main
from tfinit.errors import InputError, WorkError
from tfinit.exporting import ExportConfig, Variant, export, side_by_side
from tfinit.exporting.formats import FORMATS


@pytest.fixture
def added():
    before = dict(FORMATS)
    names = {}
    exec(recipe("An export format"), names)
    yield names["Npz"]
    FORMATS.clear()
    FORMATS.update(before)


def network(units=2):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, name="fc")])
    kernel = np.arange(3.0 * units).reshape(3, units)
    model.set_weights([kernel, np.ones(units)])
    return model


def test_it_is_found_wherever_formats_are(added, tmp_path, monkeypatch, capsys):
    assert list(FORMATS) == ["litert", "onnx", "keras", "npz", "saved_model"]
    assert ExportConfig(Path("m.keras"), Path("m.npz")).format == "npz"
    report = export(network(), tmp_path / "m.npz", seconds=0.01)
    row = report.file
    assert (row.format, row.runtime, row.weights, row.zeros) == ("npz", "NumPy", 6, 1)
    assert row.latency is not None
    assert any("npz" in line for line in str(report).splitlines())
    assert row.layers[0].why == "NumPy multiplies zeros like any number"
    rows = side_by_side([Variant("a", network(), "npz")], seconds=0).rows
    assert [row.format for row in rows] == ["npz"]

    with pytest.raises(InputError, match=r"`format` must be one of .*npz"):
        export(network(), tmp_path / "m", "no such")
    with pytest.raises(InputError, match=r"`path` must end in .*, .npz, or have no suffix"):
        export(network(), tmp_path / "m.h5")
    with pytest.raises(InputError, match="'npz': NumPy has neither a file form nor kernels"):
        export(network(), tmp_path / "m.npz", sparse=True)
    with pytest.raises(InputError, match="for the formats litert and onnx, received 'npz'"):
        export(network(), tmp_path / "m.npz", quantize="int8")
    monkeypatch.setattr("sys.argv", ["tfinit", "export", "--help"])
    with pytest.raises(SystemExit):
        main()
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "litert, onnx, keras, npz or saved_model" in shown
    assert ".keras, .npz, or a directory" in shown


def test_its_file_must_agree_with_keras(added, tmp_path):
    deep = keras.Sequential([network(3), keras.layers.Activation("relu")])
    deep.layers[0].set_weights([-np.ones((3, 3)), np.zeros(3)])
    with pytest.raises(WorkError, match="NumPy computes something else from it than Keras"):
        export(deep, tmp_path / "m.npz", seconds=0)
    assert not list(tmp_path.iterdir())


def test_it_is_gone_again():
    assert list(FORMATS) == ["litert", "onnx", "keras", "saved_model"]
