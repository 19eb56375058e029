"""`tfinit sweep`: one lottery experiment in many configurations, from a file."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from tfinit.cli.console import loading
from tfinit.cli.device import warm_up
from tfinit.cli.workers import WithWorkers
from tfinit.errors import InputError, of_system
from tfinit.executors.workers import threaded
from tfinit.lottery.config import LotteryConfig
from tfinit.lottery.sweeping import Grid, configurations
from tfinit.progress import Bar


@dataclass(frozen=True)
class _Sweep(WithWorkers):
    """Run one lottery experiment in many configurations, and compare."""

    file: Annotated[Path | None, tyro.conf.Positional] = None
    """A TOML file: fields of an experiment, as the flags of `tfinit lottery`; and a table [sweep]
    of fields with lists of values, of which all combinations are run; or tables [[run]] with the
    fields that each changes."""
    run_dir: Path = Path("runs/sweep")
    """Directory of the sweep, with one for each configuration. A sweep that is started again goes
    on there."""
    plot_only: bool = False
    """Train nothing: tables and figures again, of what there is in --run-dir. The file can be left
    out then."""

    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "results": ("run_dir", "plot_only"),
        "where it runs": tuple(n for n in WithWorkers.groups["where it runs"] if n != "threads"),
    }
    command_lines: ClassVar[Sequence[str]] = (
        "tfinit sweep sweep.toml",
        "tfinit sweep --plot-only --run-dir runs/sweep",
    )

    def run(self) -> int:
        if self.plot_only:
            return _reported(self.file, self.run_dir)
        if self.file is None:
            raise InputError("`file` is missing: give a TOML file, as `tfinit sweep sweep.toml`.")
        base, grid = read(self.file, self.run_dir)
        workers = self.chosen_workers()
        base = threaded(base, workers)
        configurations(base, grid)
        with loading():
            from tfinit.lottery.sweeping import sweep

            warm_up(self.device, base.keras, base.threads)
        with Bar(lines=True) as bar:
            found = sweep(base, grid, bar, warn=bar.warn, workers=workers)
        print(found)
        print(f"Table, figure and a directory of each: {self.run_dir}", flush=True)
        return 0


COMMANDS = {"sweep": _Sweep}


def _reported(file: Path | None, run_dir: Path) -> int:
    """Tables and figures of what is in a directory, as the command leaves them."""
    from tfinit.lottery.loading import load
    from tfinit.lottery.saved_sweep import SavedSweep

    saved = load(run_dir, lambda line: print(f"tfinit: {line}", file=sys.stderr))
    if not isinstance(saved, SavedSweep):
        raise InputError(
            f"`run_dir` {run_dir} is one of `tfinit {saved.command}`. Use --plot-only there."
        )
    if file is not None:
        each = configurations(*read(file, run_dir))
        saved = saved.only(list(each))
        for name, run in saved.runs.items():
            differing = run.config.differences(each[name]).keys() - {"threads"}
            if differing:
                raise InputError(
                    f"`file` {file}: {', '.join(sorted(differing))} of {name} is another one than "
                    f"in {run_dir}. Leave the file out: with --plot-only the directory says it."
                )
    saved.check_any()
    try:
        print(saved)
    finally:  # whoever read it may be gone; and where they cannot be written, it is printed
        saved.write_reports()
    print(f"Tables and figures: {run_dir}", flush=True)
    return 0


def read(file: Path, run_dir: Path) -> tuple[LotteryConfig, Grid]:
    """The experiment that a file says, and what is varied in it.

    Raises:
        InputError: it cannot be read, is no TOML, or says something that no experiment has.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # ty: ignore[import-not-found]

    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"`file` {file} cannot be read: {of_system(error)}.") from error
    except ValueError as error:
        raise InputError(f"`file` {file} is no TOML: {error}.") from error
    grid, runs = values.pop("sweep", None), values.pop("run", None)
    if (grid is None) == (runs is None):
        raise InputError(
            f"`file` {file} must have either a table [sweep], as learning_rate = [0.001, 0.01], or "
            "tables [[run]], each with the fields that it changes."
        )
    known = {f.name: f.default for f in fields(LotteryConfig) if f.name != "run_dir"}
    for name, value in values.items():
        if name not in known:
            raise InputError(
                f"`file` {file}: an experiment has no {name!r}. Its fields: {', '.join(known)}."
            )
        if isinstance(value, list):
            values[name] = tuple(value)
    given: Any = grid if runs is None else runs
    return LotteryConfig(**values, run_dir=run_dir), given
