"""LiteRT, formerly TensorFlow Lite: .tflite files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tfinit.errors import InputError
from tfinit.exporting.formats.base import (
    Format,
    Options,
    export_format,
    in_natural_order,
    in_order_of_inputs,
)

if TYPE_CHECKING:
    import numpy as np

    from tfinit.exporting.blocks import Encoding
    from tfinit.exporting.contents import Stored
    from tfinit.exporting.lacks import Lack


@export_format
class LiteRT(Format):
    """A .tflite file."""

    name = "litert"
    suffix = ".tflite"
    runtime = "LiteRT"
    packages = ("ai_edge_litert",)
    quantizes = sparse = float32_only = True
    missing_types: ClassVar = {"bfloat16": "float32", "uint64": "int64"}
    has_loops = False
    zeros = "they are stored and multiplied like any number; see `sparse=True`"

    def check_options(self, quantize: str | None, sparse: bool) -> None:
        """Also not int8 and sparse at once."""
        super().check_options(quantize, sparse)
        if sparse and quantize:
            raise InputError(
                "`sparse=True` and `quantize='int8'` exclude each other: LiteRT's converter writes "
                "files of the two together that give garbage, NaN or crash the process. Choose "
                "one: int8 alone shrinks and speeds up every layer; the zeros are kept in it."
            )

    def write(self, model: Any, path: Path, options: Options) -> "list[Encoding]":
        """Write the file with the converter of LiteRT, as Keras calls it."""
        import tensorflow as tf

        from tfinit.exporting.blocks import restore_zeros, steered_layers
        from tfinit.exporting.inputs import signature

        fed = signature(model)
        settings: dict[str, Any] = {}
        if options.quantize:
            # Where LiteRT has no int8 kernel the operation stays in float32.
            settings = {
                "optimizations": [tf.lite.Optimize.DEFAULT],
                "representative_dataset": _calibration(model, options.representative or []),
            }
        if not options.sparse:
            try:
                model.export(path, format="litert", verbose=False, input_signature=fed, **settings)
            except RuntimeError as error:
                if not (options.quantize and "Flex" in str(error)):
                    raise
                # Calibration ran it, without what it lacks: in float32 the file tells what that is.
                model.export(path, format="litert", verbose=False, input_signature=fed)
            return []
        with steered_layers(model, options.blocks) as encodings:
            optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
            model.export(
                path,
                format="litert",
                verbose=False,
                input_signature=fed,
                optimizations=optimizations,
            )
        path.write_bytes(restore_zeros(path.read_bytes()))
        return encodings

    def lacks(self, path: Path | None, logged: Sequence[str]) -> "list[Lack]":
        """The operations in the file that the interpreter has not."""
        from tfinit.exporting.lacks import lacking_in_litert

        return [] if path is None else lacking_in_litert(path)

    def weights(self, path: Path) -> "list[Stored]":
        """Those in the FlatBuffer."""
        import numpy as np
        from ai_edge_litert import schema_py_generated as schema

        from tfinit.exporting.contents import Stored

        model = schema.Model.GetRootAs(path.read_bytes(), 0)
        codes = [model.OperatorCodes(n) for n in range(model.OperatorCodesLength())]
        kinds = [max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) for code in codes]
        weights = _types(schema)
        found = []
        for g in range(model.SubgraphsLength()):
            graph = model.Subgraphs(g)
            unpacked, used = set(), set()
            for n in range(graph.OperatorsLength()):
                operator = graph.Operators(n)
                inputs = {operator.Inputs(i) for i in range(operator.InputsLength())}
                used |= inputs
                if kinds[operator.OpcodeIndex()] == schema.BuiltinOperator.DENSIFY:
                    unpacked |= inputs
            for t in sorted(used - {-1}):
                tensor = graph.Tensors(t)
                stored = model.Buffers(tensor.Buffer()).DataAsNumpy()
                if not isinstance(stored, np.ndarray) or tensor.ShapeLength() < 2:
                    continue
                if tensor.Type() not in weights:
                    continue
                shape = tuple(int(n) for n in tensor.ShapeAsNumpy())
                values = stored.view(weights[tensor.Type()])
                sparsity, encoding = tensor.Sparsity(), "dense"
                if sparsity is not None:
                    encoding = "blocks" if sparsity.BlockMapLength() else "sparse"
                zeros = int(np.prod(shape)) - int(np.count_nonzero(values))
                name = (tensor.Name() or b"").decode(errors="replace")
                found.append(Stored(name, shape, zeros, encoding, t in unpacked))
        return found

    def open(self, path: str, names: list[str] | None, alone: bool) -> "_Interpreter":
        """In LiteRT's interpreter."""
        return _Interpreter(path, names)


def _types(schema: Any) -> dict[int, type]:
    import numpy as np

    # int8 weights have the zero point 0: their zeros are zeros.
    types = schema.TensorType
    return {types.FLOAT32: np.float32, types.FLOAT16: np.float16, types.INT8: np.int8}


def _calibration(model: Any, arrays: "list[np.ndarray]") -> Callable[[], Any]:
    from tfinit.exporting.inputs import calibrating, names_of

    examples = calibrating(model, arrays)
    names = names_of(model) or []
    if len(names) < 2:
        return examples
    # By name: the file has its inputs in an order of its own.
    return lambda: (dict(zip(names, example, strict=True)) for example in examples())


class _Interpreter:
    """A .tflite file in LiteRT's interpreter, as it comes: XNNPACK is on."""

    def __init__(self, path: str, names: list[str] | None):
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(model_path=path, num_threads=1)
        key = next(iter(self.interpreter.get_signature_list()))
        runner = self.interpreter.get_signature_runner(key)
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        self.inputs = [inputs[name] for name in in_order_of_inputs(names, inputs)]
        self.outputs = [outputs[name]["index"] for name in in_natural_order(outputs)]
        self.any_batch = all(
            len(d["shape_signature"]) and d["shape_signature"][0] == -1 for d in self.inputs
        )
        self.shapes: list[tuple[int, ...]] = []

    def set(self, arrays: "list[np.ndarray]") -> None:
        shapes = [array.shape for array in arrays]
        if shapes != self.shapes:
            for detail, array in zip(self.inputs, arrays, strict=True):
                if tuple(detail["shape"]) != array.shape or self.shapes:
                    self.interpreter.resize_tensor_input(detail["index"], array.shape)
            self.interpreter.allocate_tensors()
            self.shapes = shapes
        for detail, array in zip(self.inputs, arrays, strict=True):
            self.interpreter.set_tensor(detail["index"], array.astype(detail["dtype"]))

    def invoke(self) -> None:
        self.interpreter.invoke()

    def get(self) -> "list[np.ndarray]":
        return [self.interpreter.get_tensor(index) for index in self.outputs]
