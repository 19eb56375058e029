"""Files that PyTorch's world keeps weights in: safetensors, and state dictionaries.

No code in a file is run, and no array is allocated that the bytes in the file cannot fill.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from tfinit.array_files import Stored
from tfinit.errors import InputError, MissingPackage, reason
from tfinit.file_bounds import array_bytes, file_size
from tfinit.files import open_regular

_LONGEST_HEADER = 100_000_000  # as in the format's own library
_NUMPY = {
    **{"F64": "f8", "F32": "f4", "F16": "f2", "BOOL": "?"},
    **{f"{kind}{8 * size}": f"{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
}
_NARROW = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
# What trainings keep a state dictionary under, beside an optimizer's.
_INSIDE = ("state_dict", "model_state_dict", "model")


@contextmanager
def open_safetensors(path: str | os.PathLike[str]) -> Iterator[Mapping[str, Stored]]:
    """The arrays of a ``.safetensors`` file by their names.

    The format: 8 bytes with the length of a header in JSON, name → dtype, shape and the first and
    last byte behind it; then the bytes, little-endian, in C order.

    Raises:
        OSError: there is no such file.
        ValueError, KeyError, TypeError: it is of another format.
    """
    with open_regular(path) as file:
        size = file_size(file)
        length = int.from_bytes(file.read(8), "little")
        if length > min(_LONGEST_HEADER, size - 8):
            raise ValueError(f"its header claims {length:,} bytes of {size:,}: no safetensors file")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        yield {name: _stored(file, name, told, 8 + length, size) for name, told in header.items()}


def _stored(file: BinaryIO, name: str, told: dict[str, Any], start: int, size: int) -> Stored:
    shape, (begin, end) = tuple(told["shape"]), told["data_offsets"]
    dtype = _dtype(told["dtype"])
    asked = array_bytes(shape, dtype)
    if asked != end - begin or not 0 <= begin <= end <= size - start:
        raise ValueError(f"{name!r} of shape {shape} needs {asked:,} bytes, not {begin} to {end}")

    def read() -> np.ndarray:
        file.seek(start + begin)
        return np.frombuffer(file.read(asked), dtype).reshape(shape)

    return Stored(shape, dtype, read)


def _dtype(name: str) -> np.dtype:
    if name in _NARROW:
        import ml_dtypes  # Keras's backends bring it

        return np.dtype(getattr(ml_dtypes, _NARROW[name]))
    return np.dtype(_NUMPY[name]).newbyteorder("<")


@contextmanager
def open_state_dictionary(path: str | os.PathLike[str]) -> Iterator[Mapping[str, Stored]]:
    """The tensors that ``torch.save(model.state_dict(), path)`` wrote, by their names.

    Also of a dictionary that holds it as ``"state_dict"``, ``"model_state_dict"`` or ``"model"``.

    Raises:
        MissingPackage: PyTorch is not installed.
        InputError: the file holds more than tensors, as whole models do, or none.
        OSError: there is no such file.
    """
    open_regular(path).close()
    try:
        import torch
    except ImportError as error:
        raise MissingPackage("A file of PyTorch", "PyTorch", "torch") from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of an altered file, anything
        raise InputError(
            f"`source` {str(path)!r} cannot be read without running what is in it: {reason(error)} "
            "In PyTorch write the tensors alone: torch.save(model.state_dict(), path)."
        ) from error
    for inside in _INSIDE:
        if isinstance(found, Mapping) and isinstance(found.get(inside), Mapping):
            found = found[inside]
    tensors = {
        str(name): tensor
        for name, tensor in (found.items() if isinstance(found, Mapping) else ())
        if isinstance(tensor, torch.Tensor)
    }
    if not tensors:
        raise InputError(
            f"`source` {str(path)!r} has no tensors by name. In PyTorch write "
            "torch.save(model.state_dict(), path)."
        )
    yield {name: _of_tensor(tensor.detach()) for name, tensor in tensors.items()}


def _of_tensor(tensor: Any) -> Stored:
    narrow = "float8" in str(tensor.dtype) or "bfloat16" in str(tensor.dtype)
    plain = tensor[:0] if tensor.ndim else tensor
    dtype = np.dtype("float32") if narrow else plain.numpy().dtype
    return Stored(
        tuple(tensor.shape), dtype, lambda: (tensor.float() if narrow else tensor).numpy()
    )
