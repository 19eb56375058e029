"""Files that appear whole or not at all, and survive a power cut once they have appeared.

All that tfinit writes goes through `put`: it is written aside, synced, renamed to its name, and the
directory is synced, which a file's own sync does not do. The place aside is new and nobody's
(O_EXCL): a link that waits there is not followed. What a killed process left aside is removed when
the same file is written again; that a process is still at work on it is seen by its lock.
"""

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO

from tfinit.errors import InputError, WorkError, of_system

# Bytes of a name that are left of NAME_MAX (255) beside what marks a file as a temporary one.
_MOST_BYTES = 200
_GO_ON = "What was done before is kept; mend that and start the same command again to go on."
_WANTED = {False: stat.S_IFREG, True: stat.S_IFDIR}
_NAMES = {stat.S_IFREG: "a file", stat.S_IFDIR: "a directory"}
_PERMISSIONS = 0o666  # less the process's umask, as `open` has it


def write_whole(path: Path, content: bytes | Path, cure: str = _GO_ON) -> None:
    """`put`, for what a command or a function leaves.

    Raises:
        WorkError: it cannot be written; it ends with ``cure``. What was there before is still
            there.
    """
    try:
        put(path, content)
    except OSError as error:
        raise WorkError(f"cannot write {path}: {why_not(error, path)}. {cure}") from error


def why_not(error: OSError, path: Path) -> str:
    """Why a path cannot be written, for the message of an error.

    Another name would not do where the whole directory is another user's, as what is mounted into
    a container often is: it says whose, and who asks.
    """
    said = of_system(error)
    return f"{said}: {barred(path)}" if error.errno in (errno.EACCES, errno.EPERM) else said


def barred(path: Path) -> str:
    """Who may not write where, where this process may not write, and what to do about it."""
    place = path
    while not (found := _stat(place)) or not stat.S_ISDIR(found.st_mode):
        place = place.absolute().parent
    user, owner = os.geteuid(), found.st_uid
    if user == owner:
        return f"the mode of {place} is {stat.S_IMODE(found.st_mode):o}"
    cure = f"let user {user} write there"
    if owner:
        cure += f", or run this as user {owner} (a container: --user {owner}:{found.st_gid})"
    return f"{place} belongs to user {owner}, and this is user {user}; {cure}"


