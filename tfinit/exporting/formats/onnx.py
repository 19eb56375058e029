"""ONNX, by tf2onnx, for ONNX Runtime: .onnx files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfinit.exporting.formats.base import Format, Options, export_format

if TYPE_CHECKING:
    import numpy as np

    from tfinit.exporting.blocks import Encoding
    from tfinit.exporting.contents import Stored
    from tfinit.exporting.lacks import Lack


@export_format
class Onnx(Format):
    """An .onnx file."""

    name = "onnx"
    suffix = ".onnx"
    runtime = "ONNX Runtime"
    packages = ("onnx", "tf2onnx", "onnxruntime")
    quantizes = float32_only = True
    keeps_state = False
    zeros = "ONNX Runtime never skips zeros"

    def write(self, model: Any, path: Path, options: Options) -> "list[Encoding]":
        """Write the file with tf2onnx, an int8 one with the quantizer of ONNX Runtime."""
        if options.quantize:
            _quantized(model, path, options.representative or [])
        else:
            _plain(model, path)
        return []

    def lacks(self, path: Path | None, logged: Sequence[str]) -> "list[Lack]":
        """What tf2onnx said that it does not know."""
        from tfinit.exporting.lacks import lacking_in_onnx

        return lacking_in_onnx(logged)

    def weights(self, path: Path) -> "list[Stored]":
        """The initializers of the graph."""
        import onnx
        from onnx import numpy_helper

        from tfinit.exporting.contents import Stored

        graph = onnx.load(str(path)).graph
        kinds = onnx.TensorProto
        return [
            Stored.of(node.name, numpy_helper.to_array(node))
            for node in graph.initializer
            if len(node.dims) >= 2 and node.data_type in (kinds.FLOAT, kinds.FLOAT16, kinds.INT8)
        ]

    def open(self, path: str, names: list[str] | None, alone: bool) -> "_Session":
        """In ONNX Runtime on the CPU."""
        return _Session(path, names)


def _plain(model: Any, path: Path) -> None:
    from tfinit.exporting.inputs import signature
    from tfinit.exporting.onnx_graph import as_tf2onnx_takes_it
    from tfinit.exporting.writers import at_inference

    with as_tf2onnx_takes_it(model), at_inference(model):
        model.export(path, format="onnx", verbose=False, input_signature=signature(model))


def _quantized(model: Any, path: Path, representative: "list[np.ndarray]") -> None:
    from onnxruntime import InferenceSession
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from tfinit.exporting.inputs import calibrating, names_of

    whole = path.with_name(f"{path.stem}.float.onnx")
    prepared = path.with_name(f"{path.stem}.prepared.onnx")
    try:
        _plain(model, whole)
        quant_pre_process(str(whole), str(prepared), skip_symbolic_shape=True)
        session = InferenceSession(str(prepared), providers=["CPUExecutionProvider"])
        names = [node.name for node in session.get_inputs()]
        known = names_of(model)
        ordered = known if known is not None and set(known) == set(names) else names

        class Examples(CalibrationDataReader):
            def __init__(self) -> None:
                self.rest = iter(calibrating(model, representative)())

            def get_next(self) -> Any:
                example = next(self.rest, None)
                return None if example is None else dict(zip(ordered, example, strict=True))

        quantize_static(
            str(prepared),
            str(path),
            Examples(),
            per_channel=True,
            # Weights in 7 bits. With 8, ONNX Runtime's sums saturate on x86 without VNNI: outputs
            # were up to 0.7 of their size off here, without an error.
            reduce_range=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
    finally:
        whole.unlink(missing_ok=True)
        prepared.unlink(missing_ok=True)


class _Session:
    """A .onnx file in ONNX Runtime on the CPU."""

    def __init__(self, path: str, names: list[str] | None):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        inputs = {node.name: node for node in self.session.get_inputs()}
        known = names is not None and set(names) == set(inputs)
        self.names = names if known else list(inputs)
        self.types = {name: node.type for name, node in inputs.items()}
        self.any_batch = not any(isinstance(n.shape[0], int) for n in inputs.values() if n.shape)

    def set(self, arrays: "list[np.ndarray]") -> None:
        cast = (
            _for_onnx(array, self.types[n]) for n, array in zip(self.names, arrays, strict=True)
        )
        self.feed = dict(zip(self.names, cast, strict=True))

    def invoke(self) -> None:
        self.found: Any = self.session.run(None, self.feed)

    def get(self) -> "list[np.ndarray]":
        return self.found


def _for_onnx(array: "np.ndarray", kind: str) -> "np.ndarray":
    """An array in the type of an input such as ``tensor(float16)``."""
    if array.dtype.kind == "U":
        return array.astype(object)
    import numpy as np

    kinds = {"tensor(float16)": np.float16, "tensor(float)": np.float32}
    return array.astype(kinds.get(kind, array.dtype))
