"""One experiment in many configurations: which rate, which start, which density?"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfinit.arguments import flag, instance, refused
from tfinit.errors import InputError
from tfinit.lottery.branches import TICKET
from tfinit.lottery.config import LotteryConfig
from tfinit.progress import as_warning, check_progress
from tfinit.results import Result
from tfinit.text_table import aligned

if TYPE_CHECKING:  # the command line's --help imports this file, and nothing heavy
    from matplotlib.figure import Figure

    from tfinit.datasets import Dataset
    from tfinit.lottery.report import LevelSummary
    from tfinit.lottery.result import LevelResult
    from tfinit.lottery.subject import Subject
    from tfinit.lottery.tracking import Tracker
    from tfinit.training.metrics import Progress

Grid = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]

# Where an experiment is, and with how many threads a process computes, is the same for all.
_NOT_VARIED = ("run_dir", "threads")
_REPORTS = ("sweep.csv", "sweep.png")
_MOST_LINES = 8  # of a figure


@dataclass(frozen=True, eq=False, repr=False)
class SweepRun:
    """One configuration of a sweep.

    Attributes:
        name: Its directory's name: ``"learning_rate=0.01,initialization=he"``.
        changes: Field → value, of those that are varied.
        results: What `tfinit.lottery.run` returns of it.
    """

    name: str
    changes: Mapping[str, Any]
    results: "list[LevelResult]"

    @property
    def tickets(self) -> "list[LevelSummary]":
        """Its tickets, a row for each level."""
        from tfinit.lottery.report import summarize

        return [row for row in summarize(self.results) if row.branch == TICKET]


@dataclass(frozen=True, eq=False, repr=False)
class Sweep(Result):
    """The results of `sweep`. Print it, ``.to_frame()`` it, ``.plot()`` it.

    Attributes:
        title: What it is about.
        runs: A run for each configuration, in the order in which they were asked for.
    """

    title: str
    runs: tuple[SweepRun, ...]

    @property
    def best(self) -> str:
        """The name of the run whose last tickets do best, by what networks are judged by."""
        last = {run.name: run.tickets[-1] for run in self.runs}
        metric = next(iter(last.values())).metric
        sign = 1 if metric.direction == "max" else -1
        known = {name: sign * row.final_value.mean for name, row in last.items()}
        return max(known, key=lambda name: (known[name] == known[name], known[name]))

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                **{name: told(value) for name, value in run.changes.items()},
                "level": row.level,
                "density": row.density,
                "value": row.final_value.mean,
                "std": row.final_value.std,
                "replicates": row.final_value.n,
                "diverged": row.diverged,
            }
            for run in self.runs
            for row in run.tickets
        ]

    def to_dict(self) -> dict[str, Any]:
        """Title and rows: a row for each configuration and level of its tickets."""
        from tfinit.results import json_ready

        return json_ready({"title": self.title, "best": self.best, "rows": self._rows()})

    def __str__(self) -> str:
        metric = self.runs[0].tickets[0].metric
        names = list(self.runs[0].changes)
        table = [(*names, "dense", "last ticket", "density", "diverged")]
        for run in self.runs:
            first, last = run.tickets[0], run.tickets[-1]
            table.append(
                (
                    *(str(told(run.changes[name])) for name in names),
                    metric.text(first.final_value.mean),
                    metric.text(last.final_value.mean),
                    f"{last.density:.1%}",
                    str(sum(row.diverged for row in run.tickets) or ""),
                )
            )
        right = range(len(names), len(table[0]))
        lines = aligned(table, right, drop_empty=True, keys=len(names))
        heading = f"{self.title}: test {metric} after the last step, mean over replicates"
        return "\n".join([heading, *lines, f"Best last tickets: {self.best}."])

    def plot(self) -> "Figure":
        """What tickets are judged by against density: of many runs, those that end best."""
        from tfinit.plots import initializations_figure

        last = {run.name: run.tickets[-1] for run in self.runs}
        sign = -1 if next(iter(last.values())).metric.direction == "max" else 1
        shown = sorted(self.runs, key=lambda run: sign * last[run.name].final_value.mean)
        chosen = shown[:_MOST_LINES]
        rows = {run.name: run.tickets for run in self.runs if run in chosen}
        return initializations_figure(rows, self.title)


def configurations(base: LotteryConfig, grid: Grid) -> dict[str, LotteryConfig]:
    """Name of each configuration → the experiment, in a directory of that name in ``run_dir``.

    Args:
        base: What all have.
        grid: As for `sweep`.

    Raises:
        InputError: a field does not exist, may not vary, or has a value that is not allowed; there
            is nothing to vary, or a configuration is there twice.

    Example:
        >>> found = configurations(LotteryConfig(), {"steps": [10, 20], "optimizer": ["sgd"]})
        >>> [(name, config.steps) for name, config in found.items()]
        [('steps=10,optimizer=sgd', 10), ('steps=20,optimizer=sgd', 20)]
    """
    instance("base", base, LotteryConfig)
    found: dict[str, LotteryConfig] = {}
    for changes in _combinations(grid):
        name = ",".join(f"{field}={_written(value)}" for field, value in changes.items())
        if name in found:
            raise InputError(f"`grid` has {name} twice. Leave one out.")
        found[name] = replace(base, **changes, run_dir=base.run_dir / name)
    return found


def _combinations(grid: Any) -> list[dict[str, Any]]:
    """What is changed in each configuration."""
    if isinstance(grid, Mapping):
        values = {name: _values(name, of) for name, of in grid.items()}
        chosen = [dict(zip(values, one, strict=True)) for one in product(*values.values())]
    elif isinstance(grid, Sequence) and all(isinstance(one, Mapping) for one in grid):
        chosen = [dict(one) for one in grid]
    else:
        raise refused("grid", "field → values, or a list of such changes of the base", grid)
    if not chosen or not all(chosen):
        raise InputError("`grid` varies nothing. Give a field with its values: steps=[100, 200].")
    known = [f.name for f in fields(LotteryConfig) if f.name not in _NOT_VARIED]
    for changes in chosen:
        for name in changes:
            if name not in known:
                raise InputError(f"`grid` may vary {', '.join(known)}; received {name!r}.")
        if changes.keys() != chosen[0].keys():
            raise InputError(
                f"`grid` varies {', '.join(chosen[0])} in one configuration, and "
                f"{', '.join(changes)} in another. Name the same fields in all."
            )
    return chosen


def _values(name: Any, values: Any) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise refused(f"grid[{name!r}]", "a list of values", values)
    defaults = {f.name: f.default for f in fields(LotteryConfig)}
    lists = isinstance(defaults.get(name), tuple)
    return [tuple(one) if lists and isinstance(one, list) else one for one in values]


def told(value: Any) -> Any:
    """A value as tables have it."""
    if isinstance(value, tuple | list):
        return " ".join(map(str, value))
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return value


def _written(value: Any) -> str:
    """A value as part of a directory's name."""
    return re.sub(r"[^\w.+-]+", "-", str(told(value))).strip("-") or "none"


