"""`tfinit lottery`, `tfinit initializations`, `tfinit stability`: experiments in a directory."""

import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from tfinit.cli.console import Dataset, loading
from tfinit.cli.device import warm_up
from tfinit.cli.workers import WithWorkers
from tfinit.datasets import datasets_help
from tfinit.devices import KERASES
from tfinit.errors import InputError
from tfinit.executors.workers import Workers
from tfinit.flag_help import FlagHelp
from tfinit.lottery.branches import controls_help
from tfinit.lottery.config import (
    ON_DIVERGENCE,
    STRUCTURES,
    LotteryConfig,
    StabilityConfig,
    allocations_help,
    check_given,
    scores_help,
)
from tfinit.lottery.initializations import DEFAULTS as INITIALIZATIONS
from tfinit.progress import Bar
from tfinit.pruning.scoring.allocation import NAMES
from tfinit.training.judged import DIRECTIONS, EVALUATE_TEST

if TYPE_CHECKING:
    from tfinit.lottery.tracking import Tracker


@dataclass(frozen=True)
class _Replicated(WithWorkers):
    initialization: str = "published"
    """published: as the network has it; or the name of a scheme or an initializer."""
    replicates: int = 0
    """So many replicates, with the seeds 0, 1, 2, ...: in place of --seeds."""
    log_dir: Path | None = None
    """Write the learning curves of every training to this directory, for TensorBoard."""
    plot_only: bool = False
    """Train nothing: tables and figures again, of what there is in --run-dir."""

    choices: ClassVar[Mapping[str, Iterable[str | None]]] = {
        **WithWorkers.choices,
        "keras": KERASES,
        "evaluate_test": EVALUATE_TEST,
        "metric_direction": DIRECTIONS,
        "on_divergence": ON_DIVERGENCE,
        "allocation": NAMES,
        "structure": STRUCTURES,
    }


_NETWORK = ("model", "dataset", "train_examples", "initialization", "keras")
_TRAINING = (
    *("seeds", "replicates", "steps", "batch_size", "optimizer", "learning_rate"),
    *("warmup_steps", "learning_rate_drops", "weight_decay", "augment"),
)
_PRUNING = (
    *("levels", "prune_fraction", "output_prune_fraction", "layer_prune_fractions", "allocation"),
    *("score", "structure", "rewind_step", "controls", "on_divergence"),
)
_RESULTS = (
    *("metric", "metric_direction", "evaluate_every", "evaluate_test", "run_dir", "log_dir"),
    "plot_only",
)


@dataclass(frozen=True)
class _Lottery(_Replicated, LotteryConfig):
    __doc__ = (LotteryConfig.__doc__ or "").split("\n")[0]

    # Names only: a function is no flag. `--criterion` is what the score was called.
    controls: tuple[str, ...] = field(default=("reinit",), metadata=FlagHelp(controls_help))
    allocation: str = field(default="uniform", metadata=FlagHelp(allocations_help))
    score: Annotated[str, tyro.conf.arg(aliases=("--criterion",))] = field(
        default="magnitude", metadata=FlagHelp(scores_help)
    )

    dataset: Dataset = field(default="digits", metadata=FlagHelp(datasets_help))

    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "network and data": _NETWORK,
        "pruning": _PRUNING,
        "training": _TRAINING,
        "results": _RESULTS,
        **WithWorkers.groups,
    }
    command_lines: ClassVar[Sequence[str]] = (
        "tfinit lottery --levels 5 --steps 300 --seeds 0",
        "tfinit lottery --rewind-step 50 --controls reinit shuffle",
        "tfinit lottery --model mine.py:build --data mine.py:load --run-dir runs/mine",
        "tfinit lottery --plot-only --run-dir runs/mine",
    )

    def run(self) -> int:
        if self.plot_only:
            return _reported(self, LotteryConfig, "lottery")
        workers, config = self.chosen_workers(), self._experiment()
        lottery(config, self.device, self.log_dir, workers)
        return 0

    def _experiment(self) -> LotteryConfig:
        config: LotteryConfig = self.threaded(LotteryConfig)
        check_given(config, self.typed)
        return config


@dataclass(frozen=True)
class _Initializations(_Lottery):
    """Run one lottery experiment from each of several initializations, and compare."""

    initializations: tuple[str, ...] = INITIALIZATIONS
    """Schemes, initializers of tfinit or of Keras; published: the network's own."""

    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "network and data": ("initializations", *(n for n in _NETWORK if n != "initialization")),
        **{name: flags for name, flags in _Lottery.groups.items() if flags is not _NETWORK},
    }
    command_lines: ClassVar[Sequence[str]] = (
        "tfinit initializations --initializations he xavier orthogonal --levels 5",
    )

    def run(self) -> int:
        if self.plot_only:
            return _reported(self, LotteryConfig, "initializations")
        initializations(
            self._experiment(),
            self.initializations,
            self.device,
            self.log_dir,
            self.chosen_workers(),
        )
        return 0


@dataclass(frozen=True)
class _Stability(_Replicated, StabilityConfig):
    __doc__ = (StabilityConfig.__doc__ or "").split("\n")[0]

    dataset: Dataset = field(default="digits", metadata=FlagHelp(datasets_help))

    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "network and data": _NETWORK,
        "what is measured": ("spawn_steps", "points"),
        "training": _TRAINING,
        "results": _RESULTS,
        **WithWorkers.groups,
    }
    command_lines: ClassVar[Sequence[str]] = (
        "tfinit stability --spawn-steps 0 100 --steps 300 --seeds 0",
        "tfinit stability --model mine.py:build --data mine.py:load",
    )

    def run(self) -> int:
        if self.plot_only:
            return _reported(self, StabilityConfig, "stability")
        workers = self.chosen_workers()
        stability(self.threaded(StabilityConfig), self.device, self.log_dir, workers)
        return 0


