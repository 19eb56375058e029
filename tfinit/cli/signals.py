"""What ends a process in good order: Ctrl-C, SIGTERM, and SIGHUP of a closed terminal.

SIGTERM is what `docker stop`, Slurm and Kubernetes send. As the first process of a container one is
not even killed by a signal that nobody listens to. `heard` listens; it is for who owns the process,
the command line and the scripts, and it needs nothing but the standard library: so it can begin
before all else is imported.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, ClassVar, NoReturn

_HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Seconds in which a signal that comes again means what it meant at first. After them something
# hangs, and it ends the process as SIGKILL does: files are whole at any time.
_PATIENCE = 5.0
_AGAIN = 0.05  # seconds until a signal that was lost is sent again


class Stopped(KeyboardInterrupt):
    """A signal: whatever hears Ctrl-C hears it."""


@contextlib.contextmanager
def nothing_begun() -> Iterator[None]:
    """In the block a signal ends the process at once, if it is heard at all: see `heard`.

    For loading. An exception in the middle of that may be more than lost: raised where a compiled
    module of jaxlib asks Python for a name, it aborts the process.
    """
    here = heard.innermost
    if here is None:
        yield
        return
    before, here.begun = here.begun, False
    try:
        yield
    finally:
        here.begun = before


class heard:
    """In the block a signal raises `Stopped`, and the block then ends the process.

    With one line on stderr, ``tfinit: interrupted.`` or ``tfinit: stopped (SIGTERM).`` and what is
    said after that, and with 128 and the number of the signal as exit code: 130, 143, 129. So does
    any other error that leaves the block after a signal, which may be what became of it: Python
    makes a RuntimeError of what `__set_name__` raises, TensorFlow a ValueError of what is raised
    while it calls Python from C++.

    Nor can a signal be lost. Where nobody can hear an exception (in callbacks of the garbage
    collector, as JAX has one, in ``__del__``) Python prints it and goes on, and an ``except:`` may
    take it for another's: when it is gone and the block is not, the signal comes again.

    A signal that comes again by itself is ignored for some seconds, so that nothing is disturbed
    that puts things in order. One that was ignored before, as by ``nohup``, stays so. In other
    threads than the first, where Python allows no handlers, only the block's end is as above.

    Args:
        after: What to do then. It may be set anew in the block.

    Example:
        >>> with heard("Nothing was written."):
        ...     pass
    """

    innermost: "ClassVar[heard | None]" = None

    def __init__(self, after: str = "Nothing was written."):
        self.after, self.begun = after, True
        self._first: signal.Signals | None = None
        self._since = 0.0
        self._on_its_way: Any = lambda: None
        self._open = False
        self._sending = threading.Lock()
        self._before: dict[signal.Signals, Any] = {}
        self._unraisable: Any = None

    def __enter__(self) -> "heard":
        self._outer, heard.innermost = heard.innermost, self
        self._open, self._process, self._stderr = True, os.getpid(), None
        with contextlib.suppress(OSError):  # it may be closed, here and later
            self._stderr = os.dup(2)
        if threading.current_thread() is threading.main_thread():
            for number in _HEARD:
                # None: a handler that is none of Python's.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._raise)
            self._unraisable, sys.unraisablehook = sys.unraisablehook, self._not_raised
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open = False
        heard.innermost = self._outer
        if error is not None and self._first is not None:
            self._leave()
        with self._sending:
            for number, handler in self._before.items():
                signal.signal(number, handler)
        if self._unraisable is not None:
            sys.unraisablehook = self._unraisable
        if self._stderr is not None:
            os.close(self._stderr)
        # Not by a signal, or by one that somebody else has heard.
        if isinstance(error, KeyboardInterrupt):
            print(_line(signal.SIGINT, self.after), file=sys.stderr)
            raise SystemExit(128 + signal.SIGINT) from None

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if not self._open:
            return
        if self._first is None:
            self._first, self._since = signal.Signals(number), time.monotonic()
        elif self._on_its_way() is not None:
            if time.monotonic() - self._since < _PATIENCE:
                return
            self._leave(in_order=False)
        if not self.begun:
            self._leave()
        stopped = Stopped(_line(self._first, self.after))
        self._on_its_way = weakref.ref(stopped, self._lost)
        try:
            raise stopped
        finally:
            del stopped  # this frame is in its traceback, and would keep it alive

    def _lost(self, stopped: Any) -> None:
        """Send the signal again, from where it can be heard: here it would be lost again."""
        if self._open:
            again = threading.Timer(_AGAIN, self._send)
            again.daemon = True
            again.start()

    def _send(self) -> None:
        with self._sending:
            main, first = threading.main_thread().ident, self._first
            if self._open and self._on_its_way() is None and main and first:
                # To that thread, which may be waiting in the system.
                signal.pthread_kill(main, first)

    def _not_raised(self, unraisable: Any) -> None:
        """Python's word on what was raised where nobody hears it; of a `Stopped` none is needed."""
        if not isinstance(unraisable.exc_value, Stopped):
            self._unraisable(unraisable)

    def _leave(self, in_order: bool = True) -> NoReturn:
        """End the process. All is written that is to be; to take TensorFlow down lasts seconds."""
        first = self._first or signal.SIGTERM
        if in_order and os.getpid() == self._process:  # what a fork inherits is not its own
            with contextlib.suppress(BaseException):
                atexit._run_exitfuncs()  # TensorFlow's remove its temporary files
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # a pipe or a terminal that is gone
                stream.flush()
        if self._stderr is not None:
            with contextlib.suppress(OSError):
                os.write(self._stderr, f"{_line(first, self.after)}\n".encode())
        os._exit(128 + first)


def _line(number: int, after: str) -> str:
    by_hand = number == signal.SIGINT
    said = "interrupted" if by_hand else f"stopped ({signal.Signals(number).name})"
    return f"tfinit: {said}. {after}"
