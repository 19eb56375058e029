"""Arrays in files that are not trusted: their names and shapes first, their values when asked for.

Nothing in a file is executed, and no array is allocated that the bytes in the file cannot fill
(`file_bounds`). Those of HDF5 are in `hdf5_files`.
"""

import io
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
from numpy.lib import format as npy

from tfinit.errors import InputError, reason
from tfinit.file_bounds import array_bytes, check_member, file_size
from tfinit.files import open_regular

_LONGEST_HEADER = 10_000  # as in NumPy, whose parser larger ones could crash


def is_number(dtype: np.dtype) -> bool:
    """Whether arrays of a type hold numbers: NumPy's, or bfloat16 and the like."""
    return dtype.kind in "biufc" or dtype.type.__module__.startswith("ml_dtypes")


@dataclass(frozen=True)
class Stored:
    """An array in an open file, not read yet.

    Attributes:
        shape: What the file says. `read` gives this shape or raises.
        dtype: The same.
        read: Gives the array; any exception if the file has not the bytes for it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]


@contextmanager
def open_arrays(path: str | os.PathLike[str]) -> Iterator["NumpyFile"]:
    """The arrays of an ``.npz`` file by their names; that of an ``.npy`` file is called ``x``.

    Raises:
        OSError: there is no such file, or it is no regular one.
        Exception: of any kind where it is not of NumPy: an altered file raises BadZipFile,
            zlib.error, EOFError, NotImplementedError for a compression that does not exist.
    """
    with open_regular(path) as file, arrays_in(file) as arrays:
        yield arrays


@contextmanager
def arrays_in(file: BinaryIO) -> Iterator["NumpyFile"]:
    """As `open_arrays`, for a file that is open, or content in memory."""
    start = file.read(len(npy.MAGIC_PREFIX))
    file.seek(0)
    if start == npy.MAGIC_PREFIX:
        yield NumpyFile(file, None)
    elif start.startswith(b"PK"):
        with zipfile.ZipFile(file) as archive:
            yield NumpyFile(file, archive)
    else:
        raise ValueError("it is no file of NumPy")


class NumpyFile(Mapping[str, Stored]):
    """Names → arrays of an open file of NumPy; see `open_arrays`."""

    def __init__(self, file: BinaryIO, archive: zipfile.ZipFile | None) -> None:
        self._file, self._archive, self._size = file, archive, file_size(file)
        names = ["x"] if archive is None else archive.namelist()
        self._members = {name.removesuffix(".npy"): name for name in names}

    def __getitem__(self, name: str) -> Stored:
        member = self._members[name]
        with self._open(member) as (file, size):
            shape, dtype, start = _header(file)
        asked = array_bytes(shape, dtype)
        if dtype.hasobject:
            raise ValueError(f"{name!r} holds objects of Python, whose loading would run code")
        if start + asked > size:
            raise ValueError(
                f"{name!r} of shape {shape} needs {asked:,} bytes, and {size - start:,} are there"
            )

        def read() -> np.ndarray:
            with self._open(member) as (file, _):
                return npy.read_array(file, allow_pickle=False)

        return Stored(shape, dtype, read)

    @contextmanager
    def _open(self, member: str) -> Iterator[tuple[IO[bytes], int]]:
        """A member from its start, and its size."""
        if self._archive is None:
            self._file.seek(0)
            yield self._file, self._size
            return
        info = self._archive.getinfo(member)
        check_member(info, self._size)
        with self._archive.open(info) as file:
            yield file, info.file_size

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape and type of an array in NumPy's format, and how many bytes come before its values."""
    version = npy.read_magic(file)
    parsers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in parsers:
        raise ValueError(f"its header is of version {version}, which plain arrays do not need")
    told = file.read(2 if version == (1, 0) else 4)
    length = int.from_bytes(told, "little")
    if length > _LONGEST_HEADER:
        raise ValueError(f"its header is {length:,} bytes long")
    shape, _, dtype = parsers[version](io.BytesIO(told + file.read(length)))
    return shape, dtype, npy.MAGIC_LEN + len(told) + length


def read_arrays(path: Path, trouble: str, cure: str = "") -> Mapping[str, np.ndarray]:
    """The arrays of an ``.npz`` file by their names; that of an ``.npy`` file is called ``x``.

    Each is read when it is asked for: what nobody asks for takes no memory.

    Args:
        path: The file.
        trouble: What an error begins with, such as which argument named the file.
        cure: What it ends with.

    Raises:
        InputError: there is no such file, it holds something else, is cut short or altered, asks
            for more memory than its bytes can fill, or holds objects, whose loading would run code;
            the last three when the array is asked for.
    """
    return _Arrays(path, trouble, cure)


class _Arrays(Mapping[str, np.ndarray]):
    def __init__(self, path: Path, trouble: str, cure: str) -> None:
        self._path, self._trouble, self._cure = path, trouble, cure
        with self._opened() as arrays:
            self._names = list(arrays)

    @contextmanager
    def _opened(self) -> Iterator[NumpyFile]:
        try:
            with open_arrays(self._path) as arrays:
                yield arrays
        except Exception as error:
            raise InputError(f"{self._trouble}: {reason(error)} {self._cure}".rstrip()) from error

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        with self._opened() as arrays:
            return arrays[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