COMMANDS = {
    "lottery": _Lottery,
    "initializations": _Initializations,
    "stability": _Stability,
}


def lottery(
    config: LotteryConfig,
    device: str = "auto",
    log_dir: Path | None = None,
    workers: Workers | None = None,
) -> None:
    """Run a lottery-ticket experiment; print its table and conclusion, and leave its figures."""
    with loading():
        from tfinit.lottery.experiment import run
        from tfinit.saved_data import read_data

        warm_up(device, config.keras, config.threads)
    from tfinit.lottery.report import Conclusion, summarize
    from tfinit.lottery.report_files import OF_A_RUN, check_reports, write_run
    from tfinit.lottery.subject import Subject
    from tfinit.lottery.table import lottery_table

    data = read_data(config.dataset, "dataset")
    subject = Subject.of(config, data)
    check_reports(config.run_dir, OF_A_RUN)
    with Bar(lines=True) as bar:
        results = run(
            config,
            bar,
            warn=bar.warn,
            data=data,
            reports=False,
            tracker=_board(log_dir),
            workers=workers,
        )
    table = lottery_table(summarize(results), subject.title(len(config.seeds)))
    write = partial(write_run, config, results, subject)
    said = table, str(Conclusion.of(results, config))
    _tell("Results, tickets and figures", config, said, write)


def initializations(
    config: LotteryConfig,
    names: tuple[str, ...],
    device: str = "auto",
    log_dir: Path | None = None,
    workers: Workers | None = None,
) -> None:
    """Run a lottery experiment from each initialization; print and draw how their tickets do."""
    with loading():
        from tfinit.lottery.initializations import compare_initializations, configs
        from tfinit.saved_data import read_data

        warm_up(device, config.keras, config.threads)
    from tfinit.lottery.report import summarize
    from tfinit.lottery.report_files import (
        check_initializations,
        write_initializations,
    )
    from tfinit.lottery.subject import Subject
    from tfinit.lottery.table import initializations_table

    each, data = configs(config, names), read_data(config.dataset, "dataset")
    subject = Subject.of(config, data)
    check_initializations(each, config.run_dir)
    with Bar(lines=True) as bar:
        found = compare_initializations(
            config,
            names,
            bar,
            warn=bar.warn,
            data=data,
            reports=False,
            tracker=_board(log_dir),
            workers=workers,
        )
    rows = {name: summarize(results) for name, results in found.items()}
    table = initializations_table(rows, subject.title(len(config.seeds)))
    write = partial(write_initializations, each, config.run_dir, found, subject)
    _tell("Results, tickets and figures", config, (table,), write)


def stability(
    config: StabilityConfig,
    device: str = "auto",
    log_dir: Path | None = None,
    workers: Workers | None = None,
) -> None:
    """Measure linear mode connectivity; print and draw the error barrier."""
    with loading():
        from tfinit.lottery import stability as measure
        from tfinit.lottery import summarize_stability

        warm_up(device, config.keras, config.threads)
    from tfinit.lottery.report_files import OF_STABILITY, check_reports, write_stability
    from tfinit.lottery.subject import Subject
    from tfinit.lottery.table import stability_table

    subject = Subject.of(config)
    check_reports(config.run_dir, OF_STABILITY)
    with Bar(lines=True) as bar:
        results = measure(
            config, bar, warn=bar.warn, reports=False, tracker=_board(log_dir), workers=workers
        )
    table = stability_table(summarize_stability(results), subject.title(len(config.seeds)))
    write = partial(write_stability, config, results, subject)
    _tell("Results and figure", config, (table,), write)


def _reported(typed: Any, cls: Any, command: str) -> int:
    """Tables and figures of what is in a directory, as the command leaves them."""
    from tfinit.lottery.loading import load
    from tfinit.lottery.saved_run import SavedInitializations

    saved = load(typed.run_dir, lambda line: print(f"tfinit: {line}", file=sys.stderr))
    if saved.command != command:
        raise InputError(
            f"`run_dir` {typed.run_dir} is one of `tfinit {saved.command}`. Use --plot-only there."
        )
    _check_same(typed, saved.config, cls)
    if isinstance(saved, SavedInitializations) and typed.initializations != INITIALIZATIONS:
        saved = saved.only(typed.initializations)
    saved.check_any()
    said = saved.table(), *saved.said(), *saved.notes
    _tell("Tables and figures", saved, said, saved.write_reports)
    return 0


def _check_same(typed: Any, there: Any, cls: Any) -> None:
    """InputError for a flag that says something else than the directory that is reported on."""
    for f in dataclasses.fields(cls):
        value, default = getattr(typed, f.name), f.default
        if f.default_factory is not dataclasses.MISSING:
            default = f.default_factory()
        if f.name in ("run_dir", "initialization") or value in (default, getattr(there, f.name)):
            continue
        raise InputError(
            f"`{f.name}` is {getattr(there, f.name)!r} in {typed.run_dir}, received {value!r}. "
            "Leave it out: with --plot-only the directory says it."
        )


def _board(log_dir: Path | None) -> "Tracker | None":
    """What writes for TensorBoard, where that is asked for."""
    from tfinit.lottery.tracking import TensorBoard

    return None if log_dir is None else TensorBoard(log_dir)


def _tell(what: str, config: Any, said: Iterable[Any], write: Callable[[], None]) -> None:
    """Print tables and sentences, write files, and say where they are."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    try:
        for one in said:
            console.print(one)
    finally:  # whoever read it may be gone; and where they cannot be written, it is printed
        write()
    console.print(f"{what}: {config.run_dir}", soft_wrap=True)
