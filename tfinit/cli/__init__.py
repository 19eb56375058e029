"""The command line: parses, calls, prints. Errors are one line and an exit code.

One module for each subject; its ``COMMANDS`` are the words after ``tfinit``, and each is a
`tfinit.cli.console.Command`, whose fields are the flags. None of them loads anything heavy before
it runs.
"""

import os
import sys
from collections.abc import Mapping

import tyro

from tfinit.cli import compare, demo, diagnose, export, lottery, prune
from tfinit.cli.console import Command
from tfinit.errors import InputError, MissingPackage, WorkError

COMMANDS = {
    **lottery.COMMANDS,
    **diagnose.COMMANDS,
    **compare.COMMANDS,
    **prune.COMMANDS,
    **export.COMMANDS,
    **demo.COMMANDS,
}


def main(arguments: list[str] | None = None) -> None:
    """Run ``tfinit`` with some arguments, by default those of the process.

    Exits with 0, 1 for a failure during work, 2 for bad input, 130 when interrupted; a command
    may have codes of its own.
    """
    # Settings of this process, not of the package: quiet logs unless asked for.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    interrupted = Command.interrupted
    try:
        _check_word(arguments, COMMANDS)
        command: Command = tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="tfinit",
            description="Weight initialization, pruning and lottery tickets for Keras networks.",
            args=arguments,
        )
        interrupted = command.interrupted
        code = command.run()
    except InputError as error:
        _stop(error, 2)
    except (WorkError, MissingPackage) as error:
        _stop(error, 1)
    except KeyboardInterrupt:
        _stop(interrupted, 130)
    if code:
        sys.exit(code)


def _check_word(arguments: list[str] | None, commands: Mapping[str, type[Command]]) -> None:
    """InputError for the name of no command: with --help beside it tyro would show tfinit's own."""
    word = next(iter(sys.argv[1:] if arguments is None else arguments), "-")
    if not word.startswith("-") and word not in commands:
        raise InputError(
            f"there is no command `{word}`. Choose one of {', '.join(commands)}; "
            "`tfinit --help` says what they do."
        )


def _stop(message: object, code: int) -> None:
    print(f"tfinit: {message}", file=sys.stderr)
    sys.exit(code)
