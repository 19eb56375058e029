"""A tensor of a saved model as an initializer."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tfinit.arguments import path, text
from tfinit.array_files import Stored, is_number, open_arrays
from tfinit.deserializing import deserializing, loading, values_follow
from tfinit.errors import InputError, reason
from tfinit.hdf5_files import open_hdf5
from tfinit.initializers.base import Initializer
from tfinit.initializers.registry import serializable

SUFFIXES = (".keras", ".h5", ".hdf5", ".npz")


# The sources and keys that the code of this process has named itself.
_named: set[tuple[str, str]] = set()
# Those that model files have named; a copy of such an initializer is no more trusted than it.
_named_by_files: set[tuple[str, str]] = set()


@serializable
class Pretrained(Initializer):
    """w = the tensor ``key`` of the file ``source``.

    Args:
        source: A file that Keras 3, tf_keras or NumPy wrote: ``.keras``, ``.h5``, ``.weights.h5``
            or ``.npz``. It is read when a layer is built by your own call.
        key: The tensor's path in the file, or the end of it if that is unique. Keras 3 numbers the
            weights of a layer, ``"fc1/vars/0"`` (the layer's name, or its place in the file);
            whole models in HDF5 name them, ``"fc1/kernel"``.

    The shape must be the tensor's; the values are cast to the dtype that is asked for.

    While a model that was saved with this initializer is loaded, nothing is read, whatever
    ``source`` says: the weights are in the model's own file. Nor is it read later for such a model
    (by ``initialize(model, "reinitialize")``, say), unless this process has itself made a
    ``Pretrained`` of the same source and key: a model from elsewhere could name any file.

    Raises:
        InputError: no such file or kind of file, no tensor or several under ``key`` (the error
            lists what there is), another shape (the error says both), more memory asked for than
            the file has bytes for, or only a model file has named the source.

    Example:
        >>> layer = keras.layers.Dense(10, kernel_initializer=Pretrained("a.keras", "fc1/vars/0"))
    """

    _from_file = False  # of those that an older tfinit has pickled

    def __init__(self, source: str | os.PathLike, key: str) -> None:
        self._set(source, key)
        if not loading():
            _named.add((self.source, self.key))

    def _set(self, source: Any, key: Any) -> None:
        self.source, self.key = str(path("source", source)), text("key", key)
        if Path(self.source).suffix not in SUFFIXES:
            raise InputError(f"`source` must end in one of {SUFFIXES}, received {self.source!r}.")
        if loading():
            _named_by_files.add((self.source, self.key))
        self._from_file = (self.source, self.key) in _named_by_files - _named

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Pretrained":
        """The initializer of a configuration, which names a file but is not your code."""
        made = cls.__new__(cls)
        made._set(**config)
        return made

    def check(self, shape: tuple[int, ...]) -> None:
        """InputError unless the tensor has this shape, also where that has no entries."""
        if 0 in shape:
            self.values(shape, "float32")

    def values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """The tensor of the file; zeros where others are written over them at once."""
        if values_follow():
            return np.zeros(shape, dtype)
        told = (self.source, self.key)
        if told not in _named and (self._from_file or deserializing()):
            # Before anything about the file is looked at: that it exists is nobody's business.
            raise InputError(
                f"An initializer Pretrained{told} is named by a saved model or configuration, and "
                "tfinit opens no file for that alone. If you trust it, say so: make "
                f"tfinit.initializers.Pretrained{told} in your own code first. If not, give the "
                "layer another initializer."
            )
        if not Path(self.source).is_file():
            raise InputError(
                f"`source` {self.source!r} is not a file (in {os.getcwd()}). "
                "Pass the path of a saved model or of its weights."
            )
        try:
            with _tensors(self.source) as (tensors, aliases):
                path = self.key if self.key in tensors else self._path_in([*tensors], aliases())
                return self._read(tensors[path], shape)
        except InputError:
            raise
        except Exception as error:  # an altered file raises anything
            raise InputError(
                f"`source` {self.source!r} cannot be read: {reason(error)}. Pass a file that Keras "
                "or NumPy wrote."
            ) from error

    def _read(self, tensor: Stored, shape: tuple[int, ...]) -> np.ndarray:
        if tensor.shape != shape:
            raise InputError(
                f"The tensor {self.key!r} of {self.source!r} has shape {tensor.shape}, the weight "
                f"to fill has shape {shape}."
            )
        if not is_number(tensor.dtype):
            raise InputError(
                f"The tensor {self.key!r} of {self.source!r} holds {tensor.dtype}, no numbers."
            )
        return tensor.read()

    def _path_in(self, paths: list[str], aliases: dict[str, str]) -> str:
        end = f"/{self.key}"
        found = [
            path
            for path in paths
            if any(f"/{p}".endswith(end) for p in (path, aliases.get(path, "")))
        ]
        if len(found) != 1:
            shown = [f"{path} ({aliases[path]})" if path in aliases else path for path in paths]
            raise InputError(
                f"`key` {self.key!r} names {len(found) or 'no'} tensors of {self.source!r}, which "
                f"has {shown}. Give the end of one path."
            )
        return found[0]


@contextmanager
def _tensors(
    source: str,
) -> Iterator[tuple[Mapping[str, Stored], Callable[[], dict[str, str]]]]:
    """Paths to the tensors of a file, not read yet, and what gives other paths of some of them."""
    if source.endswith(".npz"):
        with open_arrays(source) as arrays:
            yield arrays, dict
    else:
        with open_hdf5(source) as file:
            yield file.tensors(), file.aliases
