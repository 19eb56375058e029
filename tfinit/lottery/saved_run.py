"""What is read of an experiment from its directory, as a result: see `tfinit.lottery.loading`."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tfinit.errors import InputError
from tfinit.lottery import report
from tfinit.lottery.branches import TICKET
from tfinit.lottery.config import LotteryConfig, StabilityConfig
from tfinit.lottery.linear_connectivity import StabilityResult, summarize_stability
from tfinit.lottery.report import Conclusion
from tfinit.lottery.report_files import (
    OF_A_RUN,
    OF_STABILITY,
    check_initializations,
    check_reports,
    figures_of,
    write_initializations,
    write_run,
    write_stability,
)
from tfinit.lottery.result import LevelResult
from tfinit.lottery.subject import Subject
from tfinit.results import Result, frame, json_ready

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure
    from rich.console import RenderableType

_SHOWN = 6  # of the trainings that are missing


@dataclass(frozen=True, repr=False, eq=False)
class Saved(Result):
    """What `tfinit.lottery.load` returns: a run, a stability experiment or a comparison.

    Attributes:
        run_dir: The directory.
        missing: The trainings that are not there yet, or damaged, in words: ``"seed 1 level 3
            reinit"``. Not those that a network which diverged leaves out.
        notes: Those in one line; none if all are there.
    """

    # The word after ``tfinit`` that makes such a directory.
    command: ClassVar[str] = ""

    run_dir: Path
    missing: tuple[str, ...]

    @property
    def finished(self) -> bool:
        """Whether all that the experiment asks for is there."""
        return not self.missing

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to know beside the table."""
        if self.finished:
            return ()
        more = len(self.missing) - _SHOWN
        rest = f", and {more} more" if more > 0 else ""
        return (f"Not finished; missing: {', '.join(self.missing[:_SHOWN])}{rest}.",)

    def table(self) -> "RenderableType":
        """The table that the command prints, for ``rich.console.Console.print``."""
        raise NotImplementedError

    def figures(self) -> "dict[str, Figure]":
        """Name → figure, those that the command leaves in the directory."""
        return dict(self._drawn())

    def plot(self) -> "Figure":
        """The first of the `figures`."""
        return next(self._drawn())[1]

    def write_reports(self) -> None:
        """Leave tables and figures in the directory, as the command does.

        Raises:
            InputError: there is nothing to report, or something is in the way.
            WorkError: a file cannot be written.
        """
        raise NotImplementedError

    def check_any(self) -> None:
        """See that there is something to report.

        Raises:
            InputError: nothing is trained there.
        """
        if not self._any():
            raise InputError(
                f"`run_dir` {self.run_dir} has no results yet: {self.notes[0]} Start the run again "
                "to go on with it."
            )

    def __str__(self) -> str:
        """The table, the conclusion, and what is missing."""
        lines = [self._title()]
        if self._any():
            from rich.console import Console

            with open(os.devnull, "w") as nowhere:
                console = Console(file=nowhere, width=80, color_system=None)
                with console.capture() as text:
                    console.print(self.table())
            lines = ["\n".join(map(str.rstrip, text.get().strip("\n").splitlines()))]
        return "\n".join([*lines, *self.said(), *self.notes])

    def _any(self) -> bool:
        raise NotImplementedError

    def _title(self) -> str:
        raise NotImplementedError

    def _caption(self) -> str:
        return self._title()

    def said(self) -> list[str]:
        """What the results say, in sentences."""
        return []

    def _drawn(self) -> "Iterator[tuple[str, Figure]]":
        raise NotImplementedError


@dataclass(frozen=True, repr=False, eq=False)
class SavedRun(Saved):
    """A lottery experiment in its directory.

    Attributes:
        config: The experiment. Own parts are names and fingerprints (`own_parts.OwnPart`).
        results: Those of all trainings that are there, as `tfinit.lottery.run` returns them; their
            weights and masks are read when they are asked for.
        subject: What titles say of it.
    """

    command: ClassVar[str] = "lottery"

    config: LotteryConfig
    results: list[LevelResult]
    subject: Subject

    @property
    def conclusion(self) -> Conclusion | None:
        """What the results say so far; None where there is no ticket."""
        if not self._any():
            return None
        return replace(Conclusion.of(self.results), ended=self.subject.ends)

    def table(self) -> "RenderableType":
        """The table that ``tfinit lottery`` prints."""
        from tfinit.lottery.table import lottery_table

        return lottery_table(report.summarize(self.results), self._title())

    def to_dict(self) -> dict[str, Any]:
        """The configuration, what is missing, the conclusion and each training."""
        found = {"missing": list(self.missing), "finished": self.finished}
        said = None if self.conclusion is None else str(self.conclusion)
        return json_ready(
            {**found, "conclusion": said, "config": _plain(self.config), "results": self.results}
        )

    def to_frame(self) -> "pandas.DataFrame":
        """A line for each training, as ``results.csv`` has it.

        Raises:
            MissingPackage: pandas is not installed; the same for the other frames.
        """
        return report.to_frame(self.results)

    def evaluations_to_frame(self) -> "pandas.DataFrame":
        """A line for each evaluation of each training."""
        return report.evaluations_to_frame(self.results)

    def layers_to_frame(self) -> "pandas.DataFrame":
        """A line for each prunable weight of each training."""
        return report.layers_to_frame(self.results)

    def write_reports(self) -> None:
        """Leave what ``tfinit lottery`` leaves; see `Saved.write_reports`."""
        self.check_any()
        check_reports(self.run_dir, OF_A_RUN)
        write_run(self.config, self.results, self.subject, self.conclusion)

    def _any(self) -> bool:
        return any(result.branch == TICKET for result in self.results)

    def _title(self) -> str:
        return self.subject.title(len(self.config.seeds))

    def said(self) -> list[str]:
        """The conclusion, if there is one."""
        return [] if self.conclusion is None else [str(self.conclusion)]

    def _rows(self) -> list[dict[str, Any]]:
        return [row for result in self.results for row in result._rows()]

    def _drawn(self) -> "Iterator[tuple[str, Figure]]":
        self.check_any()
        return figures_of(self.results, self._title(), self.subject)


