"""The command line: parses, calls, prints. Errors are one line and an exit code."""

import dataclasses
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tyro

from tfinit.errors import InputError, MissingPackage, WorkError
from tfinit.fine_tuning.config import PruneConfig
from tfinit.lottery.config import LotteryConfig, StabilityConfig
from tfinit.lottery.initializations import DEFAULTS as INITIALIZATIONS

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.progress import Progress

    from tfinit.lottery.result import LevelResult
    from tfinit.lottery.store import Store


# What was typed, not yet checked: tyro would draw a box around the one line of an error.
@dataclass(frozen=True)
class _Typed:
    replicates: int = 0
    """So many replicates, with the seeds 0, 1, 2, ...: in place of --seeds."""

    def __post_init__(self) -> None:
        pass


@dataclass(frozen=True)
class _Lottery(_Typed, LotteryConfig):
    __doc__ = (LotteryConfig.__doc__ or "").split("\n")[0]


@dataclass(frozen=True)
class _Initializations(_Lottery):
    """Run one lottery experiment from each of several initializations, and compare."""

    initializations: tuple[str, ...] = INITIALIZATIONS
    """Schemes, initializers of tfinit or of Keras; published: the network's own."""


@dataclass(frozen=True)
class _Stability(_Typed, StabilityConfig):
    __doc__ = (StabilityConfig.__doc__ or "").split("\n")[0]


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
                "initializations": _Initializations,
                "stability": _Stability,
                "prune": tyro.conf.configure(tyro.conf.PositionalRequiredArgs)(_Prune),
            },
            prog="tfinit",
            description="Weight initialization, pruning and lottery tickets for Keras networks.",
            args=arguments,
        )
        if isinstance(typed, _Initializations):
            initializations(_checked(typed, LotteryConfig), typed.initializations)
        elif isinstance(typed, _Lottery):
            lottery(_checked(typed, LotteryConfig))
        elif isinstance(typed, _Stability):
            stability(_checked(typed, StabilityConfig))
        else:
            prune(_checked(typed, PruneConfig))
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


def _checked(typed: Any, cls: type) -> Any:
    """The configuration that was typed, now checked."""
    fields = dataclasses.fields(cls)
    values = {f.name: getattr(typed, f.name) for f in fields}
    if getattr(typed, "replicates", 0):
        if typed.replicates < 1:
            raise InputError(f"`replicates` must be at least 1, received {typed.replicates}.")
        if values["seeds"] != next(f.default for f in fields if f.name == "seeds"):
            raise InputError("Give `seeds` or `replicates`, not both.")
        values["seeds"] = tuple(range(typed.replicates))
    return cls(**values)


def lottery(config: LotteryConfig) -> None:
    """Run a lottery-ticket experiment; print its table and conclusion, and leave its figures."""
    from rich.console import Console

    with _native_stderr_closed():
        from tfinit import datasets
        from tfinit.lottery.experiment import run, total_steps
        from tfinit.training import wake_up

        wake_up()
    from tfinit.lottery.report import Conclusion, summarize
    from tfinit.lottery.store import Store
    from tfinit.lottery.table import lottery_table

    data = datasets.load(config.dataset)
    with _progress() as progress:
        task = progress.add_task("starting", total=total_steps(config))
        results = run(
            config,
            data=data,
            progress=lambda steps: progress.advance(task, steps),
            finished=lambda result: _tell(progress, task, "", result),
            warn=lambda line: _warn(progress, line),
        )
    rows, conclusion = summarize(results), Conclusion.of(results)
    title = f"{config.model} on {config.dataset}, {_replicates(config)}"
    _report(Store(config), results, title, data.train[0].shape[1:])
    Store(config).write_report("conclusion.txt", f"{conclusion}\n".encode())

    console = Console()
    console.print(lottery_table(rows, title))
    console.print(str(conclusion), highlight=False)
    _where(console, "Results, tickets and figures", config)


