"""What native libraries write to stdout and stderr, past Python."""

import atexit
import contextlib
import faulthandler
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TextIO

from tfinit.errors import InputError, MissingPackage, WorkError


def open_streams() -> None:
    """Let stdin, stdout and stderr be open: to nothing, where the process was started without.

    The next file that is opened would be what they were, and what a library writes would be in it;
    and Python prints to stdout what is for a stderr that is not there.
    """
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the first that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


# Shows a file, its name, when stdin ends without a word: when the process that waits is gone.
_WATCHER = 'read -r said || cat "$0" >&2; rm -f "$0"'
_OUR_OWN = (InputError, WorkError, MissingPackage)  # they are told in one line
_holding: list[TextIO] = []
_watched: list[Callable[[], object]] = []  # ends the watching in good order


@contextmanager
def stderr_held(expected: tuple[type[BaseException], ...] = _OUR_OWN) -> Iterator[TextIO]:
    """What is written to stderr in the block, in all threads, is seen only if it fails.

    TensorFlow's libraries write to it as they load, at any log level (tensorflow#100442), and its
    converters as they fail. When the block ends with an error that nobody expects, or the process
    dies in it (a library aborts, the system kills it), all that was held back is shown: Python's
    warnings, what the library said, and where Python was when it aborted.

    Args:
        expected: Errors with which nothing is shown.

    Yields:
        Where our own lines can be written meanwhile: the stderr that was there.
    """
    _flush()
    if _holding:
        yield _holding[-1]
        return
    try:
        kept = os.dup(2)
    except OSError:  # it is closed as it is
        yield sys.stderr
        return
    with contextlib.ExitStack() as put_back:
        put_back.callback(os.close, kept)
        held = put_back.enter_context(_held_file(kept))
        if not faulthandler.is_enabled():
            faulthandler.enable(kept)
            put_back.callback(faulthandler.disable)
        os.dup2(held, 2)
        put_back.callback(os.dup2, kept, 2)
        put_back.callback(_flush)
        stderr = put_back.enter_context(os.fdopen(os.dup(kept), "w"))
        _holding.append(stderr)
        put_back.callback(_holding.remove, stderr)
        try:
            yield stderr
        except (*expected, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException:
            _flush()
            os.lseek(held, 0, os.SEEK_SET)
            while part := os.read(held, 2**16):
                os.write(kept, part)
            raise


def exit_at_once(code: int) -> NoReturn:
    """End the process in good order, though other threads are at work: nothing held is shown."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for said in list(_watched):
        said()
    os._exit(code)


def _flush() -> None:
    if sys.stderr is not None:
        with contextlib.suppress(ValueError):  # closed
            sys.stderr.flush()


@contextmanager
def _held_file(stderr: int) -> Iterator[int]:
    """An empty file that is gone in the end; if this process is, what it held goes to ``stderr``.

    Of a process that is aborted nothing runs any more, so another one waits for its end.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix="tfinit-stderr-")
    except OSError:  # nowhere to write
        descriptor, name = os.open(os.devnull, os.O_RDWR), None
    with contextlib.ExitStack() as put_back:
        put_back.callback(os.close, descriptor)
        if name is not None:
            put_back.callback(Path(name).unlink, missing_ok=True)
            with contextlib.suppress(OSError):  # no shell
                watcher = subprocess.Popen(
                    ["/bin/sh", "-c", _WATCHER, name],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    start_new_session=True,  # Ctrl-C is not for it
                )

                def said() -> None:
                    with contextlib.suppress(OSError, ValueError):  # it has ended, or was told
                        watcher.communicate(b"\n")

                # A signal that we hear ends the process without the blocks, but in order.
                atexit.register(said)
                _watched.append(said)
                put_back.callback(said)
                put_back.callback(_watched.remove, said)
                put_back.callback(atexit.unregister, said)
        yield descriptor
