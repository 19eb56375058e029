"""What is seen of long work while it goes on: a bar with the time that is left, lines, warnings.

Every function of tfinit that trains for long takes ``progress``: True for a bar, False or None for
nothing, or a function of the number of steps done since its last call. The command line gives its
own `Bar`, which prints lines where no bar can be drawn.
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any, Protocol

from tfinit.arguments import flag, refused
from tfinit.errors import InputError, TfinitWarning

_BAR = 16  # columns
_BESIDE = _BAR + len("  100% 0:00:00 left 0:00:00 ")  # what is beside the description


class Follower(Protocol):
    """What follows long work."""

    def __call__(self, done: int) -> None:
        """So many steps more are done, or were found done."""

    def expect(self, total: int, parts: int = 0) -> None:
        """So many steps there are in all; in so many parts, where those can go beside each other.

        0 parts: that is not known.
        """

    def say(self, line: str) -> None:
        """What was just done."""

    def one_ended(self) -> None:
        """One part more is done, was found done, or is left out."""

    def at_work(self, parts: Mapping[str, str | None]) -> None:
        """The parts that are being done beside each other → where; None: one has not begun."""


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
            BarColumn(_BAR),
            TextColumn("{task.percentage:3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            # Elsewhere it would leave an empty line before the one line of an error.
            disable=not self._is_drawn,
        )
        self._line = begin
        self._task = self._rich.add_task(begin, total=None)
        self._parts, self._ended, self._running = 0, 0, 0
        self._beside: dict[str, Any] | None = None  # None: parts are done one after the other

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

    def expect(self, total: int, parts: int = 0) -> None:
        """So many steps there are in all; in so many parts."""
        self._parts = parts
        self._rich.update(self._task, total=total)

    def say(self, line: str) -> None:
        """What was just done: beside the bar, or a line of its own."""
        self._line = line
        self._described()
        if self._lines:
            counts = self._counts(with_end=True)
            self._rich.console.print(f"{line} ({counts})" if counts else line)

    def one_ended(self) -> None:
        """One part more is done, was found done, or is left out."""
        self._ended += 1
        self._described()

    def at_work(self, parts: Mapping[str, str | None]) -> None:
        """What is being done beside each other: a line below the bar for each, while it lasts.

        How many are done, run and wait is beside the bar. Where no bar is drawn, it is a line when
        one begins, and the counts are in those that are said.
        """
        lines = {f"{part}: {where or 'waits for a worker'}": where for part, where in parts.items()}
        beside = {} if self._beside is None else self._beside
        self._beside, self._running = beside, sum(where is not None for where in lines.values())
        for line in [known for known in beside if known not in lines]:
            self._rich.remove_task(beside.pop(line))
        for line, where in lines.items():
            if line not in beside:
                beside[line] = self._rich.add_task(self._short(f"  {line}"), total=None)
                if self._lines and where is not None:
                    self._rich.console.print(f"begun: {line}")
        self._described()

    def _described(self) -> None:
        """Let the bar have beside it what was said, and how many parts are done, run and wait."""
        counts = self._counts()
        line = f"{counts}; {self._line}" if counts else self._line
        self._rich.update(self._task, description=self._short(line))

    def _short(self, line: str) -> str:
        """As much of a line as there is room for beside the bar, the part and the times."""
        room = max(_BAR, self._rich.console.width - _BESIDE)
        return line if len(line) <= room else f"{line[: room - 1]}…"

    def _counts(self, with_end: bool = False) -> str:
        """How many parts are done, run and wait; where they go beside each other."""
        if self._beside is None or not self._parts:
            return ""
        waiting = max(0, self._parts - self._ended - self._running)
        told = f"{self._ended} done, {self._running} running, {waiting} waiting"
        [left] = [task.time_remaining for task in self._rich.tasks if task.id == self._task]
        if not with_end or left is None:
            return told
        return f"{told}, {timedelta(seconds=round(left))} left"

    def warn(self, line: str) -> None:
        """A line that stays."""
        self._rich.console.print(f"tfinit: {line}")


class _Function:
    """A user's function of the steps done, which is told nothing else."""

    def __init__(self, function: Callable[[int], Any]):
        self._function = function

    def __call__(self, done: int) -> None:
        self._function(done)

    def expect(self, total: int, parts: int = 0) -> None:
        pass

    def say(self, line: str) -> None:
        pass

    def one_ended(self) -> None:
        pass

    def at_work(self, parts: Mapping[str, str | None]) -> None:
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
