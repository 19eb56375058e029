"""The stability experiment: from which step on does the order of the data no longer matter?"""

from collections.abc import Callable
from typing import Any

from tfinit.arguments import flag, instance
from tfinit.datasets import Dataset
from tfinit.devices import announce
from tfinit.executors.scheduling import work_off
from tfinit.executors.workers import executing, threaded, workers_of
from tfinit.lottery import line_meter, linear_connectivity, measured_lines
from tfinit.lottery.config import StabilityConfig
from tfinit.lottery.directory import check_directory, check_fingerprint, check_network
from tfinit.lottery.experiment import checked_data
from tfinit.lottery.frameworks import framework_of, with_direction
from tfinit.lottery.line_meter import LineSetup
from tfinit.lottery.linear_connectivity import StabilityResult
from tfinit.lottery.made_networks import network_of
from tfinit.lottery.measured_lines import branch_of
from tfinit.lottery.report_files import OF_STABILITY, check_reports, write_stability
from tfinit.lottery.result import LevelResult
from tfinit.lottery.stability_replicate import StabilityReplicate, copy_seed
from tfinit.lottery.store import Store
from tfinit.lottery.stored_training import Trainings
from tfinit.lottery.subject import Subject
from tfinit.lottery.tracking import Teller, Tracker, check_tracker
from tfinit.lottery.training_work import trainer_setup
from tfinit.origin import Origin
from tfinit.progress import as_warning, check_progress, following
from tfinit.training.metrics import Progress
from tfinit.training.order import check_batch_size

__all__ = [
    "COPIES",
    "MOST_TRAIN_ROWS",
    "TRUNK",
    "branch_of",
    "copy_seed",
    "stability",
    "stability_steps",
]

TRUNK = measured_lines.TRUNK
COPIES = measured_lines.COPIES
MOST_TRAIN_ROWS = line_meter.MOST_TRAIN_ROWS


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
    workers: Any = None,
    **store_options: Any,
) -> list[StabilityResult]:
    """Measure the error barrier between two copies of a network that part at step k, for some k.

    For each replicate, with initial weights θ₀::

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
        workers: As for `tfinit.lottery.run`.
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
    reports, workers = flag("reports", reports), workers_of(workers)
    config, builder = network_of(threaded(config, workers), build_model)
    data = checked_data(config, data, finished, warn, builder, workers)
    if reports:
        check_reports(config.run_dir, OF_STABILITY)
    origin = Origin.now(data.digest(), config.keras)
    check_directory(config, origin)
    if config.train_examples:
        data = data.subset(config.train_examples)
    if data.rows is not None:
        check_batch_size(config.batch_size, data.rows)
    results: list[StabilityResult] = []
    subject = Subject.of(config, data)
    with following(progress) as follower, executing(workers, follower) as executor:
        each = len(config.spawn_steps) * (len(COPIES) + 1) + any(config.spawn_steps)
        follower.expect(stability_steps(config), len(config.seeds) * each)
        framework = framework_of(config, data, builder)
        trainer = trainer_setup(config, data, builder)
        config = with_direction(config, framework)
        network = framework.networks.fingerprint
        check_fingerprint(config.run_dir, network)
        check_network(
            config.run_dir, {key: mask.shape for key, mask in framework.full_mask().items()}
        )
        store = Store(
            config, warn, origin=origin, subject=subject, network=network, **store_options
        )
        trainings = Trainings(framework, store, follower, trainer)
        line = LineSetup(trainer, framework.engine == "xla")
        meter = line.meter()
        teller = Teller(tracker, config, warn)
        with store.locked():
            announce(config.keras)
            plans = (
                StabilityReplicate(trainings, meter, line, framework.judged(), config, seed)
                for seed in config.seeds
            )
            for _, result in work_off(plans, executor, follower.one_ended):
                if isinstance(result, LevelResult):
                    teller.training(result)
                    continue
                results.append(result)
                teller.line(result)
                finished(result)
                follower.say(str(result))
    results.sort(key=lambda result: (config.seeds.index(result.seed), result.k))
    if reports:
        write_stability(config, results, subject)
    return results


# `tfinit.lottery.stability` was a module. The function that has the name today has what was in it:
# `stability.stability` is the function still, and see `tfinit.moved` for importing from it.
_FORMER = {**vars(linear_connectivity), **globals()}
vars(stability).update({name: it for name, it in _FORMER.items() if not name.startswith("_")})
