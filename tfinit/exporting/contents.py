"""What is in an exported file: its bytes, its weights, and how many of them are zero."""

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Stored:
    """A weight of rank 2 or more in a file.

    Attributes:
        name: As the file calls it.
        shape: As the file has it: LiteRT turns a Dense kernel around.
        zeros: How many of its entries are zero, whether they take space or not.
        encoding: ``"dense"``, ``"sparse"`` (survivors one by one) or ``"blocks"``.
        unpacked: Whether the runtime makes it dense before it computes with it.
    """

    name: str
    shape: tuple[int, ...]
    zeros: int
    encoding: str = "dense"
    unpacked: bool = False

    @property
    def size(self) -> int:
        """Its entries."""
        return int(np.prod(self.shape))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a directory."""
    return sum(part.stat().st_size for part in _files(path))


def gzipped_size(path: Path) -> int:
    """Bytes after gzip (level 6); of a directory as a tar archive."""
    if path.is_file():
        return len(gzip.compress(path.read_bytes(), 6, mtime=0))
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for part in _files(path):
            tar.add(part, str(part.relative_to(path)))
    return len(gzip.compress(archive.getvalue(), 6, mtime=0))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(part for part in path.rglob("*") if part.is_file())


def stored_weights(path: Path, format: str) -> list[Stored]:
    """The weights of rank 2 or more that a file holds, read from the file alone."""
    return _READERS[format](path)


def _litert(path: Path) -> list[Stored]:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    codes = [model.OperatorCodes(n) for n in range(model.OperatorCodesLength())]
    kinds = [max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) for code in codes]
    weights = _litert_types(schema)
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


def _litert_types(schema: Any) -> dict[int, type]:
    # int8 weights have the zero point 0: their zeros are zeros.
    types = schema.TensorType
    return {types.FLOAT32: np.float32, types.FLOAT16: np.float16, types.INT8: np.int8}


def _onnx(path: Path) -> list[Stored]:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    return [
        _stored(node.name, numpy_helper.to_array(node))
        for node in graph.initializer
        if len(node.dims) >= 2
        and node.data_type
        in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8)
    ]


def _keras(path: Path) -> list[Stored]:
    from tfinit.hdf5_files import open_hdf5

    with open_hdf5(path) as file:
        return [
            _stored(name, tensor.read())
            for name, tensor in file.tensors().items()
            if len(tensor.shape) >= 2 and "optimizer" not in name
        ]


def names_own_classes(path: Path) -> bool:
    """Whether a .keras file is made of classes or functions beside those of Keras and tfinit."""
    with zipfile.ZipFile(path) as file:
        config = json.loads(file.read("config.json"))

    def own(part: Any) -> bool:
        if isinstance(part, list):
            return any(map(own, part))
        if not isinstance(part, dict):
            return False
        name, module = part.get("registered_name"), part.get("module") or ""
        here = bool(name) and not f"{module or name}".startswith(("keras", "builtins", "tfinit"))
        return here or any(map(own, part.values()))

    return own(config)


def _saved_model(path: Path) -> list[Stored]:
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
    # Each variable is there twice: once as the model's, once as the archive's.
    names = [n for n in reader.get_variable_to_shape_map() if n.startswith("variables/")]
    if not names:
        names = list(reader.get_variable_to_shape_map())
    arrays = ((name, reader.get_tensor(name)) for name in sorted(names))
    return [
        _stored(name, array)
        for name, array in arrays
        if getattr(array, "ndim", 0) >= 2 and array.dtype.kind == "f"
    ]


def _stored(name: str, array: np.ndarray) -> Stored:
    return Stored(name, tuple(array.shape), int(array.size - np.count_nonzero(array)))


_READERS: dict[str, Callable[[Path], list[Stored]]] = {
    "litert": _litert,
    "onnx": _onnx,
    "keras": _keras,
    "saved_model": _saved_model,
}
