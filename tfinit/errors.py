"""The two errors that the command line turns into one line and an exit code."""


class InputError(ValueError):
    """What was asked for cannot be done as asked; nothing was written. Exit code 2."""


class WorkError(RuntimeError):
    """The work started and could not go on; what was done is kept. Exit code 1."""
