"""A sweep as its directory has it: which configurations it is of, and what there is of each."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tfinit.errors import InputError
from tfinit.files import read_regular, write_whole
from tfinit.lottery.config import LotteryConfig
from tfinit.lottery.saved_run import Saved, SavedRun
from tfinit.lottery.sweeping import Sweep, SweepRun, check_sweep, sweep_of, told, write_sweep
from tfinit.results import frame, json_ready

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure
    from rich.console import RenderableType

Changes = Mapping[str, Mapping[str, Any]]  # configuration → field → value


def _file(directory: Path) -> Path:
    return directory / "sweep.json"


def noted_sweep(directory: Path) -> dict[str, dict[str, Any]]:
    """The configurations of a sweep: those that were asked for last; empty: it is no sweep."""
    try:
        noted = json.loads(read_regular(_file(directory)))["configurations"]
        found = {str(name): dict(changes) for name, changes in noted.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return {name: changes for name, changes in found.items() if "/" not in name}


def note_sweep(directory: Path, changes: Changes) -> None:
    """Let a directory say which configurations its sweep has; values as tables have them.

    Raises:
        WorkError: the file cannot be written.
    """
    plain = {name: {f: told(value) for f, value in of.items()} for name, of in changes.items()}
    content = json.dumps({"configurations": json_ready(plain)}, indent=2) + "\n"
    write_whole(_file(directory), content.encode())


@dataclass(frozen=True, repr=False, eq=False)
class SavedSweep(Saved):
    """The configurations of a sweep in its directory.

    Attributes:
        runs: Configuration → its experiment. One without any training is missing.
        changes: Configuration → field → value, of those that are varied, as tables have it.
    """

    command: ClassVar[str] = "sweep"

    runs: dict[str, SavedRun]
    changes: dict[str, dict[str, Any]]

    @property
    def config(self) -> LotteryConfig:
        """The experiment of the first that is there."""
        return next(iter(self.runs.values())).config

    @property
    def results(self) -> Sweep:
        """What `tfinit.lottery.sweep` returns, of the configurations that have tickets.

        Raises:
            InputError: none has.
        """
        self.check_any()
        runs = [
            SweepRun(name, self.changes[name], run.results) for name, run in self._with_tickets()
        ]
        return sweep_of(runs, [run.subject for _, run in self._with_tickets()])

    def only(self, names: list[str]) -> "SavedSweep":
        """The same of some configurations.

        Raises:
            InputError: the sweep has not all of them.
        """
        unknown = [name for name in names if name not in self.changes]
        if unknown:
            raise InputError(
                f"`grid` asks for {', '.join(unknown)}, of which {self.run_dir} has nothing. Train "
                "it, or leave it out."
            )
        starts = tuple(f"{name}:" for name in names)
        missing = tuple(text for text in self.missing if text.startswith(starts))
        runs = {name: self.runs[name] for name in names if name in self.runs}
        changes = {name: self.changes[name] for name in names}
        return replace(self, runs=runs, changes=changes, missing=missing)

    def table(self) -> "RenderableType":
        """The table that ``tfinit sweep`` prints."""
        from rich.text import Text

        return Text(str(self.results))

    def __str__(self) -> str:
        return "\n".join([str(self.results) if self._any() else self._title(), *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """What is missing, and each experiment."""
        found = {"missing": list(self.missing), "finished": self.finished}
        return json_ready({**found, "changes": self.changes, "runs": self.runs})

    def to_frame(self) -> "pandas.DataFrame":
        """A line for each configuration and level of its tickets, as ``sweep.csv`` has it.

        Raises:
            MissingPackage: pandas is not installed.
        """
        return frame(self._rows(), "SavedSweep.to_frame")

    def write_reports(self) -> None:
        """Leave what ``tfinit sweep`` leaves; see `Saved.write_reports`."""
        self.check_any()
        check_sweep(self.run_dir)
        for _, run in self._with_tickets():
            run.write_reports()
        write_sweep(self.run_dir, self.results)

    def _with_tickets(self) -> list[tuple[str, SavedRun]]:
        return [(name, self.runs[name]) for name in self.changes if self._has_tickets(name)]

    def _has_tickets(self, name: str) -> bool:
        return name in self.runs and self.runs[name]._any()

    def _any(self) -> bool:
        return bool(self._with_tickets())

    def _title(self) -> str:
        return f"{len(self.changes)} configurations"

    def _rows(self) -> list[dict[str, Any]]:
        return self.results._rows()

    def _drawn(self) -> "Iterator[tuple[str, Figure]]":
        return iter([("sweep", self.results.plot())])