def png(figure: Any) -> bytes:
    """A figure of matplotlib as the content of a file."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()


def put(path: Path, content: bytes | Path) -> None:
    """Let bytes, or a copy of a file or directory, take the place of ``path`` at once.

    Its directory is made. A link at ``path`` is replaced, and not what it points to.

    Raises:
        OSError: it cannot be written. What was there before is still there.
    """
    _check_name(path)
    make_directory(path.parent)
    _clear_up(path)
    aside = _aside(path)
    is_directory = isinstance(content, Path) and content.is_dir()
    try:
        with _made(aside, is_directory) as descriptor:
            if is_directory:
                shutil.copytree(content, aside, dirs_exist_ok=True)
                for place, _, names in os.walk(aside):
                    for name in names:
                        _sync(Path(place, name))
                    _sync(Path(place))
            else:
                with os.fdopen(descriptor, "wb", closefd=False) as file:
                    if isinstance(content, Path):
                        with content.open("rb") as source:
                            shutil.copyfileobj(source, file, 2**20)
                    else:
                        file.write(content)
                os.fsync(descriptor)
            _exchange(aside, path)
            _sync(path.parent)
    except BaseException:
        remove(aside)  # on a full disk it would take the place of what is written next
        raise


def make_directory(path: Path) -> None:
    """Make a directory and those above it, each synced into the one that holds it."""
    missing = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    if not missing and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    for made in reversed(missing):
        made.mkdir(exist_ok=True)
        _sync(made.parent)


def remove(path: Path) -> None:
    """Remove a file or directory, if it is there; of a link, the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def check_writable(
    name: str, path: Path, cure: str = "Choose another path.", directory: bool = False
) -> None:
    """See before the work whether `put` will be able to write a file. It leaves nothing.

    Args:
        name: The argument that named the file, for the error.
        path: The file.
        cure: What the error ends with.
        directory: Whether it is a directory that will be put there.

    Raises:
        InputError: it will not: something else is there, it is read-only, its name is too long, ...
    """
    try:
        _check_name(path)
        kind = _kind(path)
        if kind and not stat.S_ISLNK(kind) and stat.S_IFMT(kind) != _WANTED[directory]:
            found = _NAMES.get(stat.S_IFMT(kind), "something else than a file")
            wanted = "Choose another path" if directory else "Name a file"
            raise InputError(f"`{name}` {str(path)!r} is {found}. {wanted}.")
        with _tried(path.parent):
            _kind(path)  # a name that is too long, in a directory that was not there before
            aside = _aside(path)
            os.close(_open_new(aside))
            aside.unlink()
    except OSError as error:
        raise InputError(
            f"`{name}` {str(path)!r} cannot be written: {why_not(error, path)}. {cure}"
        ) from error


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading, if it is one: to open a pipe or a terminal may wait for ever.

    Raises:
        OSError: there is none, it cannot be read, or it is something else than a file.
    """
    _check_name(Path(path))
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is something else than a file", str(path))


def read_regular(path: Path) -> bytes:
    """The content of a file; errors are those of `open_regular`."""
    with open_regular(path) as file:
        return file.read()


@contextmanager
def held(lock: Path, what: str, flag: str) -> Iterator[None]:
    """Keep other processes from what a lock file stands for. The system frees it at any death.

    Args:
        lock: The file. It stays where it is: to remove it is for who holds it.
        what: What is locked, and by which argument: how errors begin.
        flag: The flag that chooses another.

    Raises:
        InputError: another process holds it, or there is something else than a file.
    """
    import filelock

    elsewhere = f"choose another with {flag}"
    try:
        kind = _kind(lock)
        if kind and not stat.S_ISREG(kind):
            raise InputError(
                f"{what} cannot be locked: {lock} is something else than a file. Remove it, or "
                f"{elsewhere}."
            )
        holder = filelock.FileLock(lock)
        holder.acquire(timeout=0)
    except filelock.Timeout as error:
        raise InputError(
            f"{what} is in use by another process. Wait until it is done, or {elsewhere}."
        ) from error
    except OSError as error:
        raise InputError(
            f"{what} cannot be locked: {lock}: {why_not(error, lock)}. {elsewhere.capitalize()}."
        ) from error
    try:
        yield
    finally:
        holder.release()


def short_name(name: str, room: int = _MOST_BYTES) -> str:
    """A name, or where it is long what stands for it in the names of hidden files."""
    whole = os.fsencode(name)
    return name if len(whole) <= room else hashlib.sha256(whole).hexdigest()[:32]


def _check_name(path: Path) -> None:
    """An OSError for what Python would make a ValueError of: no name, or a null byte in it."""
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "there is a null byte in its name", str(path))


def _kind(path: Path) -> int:
    """What is at a path, as `os.stat` tells it; 0 if nothing is."""
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return 0


def _stat(path: Path) -> os.stat_result | None:
    """What `os.stat` tells; None if nothing is there, or nothing that this user may see."""
    try:
        return path.stat()
    except OSError:
        return None


def _aside(path: Path) -> Path:
    return path.with_name(f".{secrets.token_hex(4)}.{short_name(path.name)}.tmp")


def _open_new(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    return os.open(path, flags, _PERMISSIONS)


@contextmanager
def _made(aside: Path, directory: bool) -> Iterator[int]:
    """A new file or directory, open, and locked where the system can: see `_clear_up`."""
    while True:
        if directory:
            aside.mkdir()
        descriptor = os.open(aside, os.O_RDONLY) if directory else _open_new(aside)
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                # Another process may have cleared it up before it was locked.
                there = os.path.samestat(os.fstat(descriptor), os.lstat(aside))
            except FileNotFoundError:
                there = False
            if there:
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _clear_up(path: Path) -> None:
    """Remove what processes that are gone left aside when they wrote the same file."""
    for aside in path.parent.glob(f".????????.{escape(short_name(path.name))}.tmp"):
        if aside.is_symlink() or not (aside.is_file() or aside.is_dir()):
            continue
        with contextlib.suppress(OSError):  # gone by now, or somebody is at work on it
            descriptor = os.open(aside, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(aside)
            finally:
                os.close(descriptor)


def _exchange(aside: Path, path: Path) -> None:
    """Rename; a directory that is not empty can only be replaced in two steps."""
    if not aside.is_dir() or not path.is_dir():
        os.replace(aside, path)
        return
    old = _aside(path)
    os.replace(path, old)
    try:
        os.replace(aside, path)
    except OSError:
        os.replace(old, path)
        raise
    remove(old)


@contextmanager
def _tried(directory: Path) -> Iterator[None]:
    """A directory that is there for a moment."""
    missing = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    made = []
    try:
        for directory in reversed(missing):
            directory.mkdir()
            made.append(directory)
        yield
    finally:
        for directory in reversed(made):
            with contextlib.suppress(OSError):  # somebody else has put something there
                directory.rmdir()


def _sync(path: Path) -> None:
    """Let what a file or directory holds be on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no such thing
            raise
    finally:
        os.close(descriptor)
