"""One training of an experiment: from the store if it is there, else made and stored."""

from collections.abc import Callable
from dataclasses import replace

from tfinit.errors import WorkError
from tfinit.lottery.frameworks import Framework, TrainingPlan
from tfinit.lottery.result import LevelResult, Weights
from tfinit.lottery.store import Place, Store
from tfinit.training.metrics import Diverged, Progress


def stored_or_trained(
    framework: Framework,
    store: Store,
    place: Place,
    training: TrainingPlan,
    initial: Weights,
    last: int,
    progress: Progress,
    stop_on_divergence: bool = False,
    usable: Callable[[int], bool] = lambda step: True,
) -> LevelResult:
    """The result of a training: stored before, or made now, from its last checkpoint if it has one.

    Args:
        framework: What trains.
        store: Where the result is, or will be.
        place: Which training it is.
        training: Where it starts.
        initial: The weights at initialization, for the result.
        last: The step it ends at.
        progress: Called with the number of steps done since the last call, ``last - start`` in all,
            also where the result was there or the network diverged.
        stop_on_divergence: Whether a loss that is not finite is an error. Else it is a result.
        usable: Whether what was stored of the training up to a step can be used: not if a file is
            missing that it left on its way.

    Raises:
        WorkError: a file could not be written, or the network diverged and that is an error.
    """
    steps = last - training.start
    stored = store.level(place, initial, training.weights)
    if stored is not None and usable(
        last if stored.diverged_at is None else stored.diverged_at - 1
    ):
        progress(steps)
        return stored
    partial = store.partial(place, framework.fits)
    if partial is not None and usable(partial.step):
        training = replace(training, resume=partial)
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress(more)

    diverged_at, final = None, None
    try:
        metrics = framework.train(training, count, store.checkpoint(place))
        final = framework.final()
    except Diverged as error:
        if stop_on_divergence:
            raise WorkError(
                f"seed {place.seed}, {place.branch}, level {place.level}: {error} "
                "The levels before it are kept."
            ) from error
        metrics, diverged_at = error.metrics, error.step
    progress(steps - done)
    return store.keep(
        LevelResult(
            place.seed,
            place.branch,
            place.level,
            initial,
            training.weights,
            training.mask,
            framework.final() if final is None else final,
            metrics,
            diverged_at,
        )
    )
