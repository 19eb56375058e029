"""The experiment: train, prune, rewind, retrain."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tfinit import datasets
from tfinit.arguments import flag, function, instance
from tfinit.batch_streams import Stream
from tfinit.devices import announce
from tfinit.lottery.branches import BRANCHES, ONE_SHOT, TICKET, Branch
from tfinit.lottery.config import REINIT_SEED, LotteryConfig, NetworkConfig
from tfinit.lottery.controls import CONTROLS
from tfinit.lottery.counts import (
    check_prunes,
    ends_early,
    last_level,
    next_counts,
    with_outputs,
)
from tfinit.lottery.directory import check_directory, check_fingerprint, check_network
from tfinit.lottery.frameworks import Framework, TrainingPlan, framework_of, with_direction
from tfinit.lottery.made_networks import network_of
from tfinit.lottery.report_files import OF_A_RUN, check_reports, write_run
from tfinit.lottery.result import REINIT, LevelResult, Weights
from tfinit.lottery.store import Place, Store
from tfinit.lottery.stored_arrays import shapes_of
from tfinit.lottery.stored_training import stored_or_trained
from tfinit.lottery.subject import Subject
from tfinit.lottery.tracking import Teller, Tracker, check_tracker
from tfinit.model_builders import ModelBuilder
from tfinit.origin import Origin
from tfinit.progress import Follower, as_warning, check_progress, following
from tfinit.pruning.scoring.masks import Masks
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
    network = _Trainings(framework, store, config, seed, progress)
    ticket = network.dense()
    yield ticket
    chains = {name: ticket for name in (TICKET, *config.controls) if BRANCHES[name].masks == "own"}
    dense = ticket
    shapes = shapes_of(ticket.mask)
    last, _ = last_level(config, shapes)
    for level in range(1, last + 1):
        if ticket.diverged_at is not None:
            return
        counts = next_counts(config, ticket.alive, shapes)
        masks = {TICKET: framework.prune(ticket, counts)}
        ticket = network.trained(BRANCHES[TICKET], level, masks[TICKET])
        yield ticket
        for branch in (BRANCHES[name] for name in config.controls):
            if branch.masks == "own":
                before = chains[branch.name]
                if before.diverged_at is None:
                    mask = framework.prune(before, next_counts(config, before.alive, shapes))
                    after = network.trained(branch, level, mask, own=before.final)
                    chains[branch.name] = after
                    yield after
                continue
            if branch.masks not in masks:
                masks[branch.masks] = (
                    framework.prune(dense, counts)
                    if branch.masks == ONE_SHOT
                    else network.at_initialization(branch.masks, ticket.survivors)
                )
            mask = masks[branch.masks]
            change = CONTROLS[branch.control].mask if branch.control else None
            yield network.trained(branch, level, change(mask, seed) if change else mask)


class _Trainings:
    """The trainings of one replicate: from the store if they are there, else made and stored."""

    def __init__(
        self,
        framework: Framework,
        store: Store,
        config: LotteryConfig,
        seed: int,
        progress: Progress,
    ):
        self._framework, self._store, self._config = framework, store, config
        self._seed, self._progress = seed, progress
        self._initial = store.initial(seed, TICKET, lambda: framework.initial(seed))
        self._rewind = self._initial
        self._keys = list(framework.full_mask())
        self._starts: dict[tuple[str, bool], Weights] = {}

    def dense(self) -> LevelResult:
        """Level 0; and the weights at the rewind step, which every training after it needs."""
        k, place = self._config.rewind_step, Place(self._seed, TICKET, 0)
        training = TrainingPlan(self._initial, self._framework.full_mask(), self._seed)
        if k == 0:
            return self._made(place, training, self._initial)
        there = self._store.rewind(self._seed, TICKET) is not None
        training = TrainingPlan(
            self._initial,
            training.mask,
            self._seed,
            at={k: lambda weights: self._store.keep_rewind(self._seed, TICKET, weights)},
        )
        result = self._made(place, training, self._initial, lambda step: step < k or there)
        self._rewind = self._store.rewind(self._seed, TICKET) or self._initial
        return result

    def trained(
        self, branch: Branch, level: int, mask: Masks, own: Weights | None = None
    ) -> LevelResult:
        """The training of a branch at a level."""
        k = self._config.rewind_step if branch.late else 0
        rate_from = self._config.steps if branch.last_rate else k
        start = self._start(branch) if own is None else own
        training = TrainingPlan(start, mask, self._seed, k, rate_from)
        initial = self._start(BRANCHES[REINIT]) if branch.weights == "reinit" else self._initial
        return self._made(Place(self._seed, branch.name, level), training, initial)

    def at_initialization(self, score: str, keep: int) -> Masks:
        """The mask by a score before training."""
        return self._framework.prune_at_initialization(score, self._initial, keep, self._seed)

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
            self._starts[which] = CONTROLS[branch.weights].start(source, other, self._keys)
        return self._starts[which]

    def _made(
        self,
        place: Place,
        training: TrainingPlan,
        initial: Weights,
        usable: Callable[[int], bool] = lambda step: True,
    ) -> LevelResult:
        return stored_or_trained(
            self._framework,
            self._store,
            place,
            training,
            initial,
            self._config.steps,
            self._progress,
            self._config.on_divergence == "stop",
            usable,
        )


def checked_data(config: NetworkConfig, data: Any, finished: Any, warn: Any) -> datasets.Dataset:
    """The data of an experiment, after the arguments beside it are checked."""
    function("finished", finished, "a result")
    function("warn", warn, "a line")
    config.check_parts()
    found = read_data(config.dataset, "dataset") if data is None else read_data(data)
    if isinstance(found.train, Stream):
        warn(found.train.notice)
    return found


def total_steps(config: LotteryConfig, levels: int | None = None) -> int:
    """How many steps the experiment trains, all networks together.

    Args:
        config: The experiment.
        levels: At how many levels, if those are fewer than it says: see `counts.last_level`.
    """
    levels = config.levels if levels is None else levels
    late = [BRANCHES[TICKET], *(BRANCHES[name] for name in config.controls)]
    level = sum(config.steps - config.rewind_step * branch.late for branch in late)
    return len(config.seeds) * (config.steps + levels * level)


def run(
    config: LotteryConfig,
    progress: bool | Progress | None = True,
    finished: Callable[[LevelResult], None] = lambda result: None,
    warn: Callable[[str], None] = as_warning,
    data: datasets.Dataset | None = None,
    reports: bool = True,
    tracker: Tracker | None = None,
    build_model: Any = None,
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
    reports = flag("reports", reports)
    config, builder = network_of(config, build_model)
    data = checked_data(config, data, finished, warn)
    if reports:
        check_reports(config.run_dir, OF_A_RUN)
    with following(progress) as follower:
        results = experiment(
            config,
            follower,
            finished,
            warn,
            data,
            builder=builder,
            tracker=tracker,
            **store_options,
        )
    if reports:
        write_run(config, results, Subject.of(config, data))
    return results


def experiment(
    config: LotteryConfig,
    follower: Follower,
    finished: Callable[[LevelResult], None],
    warn: Callable[[str], None],
    data: datasets.Dataset,
    name: str = "",
    of: int = 1,
    tracker: Tracker | None = None,
    builder: ModelBuilder | None = None,
    **store_options: Any,
) -> list[LevelResult]:
    """`run` without its reports.

    Args:
        config: As for `run`, as are the others.
        follower: What follows it.
        finished: Called with each result.
        warn: Called with each line.
        data: What is trained on.
        name: What is said of each result begins with this.
        of: How many experiments of as many steps the follower follows.
        tracker: As for `run`.
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
    config = with_direction(config, framework)
    shapes = {key: mask.shape for key, mask in framework.full_mask().items()}
    counted = with_outputs(config, list(shapes), framework.networks.outputs())
    last, network = check_prunes(counted, shapes), framework.networks.fingerprint
    subject = replace(Subject.of(config, data), levels=last, ends=ends_early(counted, shapes))
    check_fingerprint(config.run_dir, network)
    check_network(config.run_dir, shapes)
    store = Store(config, warn, origin=origin, subject=subject, network=network, **store_options)
    if last < config.levels:
        warn(f"{ends_early(counted, shapes)}.")
    steps = total_steps(config, last) // len(config.seeds)
    follower.expect(of * len(config.seeds) * steps)
    results: list[LevelResult] = []
    empty: set[tuple[str, str]] = set()
    teller = Teller(tracker, config, warn, name)
    with store.locked():
        announce(config.keras)
        for seed in config.seeds:
            left = steps

            def count(done: int) -> None:
                nonlocal left
                left -= done
                follower(done)

            for result in lottery(framework, store, counted, seed, count):
                results.append(result)
                teller.training(result)
                finished(result)
                follower.say(f"{name} {result}".strip())
                _tell_of_emptied(result, empty, warn)
            follower(left)  # what a network that diverged left undone
    return results


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
