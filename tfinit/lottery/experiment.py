"""The experiment: train, prune, rewind, retrain."""

from collections.abc import Callable, Iterator

from tfinit import datasets
from tfinit.errors import WorkError
from tfinit.lottery.config import LotteryConfig
from tfinit.lottery.parts import Parts, parts_of
from tfinit.lottery.result import REINIT, TICKET, LevelResult
from tfinit.lottery.store import Store
from tfinit.pruning.masks import Masks
from tfinit.training import Diverged, Progress, check_batch_size

# Added to a replicate's seed to draw the control's weights: far from any seed that a user gives.
_REINIT_SEED = 1_000_003


def iterative_magnitude_pruning(
    parts: Parts, store: Store, config: LotteryConfig, seed: int, progress: Progress
) -> Iterator[LevelResult]:
    """Find the tickets of one replicate, and train the controls beside them.

    For level n = 0, 1, ... with mask m₀ = 1 and initial weights θ₀::

        train from mₙ * θ₀          → final weights
        prune the smallest of them  → mₙ₊₁, inside mₙ
        rewind the survivors to θ₀

    The control "reinit" trains mₙ * θ' for other initial weights θ', from level 1 on.

    Yields:
        The result of each training, as soon as it is stored. What the store has is not trained
        again.

    References:
        Frankle & Carbin, *The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural
        Networks*, ICLR 2019, https://arxiv.org/abs/1803.03635, strategy 1.
    """
    draws = {TICKET: seed, REINIT: seed + _REINIT_SEED}

    def trained(branch: str, level: int, mask: Masks) -> LevelResult:
        start = store.initial(seed, branch, lambda: parts.initial(draws[branch]))

        def compute() -> LevelResult:
            final, metrics = parts.train(start, mask, seed, progress)
            return LevelResult(seed, branch, level, start, start, mask, final, metrics)

        stored = store.level(seed, branch, level, start)
        if stored is not None:
            progress(config.steps)
            return stored
        try:
            return store.keep(compute())
        except Diverged as error:
            raise WorkError(
                f"seed {seed}, {branch}, level {level}: {error} The levels before it are kept."
            ) from error

    mask = parts.full_mask()
    for level in range(config.levels + 1):
        ticket = trained(TICKET, level, mask)
        yield ticket
        if level > 0:
            yield from (trained(control, level, mask) for control in config.controls)
        mask = parts.prune(ticket.final, ticket.mask)


def trainings(config: LotteryConfig) -> int:
    """How many networks the experiment trains."""
    return len(config.seeds) * (1 + config.levels * (1 + len(config.controls)))


def run(
    config: LotteryConfig,
    progress: Progress = lambda done: None,
    finished: Callable[[LevelResult], None] = lambda result: None,
    warn: Callable[[str], None] = lambda line: None,
) -> list[LevelResult]:
    """Run an experiment in ``config.run_dir``, or go on with it where it was.

    Interrupted at any moment and started again, it ends with the same weights, masks and metrics,
    bit for bit, on the same machine.

    Args:
        config: The experiment.
        progress: Called with the number of training steps done, or found done, since the last call.
        finished: Called with the result of each training, also of those found in the directory.
        warn: Called with a line about each damaged file that is made again.

    Returns:
        The results of all trainings, replicate by replicate, level by level.

    Raises:
        InputError: the configuration does not fit the data, the model or the directory. Nothing
            was written.
        WorkError: a network diverged, or a file could not be written. What was done is kept.

    Example:
        >>> config = LotteryConfig(levels=1, steps=20, seeds=(0,), run_dir=Path(tmp) / "run")
        >>> [result.branch for result in run(config)]
        ['ticket', 'ticket', 'reinit']
    """
    data = datasets.load(config.dataset)
    check_batch_size(config.batch_size, len(data.train[0]))
    parts = parts_of(config, data)
    store = Store(config, warn)
    results = []
    for seed in config.seeds:
        for result in iterative_magnitude_pruning(parts, store, config, seed, progress):
            results.append(result)
            finished(result)
    return results
