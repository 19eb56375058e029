"""What native libraries write to stdout and stderr, past Python."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


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


@contextmanager
def native_stderr_closed() -> Iterator[TextIO]:
    """Nothing comes of stderr while this is open, in all threads.

    TensorFlow's libraries write to it as they load, at any log level (tensorflow#100442), and its
    converters as they fail.

    Yields:
        Where our own lines can be written meanwhile: the stderr that was there.
    """
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # it is closed as it is
        yield sys.stderr
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        with os.fdopen(os.dup(kept), "w") as stderr:
            yield stderr
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
