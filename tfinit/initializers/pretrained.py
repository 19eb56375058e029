"""A tensor of a saved model as an initializer."""

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tfinit.arguments import path, text
from tfinit.errors import InputError
from tfinit.initializers.base import Initializer
from tfinit.initializers.registry import serializable

SUFFIXES = (".keras", ".h5", ".hdf5", ".npz")


@serializable
class Pretrained(Initializer):
    """w = the tensor ``key`` of the file ``source``.

    Args:
        source: A file that Keras 3, tf_keras or NumPy wrote: ``.keras``, ``.h5``, ``.weights.h5``
            or ``.npz``. It is read when a layer is built, also when a model that was saved with
            this initializer is loaded.
        key: The tensor's path in the file, or the end of it if that is unique. Keras 3 numbers the
            weights of a layer, ``"fc1/vars/0"`` (the layer's name, or its place in the file);
            whole models in HDF5 name them, ``"fc1/kernel"``.

    The shape must be the tensor's; the values are cast to the dtype that is asked for.

    Raises:
        InputError: no such file or kind of file, no tensor or several under ``key`` (the error
            lists what there is), or another shape (the error says both).

    Example:
        >>> layer = keras.layers.Dense(10, kernel_initializer=Pretrained("a.keras", "fc1/vars/0"))
    """

    def __init__(self, source: str | os.PathLike, key: str) -> None:
        self.source, self.key = str(path("source", source)), text("key", key)
        if Path(self.source).suffix not in SUFFIXES:
            raise InputError(f"`source` must end in one of {SUFFIXES}, received {self.source!r}.")

    def values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """The tensor of the file."""
        if not Path(self.source).is_file():
            raise InputError(
                f"`source` {self.source!r} is not a file (in {os.getcwd()}). "
                "Pass the path of a saved model or of its weights."
            )
        with _tensors(self.source) as tensors:
            value = np.asarray(tensors[self._path_in(tensors)])
        if value.shape != shape:
            raise InputError(
                f"The tensor {self.key!r} of {self.source!r} has shape {value.shape}, the weight "
                f"to fill has shape {shape}."
            )
        return value

    def _path_in(self, tensors: dict[str, Any]) -> str:
        if self.key in tensors:
            return self.key
        names = {path: _with_layer_name(path, tensor) for path, tensor in tensors.items()}
        end = f"/{self.key}"
        found = [path for path, name in names.items() if path.endswith(end) or name.endswith(end)]
        if len(found) != 1:
            shown = [p if f"/{p}" == name else f"{p} ({name[1:]})" for p, name in names.items()]
            raise InputError(
                f"`key` {self.key!r} names {len(found) or 'no'} tensors of {self.source!r}, which "
                f"has {shown}. Give the end of one path."
            )
        return found[0]


def _with_layer_name(path: str, tensor: Any) -> str:
    """The path with a leading "/", and with the layer's name in place of its number in the file.

    Keras 3 calls the groups of layers by class and number; the name is an attribute of "vars".
    """
    *above, group, kind, number = ["", "", "", *path.split("/")]
    if kind == "vars" and isinstance(tensor, h5py.Dataset):
        group = tensor.parent.attrs.get("name", group)
    return "/" + "/".join(part for part in (*above, group, kind, number) if part)


@contextmanager
def _tensors(source: str) -> Iterator[dict[str, Any]]:
    """Paths to the tensors of a file, not read yet where the format allows it."""
    if source.endswith(".npz"):
        with np.load(source) as archive:
            yield {name: archive[name] for name in archive.files}
    elif source.endswith(".keras"):
        with (
            zipfile.ZipFile(source) as archive,
            archive.open("model.weights.h5") as weights,
            h5py.File(weights) as file,
        ):
            yield _datasets(file)
    else:
        with h5py.File(source) as file:
            yield _datasets(file)


def _datasets(file: h5py.File) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def visit(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[path] = item

    file.visititems(visit)
    return found
