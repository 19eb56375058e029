"""What an experiment leaves beside its trainings: tables, figures, a conclusion.

`run`, `stability` and `compare_initializations` write it, and so do the commands, which print
before they write.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfinit.files import check_writable, png, write_whole
from tfinit.lottery.config import LotteryConfig, StabilityConfig
from tfinit.lottery.result import LevelResult
from tfinit.lottery.stored_arrays import shapes_of
from tfinit.lottery.subject import Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tfinit.lottery.linear_connectivity import StabilityResult
    from tfinit.lottery.report import Conclusion

_OF_AN_EXPERIMENT = (
    *("results.csv", "evaluations.csv", "layers.csv"),
    *("tickets.png", "curves.png", "layers.png", "masks.png"),
)
OF_A_RUN = (*_OF_AN_EXPERIMENT, "conclusion.txt")
OF_STABILITY = ("stability.csv", "stability.png")
OF_INITIALIZATIONS = ("initializations.png",)


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


def write_run(
    config: LotteryConfig,
    results: Sequence[LevelResult],
    subject: Subject,
    conclusion: "Conclusion | None" = None,
) -> None:
    """Leave `OF_A_RUN` in the directory of an experiment.

    Args:
        config: The experiment.
        results: Its results.
        subject: What they are about.
        conclusion: The conclusion. None: that of the results.

    Raises:
        WorkError: a file cannot be written.
    """
    from tfinit.lottery.report import Conclusion

    _write(config, results, subject.title(len(config.seeds)), subject)
    conclusion = Conclusion.of(results, config) if conclusion is None else conclusion
    write_whole(config.run_dir / "conclusion.txt", f"{conclusion}\n".encode())


def figures_of(
    results: Sequence[LevelResult], heading: str, subject: Subject
) -> "Iterator[tuple[str, Figure]]":
    """Name and figure, of each that is drawn of an experiment."""
    # Drawing loads matplotlib, which nothing else here needs.
    from tfinit import plots
    from tfinit.lottery import report

    yield "tickets", plots.lottery_figure(report.summarize(results), heading)
    yield "curves", plots.curves_figure(results, heading)
    yield "layers", plots.layers_figure(results, heading)
    shape = drawn_shape(next(iter(shapes_of(results[0].mask).values())), subject.example)
    if shape is not None:
        yield "masks", plots.masks_figure(results, heading, shape)


def write_initializations(
    each: Mapping[str, LotteryConfig],
    directory: Path,
    found: Mapping[str, Sequence[LevelResult]],
    subject: Subject,
) -> None:
    """Leave tables and figures in the directory of each initialization, and a figure of all.

    Args:
        each: Initialization → its experiment.
        directory: Of the comparison.
        found: Initialization → its results.
        subject: What they are about.

    Raises:
        WorkError: a file cannot be written.
    """
    from tfinit.lottery.report import summarize
    from tfinit.plots import initializations_figure

    for name, results in found.items():
        _write(each[name], results, f"{subject.named()}, {name}", subject)
    rows = {name: summarize(results) for name, results in found.items()}
    heading = subject.title(len(next(iter(each.values())).seeds))
    write_whole(directory / "initializations.png", png(initializations_figure(rows, heading)))


def write_stability(
    config: StabilityConfig, results: "Sequence[StabilityResult]", subject: Subject
) -> None:
    """Leave `OF_STABILITY` in the directory of an experiment.

    Raises:
        WorkError: a file cannot be written.
    """
    from tfinit.lottery.linear_connectivity import stability_to_csv
    from tfinit.plots import stability_figure

    write_whole(config.run_dir / "stability.csv", stability_to_csv(results).encode())
    figure = stability_figure(results, subject.title(len(config.seeds)))
    write_whole(config.run_dir / "stability.png", png(figure))


def drawn_shape(mask: tuple[int, ...], example: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The shape in which `tfinit.plots.masks_figure` is to draw a first layer.

    Args:
        mask: The shape of its weight.
        example: The shape of what it sees; None: not known.

    Returns:
        That of the example, flattened unless it is an image; of a matrix that is over something
        else, a row. None: it cannot be drawn.

    Example:
        >>> drawn_shape((64, 5), (8, 8, 1)), drawn_shape((24, 5), (2, 2, 2, 3))
        ((8, 8, 1), (24,))
        >>> drawn_shape((1000, 16), (20,)), drawn_shape((3, 4, 5), (20, 4))
        ((1000,), None)
    """
    example = () if example is None else example
    shape = example if len(example) <= 3 else (math.prod(example),)
    if len(mask) == 2:
        return shape if math.prod(shape) == mask[0] else (mask[0],)
    return (shape or (1,)) if len(mask) == 4 else None


def _write(
    config: LotteryConfig, results: Sequence[LevelResult], heading: str, subject: Subject
) -> None:
    from tfinit.lottery import report

    tables = {
        "results.csv": report.to_csv,
        "evaluations.csv": report.evaluations_to_csv,
        "layers.csv": report.layers_to_csv,
    }
    for name, table in tables.items():
        write_whole(config.run_dir / name, table(results).encode())
    for name, figure in figures_of(results, heading, subject):
        write_whole(config.run_dir / f"{name}.png", png(figure))
