"""What is seen of long work while it goes on: a bar with the time that is left, lines, warnings.

Every function of tfinit that trains for long takes ``progress``: True for a bar, False or None for
nothing, or a function of the number of steps done since its last call. The command line gives its
own `Bar`, which prints lines where no bar can be drawn.
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol

from tfinit.arguments import flag, refused
from tfinit.errors import InputError, TfinitWarning


class Follower(Protocol):
    """What follows long work."""

    def __call__(self, done: int) -> None:
        """So many steps more are done, or were found done."""

    def expect(self, total: int) -> None:
        """So many steps there are in all."""

    def say(self, line: str) -> None:
        """What was just done."""

    def at_work(self, lines: Sequence[str]) -> None:
        """What is being done beside each other, and where."""


class Bar:
    """A bar on stderr, or in a notebook, with the time that is left; gone when it is closed.

    Where neither is, as in a file or a pipe, nothing is drawn.

    Args:
        begin: What is beside it until the first line is said.
        lines: Whether what is said is printed, line by line, where no bar is drawn.

    Example:
        >>> with Bar("training") as bar:
        ...     bar.expect(total=20)
        ...     bar(5)
        ...     bar.say("a quarter is done")
    """

    def __init__(self, begin: str = "starting", lines: bool = False):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
        # rich says of a notebook that it is no terminal.
        self._is_drawn = console.is_terminal or console.is_jupyter
        self._lines = lines and not console.is_terminal
        self._rich = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            # Elsewhere it would leave an empty line before the one line of an error.
            disable=not self._is_drawn,
        )
        self._task = self._rich.add_task(begin, total=None)
        self._beside: dict[str, Any] = {}

    def __enter__(self) -> "Bar":
        self._rich.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rich.stop()

    def __call__(self, done: int) -> None:
        """So many steps more are done, or were found done."""
        self._rich.advance(self._task, done)

    def expect(self, total: int) -> None:
        """So many steps there are in all."""
        self._rich.update(self._task, total=total)

    def say(self, line: str) -> None:
        """What was just done: beside the bar, or a line of its own."""
        self._rich.update(self._task, description=line)
        if self._lines:
            self._rich.console.print(line)

    def at_work(self, lines: Sequence[str]) -> None:
        """What is being done beside each other: a line below the bar for each, while it lasts."""
        for line in [known for known in self._beside if known not in lines]:
            self._rich.remove_task(self._beside.pop(line))
        for line in lines:
            if line not in self._beside:
                self._beside[line] = self._rich.add_task(f"  {line}", total=None)

    def warn(self, line: str) -> None:
        """A line that stays."""
        self._rich.console.print(f"tfinit: {line}")


class _Function:
    """A user's function of the steps done, which is told nothing else."""

    def __init__(self, function: Callable[[int], Any]):
        self._function = function

    def __call__(self, done: int) -> None:
        self._function(done)

    def expect(self, total: int) -> None:
        pass

    def say(self, line: str) -> None:
        pass

    def at_work(self, lines: Sequence[str]) -> None:
        pass


def check_progress(progress: Any) -> None:
    """See that an argument ``progress`` is one.

    Raises:
        InputError: it is neither True, False nor None, nor a function.
    """
    if callable(progress):
        return
    try:
        flag("progress", progress, none=True)
    except InputError as error:
        wanted = "True, False or a function of the number of steps"
        raise refused("progress", wanted, progress) from error


@contextmanager
def following(progress: Any, begin: str = "starting") -> Iterator[Follower]:
    """What follows work as its argument ``progress`` says; a bar is open inside.

    Args:
        progress: True: a `Bar`; False or None: nothing; a `Bar` that is open; or a function, called
            with the number of steps done since the last call.
        begin: What is beside a bar until the first line is said.

    Raises:
        InputError: it is something else.

    Example:
        >>> steps = []
        >>> with following(steps.append) as follower:
        ...     follower.expect(3)
        ...     follower(2)
        >>> steps
        [2]
    """
    check_progress(progress)
    if isinstance(progress, Bar):
        yield progress
    elif callable(progress):
        yield _Function(progress)
    elif progress:
        with Bar(begin) as bar:
            yield bar
    else:
        yield _Function(lambda done: None)


def as_warning(line: str) -> None:
    """Warn (`UserWarning`) of what is told of the work, at the line that called tfinit."""
    level, depth = 1, 1
    frame = sys._getframe()
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith("tfinit."):
            level = depth
        frame, depth = frame.f_back, depth + 1
    warnings.warn(line, TfinitWarning, stacklevel=level + 1)


def each_line_once(warn: Callable[[str], None]) -> Callable[[str], None]:
    """What is called with lines of several experiments: a line that all have is told once.

    Example:
        >>> told = []
        >>> warn = each_line_once(told.append)
        >>> warn("it is so"), warn("it is so")
        (None, None)
        >>> told
        ['it is so']
    """
    said: set[str] = set()

    def once(line: str) -> None:
        if line not in said:
            said.add(line)
            warn(line)

    return once
