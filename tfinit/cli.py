"""The command line: parses, calls, prints. Errors are one line and an exit code."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from tfinit.errors import InputError, WorkError
from tfinit.lottery.config import LotteryConfig

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tfinit.lottery.report import Row
    from tfinit.lottery.result import LevelResult

Command = Annotated[
    LotteryConfig,
    tyro.conf.subcommand("lottery", description=(LotteryConfig.__doc__ or "").split("\n")[0]),
]


def main(arguments: list[str] | None = None) -> None:
    """Run ``tfinit`` with some arguments, by default those of the process.

    Exits with 0, 1 for a failure during work, 2 for bad input, 130 when interrupted.
    """
    # Settings of this process, not of the package: quiet logs unless asked for.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("ABSL_MIN_LOG_LEVEL", "3")
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            {"lottery": LotteryConfig},
            prog="tfinit",
            description="Weight initialization, pruning and lottery tickets for Keras networks.",
            args=arguments,
        )
        lottery(command)
    except InputError as error:
        _stop(error, 2)
    except WorkError as error:
        _stop(error, 1)
    except KeyboardInterrupt:
        _stop("interrupted. Start the same command again to go on where it was.", 130)


def _stop(message: object, code: int) -> None:
    print(f"tfinit: {message}", file=sys.stderr)
    sys.exit(code)