@dataclass(frozen=True, repr=False, eq=False)
class SavedStability(Saved):
    """A stability experiment in its directory.

    Attributes:
        config: The experiment.
        results: What was measured, as `tfinit.lottery.stability` returns it.
        subject: What titles say of it.
    """

    command: ClassVar[str] = "stability"

    config: StabilityConfig
    results: list[StabilityResult]
    subject: Subject

    def table(self) -> "RenderableType":
        """The table that ``tfinit stability`` prints."""
        from tfinit.lottery.table import stability_table

        return stability_table(summarize_stability(self.results), self._title())

    def to_dict(self) -> dict[str, Any]:
        """The configuration, what is missing and each result."""
        found = {"missing": list(self.missing), "finished": self.finished}
        return json_ready({**found, "config": _plain(self.config), "results": self.results})

    def to_frame(self) -> "pandas.DataFrame":
        """A line for each point of each line, as ``stability.csv`` has it.

        Raises:
            MissingPackage: pandas is not installed.
        """
        return frame(self._rows(), "SavedStability.to_frame")

    def write_reports(self) -> None:
        """Leave what ``tfinit stability`` leaves; see `Saved.write_reports`."""
        self.check_any()
        check_reports(self.run_dir, OF_STABILITY)
        write_stability(self.config, self.results, self.subject)

    def _any(self) -> bool:
        return bool(self.results)

    def _title(self) -> str:
        return self.subject.title(len(self.config.seeds))

    def _rows(self) -> list[dict[str, Any]]:
        return [row for result in self.results for row in result._rows()]

    def _drawn(self) -> "Iterator[tuple[str, Figure]]":
        self.check_any()
        from tfinit.plots import stability_figure

        return iter([("stability", stability_figure(self.results, self._title()))])


@dataclass(frozen=True, repr=False, eq=False)
class SavedInitializations(Saved):
    """Lottery experiments from several initializations, in the directory of their comparison.

    Attributes:
        runs: Initialization → its experiment. One without any training is missing.
    """

    command: ClassVar[str] = "initializations"

    runs: dict[str, SavedRun]

    @property
    def config(self) -> LotteryConfig:
        """The experiment of the first; what they have in common is all but the initialization."""
        return next(iter(self.runs.values())).config

    @property
    def results(self) -> dict[str, list[LevelResult]]:
        """Initialization → results, as `tfinit.lottery.compare_initializations` returns them."""
        return {name: run.results for name, run in self.runs.items() if run._any()}

    def only(self, names: "tuple[str, ...]") -> "SavedInitializations":
        """The same of some of the initializations.

        Raises:
            InputError: the comparison has not all of them.
        """
        unknown = [name for name in names if name not in self.runs]
        if unknown:
            raise InputError(
                f"`initializations` must be among {', '.join(self.runs)}, which {self.run_dir} "
                f"has; received {', '.join(unknown)}."
            )
        starts = tuple(f"{name}:" for name in names)
        missing = tuple(text for text in self.missing if text.startswith(starts))
        return replace(self, runs={name: self.runs[name] for name in names}, missing=missing)

    def table(self) -> "RenderableType":
        """The table that ``tfinit initializations`` prints."""
        from tfinit.lottery.table import initializations_table

        rows = {name: report.summarize(results) for name, results in self.results.items()}
        return initializations_table(rows, self._title())

    def to_dict(self) -> dict[str, Any]:
        """What is missing, and each experiment."""
        found = {"missing": list(self.missing), "finished": self.finished}
        return json_ready({**found, "runs": self.runs})

    def to_frame(self) -> "pandas.DataFrame":
        """A line for each training, with its initialization.

        Raises:
            MissingPackage: pandas is not installed.
        """
        return frame(self._rows(), "SavedInitializations.to_frame")

    def write_reports(self) -> None:
        """Leave what ``tfinit initializations`` leaves; see `Saved.write_reports`."""
        self.check_any()
        each = {name: self.runs[name].config for name in self.results}
        check_initializations(each, self.run_dir)
        write_initializations(each, self.run_dir, self.results, self._subject)

    @property
    def _subject(self) -> Subject:
        return next(iter(self.runs.values())).subject

    def _any(self) -> bool:
        return bool(self.results)

    def _title(self) -> str:
        return self._subject.title(len(self.config.seeds))

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {"initialization": name, **row}
            for name, run in self.runs.items()
            for row in run._rows()
        ]

    def _drawn(self) -> "Iterator[tuple[str, Figure]]":
        self.check_any()
        from tfinit.plots import initializations_figure

        rows = {name: report.summarize(results) for name, results in self.results.items()}
        return iter([("initializations", initializations_figure(rows, self._title()))])


def _plain(config: LotteryConfig | StabilityConfig) -> dict[str, Any]:
    return {"experiment": config.kind, **json.loads(config.to_json())}
