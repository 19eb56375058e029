"""The errors that say what to do. The command line turns them into one line and an exit code."""

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "InputError",
    "MissingPackage",
    "TfinitDeprecationWarning",
    "TfinitWarning",
    "WorkError",
    "first_line",
    "of_system",
    "one_line",
    "reason",
]


class InputError(ValueError):
    """What was asked for cannot be done as asked; nothing was written. Exit code 2."""


class WorkError(RuntimeError):
    """The work started and could not go on; what was done is kept. Exit code 1."""


class MissingPackage(ImportError):
    """A part of tfinit needs a package that is not installed.

    Args:
        part: What was asked for.
        package: What it needs.
        install: What to give to pip, with spaces between several.
    """

    def __init__(self, part: str, package: str, install: str):
        # In quotes where a shell would take the brackets for its own.
        command = shlex.join(["pip", "install", *install.split()])
        super().__init__(f"{part} needs {package}: {command}")


@contextmanager
def one_line(prefix: str = "tfinit: ") -> Iterator[None]:
    """An error of ours ends the process: with a line on stderr, and its exit code."""
    try:
        yield
    except InputError as error:
        code, told = 2, error
    except (WorkError, MissingPackage) as error:
        code, told = 1, error
    else:
        return
    print(f"{prefix}{told}", file=sys.stderr)
    sys.exit(code)


def first_line(error: Exception) -> str:
    r"""The first line of what an error says; its class where it says nothing.

    Example:
        >>> first_line(ValueError("it is long\nand goes on")), first_line(KeyError())
        ('it is long', 'KeyError')
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__).strip()


def of_system(error: OSError) -> str:
    """What the system says of a file: without its name and number, where there is that.

    Example:
        >>> of_system(FileNotFoundError(2, "No such file or directory", "data.npz"))
        'No such file or directory'
    """
    return error.strerror or str(error)


class TfinitWarning(UserWarning):
    """What went otherwise than one may think; the work goes on."""


class TfinitDeprecationWarning(DeprecationWarning):
    """A name that was another once: it works, and the warning says today's."""


def reason(error: Exception) -> str:
    """What Keras or TensorFlow complain of, in a line: no colours, and no arguments of layers."""
    text = re.sub(r"\x1b\[\d*m|\{\{.*?\}\}", "", str(error))
    if text.startswith("Exception encountered when calling"):
        text = text.split("\n\n")[1]
    elif text.startswith("in user code:"):  # of a traced function: its frames come first
        text = text.strip().split("\n\n")[-1]
    text = " ".join(text.split())
    return f"{text[:200]}…" if len(text) > 200 else text
