"""`tfinit lottery`, `tfinit initializations`, `tfinit stability`: experiments in a directory."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfinit.cli.console import checked, loading, png, progress_bar, say, warn
from tfinit.cli.device import OnDevice, wake_up
from tfinit.files import check_writable, write_whole
from tfinit.lottery.config import LotteryConfig, StabilityConfig
from tfinit.lottery.initializations import DEFAULTS as INITIALIZATIONS

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.progress import Progress

    from tfinit.lottery.result import LevelResult
    from tfinit.lottery.store import Store


@dataclass(frozen=True)
class _Replicated(OnDevice):
    replicates: int = 0
    """So many replicates, with the seeds 0, 1, 2, ...: in place of --seeds."""


@dataclass(frozen=True)
class _Lottery(_Replicated, LotteryConfig):
    __doc__ = (LotteryConfig.__doc__ or "").split("\n")[0]

    def run(self) -> int:
        lottery(checked(self, LotteryConfig), self.device)
        return 0


@dataclass(frozen=True)
class _Initializations(_Lottery):
    """Run one lottery experiment from each of several initializations, and compare."""

    initializations: tuple[str, ...] = INITIALIZATIONS
    """Schemes, initializers of tfinit or of Keras; published: the network's own."""

    def run(self) -> int:
        initializations(checked(self, LotteryConfig), self.initializations, self.device)
        return 0


@dataclass(frozen=True)
class _Stability(_Replicated, StabilityConfig):
    __doc__ = (StabilityConfig.__doc__ or "").split("\n")[0]

    def run(self) -> int:
        stability(checked(self, StabilityConfig), self.device)
        return 0


COMMANDS = {
    "lottery": _Lottery,
    "initializations": _Initializations,
    "stability": _Stability,
}


def lottery(config: LotteryConfig, device: str = "auto") -> None:
    """Run a lottery-ticket experiment; print its table and conclusion, and leave its figures."""
    from rich.console import Console

    with loading():
        from tfinit import datasets
        from tfinit.lottery.experiment import run, total_steps

        wake_up(device, config.keras)
    from tfinit.lottery.report import Conclusion, summarize
    from tfinit.lottery.store import Store
    from tfinit.lottery.table import lottery_table

    data = datasets.load(config.dataset)
    _check_reports(config, *_REPORTS, "conclusion.txt")
    with progress_bar() as progress:
        task = progress.add_task("starting", total=total_steps(config))
        results = run(
            config,
            data=data,
            progress=lambda steps: progress.advance(task, steps),
            finished=lambda result: _tell(progress, task, "", result),
            warn=lambda line: warn(progress, line),
        )
    rows, conclusion = summarize(results), Conclusion.of(results)
    title = f"{config.model} on {config.dataset}, {_replicates(config)}"
    console = Console()
    console.print(lottery_table(rows, title))
    console.print(str(conclusion), highlight=False)
    _report(Store(config), results, title, data.train[0].shape[1:])
    Store(config).write_report("conclusion.txt", f"{conclusion}\n".encode())
    _where(console, "Results, tickets and figures", config)


# What `_report` leaves.
_REPORTS = (
    *("results.csv", "evaluations.csv", "layers.csv"),
    *("tickets.png", "curves.png", "layers.png", "masks.png"),
)


def _check_reports(config: "LotteryConfig | StabilityConfig", *names: str) -> None:
    """See before the training that its reports can be written."""
    # In a directory that is not there nothing is in the way.
    for name in names if os.path.isdir(config.run_dir) else names[:1]:
        check_writable("run_dir", config.run_dir / name, "Choose another with --run-dir.")


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


def initializations(config: LotteryConfig, names: tuple[str, ...], device: str = "auto") -> None:
    """Run a lottery experiment from each initialization; print and draw how their tickets do."""
    from rich.console import Console

    with loading():
        from tfinit import datasets
        from tfinit.lottery.initializations import compare_initializations, configs, steps_of

        wake_up(device, config.keras)
    from tfinit.lottery.report import summarize
    from tfinit.lottery.store import Store
    from tfinit.lottery.table import initializations_table
    from tfinit.plots import initializations_figure

    each, data = configs(config, names), datasets.load(config.dataset)
    _check_reports(config, "initializations.png")
    for own in each.values():
        _check_reports(own, *_REPORTS)
    with progress_bar() as progress:
        task = progress.add_task("starting", total=steps_of(config, names))
        found = compare_initializations(
            config,
            names,
            data=data,
            progress=lambda steps: progress.advance(task, steps),
            finished=lambda name, result: _tell(progress, task, f"{name} ", result),
            warn=lambda line: warn(progress, line),
        )
    rows = {name: summarize(results) for name, results in found.items()}
    title = f"{config.model} on {config.dataset}, {_replicates(config)}"
    console = Console()
    console.print(initializations_table(rows, title))
    for name, results in found.items():
        own_title = f"{config.model} on {config.dataset}, {name}"
        _report(Store(each[name]), results, own_title, data.train[0].shape[1:])
    picture = png(initializations_figure(rows, title))
    write_whole(config.run_dir / "initializations.png", picture)
    _where(console, "Results, tickets and figures", config)


def stability(config: StabilityConfig, device: str = "auto") -> None:
    """Measure linear mode connectivity; print and draw the error barrier."""
    from rich.console import Console

    with loading():
        from tfinit.lottery import stability as experiment

        wake_up(device, config.keras)
    from tfinit.lottery.store import Store
    from tfinit.lottery.table import stability_table
    from tfinit.plots import stability_figure

    _check_reports(config, "stability.csv", "stability.png")
    with progress_bar() as progress:
        task = progress.add_task("starting", total=experiment.stability_steps(config))
        results = experiment.stability(
            config,
            progress=lambda steps: progress.advance(task, steps),
            finished=lambda result: say(progress, task, str(result)),
            warn=lambda line: warn(progress, line),
        )
    title = f"{config.model} on {config.dataset}, {_replicates(config)}"
    console = Console()
    console.print(stability_table(experiment.summarize_stability(results), title))
    store = Store(config)
    store.write_report("stability.csv", experiment.stability_to_csv(results).encode())
    _draw(store, "stability.png", stability_figure(results, title))
    _where(console, "Results and figure", config)


def _tell(progress: "Progress", task: Any, prefix: str, result: "LevelResult") -> None:
    diverged = "" if result.diverged_at is None else f", diverged at step {result.diverged_at}"
    say(
        progress,
        task,
        f"{prefix}seed {result.seed} level {result.level:2d} {result.branch}: "
        f"density {result.density:.1%}, test accuracy {result.final_accuracy:.1%}{diverged}",
    )


def _replicates(config: Any) -> str:
    return "1 seed" if len(config.seeds) == 1 else f"{len(config.seeds)} seeds"


def _where(console: Any, what: str, config: Any) -> None:
    console.print(f"{what}: {config.run_dir}", highlight=False, soft_wrap=True)


def _draw(store: "Store", name: str, figure: "Figure") -> None:
    store.write_report(name, png(figure))
