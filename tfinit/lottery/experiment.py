"""The experiment: train, prune, rewind, retrain."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from tfinit import datasets
from tfinit.arguments import flag, function, instance
from tfinit.batch_streams import Stream
from tfinit.devices import announce
from tfinit.executors.job import Executor, Serial
from tfinit.executors.scheduling import work_off
from tfinit.executors.sending import check_sent
from tfinit.executors.workers import Workers, executing, threaded, workers_of
from tfinit.lottery.branches import BRANCHES, TICKET
from tfinit.lottery.config import LotteryConfig, NetworkConfig
from tfinit.lottery.counts import check_prunes, ends_early, with_outputs
from tfinit.lottery.directory import check_directory, check_fingerprint, check_network
from tfinit.lottery.frameworks import Framework, framework_of, with_direction
from tfinit.lottery.made_networks import network_of
from tfinit.lottery.replicate import Replicate
from tfinit.lottery.report_files import OF_A_RUN, check_reports, write_run
from tfinit.lottery.result import LevelResult
from tfinit.lottery.store import Store
from tfinit.lottery.stored_training import Trainings
from tfinit.lottery.subject import Subject
from tfinit.lottery.tracking import Teller, Tracker, check_tracker
from tfinit.lottery.training_work import trainer_setup
from tfinit.model_builders import ModelBuilder
from tfinit.origin import Origin
from tfinit.progress import Follower, as_warning, check_progress, following
from tfinit.renamed import renamed
from tfinit.saved_data import read_data
from tfinit.training.metrics import Progress
from tfinit.training.order import check_batch_size


@renamed(parts="framework")
def lottery(
    framework: Framework, store: Store, config: LotteryConfig, seed: int, progress: Progress
) -> Iterator[LevelResult]:
    """Find the tickets of one replicate, and train the controls beside them.

    For level n = 0, 1, ... with mask m₀ = 1, initial weights θ₀, and θₖ those of the dense network
    after k steps, the rewind step (0: θₖ = θ₀)::

        train from mₙ * θₖ, from step k on   → final weights
        prune the smallest of them           → mₙ₊₁, inside mₙ
        rewind the survivors to θₖ

    From level 1 on every control trains beside the ticket, with as many survivors: see
    `tfinit.lottery.branches`.

    Yields:
        The result of each training, as soon as it is stored. What the store has is not trained
        again. A replicate ends with the first ticket that diverges, and with the last level at
        which a weight is pruned.

    References:
        Frankle & Carbin, *The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural
        Networks*, ICLR 2019, https://arxiv.org/abs/1803.03635, strategy 1. Frankle et al.,
        *Linear Mode Connectivity and the Lottery Ticket Hypothesis*, ICML 2020,
        https://arxiv.org/abs/1912.05671, algorithm 2, for the rewind step.
    """
    trainings = Trainings(
        framework, store, progress, stop_on_divergence=config.on_divergence == "stop"
    )
    for _, result in work_off([Replicate(trainings, config, seed)], Serial()):
        yield result


def checked_data(
    config: NetworkConfig,
    data: Any,
    finished: Any,
    warn: Any,
    builder: ModelBuilder | None = None,
    workers: Workers | None = None,
) -> datasets.Dataset:
    """The data of an experiment, which workers can get, after the arguments beside it are checked.

    Raises:
        InputError: an argument is wrong, or data or network cannot be sent to workers.
    """
    function("finished", finished, "a result")
    function("warn", warn, "a line")
    config.check_parts()
    found = read_data(config.dataset, "dataset") if data is None else read_data(data)
    if isinstance(found.train, Stream):
        warn(found.train.notice)
    check_sent(workers, trainer_setup(config, found, builder))
    return found


def total_steps(config: LotteryConfig, levels: int | None = None) -> int:
    """How many steps the experiment trains, all networks together.

    Args:
        config: The experiment.
        levels: At how many levels, if those are fewer than it says: see `counts.last_level`.
    """
    return total(config, levels)[0]


def total(config: LotteryConfig, levels: int | None = None) -> tuple[int, int]:
    """How many steps an experiment trains, in how many trainings; as for `total_steps`."""
    levels = config.levels if levels is None else levels
    late = [BRANCHES[TICKET], *(BRANCHES[name] for name in config.controls)]
    level = sum(config.steps - config.rewind_step * branch.late for branch in late)
    seeds = len(config.seeds)
    return seeds * (config.steps + levels * level), seeds * (1 + levels * len(late))


def run(
    config: LotteryConfig,
    progress: bool | Progress | None = True,
    finished: Callable[[LevelResult], None] = lambda result: None,
    warn: Callable[[str], None] = as_warning,
    data: datasets.Dataset | None = None,
    reports: bool = True,
    tracker: Tracker | None = None,
    build_model: Any = None,
    workers: Any = None,
    **store_options: Any,
) -> list[LevelResult]:
    """Run an experiment in ``config.run_dir``, or go on with it where it was.

    Interrupted at any moment and started again, it ends with the same weights, masks and metrics,
    bit for bit, on the same machine (with a GPU: after `tfinit.training.warm_up()`, as the command
    line calls it). So it does if it is started with fewer seeds, levels or controls, and then again
    with all: what is there is not trained again. While it runs no other process can work in the
    directory.

    It ends before the last of ``config.levels`` where so few weights are left that the next level
    would prune none, and train the same tickets again; it says so before it begins.

    Args:
        config: The experiment.
        progress: True: a bar with the time that is left, on a terminal or in a notebook. False or
            None: nothing. Or a function, called with the number of training steps done, or found
            done, since the last call.
        finished: Called with the result of each training, also of those found in the directory.
        warn: Called with a line about each file that is damaged or of another training, and is made
            again; about versions or a device other than those the directory was made with; about
            levels that prune nothing, or leave nothing of a tensor. By default they are Python's
            warnings.
        data: Train on this in place of what ``config.dataset`` names: see
            `tfinit.datasets.from_arrays`. The directory remembers the digest of all its arrays
            (`tfinit.datasets.digest`), and other data are refused there. It is arrays: those of a
            generator are collected first.
        reports: Whether to leave what the command leaves: the tables ``results.csv``,
            ``evaluations.csv`` and ``layers.csv``, four figures, and ``conclusion.txt``.
        build_model: Your own network in place of one of tfinit's: ``build_model()`` or
            ``build_model(seed)``, which returns a new model of Keras 3 or tf_keras, built and
            compiled with its own optimizer, loss, metrics and schedule; the place of such a
            function, ``"path/to/file.py:build"`` or ``"package.module:build"``; or the path of a
            ``.keras`` file. The last two can also be ``config.model``.

            The seed of a replicate decides the order of its data, noise, and the weights: those of
            ``build_model(seed)``. Where it takes no seed, and of a file, trainable kernels are
            drawn anew by the initializers of their layers, all else is as it was built. Frozen
            layers are not pruned. The directory remembers a fingerprint of the network, and another
            one is refused there.
        tracker: What is told of each training as soon as it is stored, also of those found in the
            directory: a `Tracker`, as `TensorBoard`.
        workers: Train so many networks beside each other, by Ray (``pip install tfinit[scale]``):
            a number, or a `tfinit.executors.Workers`, which can name a cluster. Results are
            finished in another order then, and are the same. None: one after the other, here.
        **store_options: For `Store`: ``checkpoint_every``, seconds between checkpoints.

    Returns:
        The results of all trainings, replicate by replicate, level by level. Their weights and
        masks stay in the directory, and are read when they are asked for.

    Raises:
        InputError: the configuration does not fit the data, the model or the directory, its metric
            is not measured, ``build_model`` makes no compiled model, or not the same network at
            each call, the directory holds an experiment on other data or of another network, a
            report cannot be written, no weight would be pruned, this process has begun to compute
            with other threads, or another process works there. Nothing was written.
        WorkError: a file could not be written, or a network diverged and ``on_divergence`` is
            "stop". What was done is kept.

    Example:
        >>> config = LotteryConfig(levels=1, steps=20, seeds=(0,), run_dir=Path(tmp) / "run")
        >>> [result.branch for result in run(config)]
        ['ticket', 'ticket', 'reinit']
        >>> (Path(tmp) / "run" / "tickets.png").exists()
        True
        >>> def build_model():
        ...     layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
        ...     model = keras.Sequential(layers)
        ...     loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        ...     model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
        ...     return model
        >>> config = LotteryConfig(levels=1, steps=20, seeds=(0,), run_dir=Path(tmp) / "own")
        >>> [result.survivors for result in run(config, build_model=build_model)]
        [640, 576, 576]
    """
    instance("config", config, LotteryConfig)
    check_progress(progress)
    check_tracker(tracker)
    reports, workers = flag("reports", reports), workers_of(workers)
    config, builder = network_of(threaded(config, workers), build_model)
    data = checked_data(config, data, finished, warn, builder, workers)
    if reports:
        check_reports(config.run_dir, OF_A_RUN)
    with following(progress) as follower, executing(workers, follower) as executor:
        one = prepared(config, follower, warn, data, builder=builder, **store_options)
        follower.expect(*one.total)
        results = trained(
            [one], executor, follower, lambda _, result: finished(result), warn, tracker
        )[""]
    if reports:
        write_run(config, results, Subject.of(config, data))
    return results


@dataclass(frozen=True, eq=False)
class Experiment:
    """An experiment that can begin: it was checked, and nothing of it is trained.

    Attributes:
        name: What is said of each result begins with this.
        config: As it is counted: with the outputs of its network.
        trainings: What trains, and where.
        total: Its steps and its trainings.
    """

    name: str
    config: LotteryConfig
    trainings: Trainings
    total: tuple[int, int]


def prepared(
    config: LotteryConfig,
    follower: Follower,
    warn: Callable[[str], None],
    data: datasets.Dataset,
    name: str = "",
    builder: ModelBuilder | None = None,
    **store_options: Any,
) -> Experiment:
    """See that an experiment can begin in its directory, which is made.

    Args:
        config: As for `run`, as are the others.
        follower: What follows it.
        warn: Called with each line.
        data: What is trained on.
        name: What is said of each result begins with this.
        builder: What makes the user's own network, which the configuration names; None: it names
            one of tfinit's.
        **store_options: For `Store`.
    """
    origin = Origin.now(data.digest(), config.keras)
    check_directory(config, origin)
    if config.train_examples:
        data = data.subset(config.train_examples)
    if data.rows is not None:
        check_batch_size(config.batch_size, data.rows)
    framework = framework_of(config, data, builder)
    setup = trainer_setup(config, data, builder)
    config = with_direction(config, framework)
    shapes = {key: mask.shape for key, mask in framework.full_mask().items()}
    counted = with_outputs(config, list(shapes), framework.networks.outputs())
    counts = framework.structure.shapes
    last, network = check_prunes(counted, counts), framework.networks.fingerprint
    subject = replace(Subject.of(config, data), levels=last, ends=ends_early(counted, counts))
    check_fingerprint(config.run_dir, network)
    check_network(config.run_dir, shapes)
    store = Store(config, warn, origin=origin, subject=subject, network=network, **store_options)
    if last < config.levels:
        warn(f"{ends_early(counted, counts)}.")
    stops = config.on_divergence == "stop"
    trainings = Trainings(framework, store, follower, setup, stops)
    return Experiment(name, counted, trainings, total(config, last))


def trained(
    experiments: Iterable[Experiment],
    executor: Executor,
    follower: Follower,
    finished: Callable[[str, LevelResult], None],
    warn: Callable[[str], None],
    tracker: Tracker | None = None,
) -> dict[str, list[LevelResult]]:
    """Train all that experiments have not trained yet; each is prepared when something can begin.

    Args:
        experiments: Those of `prepared`, with different names.
        executor: What trains them.
        follower: What follows them.
        finished: Called with the name of an experiment and each result.
        warn: Called with each line.
        tracker: As for `run`.

    Returns:
        The name of each → its results, replicate by replicate, level by level.
    """
    found: dict[str, list[LevelResult]] = {}
    told: dict[str, tuple[Teller, set[tuple[str, str]]]] = {}
    owners: dict[Any, Experiment] = {}
    with ExitStack() as locks:

        def replicates() -> Iterator[Replicate]:
            for one in experiments:
                locks.enter_context(one.trainings.store.locked())
                announce(one.config.keras)
                found[one.name] = []
                told[one.name] = Teller(tracker, one.config, warn, one.name), set()
                for seed in one.config.seeds:
                    plan = Replicate(one.trainings, one.config, seed)
                    owners[plan] = one
                    yield plan

        for plan, result in work_off(replicates(), executor, follower.one_ended):
            one = owners[plan]
            teller, emptied = told[one.name]
            found[one.name].append(result)
            teller.training(result)
            finished(one.name, result)
            follower.say(f"{one.name} {result}".strip())
            _tell_of_emptied(result, emptied, warn)
    for one in dict.fromkeys(owners.values()):
        branches = (TICKET, *one.config.controls)
        found[one.name].sort(
            key=lambda r, c=one.config, b=branches: (
                c.seeds.index(r.seed),
                r.level,
                b.index(r.branch),
            )
        )
    return found


def _tell_of_emptied(
    result: LevelResult, told: set[tuple[str, str]], warn: Callable[[str], None]
) -> None:
    """Tell of the tensors of which nothing is left, once for each source of masks."""
    source = BRANCHES[result.branch].masks
    source = result.branch if source == "own" else source
    keys = [k for k, n in result.alive.items() if n == 0 and (source, k) not in told]
    told.update((source, key) for key in keys)
    if keys:
        warn(
            f"seed {result.seed} level {result.level} {result.branch}: nothing is left of "
            f"{', '.join(keys)}. What comes behind sees nothing of the input, but for what goes "
            "past it; so it is at all further levels. Ask for fewer."
        )
