"""What native libraries write to stderr, past Python."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def native_stderr_closed() -> Iterator[TextIO]:
    """Nothing comes of stderr while this is open, in all threads.

    TensorFlow's libraries write to it as they load, at any log level (tensorflow#100442), and its
    converters as they fail.

    Yields:
        Where our own lines can be written meanwhile: the stderr that was there.
    """
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
