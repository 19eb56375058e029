"""What an experiment leaves beside its trainings: tables, figures, a conclusion.

`run`, `stability` and `compare_initializations` write it, and so do the commands, which print
before they write.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfinit.files import check_writable, png, write_whole
from tfinit.lottery.config import LotteryConfig, StabilityConfig
from tfinit.lottery.network_config import NetworkConfig
from tfinit.lottery.result import LevelResult

if TYPE_CHECKING:
    from tfinit.datasets import Dataset
    from tfinit.lottery.linear_connectivity import StabilityResult

_OF_AN_EXPERIMENT = (
    *("results.csv", "evaluations.csv", "layers.csv"),
    *("tickets.png", "curves.png", "layers.png", "masks.png"),
)
OF_A_RUN = (*_OF_AN_EXPERIMENT, "conclusion.txt")
OF_STABILITY = ("stability.csv", "stability.png")
OF_INITIALIZATIONS = ("initializations.png",)


def title(config: NetworkConfig, data: "Dataset | None" = None) -> str:
    """What tables and figures are called: network, data, and how many replicates."""
    replicates = "1 seed" if len(config.seeds) == 1 else f"{len(config.seeds)} seeds"
    return f"{_network(config, data)}, {replicates}"


def _network(config: NetworkConfig, data: "Dataset | None") -> str:
    return f"{config.model} on {config.dataset if data is None else data.name}"


def check_reports(directory: Path, names: Sequence[str]) -> None:
    """See before the training that its reports can be written.

    Raises:
        InputError: something is in the way.
    """
    # In a directory that is not there nothing is in the way.
    for name in names if os.path.isdir(directory) else names[:1]:
        check_writable("run_dir", directory / name, "Choose another with --run-dir.")


def check_initializations(each: Mapping[str, LotteryConfig], directory: Path) -> None:
    """`check_reports` of a comparison: its own directory, and that of each initialization."""
    check_reports(directory, OF_INITIALIZATIONS)
    for own in each.values():
        check_reports(own.run_dir, _OF_AN_EXPERIMENT)


def write_run(config: LotteryConfig, results: Sequence[LevelResult], data: "Dataset") -> None:
    """Leave `OF_A_RUN` in the directory of an experiment.

    Raises:
        WorkError: a file cannot be written.
    """
    from tfinit.lottery.report import Conclusion

    _write(config, results, title(config, data), data)
    conclusion = f"{Conclusion.of(results, config)}\n"
    write_whole(config.run_dir / "conclusion.txt", conclusion.encode())


def write_initializations(
    each: Mapping[str, LotteryConfig],
    directory: Path,
    found: Mapping[str, Sequence[LevelResult]],
    data: "Dataset",
) -> None:
    """Leave tables and figures in the directory of each initialization, and a figure of all.

    Args:
        each: Initialization → its experiment.
        directory: Of the comparison.
        found: Initialization → its results.
        data: What was trained on.

    Raises:
        WorkError: a file cannot be written.
    """
    from tfinit.lottery.report import summarize
    from tfinit.plots import initializations_figure

    for name, results in found.items():
        _write(each[name], results, f"{_network(each[name], data)}, {name}", data)
    rows = {name: summarize(results) for name, results in found.items()}
    heading = title(next(iter(each.values())), data)
    write_whole(directory / "initializations.png", png(initializations_figure(rows, heading)))


def write_stability(
    config: StabilityConfig, results: "Sequence[StabilityResult]", data: "Dataset | None" = None
) -> None:
    """Leave `OF_STABILITY` in the directory of an experiment.

    Raises:
        WorkError: a file cannot be written.
    """
    from tfinit.lottery.linear_connectivity import stability_to_csv
    from tfinit.plots import stability_figure

    write_whole(config.run_dir / "stability.csv", stability_to_csv(results).encode())
    figure = stability_figure(results, title(config, data))
    write_whole(config.run_dir / "stability.png", png(figure))


def drawn_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an example, for `tfinit.plots.masks_figure`: flattened unless it is an image.

    Example:
        >>> drawn_shape((8, 8, 1)), drawn_shape((2, 2, 2, 3))
        ((8, 8, 1), (24,))
    """
    return shape if len(shape) <= 3 else (math.prod(shape),)


def _write(
    config: LotteryConfig, results: Sequence[LevelResult], heading: str, data: "Dataset"
) -> None:
    # Drawing loads matplotlib, which nothing else here needs.
    from tfinit import plots
    from tfinit.lottery import report

    tables = {
        "results.csv": report.to_csv,
        "evaluations.csv": report.evaluations_to_csv,
        "layers.csv": report.layers_to_csv,
    }
    for name, table in tables.items():
        write_whole(config.run_dir / name, table(results).encode())
    shape = drawn_shape(data.train[0].shape[1:])
    tickets = plots.lottery_figure(report.summarize(results), heading)
    write_whole(config.run_dir / "tickets.png", png(tickets))
    write_whole(config.run_dir / "curves.png", png(plots.curves_figure(results, heading)))
    write_whole(config.run_dir / "layers.png", png(plots.layers_figure(results, heading)))
    write_whole(config.run_dir / "masks.png", png(plots.masks_figure(results, heading, shape)))
