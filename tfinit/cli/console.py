"""What all commands do alike: what was typed, a quiet start, where a figure may go."""

import dataclasses
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TextIO

from tfinit.cli.signals import nothing_begun
from tfinit.errors import InputError
from tfinit.files import check_writable
from tfinit.native_output import stderr_held


class Command:
    """A command as it was typed, not yet checked: tyro would draw a box around an error's line.

    A dataclass that derives from this and from a configuration gets its flags from its fields.
    """

    stopped: ClassVar[str] = "Start the same command again to go on where it was."
    """What is said after a signal has ended it: see `tfinit.cli.signals`."""

    def __post_init__(self) -> None:
        """No checks: `checked` makes the configuration, whose own these are."""

    def run(self) -> int:
        """Do it; returns the exit code."""
        raise NotImplementedError


def checked(typed: Any, cls: Any, **changes: Any) -> Any:
    """The configuration that was typed, with some values changed, now checked."""
    fields = dataclasses.fields(cls)
    values = {f.name: getattr(typed, f.name) for f in fields} | changes
    if getattr(typed, "replicates", 0):
        if typed.replicates < 1:
            raise InputError(f"`replicates` must be at least 1, received {typed.replicates}.")
        if values["seeds"] != next(f.default for f in fields if f.name == "seeds"):
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
