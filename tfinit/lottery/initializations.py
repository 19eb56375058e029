"""The same lottery experiment across initializations: which start makes the best tickets?"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tfinit.arguments import function, instance, listed
from tfinit.errors import InputError
from tfinit.lottery.config import LotteryConfig

if TYPE_CHECKING:  # the command line's --help imports this file, and nothing heavy
    from tfinit.datasets import Dataset
    from tfinit.lottery.result import LevelResult

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
    """How many steps `compare_initializations` trains, all experiments together."""
    from tfinit.lottery.experiment import total_steps

    return len(names) * total_steps(config)


def compare_initializations(
    config: LotteryConfig,
    names: Sequence[str] = DEFAULTS,
    progress: Callable[[int], None] = lambda done: None,
    finished: "Callable[[str, LevelResult], None]" = lambda name, result: None,
    warn: Callable[[str], None] = lambda line: None,
    data: "Dataset | None" = None,
) -> "dict[str, list[LevelResult]]":
    """Run one lottery experiment from each of several initializations.

    All else is equal: data and its order, seeds, steps, pruning. An initialization from which the
    dense network diverges is a result like any other, unless ``config.on_divergence`` is "stop".

    Args:
        config: The experiment. Its ``initialization`` is not used; in its ``run_dir`` each
            initialization gets a directory, and an interrupted comparison goes on there.
        names: Schemes, initializer classes of tfinit, or Keras's names: see
            `tfinit.models.initializations`; or ``"published"``, the network's own.
        progress: Called with the number of training steps done, or found done, since the last call.
        finished: Called with initialization and result after each training.
        warn: Called with a line about each damaged file that is made again.
        data: As for `run`.

    Returns:
        Initialization → the results that `run` returns.

    Raises:
        InputError: a name is unknown or does not fit the network, or as `run` says.
        WorkError: as `run` says.

    Example:
        >>> config = LotteryConfig(levels=1, steps=20, seeds=(0,), run_dir=Path(tmp) / "inits")
        >>> results = compare_initializations(config, ["he", "zeros"])
        >>> {name: len(found) for name, found in results.items()}
        {'he': 3, 'zeros': 3}
    """
    from tfinit.lottery.experiment import run

    function("finished", finished, "a name and a result")
    return {
        name: run(own, progress, lambda r, name=name: finished(name, r), warn, data)
        for name, own in configs(config, names).items()
    }
