"""What is told of each training to another tool: see docs/trackers.md."""

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tfinit.arguments import path, refused
from tfinit.errors import first_line
from tfinit.event_files import EventFile, need_tensorboard
from tfinit.files import check_writable, remove
from tfinit.lottery.linear_connectivity import StabilityResult
from tfinit.lottery.network_config import NetworkConfig
from tfinit.lottery.result import LevelResult
from tfinit.training.metrics import Metrics

_METHODS = ("started(config)", "logged(values, step)", "finished(summary)")


class Tracker(Protocol):
    """What an experiment tells of its trainings: any object with these three methods.

    Each training is told once it is stored, whole: ``started``, ``logged`` for each evaluation in
    the order of the steps, ``finished``. Those that are found in the directory are told as well, so
    that of a run that goes on all are told, in the same order: replicate by replicate, level by
    level, tickets first. In a stability experiment the trunk and both copies are trainings; what
    was measured on the line between two copies is told in the same way, a row for each point.

    What a method raises ends neither the run nor a training: it is warned of, and with the next
    training the tracker is asked again.
    """

    def started(self, config: dict[str, Any]) -> None:
        """A training begins to be told.

        Args:
            config: The experiment's configuration as JSON has it; and ``experiment`` (``"lottery"``
                or ``"stability"``), ``name``, which no other training of the directory has
                (``"seed-0/ticket/level-03"``), ``seed``, ``branch``, ``level`` and ``density``; of
                a line ``k`` in place of the last three.
        """

    def logged(self, values: dict[str, float], step: int) -> None:
        """One evaluation.

        Args:
            values: Name → value, as in ``evaluations.csv``; and ``training_loss``, the mean over
                the steps since the evaluation before.
            step: Steps done; of a line, which of its points.
        """

    def finished(self, summary: dict[str, float]) -> None:
        """The training has been told.

        Args:
            summary: The numbers of its line in ``results.csv``; of a line its barriers.
        """


def check_tracker(tracker: Any) -> "Tracker | None":
    """See that an argument ``tracker`` is one.

    Raises:
        InputError: it has not the three methods, or is a class of which one is to be made.
    """
    if tracker is None:
        return None
    missing = [m for m in _METHODS if not callable(getattr(tracker, m.partition("(")[0], None))]
    wanted = f"an object with the methods {', '.join(_METHODS[:2])} and {_METHODS[2]}, or None"
    if missing:
        raise refused("tracker", wanted, tracker, f"It lacks {', '.join(missing)}.")
    if isinstance(tracker, type):
        raise refused("tracker", wanted, tracker, f"Make one: {tracker.__name__}().")
    return tracker


class Teller:
    """Tells a tracker of the trainings of an experiment, whatever the tracker does.

    Args:
        tracker: The tracker, or None.
        config: The experiment.
        warn: Called with a line about each training that the tracker failed at.
        within: What names begin with: the initialization, where there are several.
    """

    def __init__(
        self,
        tracker: Tracker | None,
        config: NetworkConfig,
        warn: Callable[[str], None],
        within: str = "",
    ):
        self._tracker, self._warn = tracker, warn
        self._within = f"{within}/" if within else ""
        self._config: dict[str, Any] = {}
        if tracker is not None:
            self._config = {"experiment": config.kind, **json.loads(config.to_json())}
            self._config["run_dir"] = str(config.run_dir)

    def training(self, result: LevelResult) -> None:
        """Tell of a training."""
        if self._tracker is not None:
            place = {n: getattr(result, n) for n in ("seed", "branch", "level", "density")}
            name = f"seed-{result.seed}/{result.branch}/level-{result.level:02d}"
            self._tell(name, place, _rows(result.metrics), _numbers(result._rows()[0]))

    def line(self, result: StabilityResult) -> None:
        """Tell of what was measured between two copies."""
        if self._tracker is None:
            return
        place = {"seed": result.seed, "k": result.k}
        rows = (
            (n, {name: value for name, value in row.items() if name not in place})
            for n, row in enumerate(result._rows())
        )
        barriers = {f"{split}_barrier": result.barrier(split) for split in ("train", "test")}
        name = f"seed-{result.seed}/from-{result.k:06d}/line"
        self._tell(name, place, rows, _numbers(barriers))

    def _tell(
        self,
        name: str,
        place: dict[str, Any],
        rows: Iterator[tuple[int, dict[str, float]]],
        summary: dict[str, float],
    ) -> None:
        assert self._tracker is not None
        name, doing = f"{self._within}{name}", "started"
        try:
            self._tracker.started({**self._config, "name": name, **place})
            doing = "logged"
            for step, values in rows:
                self._tracker.logged(values, step)
            doing = "finished"
            self._tracker.finished(summary)
        except Exception as error:  # it is the user's, or that of a network that is down
            self._warn(
                f"`tracker` failed in `{doing}` of {name} ({type(error).__name__}: "
                f"{first_line(error)}). The training is stored and the run goes on; started again, "
                "it tells of every training anew."
            )


