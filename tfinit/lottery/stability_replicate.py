"""One replicate of a stability experiment: a trunk, the copies that part from it, and the lines."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfinit.executors.job import Job
from tfinit.executors.scheduling import Plan
from tfinit.lottery.config import StabilityConfig
from tfinit.lottery.frameworks import TrainingPlan
from tfinit.lottery.line_meter import LineMeter, LineSetup
from tfinit.lottery.linear_connectivity import StabilityResult
from tfinit.lottery.measured_lines import COPIES, TRUNK, branch_of, result_of, tells
from tfinit.lottery.result import LevelResult, Weights
from tfinit.lottery.store import Place
from tfinit.lottery.stored_training import StoredTraining, Trainings
from tfinit.training.judged import JudgedMetric


def copy_seed(seed: int, copy: int) -> int:
    """The seed of a copy's data order, augmentation and noise, from replicate and copy.

    Not of k: the copies of all k see the same two streams, each from step k on. Both differ from
    the trunk's, which is that of ``seed``, so copies that part at step 0 share weights only.
    """
    return int(np.random.SeedSequence([seed, copy]).generate_state(1, np.uint64)[0])


@dataclass(frozen=True)
class _Parting:
    """Of two copies that part at step k: the first or second, or the line between them: 0."""

    k: int
    copy: int = 0


_WHOLE = _Parting(0, -1)  # the trunk


class StabilityReplicate(Plan):
    """The plan of one replicate: see `tfinit.lottery.stability` for the algorithm.

    Args:
        trainings: What trains, and where results are kept.
        meter: What measures lines in this process.
        setup: What makes one in another.
        metric: What networks are judged by.
        config: The experiment.
        seed: The replicate.
    """

    def __init__(
        self,
        trainings: Trainings,
        meter: LineMeter,
        setup: LineSetup,
        metric: JudgedMetric,
        config: StabilityConfig,
        seed: int,
    ):
        self._trainings, self._meter, self._setup = trainings, meter, setup
        self._metric, self._config, self._seed = metric, config, seed
        self._framework, self._store = trainings.framework, trainings.store
        self._marks = [k for k in config.spawn_steps if k > 0]
        self._initial: Weights = {}
        self._done: dict[_Parting, LevelResult] = {}
        self._begun: dict[_Parting, StoredTraining] = {}

    def __enter__(self) -> "StabilityReplicate":
        framework, seed = self._framework, self._seed
        self._initial = self._store.initial(seed, TRUNK, lambda: framework.initial(seed))
        self._full = framework.full_mask()
        return self

    def graph(self) -> dict[_Parting, list[_Parting]]:
        """The trunk; of each k both copies, and the line between them."""
        found: dict[_Parting, list[_Parting]] = {_WHOLE: []} if self._marks else {}
        for k in sorted(self._config.spawn_steps):
            copies = [_Parting(k, copy) for copy in COPIES]
            found |= {copy: [_WHOLE] if k else [] for copy in copies}
            found[_Parting(k)] = copies
        return found

    def begin(self, node: _Parting) -> Job | LevelResult | StabilityResult | None:
        """The job of a training or a line, or its result if it is there; None: it cannot be."""
        if node.copy == 0:
            return self._line(node)
        training = self._trunk() if node == _WHOLE else self._copy(node)
        if training is None:
            self._trainings.progress(self._config.steps - node.k)
            return None
        begun = training.begin()
        if isinstance(begun, Job):
            self._begun[node] = training
            return begun
        return self._finished(node, begun)

    def end(self, node: _Parting, outcome: Any) -> LevelResult | StabilityResult:
        """The result of a training or a line, stored."""
        if node.copy != 0:
            return self._finished(node, self._begun.pop(node).end(outcome))
        branch = branch_of(node.k)
        self._store.keep_line(self._seed, branch, outcome)
        return self._result(node.k, dict(self._store.line(self._seed, branch) or {}))

    def _finished(self, node: _Parting, result: LevelResult) -> LevelResult:
        self._done[node] = result
        return result

    def _trunk(self) -> StoredTraining:
        """The training up to the last k. Marks change nothing: they only look."""
        marks, store, seed = self._marks, self._store, self._seed
        last = max(marks)
        there = {k for k in marks if store.rewind(seed, branch_of(k)) is not None}
        return StoredTraining(
            self._trainings,
            Place(seed, TRUNK, 0),
            self._initial,
            self._initial,
            0,
            last,
            lambda: TrainingPlan(self._initial, self._full, seed, stop=last),
            marks=marks,
            keep_mark=lambda k, weights: store.keep_rewind(seed, branch_of(k), weights),
            usable=lambda step: all(k in there for k in marks if k <= step),
        )

    def _copy(self, node: _Parting) -> StoredTraining | None:
        """A copy from step k to the last; None if the trunk diverged before."""
        k, seed = node.k, self._seed
        start = self._initial if k == 0 else self._store.rewind(seed, branch_of(k))
        if start is None:
            return None
        order = copy_seed(seed, node.copy)
        return StoredTraining(
            self._trainings,
            Place(seed, branch_of(k, node.copy), 0),
            start,
            self._initial,
            k,
            self._config.steps,
            lambda: TrainingPlan(start, self._full, order, k, rate_from=k),
        )

    def _line(self, node: _Parting) -> Job | StabilityResult | None:
        """What measures between two copies, or what was measured; None if one has failed."""
        copies = [self._done.get(_Parting(node.k, copy)) for copy in COPIES]
        trunk = self._done.get(_WHOLE)
        lost = node.k > 0 and trunk is not None and trunk.diverged_at is not None
        if any(copy is not None and copy.diverged_at is not None for copy in copies) or (
            lost and None in copies
        ):
            return self._result(node.k, None)
        if None in copies:
            return None
        stored = self._store.line(self._seed, branch_of(node.k))
        if stored is not None and tells(stored, self._metric):
            return self._result(node.k, dict(stored))
        ends = [copy.final for copy in copies if copy is not None]
        name = f"seed {self._seed} k {node.k}: the line"
        task = lambda: tuple(dict(end) for end in ends)  # noqa: E731
        return Job(name, task, self._meter.work, self._setup, lambda kind, value: None)

    def _result(self, k: int, measured: dict[str, np.ndarray] | None) -> StabilityResult:
        return result_of(self._seed, k, self._meter.alphas, measured, self._metric)
