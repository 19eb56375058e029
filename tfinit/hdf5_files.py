"""Weights in HDF5 files that are not trusted: ``.h5``, ``.weights.h5``, and those in ``.keras``.

HDF5 can keep a tensor's values in another file, and name any; it can claim shapes that no byte
stands for. Keras guards its own loading against the first since CVE-2026-1669, in its newer
versions; here both are refused before anything is read, whichever Keras is installed.
"""

import io
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import h5py
import ml_dtypes
import numpy as np

from tfinit.array_files import Stored, is_number
from tfinit.file_bounds import array_bytes, check_archive, check_bytes, file_size
from tfinit.files import open_regular

WEIGHTS = "model.weights.h5"  # the member of a .keras file
_DEFLATE, _SHUFFLE, _CHECKSUM, _LZF = 1, 2, 3, 32000  # HDF5's numbers of its filters
_LONGEST_NAME = 10_000


class Hdf5File:
    """An open HDF5 file.

    Args:
        file: Of h5py.
        size: How many bytes it has.

    Attributes:
        attributes: Of the file itself.
    """

    def __init__(self, file: h5py.File, size: int) -> None:
        self.attributes = file.attrs
        self._file, self.size = file, size

    def tensors(self) -> dict[str, Stored]:
        """Paths → arrays, in the order of their names, not read yet.

        Raises:
            ValueError: something in it lies in another file.
        """
        return {path: self._stored(path, dataset) for path, dataset in self._datasets()}

    def aliases(self) -> dict[str, str]:
        """Paths → other paths, for tensors that Keras 3 wrote: with the layer's name in place of
        its number in the file. Keras calls the groups of layers by class and number."""
        found = {}
        for path, dataset in self._datasets():
            *above, group, kind, number = ["", "", *path.split("/")]
            if kind == "vars":
                group = _text(dataset.parent.attrs, "name") or group
            alias = "/".join(part for part in (*above, group, kind, number) if part)
            if alias != path:
                found[path] = alias
        return found

    def check(self) -> None:
        """ValueError unless everything in it can be read from the bytes that are there."""
        total = 0
        for path, dataset in self._datasets():
            self._check(path, dataset)
            total += array_bytes(dataset.shape or (), dataset.dtype)
        check_bytes("it", total, self.size)

    def _datasets(self) -> Iterator[tuple[str, h5py.Dataset]]:
        """What `h5py.Group.visititems` has, each object once; but links are not passed over."""
        self._check_attributes("/", self._file)
        seen = {_address(self._file)}
        waiting = [(self._file, name, name) for name in reversed(list(self._file))]
        while waiting:
            group, name, path = waiting.pop()
            if group.get(name, getclass=True, getlink=True) is not h5py.HardLink:
                raise ValueError(f"its {path!r} is a link, which may lead to another file")
            item = group[name]
            if _address(item) in seen:
                continue
            seen.add(_address(item))
            self._check_attributes(path, item)
            if isinstance(item, h5py.Group):
                names = reversed(list(item))
                waiting += [(item, below, f"{path}/{below}") for below in names]
            elif isinstance(item, h5py.Dataset):
                made = item.id.get_create_plist()
                # Before its shape is asked for: that of a virtual one is looked up elsewhere.
                if made.get_external_count() or made.get_layout() == h5py.h5d.VIRTUAL:
                    raise ValueError(f"its {path!r} has its values in another file")
                if item.shape is not None:  # it is, of one that has no values
                    yield path, item

    def _check_attributes(self, path: str, item: Any) -> None:
        for name in item.attrs:
            found = item.attrs.get_id(name)
            asked = array_bytes(found.shape or (), found.dtype)
            check_bytes(f"its attribute {name!r} of {path!r}", asked, self.size)

    def _stored(self, path: str, dataset: h5py.Dataset) -> Stored:
        dtype = dataset.dtype
        if dtype == np.dtype("V2") and _text(dataset.attrs, "dtype") == "bfloat16":
            dtype = np.dtype(ml_dtypes.bfloat16)

        def read() -> np.ndarray:
            self._check(path, dataset)
            if not is_number(dtype):
                raise ValueError(f"its {path!r} holds {dtype}, no numbers")
            return np.asarray(dataset[()]).view(dtype)

        return Stored(tuple(dataset.shape), dtype, read)

    def _check(self, path: str, dataset: h5py.Dataset) -> None:
        """ValueError unless a data set can be read from the bytes that are there."""
        what, shape, dtype = f"its {path!r}", dataset.shape, dataset.dtype
        if dtype.hasobject or dtype.names:
            raise ValueError(f"{what} holds {dtype}, no numbers")
        asked = array_bytes(shape, dtype)
        if not asked:
            return
        stored = min(dataset.id.get_storage_size(), self.size)
        if dataset.chunks is None:
            if asked > stored:
                raise ValueError(
                    f"{what} of shape {shape} needs {asked:,} bytes, and {stored:,} are there"
                )
            return
        # A chunk can be larger than what it is a chunk of.
        chunk = array_bytes(dataset.chunks, dtype)
        check_bytes(what, max(asked, chunk), stored)
        _check_filters(what, dataset, chunk)


