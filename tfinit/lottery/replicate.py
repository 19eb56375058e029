"""The trainings of one replicate: which of them need which, and where each starts."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tfinit.executors.job import Job
from tfinit.executors.scheduling import Plan
from tfinit.lottery.branches import BRANCHES, BY_DATA, ONE_SHOT, TICKET, Branch
from tfinit.lottery.config import REINIT_SEED, LotteryConfig
from tfinit.lottery.controls import CONTROLS
from tfinit.lottery.counts import Counts, last_level, next_counts
from tfinit.lottery.frameworks import TrainingPlan
from tfinit.lottery.result import REINIT, LevelResult, Weights
from tfinit.lottery.store import Place
from tfinit.lottery.stored_training import StoredTraining, Trainings
from tfinit.lottery.training_work import Trained
from tfinit.pruning.scoring.masks import Masks


class Replicate(Plan):
    """The plan of one replicate: see `tfinit.lottery.lottery` for the algorithm.

    Level n of every branch needs the ticket of level n - 1, of which its mask is made; a branch
    with masks of its own needs its own last training too. What needs a network that diverged is not
    trained.

    Args:
        trainings: What trains, and where results are kept.
        config: The experiment.
        seed: The replicate.
    """

    def __init__(self, trainings: Trainings, config: LotteryConfig, seed: int):
        self._trainings, self._config, self._seed = trainings, config, seed
        self._framework, self._store = trainings.framework, trainings.store
        self._branches = [BRANCHES[name] for name in (TICKET, *config.controls)]
        self._initial: Weights = {}
        self._rewind: Weights = {}
        self._starts: dict[tuple[str, bool], Weights] = {}
        self._done: dict[Place, LevelResult] = {}
        self._begun: dict[Place, StoredTraining] = {}
        self._masks: dict[int, dict[str, Masks]] = {}
        self._left: Counter[int] = Counter()

    def __enter__(self) -> "Replicate":
        framework, seed = self._framework, self._seed
        self._initial = self._store.initial(seed, TICKET, lambda: framework.initial(seed))
        self._rewind = self._initial
        self._full = framework.full_mask()
        self._structure = framework.structure
        self._shapes = self._structure.shapes
        return self

    def graph(self) -> dict[Place, list[Place]]:
        """Each training → those that it needs, in the order in which one process trains them."""
        last, _ = last_level(self._config, self._shapes)
        found = {self._place(TICKET, 0): list[Place]()}
        for level in range(1, last + 1):
            for branch in self._branches:
                found[self._place(branch.name, level)] = list(self._needed(branch, level))
        return found

    def _needed(self, branch: Branch, level: int) -> Iterator[Place]:
        yield self._place(TICKET, level - 1)
        if branch.masks == "own" and level > 1:
            yield self._place(branch.name, level - 1)

    def _place(self, branch: str, level: int) -> Place:
        return Place(self._seed, branch, level)

    def begin(self, place: Place) -> Job | LevelResult | None:
        """The job of a training, its result from the store, or None: it is not trained."""
        branch = BRANCHES[place.branch]
        if place.level == 0:
            training = self._dense()
        else:
            needed = [self._done.get(one) for one in self._needed(branch, place.level)]
            if any(one is None or one.diverged_at is not None for one in needed):
                self._trainings.progress(self._config.steps - self._first(branch))
                return None
            training = self._training(branch, place.level)
        begun = training.begin()
        if isinstance(begun, Job):
            self._begun[place] = training
            return begun
        return self._finished(place, begun)

    def end(self, place: Place, trained: Trained) -> LevelResult:
        """The result of a training, stored."""
        return self._finished(place, self._begun.pop(place).end(trained))

    def _finished(self, place: Place, result: LevelResult) -> LevelResult:
        if place.level == 0 and self._config.rewind_step:
            self._rewind = self._store.rewind(self._seed, TICKET) or self._initial
        self._done[place] = result
        self._left[place.level] += 1
        if self._left[place.level] == len(self._branches):
            self._masks.pop(place.level, None)
        return result

    def _dense(self) -> StoredTraining:
        """Level 0; and the weights at the rewind step, which every training after it needs."""
        k, store, seed = self._config.rewind_step, self._store, self._seed
        there = k == 0 or store.rewind(seed, TICKET) is not None
        return StoredTraining(
            self._trainings,
            self._place(TICKET, 0),
            self._initial,
            self._initial,
            0,
            self._config.steps,
            lambda: TrainingPlan(self._initial, self._full, seed),
            marks=(k,) if k else (),
            keep_mark=lambda step, weights: store.keep_rewind(seed, TICKET, weights),
            usable=lambda step: step < k or there,
        )

    def _training(self, branch: Branch, level: int) -> StoredTraining:
        """The training of a branch at a level."""
        config, seed = self._config, self._seed
        k = self._first(branch)
        rate_from = config.steps if branch.last_rate else k
        start = self._last(branch, level).final if branch.masks == "own" else self._start(branch)
        initial = self._start(BRANCHES[REINIT]) if branch.weights == "reinit" else self._initial

        def plan() -> TrainingPlan:
            return TrainingPlan(start, self._mask(branch, level), seed, k, rate_from)

        place = self._place(branch.name, level)
        return StoredTraining(self._trainings, place, start, initial, k, config.steps, plan)

    def _first(self, branch: Branch) -> int:
        """The step that a branch starts at."""
        return self._config.rewind_step if branch.late else 0

    def _last(self, branch: Branch, level: int) -> LevelResult:
        """The training before, of a branch with a chain of its own."""
        return self._done[self._place(branch.name if level > 1 else TICKET, level - 1)]

    def _mask(self, branch: Branch, level: int) -> Masks:
        made = self._masks.setdefault(level, {})
        source = branch.name if branch.masks == "own" else branch.masks
        if source not in made:
            made[source] = self._pruned(branch, level)
        change = CONTROLS[branch.control].mask if branch.control else None
        return self._structure.changed(made[source], change, self._seed) if change else made[source]

    def _pruned(self, branch: Branch, level: int) -> Masks:
        """The mask of a branch's source at a level."""
        framework = self._framework
        ticket = self._done[self._place(TICKET, level - 1)]
        counts = self._next(ticket)
        if branch.masks == "own":
            last = self._last(branch, level)
            return framework.prune(last, self._next(last))
        if branch.masks == TICKET:
            return framework.prune(ticket, counts)
        if branch.masks == ONE_SHOT:
            return framework.prune(self._done[self._place(TICKET, 0)], counts)
        if branch.masks in BY_DATA:
            dense = self._done[self._place(TICKET, 0)]
            return framework.prune_by_data(branch.masks, dense, counts)
        mask: Any = self._mask(BRANCHES[TICKET], level)
        keep = sum(self._structure.alive(mask).values())
        return framework.prune_at_initialization(branch.masks, self._initial, keep, self._seed)

    def _next(self, trained: LevelResult) -> Counts:
        """How many survive the pruning of a training."""
        return next_counts(self._config, self._structure.alive(trained.mask), self._shapes)

    def _start(self, branch: Branch) -> Weights:
        """The dense weights that a branch starts from."""
        source = self._rewind if branch.late else self._initial
        if branch.weights == "rewind":
            return source
        which = (branch.weights, branch.late)
        if which not in self._starts:
            other = self._store.initial(
                self._seed, REINIT, lambda: self._framework.initial(self._seed + REINIT_SEED)
            )
            keys = list(self._full)
            self._starts[which] = CONTROLS[branch.weights].start(source, other, keys)
        return self._starts[which]
