"""What is in an exported file: its bytes, its weights, and how many of them are zero."""

import gzip
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

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

    @classmethod
    def of(cls, name: str, array: np.ndarray) -> "Stored":
        """What is stored as an array like any."""
        return cls(name, tuple(array.shape), int(array.size - np.count_nonzero(array)))


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
