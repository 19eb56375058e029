"""The command line: parses, calls, prints. Errors are one line and an exit code."""

import dataclasses
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import tyro

from tfinit.errors import InputError, MissingPackage, WorkError
from tfinit.fine_tuning.config import PruneConfig
from tfinit.lottery.config import LotteryConfig

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from tfinit.lottery.report import Row
    from tfinit.lottery.result import LevelResult


# What was typed, not yet checked: tyro would draw a box around the one line of an error.
class _Lottery(LotteryConfig):
    __doc__ = (LotteryConfig.__doc__ or "").split("\n")[0]

    def __post_init__(self) -> None:
        pass


class _Prune(PruneConfig):
    __doc__ = (PruneConfig.__doc__ or "").split("\n")[0]

    def __post_init__(self) -> None:
        pass


def main(arguments: list[str] | None = None) -> None:
    """Run ``tfinit`` with some arguments, by default those of the process.

    Exits with 0, 1 for a failure during work, 2 for bad input, 130 when interrupted.
    """
    # Settings of this process, not of the package: quiet logs unless asked for.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        typed = tyro.extras.subcommand_cli_from_dict(
            {
                "lottery": _Lottery,
                "prune": tyro.conf.configure(tyro.conf.PositionalRequiredArgs)(_Prune),
            },
            prog="tfinit",
            description="Weight initialization, pruning and lottery tickets for Keras networks.",
            args=arguments,
        )
        values = {f.name: getattr(typed, f.name) for f in dataclasses.fields(typed)}
        if isinstance(typed, _Lottery):
            lottery(LotteryConfig(**values))
        else:
            prune(PruneConfig(**values))
    except InputError as error:
        _stop(error, 2)
    except (WorkError, MissingPackage) as error:
        _stop(error, 1)
    except KeyboardInterrupt:
        _stop("interrupted. Start the same command again to go on where it was.", 130)


@contextmanager
def _native_stderr_closed() -> Iterator[None]:
    """TensorFlow's libraries write to stderr as they load, at any log level (tensorflow#100442)."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _stop(message: object, code: int) -> None:
    print(f"tfinit: {message}", file=sys.stderr)
    sys.exit(code)


def lottery(config: LotteryConfig) -> None:
    """Run a lottery-ticket experiment; print its table and conclusion, and leave its figure."""
    from rich.console import Console

    with _native_stderr_closed():
        from tfinit.lottery.experiment import run, trainings
        from tfinit.training import wake_up

        wake_up()
    from tfinit.lottery.report import Conclusion, evaluations_to_csv, summarize, to_csv
    from tfinit.lottery.store import Store
    from tfinit.plots import lottery_figure

    progress = _progress()

    def finished(result: "LevelResult") -> None:
        line = (
            f"seed {result.seed} level {result.level:2d} {result.branch}: "
            f"density {result.density:.1%}, test accuracy {result.final_accuracy:.1%}"
        )
        progress.update(task, description=line)
        if not progress.console.is_terminal:  # no bar is drawn there
            progress.console.print(line, highlight=False)

    with progress:
        task = progress.add_task("starting", total=trainings(config) * config.steps)
        results = run(
            config,
            progress=lambda steps: progress.advance(task, steps),
            finished=finished,
            warn=lambda line: progress.console.print(f"tfinit: {line}", highlight=False),
        )
    rows, conclusion = summarize(results), Conclusion.of(results)
    store = Store(config)
    store.write_report("results.csv", to_csv(results).encode())
    store.write_report("evaluations.csv", evaluations_to_csv(results).encode())
    store.write_report("conclusion.txt", f"{conclusion}\n".encode())
    replicates = "1 seed" if len(config.seeds) == 1 else f"{len(config.seeds)} seeds"
    title = f"{config.model} on {config.dataset}, {replicates}"
    picture = io.BytesIO()
    lottery_figure(rows, title).savefig(picture, format="png", dpi=120)
    figure = store.write_report("tickets.png", picture.getvalue())

    console = Console()
    console.print(_table(rows, title))
    console.print(str(conclusion), highlight=False)
    console.print(f"Results, tickets and figure: {figure.parent}", highlight=False, soft_wrap=True)


def prune(config: PruneConfig) -> None:
    """Prune a saved model; print its report, and what it cost."""
    from rich.console import Console

    with _native_stderr_closed():
        from tfinit.fine_tuning.run import fine_tune
        from tfinit.training import wake_up

        wake_up()
    progress = _progress()
    with progress:
        task = progress.add_task(f"pruning to {config.sparsity:.0%}", total=None)
        result = fine_tune(
            config,
            started=lambda done, steps: progress.update(task, completed=done, total=steps),
            stepped=lambda: progress.advance(task),
        )
    console = Console()
    console.print(str(result.report), highlight=False, soft_wrap=True, markup=False)
    for name, before in result.before.items():
        line = f"test {name}: {before:.4g} before, {result.after[name]:.4g} pruned"
        console.print(line, highlight=False)
    console.print(
        f"Model: {result.out}, report: {result.report_file}. The zeros are real; they save space "
        "once the file is compressed, and time where the runtime skips them.",
        highlight=False,
        soft_wrap=True,
    )


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _table(rows: "Sequence[Row]", title: str) -> "Table":
    from rich import box
    from rich.table import Table

    from tfinit.lottery.report import Spread
    from tfinit.lottery.result import REINIT, TICKET

    def cell(spread: Spread, scale: float, digits: int) -> str:
        deviation = f"±{scale * spread.std:.{digits}f}" if spread.n > 1 else ""
        return f"{scale * spread.mean:.{digits}f}{deviation}"

    table = Table(
        title=f"{title}\ntest accuracy in %, mean±standard deviation; gain of ticket in points",
        box=box.SIMPLE_HEAD,
        padding=0,
    )
    branches = [b for b in (TICKET, REINIT) if any(row.branch == b for row in rows)]
    for name in ("level", "density"):
        table.add_column(f"\n{name}", justify="right")
    for branch in branches:
        for column in ("stop step", "there", "final"):
            table.add_column(f"{branch}\n{column}", justify="right")
    if REINIT in branches:
        table.add_column("final\ngain", justify="right")
    by_place = {(row.level, row.branch): row for row in rows}
    for level in sorted({row.level for row in rows}):
        of = {branch: by_place.get((level, branch)) for branch in branches}
        cells = [str(level), f"{of[TICKET].density:.1%}"]
        for row in of.values():
            if row is None:  # the dense network has no control
                cells += ["", "", ""]
            else:
                cells += [cell(row.early_stop_step, 1, 0), cell(row.early_stop_accuracy, 100, 1)]
                cells += [cell(row.final_accuracy, 100, 1)]
        if of.get(REINIT) is not None:
            gain = of[TICKET].final_accuracy.mean - of[REINIT].final_accuracy.mean
            cells.append(f"{100 * gain:+.1f}")
        table.add_row(*cells)
    return table
