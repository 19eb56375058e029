"""The command line: parses, calls, prints. Errors are one line and an exit code.

One module for each subject; its ``COMMANDS`` are the words after ``tfinit``, and each is a
`tfinit.cli.console.Command`, whose fields are the flags. None of them loads anything heavy before
it runs.
"""

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfinit.cli.signals import heard, nothing_begun
from tfinit.errors import InputError, one_line
from tfinit.native_output import open_streams

if TYPE_CHECKING:
    from tfinit.cli.console import Command


def main(arguments: list[str] | None = None) -> None:
    """Run ``tfinit`` with some arguments, by default those of the process.

    Exits with 0, 1 for a failure during work, 2 for bad input, 130 when interrupted, 143 and 129
    when stopped by SIGTERM and SIGHUP; a command may have codes of its own.
    """
    # Settings of this process, not of the package: quiet logs unless asked for.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    open_streams()
    with one_line(), heard() as signals:
        with nothing_begun():
            command = _typed(arguments)
        signals.after = command.stopped
        code = command.run()
    if code:
        sys.exit(code)


def commands() -> dict[str, Any]:
    """The words after ``tfinit``, with what they run."""
    from tfinit.cli import compare, demo, diagnose, export, lottery, prune, sweep

    return {
        **lottery.COMMANDS,
        **sweep.COMMANDS,
        **diagnose.COMMANDS,
        **compare.COMMANDS,
        **prune.COMMANDS,
        **export.COMMANDS,
        **demo.COMMANDS,
    }


def _typed(arguments: list[str] | None) -> "Command":
    # Not at the top: while this is imported, for a third of a second, signals are heard already.
    import tyro

    known = commands()
    _check_word(arguments, known)
    return tyro.extras.subcommand_cli_from_dict(
        known,
        prog="tfinit",
        description="Weight initialization, pruning and lottery tickets for Keras networks.",
        args=arguments,
    )


def _check_word(arguments: list[str] | None, commands: Mapping[str, type["Command"]]) -> None:
    """InputError for the name of no command: with --help beside it tyro would show tfinit's own."""
    word = next(iter(sys.argv[1:] if arguments is None else arguments), "-")
    if not word.startswith("-") and word not in commands:
        raise InputError(
            f"there is no command `{word}`. Choose one of {', '.join(commands)}; "
            "`tfinit --help` says what they do."
        )