def _check_filters(what: str, dataset: h5py.Dataset, chunk: int) -> None:
    """ValueError unless each chunk, decompressed, has as many bytes as it should."""
    made = dataset.id.get_create_plist()
    filters = [made.get_filter(n) for n in range(made.get_nfilters())]
    codes = [code for code, *_ in filters]
    # Others are code from anywhere, or allocate what the file tells them to.
    known = set(codes) <= {_DEFLATE, _SHUFFLE, _CHECKSUM, _LZF} and len(codes) == len(set(codes))
    limits = [values[2] for code, _, values, *_ in filters if code == _LZF and len(values) > 2]
    if not known or any(limit > chunk for limit in limits):
        raise ValueError(f"{what} is compressed in an unusual way")
    if _DEFLATE not in codes:
        return
    skipped = 1 << codes.index(_DEFLATE)

    def check(found: Any) -> None:
        mask, content = dataset.id.read_direct_chunk(found.chunk_offset)
        # HDF5 itself decompresses without an end in sight. The checksum may be inside.
        if not mask & skipped:
            content = zlib.decompressobj().decompress(content, chunk + 5)
        if len(content) > chunk + 4:
            raise ValueError(f"{what} has a chunk of more than its {chunk:,} bytes")

    chunks: list[Any] = []
    dataset.id.chunk_iter(chunks.append)
    for found in chunks:
        check(found)


def _address(item: Any) -> int:
    return h5py.h5o.get_info(item.id).addr  # ty: ignore[missing-attribute]  (of C)


def _text(attributes: h5py.AttributeManager, name: str) -> str:
    """An attribute that is one short text; "" if there is none."""
    if name not in attributes:
        return ""
    found = attributes.get_id(name)
    if found.shape != () or found.get_storage_size() > _LONGEST_NAME:
        return ""
    value = attributes[name]
    return value if isinstance(value, str) and len(value) <= _LONGEST_NAME else ""


@contextmanager
def open_hdf5(path: str | os.PathLike[str]) -> Iterator[Hdf5File]:
    """The weights of a ``.keras`` file, or an HDF5 file by any other name.

    Raises:
        OSError: there is no such file, it is no regular one or not HDF5.
        Exception: of any kind where it is no archive or an altered one.
    """
    with open_regular(path) as file:
        size = file_size(file)
        if not str(path).endswith(".keras"):
            with h5py.File(path, "r") as opened:
                yield Hdf5File(opened, size)
            return
        with zipfile.ZipFile(file) as archive:
            check_archive(archive, size)
            with _member(file, archive, WEIGHTS) as weights, h5py.File(weights, "r") as opened:
                yield Hdf5File(opened, archive.getinfo(WEIGHTS).file_size)


def _member(file: BinaryIO, archive: zipfile.ZipFile, name: str) -> io.IOBase:
    """A member as a file that can be read from anywhere."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:  # not as Keras writes it
        return io.BytesIO(archive.read(info))
    with archive.open(info):  # its own header is there, and says the same
        file.seek(info.header_offset + 26)
        lengths = file.read(4)
    name_and_more = int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
    start = info.header_offset + 30 + name_and_more
    if start + info.file_size > file_size(file):
        raise ValueError(f"its member {name!r} is cut short")
    return _Window(file, start, info.file_size)


class _Window(io.RawIOBase):
    """A part of a file as a file. Python's own, of an archive, starts over to go back."""

    def __init__(self, file: Any, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence, self._size)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._at)
        part = memoryview(buffer)[: max(0, self._size - self._at)]
        read = self._file.readinto(part)
        self._at += read
        return read
