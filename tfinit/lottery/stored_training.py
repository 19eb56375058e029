"""One training of an experiment: from the store if it is there, else made and stored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tfinit.errors import WorkError
from tfinit.executors.job import Job, Steps
from tfinit.lottery.frameworks import Framework, TrainingPlan
from tfinit.lottery.result import LevelResult, Weights
from tfinit.lottery.store import Place, Store
from tfinit.lottery.training_work import (
    MARK,
    PARTIAL,
    STEPS,
    Trained,
    TrainerSetup,
    TrainingTask,
    train,
)
from tfinit.training.metrics import Progress


@dataclass(frozen=True)
class Trainings:
    """Where the trainings of an experiment are made and kept.

    Attributes:
        framework: What trains in this process.
        store: Where results are, or will be.
        progress: Called with the number of steps done since the last call, of each training as many
            as it has, also where the result was there or the network diverged.
        setup: What makes the same in another process; None: there is none.
        stop_on_divergence: Whether a loss that is not finite is an error. Else it is a result.
    """

    framework: Framework
    store: Store
    progress: Progress
    setup: TrainerSetup | None = None
    stop_on_divergence: bool = False


class StoredTraining:
    """One of them.

    Args:
        trainings: All of them.
        place: Which it is.
        start: The weights it starts from, dense.
        initial: The weights at initialization, for the result.
        first: The step it starts at.
        last: The step it ends at.
        plan: () → where it starts, in all. Asked for only if it has to be trained.
        marks: Steps after which ``keep_mark`` gets the weights.
        keep_mark: Called with a step and its weights.
        usable: Whether what was stored of it up to a step can be used: not if a file is missing
            that it left on its way.
    """

    def __init__(
        self,
        trainings: Trainings,
        place: Place,
        start: Weights,
        initial: Weights,
        first: int,
        last: int,
        plan: Callable[[], TrainingPlan],
        marks: Sequence[int] = (),
        keep_mark: Callable[[int, Weights], None] = lambda step, weights: None,
        usable: Callable[[int], bool] = lambda step: True,
    ):
        self.place = place
        self._of, self._start, self._initial = trainings, start, initial
        self._steps, self._last = last - first, last
        self._told = Steps(trainings.progress)
        self._plan, self._marks, self._keep_mark = plan, marks, keep_mark
        self._usable = usable
        self._mask: Any = None

    def begin(self) -> LevelResult | Job:
        """Its result from the store, or the job that makes it."""
        stored = self._of.store.level(self.place, self._initial, self._start)
        if stored is not None and self._usable(
            self._last if stored.diverged_at is None else stored.diverged_at - 1
        ):
            self._of.progress(self._steps)
            return stored
        place = self.place
        return Job(
            f"seed {place.seed} level {place.level} {place.branch}",
            self._task,
            partial(train, self._of.framework),
            self._of.setup,
            self._heard,
        )

    def end(self, trained: Trained) -> LevelResult:
        """Keep what came of it.

        Raises:
            WorkError: a file could not be written, or the network diverged and that is an error.
        """
        place = self.place
        if trained.diverged_at is not None and self._of.stop_on_divergence:
            raise WorkError(
                f"seed {place.seed}, {place.branch}, level {place.level}: {trained.why} "
                "The levels before it are kept."
            )
        self._of.progress(self._steps - self._told.told)
        return self._of.store.keep(
            LevelResult(
                place.seed,
                place.branch,
                place.level,
                self._initial,
                self._start,
                self._mask,
                trained.final,
                trained.metrics,
                trained.diverged_at,
            )
        )

    def _task(self) -> TrainingTask:
        """What is to be trained, from its last checkpoint if it has one."""
        plan, store = self._plan(), self._of.store
        self._told.begin()
        self._mask = plan.mask
        left = store.partial(self.place, self._of.framework.fits)
        if left is not None and self._usable(left.step):
            plan = replace(plan, resume=left)
        # Not where they are in the directory: another machine may not have it.
        plan = replace(plan, weights=dict(plan.weights), mask=dict(plan.mask))
        return TrainingTask(plan, self._marks, store.checkpoint_every)

    def _heard(self, kind: str, value: Any) -> None:
        if kind == STEPS:
            self._told(value)
        elif kind == PARTIAL:
            self._of.store.keep_partial(self.place, value)
        elif kind == MARK:
            self._keep_mark(*value)
