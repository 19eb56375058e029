"""Keras's own files: .keras, without the optimizer."""

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfinit.exporting.formats.base import Format, Options, TensorFlowRuntime, export_format

if TYPE_CHECKING:
    from tfinit.exporting.blocks import Encoding
    from tfinit.exporting.contents import Stored


@export_format
class KerasFile(Format):
    """A .keras file."""

    name = "keras"
    suffix = ".keras"
    runtime = "Keras"
    needs_tensorflow = False
    keeps_codes = True
    zeros = "TensorFlow multiplies zeros like any number"

    def write(self, model: Any, path: Path, options: Options) -> "list[Encoding]":
        """Write the file with `model.save`."""
        _without_optimizer(model).save(path)
        return []

    def weights(self, path: Path) -> "list[Stored]":
        """Those in the HDF5 file inside."""
        from tfinit.exporting.contents import Stored
        from tfinit.hdf5_files import open_hdf5

        with open_hdf5(path) as file:
            return [
                Stored.of(name, tensor.read())
                for name, tensor in file.tensors().items()
                if len(tensor.shape) >= 2 and "optimizer" not in name
            ]

    def runs_here(self, path: Path) -> bool:
        """Whether it is made of classes or functions beside those of Keras and tfinit."""
        with zipfile.ZipFile(path) as file:
            return _names_others(json.loads(file.read("config.json")))

    def open(self, path: str, names: list[str] | None, alone: bool) -> "_Model":
        """In Keras."""
        return _Model(path, alone)


def _without_optimizer(model: Any) -> Any:
    """A model of the same layers that is not compiled; a subclassed model itself."""
    from tfinit.graph.keras_internals import has_graph
    from tfinit.pruning.tfmot_api.low_magnitude import uncompiled

    compiled = getattr(model, "compiled", False) and has_graph(model)
    return (uncompiled(model) if compiled else None) or model


def _names_others(part: Any) -> bool:
    if isinstance(part, list):
        return any(map(_names_others, part))
    if not isinstance(part, dict):
        return False
    name, module = part.get("registered_name"), part.get("module") or ""
    here = bool(name) and not f"{module or name}".startswith(("keras", "builtins", "tfinit"))
    return here or any(map(_names_others, part.values()))


class _Model(TensorFlowRuntime):
    """A .keras file in Keras, its call compiled."""

    def __init__(self, path: str, alone: bool):
        super().__init__(alone)
        import keras

        from tfinit.exporting.inputs import packed

        model = keras.saving.load_model(path, compile=False)
        self.dtypes = [
            self.tf.as_dtype(spec.dtype) for spec in getattr(model, "inputs", None) or []
        ]
        self.call = self.tf.function(
            lambda *flat: keras.tree.flatten(model(packed(model, list(flat)), training=False))
        )
