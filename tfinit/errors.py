"""The errors that say what to do. The command line turns them into one line and an exit code."""

import re

__all__ = ["InputError", "MissingPackage", "WorkError", "reason"]


class InputError(ValueError):
    """What was asked for cannot be done as asked; nothing was written. Exit code 2."""


class WorkError(RuntimeError):
    """The work started and could not go on; what was done is kept. Exit code 1."""


class MissingPackage(ImportError):
    """A part of tfinit needs a package that is not installed.

    Args:
        part: What was asked for.
        package: What it needs.
        install: What to give to pip.
    """

    def __init__(self, part: str, package: str, install: str):
        super().__init__(f"{part} needs {package}: pip install {install}")


def reason(error: Exception) -> str:
    """What Keras or TensorFlow complain of, in a line: no colours, and no arguments of layers."""
    text = re.sub(r"\x1b\[\d*m|\{\{.*?\}\}", "", str(error))
    if text.startswith("Exception encountered when calling"):
        text = text.split("\n\n")[1]
    text = " ".join(text.split())
    return f"{text[:200]}…" if len(text) > 200 else text
