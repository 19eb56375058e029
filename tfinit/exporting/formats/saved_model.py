"""TensorFlow's SavedModel: a directory."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfinit.exporting.formats.base import (
    Format,
    Options,
    TensorFlowRuntime,
    export_format,
    in_natural_order,
    in_order_of_inputs,
)

if TYPE_CHECKING:
    from tfinit.exporting.blocks import Encoding
    from tfinit.exporting.contents import Stored


@export_format
class SavedModel(Format):
    """A directory of TensorFlow's."""

    name = "saved_model"
    marker = "saved_model.pb"
    runtime = "TensorFlow"
    keeps_codes = True
    zeros = "TensorFlow multiplies zeros like any number"
    note = "Keras writes every variable of a SavedModel twice."
    cure = "Export it to keras, or replace the layer."

    def write(self, model: Any, path: Path, options: Options) -> "list[Encoding]":
        """Write the directory with `model.export`."""
        from tfinit.exporting.inputs import signature
        from tfinit.exporting.writers import at_inference

        fed = signature(model)
        with at_inference(model):
            model.export(path, format="tf_saved_model", verbose=False, input_signature=fed)
        return []

    def weights(self, path: Path) -> "list[Stored]":
        """The variables of the checkpoint inside."""
        import tensorflow as tf

        from tfinit.exporting.contents import Stored

        reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
        # Each variable is there twice: once as the model's, once as the archive's.
        names = [n for n in reader.get_variable_to_shape_map() if n.startswith("variables/")]
        if not names:
            names = list(reader.get_variable_to_shape_map())
        arrays = ((name, reader.get_tensor(name)) for name in sorted(names))
        return [
            Stored.of(name, array)
            for name, array in arrays
            if getattr(array, "ndim", 0) >= 2 and array.dtype.kind == "f"
        ]

    def open(self, path: str, names: list[str] | None, alone: bool) -> "_Signature":
        """In TensorFlow."""
        return _Signature(path, names, alone)


class _Signature(TensorFlowRuntime):
    """A SavedModel in TensorFlow: its default signature."""

    def __init__(self, path: str, names: list[str] | None, alone: bool):
        super().__init__(alone)
        self.loaded = self.tf.saved_model.load(path)
        signature = self.loaded.signatures["serving_default"]
        specs = signature.structured_input_signature[1]
        order = in_order_of_inputs(names, specs)
        self.dtypes = [specs[name].dtype for name in order]

        def call(*flat: Any) -> list[Any]:
            found = signature(**dict(zip(order, flat, strict=True)))
            return [found[name] for name in in_natural_order(found)]

        self.call = call