def sweep(
    base: LotteryConfig,
    grid: Grid,
    progress: "bool | Progress | None" = True,
    finished: "Callable[[str, LevelResult], None]" = lambda name, result: None,
    warn: Callable[[str], None] = as_warning,
    data: "Dataset | None" = None,
    reports: bool = True,
    tracker: "Tracker | None" = None,
    build_model: Any = None,
    workers: Any = None,
) -> Sweep:
    """Run one lottery experiment in several configurations, each in a directory of its own.

    Interrupted at any moment and called again, also with a larger grid, it goes on where it was.
    `tfinit.lottery.load` reads the configurations that were asked for last.

    Args:
        base: What all configurations have. Its ``run_dir`` gets a directory for each.
        grid: Fields of `LotteryConfig` with their values, of which all combinations are run:
            ``{"learning_rate": [1e-3, 1e-2], "initialization": ["he", "lsuv"]}``; or a list of
            configurations, each the changes that it makes: ``[{"steps": 100}, {"steps": 200}]``.
        progress: As for `tfinit.lottery.run`.
        finished: Called with the name of a configuration and a result after each training.
        warn: As for `tfinit.lottery.run`; a line that several have comes once.
        data: As for `tfinit.lottery.run`: for all configurations.
        reports: Whether to leave what `tfinit.lottery.run` does in each directory, and beside
            them ``sweep.csv`` and ``sweep.png``.
        tracker: As for `tfinit.lottery.run`; names begin with the configuration's.
        build_model: As for `tfinit.lottery.run`.
        workers: As for `tfinit.lottery.run`: they train networks of all configurations.

    Returns:
        A table and figure of all, with the results of each.

    Raises:
        InputError: as `configurations` or `tfinit.lottery.run` says: nothing is trained then.
        WorkError: as `tfinit.lottery.run` says.

    Example:
        >>> base = LotteryConfig(levels=1, steps=20, seeds=(0,), run_dir=Path(tmp) / "sweep")
        >>> found = sweep(base, {"learning_rate": [1e-3, 1e-2]})
        >>> [run.name for run in found.runs]
        ['learning_rate=0.001', 'learning_rate=0.01']
    """
    from tfinit.executors.workers import workers_of
    from tfinit.lottery.report_files import OF_A_RUN, check_reports, write_run
    from tfinit.lottery.saved_sweep import note_sweep
    from tfinit.lottery.several import Several
    from tfinit.lottery.tracking import check_tracker

    each = configurations(base, grid)
    check_progress(progress)
    check_tracker(tracker)
    reports, workers = flag("reports", reports), workers_of(workers)
    several = Several(each, finished, warn, data, build_model, workers)
    if reports:
        for config in several.configs.values():
            check_reports(config.run_dir, OF_A_RUN)
        check_sweep(base.run_dir)
    changes = dict(zip(each, _combinations(grid), strict=True))
    note_sweep(base.run_dir, changes)
    found = several.train(progress, tracker)
    runs = [SweepRun(name, changes[name], results) for name, results in found.items()]
    result = sweep_of(runs, [several.subject(name) for name in found])
    if reports:
        for run in runs:
            write_run(several.configs[run.name], run.results, several.subject(run.name))
        write_sweep(base.run_dir, result)
    return result


def sweep_of(runs: "Sequence[SweepRun]", subjects: "Sequence[Subject]") -> Sweep:
    """The results of all runs, under the title of what those are about."""
    about = {subject.named() for subject in subjects}
    of = f" of {about.pop()}" if len(about) == 1 else ""
    many = "s" if len(runs) > 1 else ""
    return Sweep(f"{len(runs)} configuration{many}{of}", tuple(runs))


def check_sweep(run_dir: Path) -> None:
    """See that the table and the figure of a sweep can be written.

    Raises:
        InputError: something is in the way.
    """
    from tfinit.lottery.report_files import check_reports

    check_reports(run_dir, _REPORTS)


def write_sweep(run_dir: Path, found: Sweep) -> None:
    """Write the table and the figure of all configurations.

    Raises:
        WorkError: a file cannot be written.
    """
    from tfinit.files import png, write_whole

    write_whole(run_dir / _REPORTS[0], _csv(found._rows()).encode())
    write_whole(run_dir / _REPORTS[1], png(found.plot()))


def _csv(rows: list[dict[str, Any]]) -> str:
    import csv
    import io

    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
