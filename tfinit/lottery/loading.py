"""An experiment as its directory has it: nothing is trained, no network built, no data read."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from tfinit import arguments
from tfinit.arguments import function
from tfinit.errors import InputError
from tfinit.lottery.branches import BRANCHES, REINIT, TICKET
from tfinit.lottery.config import LotteryConfig, StabilityConfig
from tfinit.lottery.controls import CONTROLS
from tfinit.lottery.counts import last_level
from tfinit.lottery.directory import config_file, config_of, noted_initializations
from tfinit.lottery.measured_lines import COPIES, TRUNK, branch_of, result_of, tells
from tfinit.lottery.own_parts import OwnPart
from tfinit.lottery.result import LevelResult, Weights
from tfinit.lottery.saved_run import SavedInitializations, SavedRun, SavedStability
from tfinit.lottery.saved_sweep import SavedSweep, noted_sweep
from tfinit.lottery.store_reader import Place, StoreReader
from tfinit.lottery.stored_arrays import LostArrays, MadeArrays, shapes_of
from tfinit.lottery.subject import Subject
from tfinit.progress import as_warning

_LEFT_OUT = "it is left out here, and trained again when the run goes on"


def load(
    run_dir: str | os.PathLike[str], warn: Callable[[str], None] = as_warning
) -> SavedRun | SavedStability | SavedInitializations | SavedSweep:
    """The results of an experiment from its directory: finished, under way or interrupted.

    Nothing is trained and nothing written. Neither the network nor the data are needed, nor Keras,
    nor the functions and objects of your own that the experiment was made with.

    Args:
        run_dir: The directory of a run, a stability experiment, a comparison of initializations or
            a sweep, of this tfinit or an earlier one.
        warn: Called with a line about each file that is damaged or of another experiment, and is
            left out. By default they are Python's warnings.

    Returns:
        What `tfinit.lottery.run`, `stability`, `compare_initializations` or `sweep` returns, as
        ``results``; with ``config``, ``finished`` and ``missing``, frames, figures, a conclusion;
        printed, it is the table. ``write_reports()`` leaves tables and figures again.

    Raises:
        InputError: there is no such directory, or no experiment in it.

    Example:
        >>> config = LotteryConfig(levels=1, steps=20, seeds=(0,), run_dir=Path(tmp) / "loaded")
        >>> results = run(config, reports=False)
        >>> loaded = load(config.run_dir)
        >>> loaded.finished, len(loaded.results), loaded.config == config
        (True, 3, True)
        >>> loaded.results[-1].branch, loaded.to_frame()["level"].tolist()
        ('reinit', [0, 1, 1])
    """
    directory = arguments.path("run_dir", run_dir)
    function("warn", warn, "a line")
    if not directory.is_dir():
        what = "is no directory" if directory.exists() else "does not exist"
        raise InputError(f"`run_dir` {directory} {what}. Give the directory of an experiment.")
    if os.path.lexists(config_file(directory)):
        return _loaded(directory, warn)
    changes = noted_sweep(directory)
    runs, missing = _several(directory, changes or noted_initializations(directory), warn)
    if not runs:
        raise InputError(
            f"`run_dir` {directory} holds no experiment: there is no config.json, nor one in a "
            "directory inside it. Give the directory that a run was told as its `run_dir`."
        )
    if changes:
        return SavedSweep(directory, missing, runs, changes)
    return SavedInitializations(directory, missing, runs)


def _several(
    directory: Path, names: Iterable[str], warn: Callable[[str], None]
) -> tuple[dict[str, SavedRun], tuple[str, ...]]:
    """The lottery experiments of some names in a directory, and what is missing of them."""
    runs, missing = {}, list[str]()
    for name in names:
        if not os.path.lexists(config_file(directory / name)):
            missing.append(f"{name}: all")
            continue
        found = _loaded(directory / name, warn)
        if isinstance(found, SavedRun):
            runs[name] = found
            missing += [f"{name}: {one}" for one in found.missing]
    return runs, tuple(missing)


def _loaded(directory: Path, warn: Callable[[str], None]) -> SavedRun | SavedStability:
    config, subject, origin = config_of(directory)
    reader = StoreReader(config, warn, origin, _LEFT_OUT)
    subject = subject or Subject.of(config)
    if isinstance(config, StabilityConfig):
        return _stability(config, reader, subject, warn)
    assert isinstance(config, LotteryConfig)
    return _Lottery(config, reader, subject, warn).loaded()


class _Lottery:
    """Reads what there is of an experiment, in the order in which it is trained."""

    def __init__(
        self,
        config: LotteryConfig,
        reader: StoreReader,
        subject: Subject,
        warn: Callable[[str], None],
    ):
        self._config, self._reader, self._subject, self._warn = config, reader, subject, warn
        self._missing: list[str] = []

    def loaded(self) -> SavedRun:
        """All that is there."""
        results = [result for seed in self._config.seeds for result in self._of_seed(seed)]
        return SavedRun(
            self._config.run_dir, tuple(self._missing), self._config, results, self._subject
        )

    def _of_seed(self, seed: int) -> Iterator[LevelResult]:
        starts = _Starts(self._config, self._reader, seed)
        ticket = dense = self._level(Place(seed, TICKET, 0), starts.initial, starts.initial)
        if dense is not None:
            yield dense
            starts.keys = list(shapes_of(dense.mask))
        chains = dict.fromkeys(self._config.controls, dense)
        for level in range(1, self._last(dense) + 1):
            if ticket is not None and ticket.diverged_at is not None:
                return
            ticket = self._level(Place(seed, TICKET, level), starts.initial, starts.rewind)
            if ticket is not None:
                yield ticket
                starts.keys = list(shapes_of(ticket.mask))
            for name in self._config.controls:
                before, own = chains[name], name in BRANCHES and BRANCHES[name].masks == "own"
                if own and before is not None and before.diverged_at is not None:
                    continue
                start = starts.of(name)
                if own:
                    start = LostArrays(f"{name}: level {level - 1} is missing, and so its weights.")
                    start = start if before is None else before.final
                control = name in BRANCHES and BRANCHES[name].weights == REINIT
                initial = starts.other if control else starts.initial
                chains[name] = result = self._level(Place(seed, name, level), initial, start)
                if result is not None:
                    yield result

    def _last(self, dense: LevelResult | None) -> int:
        """The last level there is to be, as far as it is known."""
        if self._subject.levels is not None:
            return self._subject.levels
        if dense is None or isinstance(self._config.allocation, OwnPart):
            return self._config.levels
        level, _ = last_level(self._config, shapes_of(dense.mask))
        return level

    def _level(self, at: Place, initial: Weights, start: Weights) -> LevelResult | None:
        return _level(self._reader, at, initial, start, self._missing, self._warn)


class _Starts:
    """The weights of a replicate that its trainings began with."""

    def __init__(self, config: LotteryConfig, reader: StoreReader, seed: int):
        self._reader, self._seed, self._late = reader, seed, config.rewind_step > 0
        self.initial = self._initial(TICKET)
        self.rewind = self.initial
        if self._late:
            kept = reader.rewind(seed, TICKET)
            lost = f"seed {seed}: the weights at the rewind step are missing. Start the run again."
            self.rewind = LostArrays(lost) if kept is None else kept
        self.keys: list[str] = []
        self._other: Weights | None = None

    @property
    def other(self) -> Weights:
        """Those of another initialization."""
        if self._other is None:
            self._other = self._initial(REINIT)
        return self._other

    def of(self, name: str) -> Weights:
        """Those that a control begins with; made when they are asked for."""
        if name not in BRANCHES:
            return LostArrays(f"`controls` has {name!r}, which is registered nowhere here.")
        branch = BRANCHES[name]
        source = self.rewind if branch.late else self.initial
        if branch.weights in ("rewind", "own") or isinstance(source, LostArrays):
            return source
        if branch.weights == REINIT:
            return self.other
        control, keys = CONTROLS[branch.weights], self.keys
        return MadeArrays(source, lambda: control.start(source, self.other, keys))

    def _initial(self, branch: str) -> Weights:
        found = self._reader.stored_initial(self._seed, branch)
        lost = (
            f"seed {self._seed}: the initial weights of {branch} are missing. Start the run again."
        )
        return LostArrays(lost) if found is None else found


def _level(
    reader: StoreReader,
    at: Place,
    initial: Weights,
    start: Weights,
    missing: list[str],
    warn: Callable[[str], None],
) -> LevelResult | None:
    """A training, if it is there; else it is told among those that are missing."""
    try:
        result = reader.level(at, initial, start)
    except InputError as error:  # it was judged by something else
        warn(f"{error} It is left out here.")
        result = None
    if result is None:
        step = reader.step_of(at)
        begun = "" if step is None else f" (at step {step})"
        missing.append(f"seed {at.seed} level {at.level} {at.branch}{begun}")
    return result


def _stability(
    config: StabilityConfig, reader: StoreReader, subject: Subject, warn: Callable[[str], None]
) -> SavedStability:
    results, missing, alphas = [], list[str](), np.linspace(0, 1, config.points)
    for seed in config.seeds:
        nowhere = LostArrays("These weights are not read here.")
        trunk = None
        if max(config.spawn_steps) > 0:
            trunk = _level(reader, Place(seed, TRUNK, 0), nowhere, nowhere, missing, warn)
        for k in sorted(config.spawn_steps):
            if trunk is not None and trunk.diverged_at is not None and trunk.diverged_at <= k:
                results.append(result_of(seed, k, alphas, None, trunk.metric))
                continue
            copies = [
                _level(reader, Place(seed, branch_of(k, c), 0), nowhere, nowhere, missing, warn)
                for c in COPIES
            ]
            there = [copy for copy in copies if copy is not None]
            line = reader.line(seed, branch_of(k))
            if any(copy.diverged_at is not None for copy in there):
                results.append(result_of(seed, k, alphas, None, there[0].metric))
            elif line is not None and there and tells(line, there[0].metric):
                results.append(result_of(seed, k, alphas, line, there[0].metric))
            elif len(there) == len(copies):
                missing.append(f"seed {seed} k={k}: the line")
    return SavedStability(config.run_dir, tuple(missing), config, results, subject)
