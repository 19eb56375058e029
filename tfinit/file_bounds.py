"""How much memory a file that is not trusted may ask for: what the bytes in it can hold.

The shape of an array is only a claim, of some bytes in a header. The readers of tfinit
(`array_files`, `hdf5_files`, `saved_model`, tickets) compare it with the bytes that are there
before they allocate anything, all by the one bound of `most_bytes`.
"""

import os
import zipfile
from collections.abc import Iterable
from math import prod
from typing import BinaryIO

import numpy as np

# Deflate makes at most so many bytes of one. One-hot labels come near it.
_DEFLATE = 1032
# Above so many bytes only what data are compressed to usually is believed.
_BELIEVED, _USUAL = 2**29, 100
_MOST_AXES = 64  # of NumPy; a product of a million numbers would take its time


def most_bytes(stored: int) -> int:
    """How many bytes in memory ``stored`` bytes of a file may become.

    1032 for each, which is what deflate can do; above 512 MiB in all, 100 for each.

    Example:
        >>> most_bytes(1000), most_bytes(10**6), most_bytes(10**8)
        (1032000, 536870912, 10000000000)
    """
    return min(_DEFLATE * stored, max(_BELIEVED, _USUAL * stored))


def check_bytes(what: str, asked: int, stored: int) -> None:
    """ValueError if ``what`` asks for more memory than the bytes that are there may become."""
    if asked > most_bytes(stored):
        raise ValueError(
            f"{what} asks for {asked:,} bytes of memory, for which the file has {stored:,}; "
            "if that is meant, write it without compression"
        )


def array_bytes(shape: Iterable[int], dtype: np.dtype) -> int:
    """The size of an array in bytes; ValueError if there is no array of this shape.

    Example:
        >>> array_bytes((2, 3), np.dtype("float32"))
        24
    """
    shape = tuple(shape)
    if len(shape) > _MOST_AXES or any(
        isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in shape
    ):
        raise ValueError(f"no array has the shape {str(shape)[:100]}")
    return prod(shape) * dtype.itemsize


def file_size(file: BinaryIO) -> int:
    """The number of bytes of an open file, which stays where it is."""
    here = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(here)
    return size


def check_member(member: zipfile.ZipInfo, size: int) -> None:
    """ValueError unless a member of a ZIP archive of ``size`` bytes can be what it says it is."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # Python's decompressors of the others cannot be stopped at a size.
        raise ValueError(f"its member {member.filename!r} is compressed in an unusual way")
    stored = min(member.compress_size, size)
    if member.compress_type == zipfile.ZIP_STORED and member.file_size > stored:
        raise ValueError(
            f"its member {member.filename!r} says that it has {member.file_size:,} bytes, and "
            f"{stored:,} are there"
        )
    check_bytes(f"its member {member.filename!r}", member.file_size, stored)


def check_archive(archive: zipfile.ZipFile, size: int) -> None:
    """ValueError unless all members of an archive of ``size`` bytes can be what they say, and all
    of them together: members can lie one over the other."""
    members = archive.infolist()
    for member in members:
        check_member(member, size)
    check_bytes("it", sum(member.file_size for member in members), size)
