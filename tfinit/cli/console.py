"""What all commands do alike: progress on stderr, lines beside it, pictures, what was typed."""

import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tfinit.errors import InputError
from tfinit.files import check_writable
from tfinit.native_output import native_stderr_closed as native_stderr_closed

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.progress import Progress


class Command:
    """A command as it was typed, not yet checked: tyro would draw a box around an error's line.

    A dataclass that derives from this and from a configuration gets its flags from its fields.
    """

    interrupted: ClassVar[str] = "interrupted. Start the same command again to go on where it was."

    def __post_init__(self) -> None:
        """No checks: `checked` makes the configuration, whose own these are."""

    def run(self) -> int:
        """Do it; returns the exit code."""
        raise NotImplementedError


def checked(typed: Any, cls: type, **changes: Any) -> Any:
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


def progress_bar() -> "Progress":
    """A bar on stderr; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        # Elsewhere it would leave an empty line before the one line of an error.
        disable=not console.is_terminal,
    )


def say(progress: "Progress", task: Any, line: str) -> None:
    """Show what was done last."""
    progress.update(task, description=line)
    if not progress.console.is_terminal:  # no bar is drawn there
        progress.console.print(line, highlight=False)


def warn(progress: "Progress", line: str) -> None:
    """Show a line that stays."""
    progress.console.print(f"tfinit: {line}", highlight=False)


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


def png(figure: "Figure") -> bytes:
    """A figure as the content of a file."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()
