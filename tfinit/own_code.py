"""Code of the user's for another process, which may be on a machine that has not got it."""

import functools
import hashlib
import os
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from tfinit.named_functions import is_named

__all__ = ["OwnCode", "of_user"]

# SHA-256 of sources → the directory that they are in here.
_placed: dict[str, tempfile.TemporaryDirectory[str]] = {}


class OwnCode:
    """What a user named a network by; its pickle has the source of it too.

    That is the file, and what else of the user's this process has imported from beside it: so it is
    to be pickled after it was called once. Where it is unpickled, the same files are used if they
    are in the same place, as on the same machine; else they are put into a directory of their own.

    Args:
        given: A function, its place, ``"path/to/file.py:build"`` or ``"package.module:build"``, the
            path of a ``.keras`` file, or anything else, which is pickled as it is.

    Example:
        >>> OwnCode("my_nets.py:build").given
        'my_nets.py:build'
    """

    def __init__(self, given: Any):
        self.given = given

    def __reduce__(self) -> Any:
        file, root = _source(self.given)
        if file is None or root is None:
            return OwnCode, (self.given,)
        files = {file, *_imported(root)} if file.is_file() else _imported(root)
        contents = {str(one.relative_to(root)): one.read_bytes() for one in sorted(files)}
        # Unpickled in this order: a function that is found by its name is found then.
        return _again, (_Sources(str(root), contents), self.given)


class _Sources:
    """Files by their names in a directory; unpickled, the directory that has them."""

    def __init__(self, root: str, contents: dict[str, bytes]):
        self._root, self._contents = root, contents

    def __reduce__(self) -> Any:
        return _put, (self._root, self._contents)


def _source(given: Any) -> tuple[Path | None, Path | None]:
    """The file that a network is made by, and where imports from beside it begin."""
    if isinstance(given, str | os.PathLike):
        name = os.fspath(given)
        place = str(name).rpartition(":")[0] if is_named(str(name)) else str(name)
        if place != name and not place.endswith(".py"):
            return _of_module(place)
        file = Path(place).expanduser().resolve()
        return (file, file.parent) if file.is_file() else (None, None)
    while isinstance(given, functools.partial):
        given = given.func
    if not callable(given):
        return None, None
    named = given if hasattr(given, "__module__") else type(given)
    return _of_module(getattr(named, "__module__", None) or "")


def _of_module(name: str) -> tuple[Path | None, Path | None]:
    found = getattr(sys.modules.get(name), "__file__", None)
    if found is None or not of_user(found):
        return None, None
    file = Path(found).resolve()
    packages = 0 if name == "__main__" else name.count(".") + (file.name == "__init__.py")
    return file, file.parents[packages]


def _imported(root: Path) -> set[Path]:
    """The files of the user's modules in a directory that this process has imported."""
    named = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    files = {Path(name).resolve() for name in named if name and name.endswith(".py")}
    return {f for f in files if f.is_relative_to(root) and of_user(str(f)) and f.is_file()}


def _put(root: str, contents: dict[str, bytes]) -> str:
    """The directory that has these files: the one that they are from, or one made for them."""
    if not all(_has(Path(root, name), content) for name, content in contents.items()):
        digest = hashlib.sha256(repr(sorted(contents.items())).encode()).hexdigest()
        if digest not in _placed:
            _placed[digest] = tempfile.TemporaryDirectory(prefix="tfinit-")
            for name, content in contents.items():
                path = Path(_placed[digest].name, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        root = _placed[digest].name
    if root not in sys.path:
        sys.path.insert(0, root)
    return root


def _has(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _again(root: str, given: Any) -> OwnCode:
    """What was given, as it is named where the files are now."""
    if isinstance(given, str | os.PathLike):
        name = os.fspath(given)
        place, _, function = str(name).rpartition(":")
        if not is_named(str(name)):
            given = os.path.join(root, os.path.basename(name))
        elif place.endswith(".py"):
            given = f"{os.path.join(root, os.path.basename(place))}:{function}"
    return OwnCode(given)


@functools.cache
def _libraries() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    found = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return (*found, str(Path(__file__).parent))


def of_user(filename: str) -> bool:
    """Whether a file of code is neither Python's, nor of a library that is installed."""
    return filename[:1] != "<" and not filename.startswith(_libraries())
