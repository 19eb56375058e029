"""Which format a path names."""

from pathlib import Path

import pytest

from tfinit.errors import InputError
from tfinit.exporting import ExportConfig
from tfinit.exporting.formats import format_of


@pytest.mark.parametrize(
    ("path", "format"),
    [
        ("m.tflite", "litert"),
        ("m.onnx", "onnx"),
        ("m.keras", "keras"),
        ("M.TFLITE", "litert"),
        ("m.keras.onnx", "onnx"),
        ("saved", "saved_model"),
        ("m.tflite/saved", "saved_model"),
    ],
)
def test_the_suffix_says_it(path, format):
    assert format_of("path", Path(path), None) == format
    assert ExportConfig(Path("model.keras"), Path(path)).format == format
    assert format_of("path", Path(path), "onnx") == "onnx"


def test_a_directory_may_have_a_dot(tmp_path):
    path = tmp_path / "v1.2"
    with pytest.raises(InputError, match=r"`path` must end in .* name the `format` .* saved_model"):
        format_of("path", path, None)
    path.mkdir()
    assert format_of("path", path, None) == "saved_model"


@pytest.mark.parametrize("name", ["m.h5", "m.weights.h5", "m.pb", "m.tflite.gz", "m.ckpt"])
def test_other_suffixes_are_named(name):
    with pytest.raises(InputError, match=rf"`out` must end in .tflite, .onnx, .*{name}"):
        ExportConfig(Path("model.keras"), Path(name))
