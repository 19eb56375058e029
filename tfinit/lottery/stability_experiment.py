"""The stability experiment: from which step on does the order of the data no longer matter?"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfinit.arguments import flag, instance
from tfinit.datasets import Dataset
from tfinit.devices import announce
from tfinit.lottery import linear_connectivity, measured_lines
from tfinit.lottery.config import StabilityConfig
from tfinit.lottery.directory import check_directory, check_fingerprint, check_network
from tfinit.lottery.experiment import checked_data
from tfinit.lottery.frameworks import (
    Framework,
    KerasFramework,
    TfmotFramework,
    TrainingPlan,
    framework_of,
    with_direction,
)
from tfinit.lottery.linear_connectivity import MEASURES, StabilityResult, interpolate
from tfinit.lottery.made_networks import Networks, network_of
from tfinit.lottery.measured_lines import SPLITS, branch_of, result_of, tells
from tfinit.lottery.report_files import OF_STABILITY, check_reports, write_stability
from tfinit.lottery.result import LevelResult, Weights
from tfinit.lottery.store import Place, Store
from tfinit.lottery.stored_training import stored_or_trained
from tfinit.lottery.subject import Subject
from tfinit.lottery.tracking import Teller, Tracker, check_tracker
from tfinit.origin import Origin
from tfinit.progress import as_warning, check_progress, following
from tfinit.training.evaluation import Evaluator
from tfinit.training.judged import ACCURACY
from tfinit.training.metrics import Progress
from tfinit.training.noise import set_noise
from tfinit.training.order import check_batch_size
from tfinit.variables import write_weights

__all__ = [
    "COPIES",
    "MOST_TRAIN_ROWS",
    "TRUNK",
    "branch_of",
    "copy_seed",
    "instability",
    "stability",
    "stability_steps",
]

TRUNK = measured_lines.TRUNK
COPIES = measured_lines.COPIES
# So many training examples tell an error to half a point; all of a large set would take as long as
# the training.
MOST_TRAIN_ROWS = 10_000


def copy_seed(seed: int, copy: int) -> int:
    """The seed of a copy's data order, augmentation and noise, from replicate and copy.

    Not of k: the copies of all k see the same two streams, each from step k on. Both differ from
    the trunk's, which is that of ``seed``, so copies that part at step 0 share weights only.
    """
    return int(np.random.SeedSequence([seed, copy]).generate_state(1, np.uint64)[0])


def stability_steps(config: StabilityConfig) -> int:
    """How many steps the experiment trains, all networks together."""
    instance("config", config, StabilityConfig)
    copies = sum(len(COPIES) * (config.steps - k) for k in config.spawn_steps)
    return len(config.seeds) * (max(config.spawn_steps) + copies)


def stability(
    config: StabilityConfig,
    progress: bool | Progress | None = True,
    finished: Callable[[StabilityResult], None] = lambda result: None,
    warn: Callable[[str], None] = as_warning,
    data: Dataset | None = None,
    reports: bool = True,
    tracker: Tracker | None = None,
    build_model: Any = None,
    **store_options: Any,
) -> list[StabilityResult]:
    """Measure the error barrier between two copies of a network that part at step k, for some k.

    For each replicate, with initial weights θ₀ (`instability` is the algorithm)::

        train from θ₀                                      → θₖ for every k: the trunk
        train twice from θₖ, from step k to the last one   → w₁, w₂
        measure the error of (1 - α) · w₁ + α · w₂         → its `barrier`

    The copies differ in the order of the data, in augmentation and in the noise of layers (see
    `copy_seed`), and in nothing else. Each has the learning rate of its step, and a fresh
    optimizer: its momentum, and Adam's averages, start from zero at step k. In the paper they go
    on; in its successor's code, OpenLTH, they start afresh as here. The trunk ends at the last k.

    Interrupted at any moment and started again, it ends with the same files, bit for bit, on the
    same machine. So it does if it is started with fewer seeds or steps k, and then again with all.
    While it runs no other process can work in the directory.

    Args:
        config: The experiment.
        progress: True: a bar with the time that is left, on a terminal or in a notebook. False or
            None: nothing. Or a function, called with the number of training steps done, or found
            done, since the last call; `stability_steps` in all.
        finished: Called with each result, also of those found in the directory.
        warn: Called with a line about each file that is damaged or of another training, and is made
            again; and about versions or a device other than those the directory was made with. By
            default they are Python's warnings.
        data: As for `tfinit.lottery.run`.
        reports: Whether to leave what the command leaves: ``stability.csv`` and ``stability.png``.
        tracker: As for `tfinit.lottery.run`.
        build_model: As for `tfinit.lottery.run`.
        **store_options: For `Store`: ``checkpoint_every``, seconds between checkpoints.

    Returns:
        One result for each replicate and k, in this order, k rising. A network that diverged is a
        result too, with NaN for its barrier.

    Raises:
        InputError: the configuration does not fit the data, the model or the directory,
            ``build_model`` makes no compiled model, or not the same network at each call, the
            directory holds an experiment on other data or of another network, a report cannot be
            written, this process has begun to compute with other threads, or another process works
            there. Nothing was written.
        WorkError: a file could not be written. What was done is kept.

    Example:
        >>> config = StabilityConfig(
        ...     steps=20, spawn_steps=(0, 10), seeds=(0,), points=3, run_dir=Path(tmp) / "stability"
        ... )
        >>> [(r.k, r.alphas.tolist(), r.barrier("test") >= 0) for r in stability(config)]
        [(0, [0.0, 0.5, 1.0], True), (10, [0.0, 0.5, 1.0], True)]

    References:
        Frankle, Dziugaite, Roy & Carbin, *Linear Mode Connectivity and the Lottery Ticket
        Hypothesis*, ICML 2020, https://arxiv.org/abs/1912.05671, algorithm 1. OpenLTH:
        https://github.com/facebookresearch/open_lth.
    """
    instance("config", config, StabilityConfig)
    check_progress(progress)
    check_tracker(tracker)
    reports = flag("reports", reports)
    config, builder = network_of(config, build_model)
    data = checked_data(config, data, finished, warn)
    if reports:
        check_reports(config.run_dir, OF_STABILITY)
    origin = Origin.now(data.digest(), config.keras)
    check_directory(config, origin)
    if config.train_examples:
        data = data.subset(config.train_examples)
    if data.rows is not None:
        check_batch_size(config.batch_size, data.rows)
    results, subject = [], Subject.of(config, data)
    with following(progress) as follower:
        follower.expect(stability_steps(config))
        framework = framework_of(config, data, builder)
        config = with_direction(config, framework)
        network = framework.networks.fingerprint
        check_fingerprint(config.run_dir, network)
        check_network(
            config.run_dir, {key: mask.shape for key, mask in framework.full_mask().items()}
        )
        store = Store(
            config, warn, origin=origin, subject=subject, network=network, **store_options
        )
        # The loss along the line is that of the data alone.
        plain = Networks(dataclasses.replace(config, weight_decay=0.0), data, builder)
        line = _Line(config, data, plain, framework)
        teller = Teller(tracker, config, warn)
        with store.locked():
            announce(config.keras)
            for seed in config.seeds:
                trunk = _Trunk(framework, store, config, seed, follower, teller.training)
                for k in sorted(config.spawn_steps):
                    results.append(instability(trunk, line, k))
                    teller.line(results[-1])
                    finished(results[-1])
                    follower.say(str(results[-1]))
    if reports:
        write_stability(config, results, subject)
    return results


def instability(trunk: "_Trunk", line: "_Line", k: int) -> StabilityResult:
    """Train two copies from the trunk at step k, and measure along the line between them."""
    copies = trunk.copies(k)
    if len(copies) < len(COPIES) or any(copy.diverged_at is not None for copy in copies):
        return line.result(trunk.seed, k, None)
    between = trunk.measured(k, lambda: line.between(*(copy.final for copy in copies)), line.tells)
    return line.result(trunk.seed, k, between)


class _Trunk:
    """The training of one replicate up to the last k, and the copies that part from it."""

    def __init__(
        self,
        framework: Framework,
        store: Store,
        config: StabilityConfig,
        seed: int,
        progress: Progress,
        told: Callable[[LevelResult], None] = lambda result: None,
    ):
        self.seed = seed
        self._told = told
        self._framework, self._store, self._config = framework, store, config
        self._progress = progress
        self._full = framework.full_mask()
        self._initial = store.initial(seed, TRUNK, lambda: framework.initial(seed))
        marks = [k for k in config.spawn_steps if k > 0]
        if marks:
            self._train(marks)

    def _train(self, marks: list[int]) -> None:
        """Keep the weights at the marks. They change nothing: a mark only looks."""
        keep = {k: self._keep(k) for k in marks}
        training = TrainingPlan(self._initial, self._full, self.seed, stop=max(marks), at=keep)
        there = {k for k in marks if self._store.rewind(self.seed, branch_of(k)) is not None}
        trunk = stored_or_trained(
            self._framework,
            self._store,
            Place(self.seed, TRUNK, 0),
            training,
            self._initial,
            max(marks),
            self._progress,
            usable=lambda step: all(k in there for k in marks if k <= step),
        )
        self._told(trunk)

    def _keep(self, k: int) -> Callable[[Weights], None]:
        return lambda weights: self._store.keep_rewind(self.seed, branch_of(k), weights)

    def copies(self, k: int) -> list[LevelResult]:
        """The copies from step k to the last; none if the trunk diverged before."""
        steps = self._config.steps
        start = self._initial if k == 0 else self._store.rewind(self.seed, branch_of(k))
        if start is None:
            self._progress(len(COPIES) * (steps - k))
            return []
        copies = []
        for copy in COPIES:
            result = stored_or_trained(
                self._framework,
                self._store,
                Place(self.seed, branch_of(k, copy), 0),
                TrainingPlan(start, self._full, copy_seed(self.seed, copy), k, rate_from=k),
                self._initial,
                steps,
                self._progress,
            )
            self._told(result)
            copies.append(result)
        return copies

    def measured(
        self,
        k: int,
        measure: Callable[[], dict[str, np.ndarray]],
        tells: Callable[[Mapping[str, Any]], bool],
    ) -> dict[str, Any]:
        """What ``measure`` gives, from the store if it is there, and tells what is asked."""
        stored = self._store.line(self.seed, branch_of(k))
        if stored is None or not tells(stored):
            self._store.keep_line(self.seed, branch_of(k), measure())
            stored = self._store.line(self.seed, branch_of(k))
        return dict(stored or {})


class _Line:
    """Measures networks along the line between two. One network, compiled once."""

    def __init__(
        self,
        config: StabilityConfig,
        data: Dataset,
        networks: Networks,
        framework: KerasFramework | TfmotFramework,
    ):
        self._metric = framework.judged()
        self.alphas = np.linspace(0, 1, config.points)
        self._model, self._weights = networks.model, networks.weights
        rows = data.rows
        some = min(rows or MOST_TRAIN_ROWS, MOST_TRAIN_ROWS)
        train = data.first(some) if rows is None else data.subset(some).train
        # As in training, so that the ends of the line are what was measured there.
        measured = dataclasses.replace(data, validation=train)
        self._evaluate = Evaluator(networks.model, measured, jit_compile=framework.engine == "xla")

    def between(self, one: Weights, two: Weights) -> dict[str, np.ndarray]:
        """All that is measured along the line: of accuracies the errors first, as ever."""
        one, two = dict(one), dict(two)  # read from their files once, not at each point
        rows = []
        for alpha in self.alphas:
            write_weights(self._weights, interpolate(one, two, alpha))
            set_noise(self._model, 0, 0)  # the same at each point, whatever was trained before
            rows.append(self._evaluate())
        names = [name.replace("validation_", "train_", 1) for name in self._evaluate.names]
        found = dict(zip(names, np.array(rows).T, strict=True))
        accuracies = {column: found.pop(column, None) for column in map(ACCURACY.column, SPLITS)}
        errors = {
            f"{split}_error": ACCURACY.error(values)
            for split, values in zip(SPLITS, accuracies.values(), strict=True)
            if values is not None
        }
        return {**errors, **{name: found.pop(name) for name in MEASURES if name in found}, **found}

    def tells(self, measured: Mapping[str, Any]) -> bool:
        """Whether what was measured once has what networks are judged by now."""
        return tells(measured, self._metric)

    def result(
        self, seed: int, k: int, measured: Mapping[str, np.ndarray] | None
    ) -> StabilityResult:
        """What was measured, by what networks are judged by; None: there is no line."""
        return result_of(seed, k, self.alphas, measured, self._metric)


# `tfinit.lottery.stability` was a module. The function that has the name today has what was in it:
# `stability.stability` is the function still, and see `tfinit.moved` for importing from it.
_FORMER = {**vars(linear_connectivity), **globals()}
vars(stability).update({name: it for name, it in _FORMER.items() if not name.startswith("_")})