def _rows(metrics: Metrics) -> Iterator[tuple[int, dict[str, float]]]:
    """Step and values of each evaluation."""
    before = None
    for n, step in enumerate(map(int, metrics.step)):
        values = {name: float(column[n]) for name, column in metrics.values.items()}
        if before is not None:
            since = metrics.losses[before - int(metrics.step[0]) : step - int(metrics.step[0])]
            if len(since):
                values["training_loss"] = float(np.mean(since))
        yield step, values
        before = step


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    """Those of a row that are numbers, and say not which training it is."""
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and name not in ("seed", "level", "k")
    }


class TensorBoard:
    """A `Tracker` that writes for TensorBoard, without TensorFlow.

    The learning curves of a training are in the folder of its name, as ``seed-0/ticket/level-03``;
    its summary is a point at step 3 in the folder of its branch, ``seed-0/ticket``, so that the
    branches are curves over the levels. What is told again takes the place of what was there.

    Args:
        log_dir: Directory of the logs: ``tensorboard --logdir`` shows it.

    Raises:
        InputError: it cannot be written.
        MissingPackage: TensorBoard is not installed.

    Example:
        >>> board = TensorBoard("logs")
        >>> board.started({"name": "seed-0/ticket/level-03", "level": 3})
        >>> board.logged({"test_accuracy": 0.5}, step=10)
        >>> board.finished({"final_accuracy": 0.5})
        >>> sorted(str(p.parent) for p in Path("logs").rglob("*tfevents*"))
        ['logs/seed-0/ticket', 'logs/seed-0/ticket/level-03']
    """

    def __init__(self, log_dir: str | os.PathLike[str]):
        self.log_dir: Path = path("log_dir", log_dir)
        need_tensorboard("tfinit.lottery.TensorBoard")
        check_writable("log_dir", self.log_dir, "Choose another directory.", directory=True)
        self._name, self._level = "", 0
        self._rows: list[tuple[dict[str, float], int]] = []
        self._begun: set[Path] = set()

    def started(self, config: dict[str, Any]) -> None:
        """Begin a training; of ``config`` the name and the level are used."""
        self._name, self._level, self._rows = config["name"], config.get("level", 0), []

    def logged(self, values: dict[str, float], step: int) -> None:
        """Remember an evaluation."""
        self._rows.append((values, step))

    def finished(self, summary: dict[str, float]) -> None:
        """Write the training."""
        place = self.log_dir / self._name
        self._write(place, self._rows)
        if place.parent != self.log_dir and summary:
            self._write(place.parent, [(summary, self._level)])
        self._rows = []

    def _write(self, place: Path, rows: list[tuple[dict[str, float], int]]) -> None:
        old = [] if place in self._begun else list(place.glob("events.out.tfevents.*"))
        with EventFile(place, "log_dir") as events:
            for values, step in rows:
                for name, value in values.items():
                    events.scalar(name, value, step)
        for file in old:
            remove(file)
        self._begun.add(place)