def _report(
    store: "Store", results: "list[LevelResult]", title: str, shape: tuple[int, ...]
) -> None:
    """Leave the results of one experiment in its directory, as tables and figures."""
    from tfinit import plots
    from tfinit.lottery import report

    for name, content in (
        ("results.csv", report.to_csv(results)),
        ("evaluations.csv", report.evaluations_to_csv(results)),
        ("layers.csv", report.layers_to_csv(results)),
    ):
        store.write_report(name, content.encode())
    _draw(store, "tickets.png", plots.lottery_figure(report.summarize(results), title))
    _draw(store, "curves.png", plots.curves_figure(results, title))
    _draw(store, "layers.png", plots.layers_figure(results, title))
    _draw(store, "masks.png", plots.masks_figure(results, title, shape))


def initializations(config: LotteryConfig, names: tuple[str, ...]) -> None:
    """Run a lottery experiment from each initialization; print and draw how their tickets do."""
    from rich.console import Console

    with _native_stderr_closed():
        from tfinit import datasets
        from tfinit.lottery.initializations import compare_initializations, configs, steps_of
        from tfinit.training import wake_up

        wake_up()
    from tfinit.lottery.report import summarize
    from tfinit.lottery.store import Store, write_whole
    from tfinit.lottery.table import initializations_table
    from tfinit.plots import initializations_figure

    each, data = configs(config, names), datasets.load(config.dataset)
    with _progress() as progress:
        task = progress.add_task("starting", total=steps_of(config, names))
        found = compare_initializations(
            config,
            names,
            data=data,
            progress=lambda steps: progress.advance(task, steps),
            finished=lambda name, result: _tell(progress, task, f"{name} ", result),
            warn=lambda line: _warn(progress, line),
        )
    for name, results in found.items():
        title = f"{config.model} on {config.dataset}, {name}"
        _report(Store(each[name]), results, title, data.train[0].shape[1:])
    rows = {name: summarize(results) for name, results in found.items()}
    title = f"{config.model} on {config.dataset}, {_replicates(config)}"
    picture = _png(initializations_figure(rows, title))
    write_whole(config.run_dir / "initializations.png", picture)
    console = Console()
    console.print(initializations_table(rows, title))
    _where(console, "Results, tickets and figures", config)


def stability(config: StabilityConfig) -> None:
    """Measure linear mode connectivity; print and draw the error barrier."""
    from rich.console import Console

    with _native_stderr_closed():
        from tfinit.lottery import stability as experiment
        from tfinit.training import wake_up

        wake_up()
    from tfinit.lottery.store import Store
    from tfinit.lottery.table import stability_table
    from tfinit.plots import stability_figure

    with _progress() as progress:
        task = progress.add_task("starting", total=experiment.stability_steps(config))
        results = experiment.stability(
            config,
            progress=lambda steps: progress.advance(task, steps),
            finished=lambda result: _say(progress, task, str(result)),
            warn=lambda line: _warn(progress, line),
        )
    title = f"{config.model} on {config.dataset}, {_replicates(config)}"
    store = Store(config)
    store.write_report("stability.csv", experiment.stability_to_csv(results).encode())
    _draw(store, "stability.png", stability_figure(results, title))
    console = Console()
    console.print(stability_table(experiment.summarize_stability(results), title))
    _where(console, "Results and figure", config)


def _tell(progress: "Progress", task: Any, prefix: str, result: "LevelResult") -> None:
    diverged = "" if result.diverged_at is None else f", diverged at step {result.diverged_at}"
    _say(
        progress,
        task,
        f"{prefix}seed {result.seed} level {result.level:2d} {result.branch}: "
        f"density {result.density:.1%}, test accuracy {result.final_accuracy:.1%}{diverged}",
    )


def _say(progress: "Progress", task: Any, line: str) -> None:
    progress.update(task, description=line)
    if not progress.console.is_terminal:  # no bar is drawn there
        progress.console.print(line, highlight=False)


def _warn(progress: "Progress", line: str) -> None:
    progress.console.print(f"tfinit: {line}", highlight=False)


def _replicates(config: Any) -> str:
    return "1 seed" if len(config.seeds) == 1 else f"{len(config.seeds)} seeds"


def _where(console: Any, what: str, config: Any) -> None:
    console.print(f"{what}: {config.run_dir}", highlight=False, soft_wrap=True)


def _png(figure: "Figure") -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()


def _draw(store: "Store", name: str, figure: "Figure") -> None:
    store.write_report(name, _png(figure))


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
