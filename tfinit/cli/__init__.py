"""The command line: parses, calls, prints. Errors are one line and an exit code.

One module for each subject; its ``COMMANDS`` are the words after ``tfinit``, and each is a
`tfinit.cli.console.Command`, whose fields are the flags. None of them loads anything heavy before
it runs.
"""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfinit.cli.signals import heard, nothing_begun
from tfinit.errors import InputError, one_line
from tfinit.native_output import open_streams

if TYPE_CHECKING:
    from tfinit.cli.console import Command

_EXAMPLES = (
    "tfinit diagnose mine.py:build         will it learn? What is wrong where?",
    "tfinit prune model.keras --sparsity 0.9",
    "tfinit lottery --levels 5             tickets on digits, a minute",
)


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
            from tfinit.cli.console import reader_may_leave, warnings_in_a_line
            from tfinit.cli.parsing import said_by_flags
            from tfinit.text_table import as_wide_as

        with nothing_begun(), reader_may_leave():
            command = _typed(sys.argv[1:] if arguments is None else arguments)
        signals.after = command.stopped
        columns = shutil.get_terminal_size().columns
        with reader_may_leave(), said_by_flags(command), warnings_in_a_line(), as_wide_as(columns):
            code = command.run()
    if code:
        sys.exit(code)


def commands() -> dict[str, Any]:
    """The words after ``tfinit``, with what they run."""
    return {word: command for group in _groups().values() for word, command in group.items()}


def _groups() -> dict[str, Mapping[str, Any]]:
    """The commands by what they are for, as the help has them."""
    from tfinit.cli import compare, demo, diagnose, export, initialize, lottery, prune, sweep

    return {
        "initialize and diagnose": {
            **diagnose.COMMANDS,
            **initialize.COMMANDS,
            **compare.COMMANDS,
            **demo.COMMANDS,
        },
        "prune and export": {**prune.COMMANDS, **export.COMMANDS},
        "experiments": {**lottery.COMMANDS, **sweep.COMMANDS},
    }


def _typed(arguments: Sequence[str]) -> "Command":
    from tfinit.arguments import meant
    from tfinit.cli.about import print_completion, version
    from tfinit.cli.help import OPTIONS, main_help
    from tfinit.cli.parsing import parsed

    word, *rest = arguments or [""]
    if word in ("-h", "--help"):
        print(main_help(_groups(), _EXAMPLES), end="")
        raise SystemExit(0)
    if word == "--version":
        print(version())
        raise SystemExit(0)
    known = commands()
    if word == "--completion":
        print_completion(known, rest)
        raise SystemExit(0)
    if word not in known:
        said = f"there is no command `{word}`" if word else "a command is missing"
        raise InputError(
            f"{said}.{meant(word, [*known, *OPTIONS])} Choose one of {', '.join(known)}; "
            "`tfinit --help` says what they do."
        )
    return parsed(word, known[word], rest)
