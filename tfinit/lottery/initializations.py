"""The same lottery experiment across initializations: which start makes the best tickets?"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tfinit.arguments import flag, instance, listed
from tfinit.errors import InputError
from tfinit.lottery.config import LotteryConfig
from tfinit.progress import as_warning, check_progress

if TYPE_CHECKING:  # the command line's --help imports this file, and nothing heavy
    from tfinit.datasets import Dataset
    from tfinit.lottery.result import LevelResult
    from tfinit.lottery.tracking import Tracker
    from tfinit.training.metrics import Progress

DEFAULTS = ("xavier", "he", "lecun", "orthogonal", "lsuv", "Sparse")


def configs(config: LotteryConfig, names: Sequence[str]) -> dict[str, LotteryConfig]:
    """The experiment of each initialization: its directory is that name inside ``run_dir``.

    Raises:
        InputError: no name, a name twice, or one that is not known.
    """
    from tfinit.models import check_initialization

    instance("config", config, LotteryConfig)
    names = listed("names", names, str, empty=True)
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"`initializations` must be one or more different names, received {tuple(names)}."
        )
    for name in names:
        if name != "published":
            check_initialization(name)
    return {
        name: dataclasses.replace(config, initialization=name, run_dir=config.run_dir / name)
        for name in names
    }


def steps_of(config: LotteryConfig, names: Sequence[str]) -> int:
    """How many steps `compare_initializations` trains, all experiments together.

    Fewer where they end before the last level: see `tfinit.lottery.run`.
    """
    from tfinit.lottery.experiment import total_steps

    return len(names) * total_steps(config)


def compare_initializations(
    config: LotteryConfig,
    names: Sequence[str] = DEFAULTS,
    progress: "bool | Progress | None" = True,
    finished: "Callable[[str, LevelResult], None]" = lambda name, result: None,
    warn: Callable[[str], None] = as_warning,
    data: "Dataset | None" = None,
    reports: bool = True,
    tracker: "Tracker | None" = None,
    build_model: Any = None,
    workers: Any = None,
) -> "dict[str, list[LevelResult]]":
    """Run one lottery experiment from each of several initializations.

    All else is equal: data and its order, seeds, steps, pruning. An initialization from which the
    dense network diverges is a result like any other, unless ``config.on_divergence`` is "stop".

    Args:
        config: The experiment. Its ``initialization`` is not used; in its ``run_dir`` each
            initialization gets a directory, and an interrupted comparison goes on there.
        names: Schemes, initializer classes of tfinit, or Keras's names: see
            `tfinit.models.initializations`; or ``"published"``, the network's own.
        progress: As for `tfinit.lottery.run`.
        finished: Called with initialization and result after each training.
        warn: As for `tfinit.lottery.run`; with a line that all experiments have, once.
        data: As for `tfinit.lottery.run`.
        reports: Whether to leave what the command leaves: the tables and figures of each
            experiment, and ``initializations.png``.
        tracker: As for `tfinit.lottery.run`; names begin with the initialization:
            ``"he/seed-0/ticket/level-03"``.
        build_model: As for `tfinit.lottery.run`. ``"published"`` are the weights that a seed gives
            there; every other initialization is applied to those, as `tfinit.compare` does.
        workers: As for `tfinit.lottery.run`: those train networks of all initializations.

    Returns:
        Initialization → the results that `tfinit.lottery.run` returns.

    Raises:
        InputError: a name is unknown or does not fit the network, or as `tfinit.lottery.run` says
            of any of the directories: none is touched then.
        WorkError: as `tfinit.lottery.run` says.

    Example:
        >>> config = LotteryConfig(levels=1, steps=20, seeds=(0,), run_dir=Path(tmp) / "inits")
        >>> results = compare_initializations(config, ["he", "zeros"])
        >>> {name: len(found) for name, found in results.items()}
        {'he': 3, 'zeros': 3}
    """
    from tfinit.executors.workers import workers_of
    from tfinit.lottery.directory import note_initializations
    from tfinit.lottery.report_files import check_initializations, write_initializations
    from tfinit.lottery.several import Several
    from tfinit.lottery.tracking import check_tracker

    each = configs(config, names)
    check_progress(progress)
    check_tracker(tracker)
    reports, workers = flag("reports", reports), workers_of(workers)
    several = Several(each, finished, warn, data, build_model, workers)
    if reports:
        check_initializations(several.configs, config.run_dir)
    note_initializations(config.run_dir, names)
    found = several.train(progress, tracker)
    if reports:
        write_initializations(several.configs, config.run_dir, found, several.subject(names[0]))
    return found
