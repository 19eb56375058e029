"""The errors that say what to do. The command line turns them into one line and an exit code."""


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
