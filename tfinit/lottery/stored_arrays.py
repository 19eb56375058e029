"""Groups of named arrays in one compressed ``.npz`` file, as a run directory has them."""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from tfinit.array_files import arrays_in, open_arrays
from tfinit.errors import InputError

Arrays = Mapping[str, np.ndarray]


def pack(**groups: Arrays) -> bytes:
    """The content of a file with some groups of arrays, whose members are ``group/key``."""
    buffer = io.BytesIO()
    members = {f"{group}/{k}": v for group, arrays in groups.items() for k, v in arrays.items()}
    np.savez_compressed(buffer, **members)  # ty: ignore[invalid-argument-type]
    return buffer.getvalue()


def unpack(content: bytes) -> dict[str, dict[str, np.ndarray]]:
    """The groups of arrays in the content of a file. What is no such file raises anything."""
    groups: dict[str, dict[str, np.ndarray]] = {}
    with arrays_in(io.BytesIO(content)) as members:
        for name, stored in members.items():
            group, key = name.split("/", 1)
            groups.setdefault(group, {})[key] = stored.read()
    return groups


class StoredArrays(Mapping[str, np.ndarray]):
    """A group of arrays in a file, each read when it is asked for: results take no memory."""

    def __init__(self, path: Path, group: str, arrays: Arrays):
        self._path, self._group = path, group
        self.forms = forms_of(arrays)

    def __getitem__(self, key: str) -> np.ndarray:
        if key not in self.forms:
            raise KeyError(key)
        with open_arrays(self._path) as members:
            return members[f"{self._group}/{key}"].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self.forms)

    def __len__(self) -> int:
        return len(self.forms)


class MadeArrays(Mapping[str, np.ndarray]):
    """Arrays that are made of others when the first is asked for, and kept.

    Args:
        keys: Of the arrays.
        make: Makes all of them.
    """

    def __init__(self, keys: Iterable[str], make: Callable[[], Arrays]):
        self._keys, self._make = list(keys), make

    @cached_property
    def _made(self) -> Arrays:
        return self._make()

    def __getitem__(self, key: str) -> np.ndarray:
        return self._made[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


class LostArrays(Mapping[str, np.ndarray]):
    """Arrays that cannot be had; whoever asks for one is told why.

    Args:
        why: The error's text.
    """

    def __init__(self, why: str):
        self._why = why

    def __getitem__(self, key: str) -> np.ndarray:
        raise InputError(self._why)

    def __iter__(self) -> Iterator[str]:
        raise InputError(self._why)

    def __len__(self) -> int:
        raise InputError(self._why)


def shapes_of(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    """Key → shape, without reading what is in a file."""
    return {key: shape for key, (shape, _) in forms_of(arrays).items()}


def forms_of(arrays: Arrays) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Key → shape and type."""
    if isinstance(arrays, StoredArrays):
        return arrays.forms
    return {key: (array.shape, array.dtype) for key, array in arrays.items()}
