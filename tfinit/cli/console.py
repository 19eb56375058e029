"""What all commands do alike: what was typed, a quiet start, where a figure may go."""

import dataclasses
import logging
import os
import select
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, TextIO

import tyro

from tfinit.cli.signals import nothing_begun
from tfinit.errors import InputError, TfinitWarning
from tfinit.files import check_writable
from tfinit.native_output import stderr_held

# The experiments' field is `dataset`, other commands' `data`.
Dataset = Annotated[str, tyro.conf.arg(aliases=("--data",))]


class Command:
    """A command as it was typed, not yet checked: tyro would draw a box around an error's line.

    A dataclass that derives from this and from a configuration gets its flags from its fields.
    """

    stopped: ClassVar[str] = "Start the same command again to go on where it was."
    """What is said after a signal has ended it: see `tfinit.cli.signals`."""
    groups: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Headings in the help → the fields whose flags are below them; "options" has the others."""
    choices: ClassVar[Mapping[str, Iterable[str | None]]] = {}
    """Fields → the only values that they take, where these are a few words."""
    command_lines: ClassVar[Sequence[str]] = ()
    """Examples in the help."""
    also: ClassVar[Mapping[str, str]] = {}
    """Arguments of functions, as their errors name them → the flags that they come from."""
    typed: ClassVar[Set[str]] = frozenset()
    """The fields whose flags were typed, if only with their defaults."""
    shown: ClassVar[Mapping[str, str]] = {}
    """Those fields → the flag that was typed, which may be one of several names."""

    def __post_init__(self) -> None:
        """No checks: `checked` makes the configuration, whose own these are."""

    def run(self) -> int:
        """Do it; returns the exit code."""
        raise NotImplementedError


def checked(typed: Any, cls: Any, **changes: Any) -> Any:
    """The configuration that was typed, with some values changed, now checked."""
    fields = dataclasses.fields(cls)
    values = {f.name: getattr(typed, f.name) for f in fields} | changes
    if "replicates" in typed.typed:
        if typed.replicates < 1:
            raise InputError(f"`replicates` must be at least 1, received {typed.replicates}.")
        if "seeds" in typed.typed:
            raise InputError("Give `seeds` or `replicates`, not both.")
        values["seeds"] = tuple(range(typed.replicates))
    return cls(**values)


@contextmanager
def loading() -> Iterator[None]:
    """TensorFlow loads: its libraries are heard if it fails; a signal ends the process at once."""
    with stderr_held(), nothing_begun():
        yield


class EachLineOnce(logging.Handler):
    """Prints what is logged, each line once."""

    def __init__(self, stream: Callable[[], TextIO]):
        super().__init__()
        self._stream, self._said = stream, set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line."""
        line = record.getMessage()
        if record.levelno >= logging.WARNING:
            line = f"tfinit: {line}"
        if line not in self._said:
            self._said.add(line)
            print(line, file=self._stream(), flush=True)


@contextmanager
def said_on(stream: TextIO, logger: str) -> Iterator[None]:
    """What a logger of ours says, from INFO on, is printed while this is open."""
    log, handler = logging.getLogger(logger), EachLineOnce(lambda: stream)
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]


@contextmanager
def warnings_in_a_line() -> Iterator[None]:
    """Warnings of ours are lines on stderr, without the place in the code that they come from."""
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, TfinitWarning):
            print(f"tfinit: {message}", file=sys.stderr, flush=True)
        else:
            before(message, category, filename, lineno, file, line)

    warnings.showwarning = show  # ty: ignore[invalid-assignment]
    try:
        yield
    finally:
        warnings.showwarning = before


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Where nobody reads stdout any more, as with ``| head -1``, the process ends without a word.

    Its exit code is 1: what was to be said was not.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError as error:
        stdout, poll = sys.stdout.fileno(), select.poll()
        poll.register(stdout, select.POLLOUT)
        if not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
            raise  # it was another pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout)  # Python flushes once more at its end
        raise SystemExit(1) from error


def check_plot(plot: Path | None) -> None:
    """See before the work that a figure can be written.

    Raises:
        InputError: it is no name of a .png file, or cannot be written.
    """
    if plot is None:
        return
    if plot.suffix.lower() != ".png":
        raise InputError(f"`plot` must end in .png, received {str(plot)!r}.")
    check_writable("plot", plot, "Choose another with --plot.")
