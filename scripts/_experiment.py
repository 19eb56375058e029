"""What the scripts of lottery experiments share: their flags, a bar, a table, a figure.

Nothing heavy is imported at the top: flags are read, and signals heard, at once.
"""

import dataclasses
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import tyro

from tfinit.cli.console import loading
from tfinit.cli.device import warm_up
from tfinit.cli.signals import heard, nothing_begun
from tfinit.cli.workers import WithWorkers
from tfinit.devices import in_use
from tfinit.errors import one_line
from tfinit.executors.workers import Workers, threaded
from tfinit.files import png, write_whole
from tfinit.lottery.branches import TICKET
from tfinit.lottery.config import LotteryConfig
from tfinit.lottery.network_config import NetworkConfig
from tfinit.native_output import open_streams
from tfinit.text_table import padded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tfinit.lottery.report import LevelSummary
    from tfinit.lottery.result import LevelResult
    from tfinit.spread import Spread

DENSITY = "density: weights left"
Config = TypeVar("Config", bound=NetworkConfig)
Line = Sequence[tuple[float, "Spread"]]  # (x, y) of each point


@dataclass(frozen=True)
class Options(WithWorkers):
    """The flags that every script has, beside those of what trains its networks."""

    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Minutes on 2 cores, on scikit-learn's digits; not the paper's setting."""
    dataset: str | None = None
    """Another data set than the paper's, or than digits with --quick: mnist, cifar10, a file, …"""
    seeds: tuple[int, ...] | None = None
    """The replicates. Left out: as many as the paper, fewer with --quick."""
    run_dir: Path | None = None
    """Where the runs, table.md and figure.png go; started again, it goes on there.
    Left out: runs/SCRIPT/SETTING."""
    figure: Path | None = None
    """Write the figure here."""
    threads: int = 0
    """Train with so many threads of the processor, which decides the last bits. 0: one a core."""

    def choose(self, full: Config, quick: Config, label: str = "") -> Config:
        """The paper's setting or the quick one, with what the flags say of it.

        ``label`` is for the name of the directory.
        """
        config = quick if self.quick else full
        given = {"dataset": self.dataset, "seeds": self.seeds, "threads": self.threads or None}
        config = dataclasses.replace(config, **{k: v for k, v in given.items() if v is not None})
        if self.run_dir is not None:
            return dataclasses.replace(config, run_dir=self.run_dir)
        data = Path(config.dataset.replace(":", "-")).stem
        setting = "-".join(filter(None, (config.model, label, data, "quick" * self.quick)))
        return dataclasses.replace(config, run_dir=Path("runs") / Path(sys.argv[0]).stem / setting)

    def write(self, directory: Path, figure: "Figure", *texts: str) -> None:
        """Print the texts, and write them and the figure."""
        picture, table = self.figure or directory / "figure.png", directory / "table.md"
        text = "\n\n".join([*texts, f"device: {in_use()}"])
        print(text, flush=True)
        write_whole(table, f"{text}\n".encode())
        write_whole(picture, png(figure))
        print(f"\nTable: {table}\nFigure: {picture}")


def main(script: Callable[[Any], None], options: type[Options], description: str | None) -> None:
    """Parse the flags, and run the script. Errors and signals: one line, tfinit's exit codes."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    open_streams()
    with one_line(""), heard("Start the same command again to go on where it was."):
        with nothing_begun():
            asked = tyro.cli(options, description=description)
        with loading():
            asked = threaded(asked, asked.chosen_workers())
            warm_up(asked.device, threads=asked.threads)
        script(asked)


def variants(config: LotteryConfig, **fields: Mapping[str, Any]) -> dict[str, LotteryConfig]:
    """The experiment for each value of one field, as field={directory: value}."""
    ((field, values),) = fields.items()
    return {
        name: dataclasses.replace(config, **{field: value}, run_dir=config.run_dir / name)
        for name, value in values.items()
    }


def run_all(
    configs: Mapping[str, LotteryConfig], workers: Workers | None = None
) -> "dict[str, list[LevelResult]]":
    """Run the experiments, by the same workers if there are any; those that are done are read."""
    from tfinit.lottery.several import Several
    from tfinit.progress import Bar

    with Bar(lines=True) as bar:
        return Several(configs, lambda name, result: None, bar.warn, workers=workers).train(bar)


class Measured:
    """The rows of an experiment, to be asked for by branch and density."""

    def __init__(self, results: "Sequence[LevelResult]"):
        from tfinit.lottery.report import summarize

        self._results = results
        rows = summarize(results)
        self.dense = next(row for row in rows if row.branch == TICKET and row.level == 0)
        self._rows = {(row.branch, row.level): row for row in rows}
        self.levels = sorted({row.level for row in rows} - {0})

    def row(self, level: int, branch: str = TICKET) -> "LevelSummary | None":
        """The row of a branch at a level; None if it was not trained there."""
        return self._rows.get((branch, level))

    def rows(self, branch: str = TICKET) -> "list[LevelSummary]":
        """The pruned levels of a branch."""
        return [row for level in self.levels if (row := self.row(level, branch))]

    def final(self, level: int, branch: str = TICKET) -> str:
        """Final accuracy in percent, for a table."""
        row = self.row(level, branch)
        return cell(scaled(row.final_accuracy, 100)) if row else "–"

    def line(self, branch: str = TICKET, value: str = "final_accuracy", scale: float = 100) -> Line:
        """(density in percent, value) of each level of a branch."""
        return [
            (100 * row.density, scaled(getattr(row, value), scale)) for row in self.rows(branch)
        ]

    def nearest(self, density: float) -> int | None:
        """The level within a tenth of a density; None if there is none so near."""
        distance = {n: abs(math.log(self.row(n).density / density)) for n in self.levels}
        level = min(distance, key=distance.get, default=None)
        return level if level is not None and distance[level] < 0.1 else None

    def gain(self, level: int, over: str | None, branch: str = TICKET) -> "Spread":
        """Final accuracy of a branch minus that of another, in points, replicate by replicate.

        ``over=None``: minus that of the dense network. Replicates that diverged are left out.
        """
        from tfinit.spread import Spread

        of = {
            (r.branch, r.level, r.seed): r.final_accuracy
            for r in self._results
            if r.diverged_at is None
        }
        there = (TICKET, 0) if over is None else (over, level)
        seeds = [s for b, n, s in of if (b, n) == (branch, level) and (*there, s) in of]
        gains = [100 * (of[branch, level, s] - of[(*there, s)]) for s in seeds]
        return Spread.of(gains)


def scaled(spread: "Spread", scale: float) -> "Spread":
    """The spread in another unit."""
    from tfinit.spread import Spread

    return Spread.of([scale * value for value in spread.values])


def cell(spread: "Spread | None", digits: int = 1, sign: str = "") -> str:
    """Mean±deviation; nothing for what was not measured."""
    if spread is None or math.isnan(spread.mean):
        return "–"
    deviation = f"±{spread.std:.{digits}f}" if spread.n > 1 else ""
    return f"{spread.mean:{sign}.{digits}f}{deviation}"


def markdown(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in markdown, its columns aligned."""
    head, *body = padded([header, *rows])
    lines = (head, ["-" * len(cell) for cell in head], *body)
    return "\n".join([f"**{title}**", "", *(f"| {' | '.join(line)} |" for line in lines)])


def claims(paper: str, rows: Sequence[tuple[str, str, str]]) -> str:
    """The paper's claims beside what was measured: (claim, there, here)."""
    return markdown(f"{paper}, and this run", ("claim", "paper", "here"), rows)


class Panel(NamedTuple):
    """One pair of axes: lines of (x, mean and deviation), and the dense network as a grey one."""

    title: str
    ylabel: str
    lines: Mapping[str, Line]
    dense: "Spread | None" = None
    xlabel: str = DENSITY


def figure_of(panels: Sequence[Panel], title: str) -> "Figure":
    """The panels side by side, replicates as in `tfinit.plots`."""
    from matplotlib.ticker import NullLocator

    from tfinit.plots import replicates, style
    from tfinit.spread import Spread

    figure, all_axes = style.panels(title, len(panels), (2 + 3.8 * len(panels), 5))
    for axes, panel in zip(all_axes, panels, strict=True):
        if panel.dense is not None:
            mean = Spread.of([panel.dense.mean])
            replicates.draw_level(axes, mean, label="dense network")
        looks = style.styles(panel.lines)
        points = []
        for label, line in panel.lines.items():
            xs = [x for x, _ in line]
            ys = replicates.legible((y for _, y in line), len(panel.lines))
            replicates.draw(axes, xs, ys, label=label, **looks[label])
            points += zip(xs, ys, strict=True)
        replicates.zoom(axes, [y for _, y in points] + ([panel.dense] if panel.dense else []))
        if panel.xlabel == DENSITY:
            style.density_axis(axes, [x / 100 for x, _ in points])
        else:  # steps: zero, and from the first on logarithmic
            steps = sorted({x for x, _ in points})
            axes.set_xscale("symlog", linthresh=min((x for x in steps if x), default=1))
            axes.set_xticks(steps, [f"{x:,}" for x in steps], rotation=30)
            axes.xaxis.set_minor_locator(NullLocator())
            axes.grid(alpha=0.3)
        axes.set(title=panel.title, xlabel=panel.xlabel, ylabel=panel.ylabel)
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2}
        axes.legend(handles=replicates.entries(axes), frameon=False, fontsize="small", **below)
    if len({panel.ylabel for panel in panels}) == 1:  # to be compared
        bottoms, tops = zip(*(axes.get_ylim() for axes in all_axes), strict=True)
        for axes in all_axes:
            axes.set_ylim(min(bottoms), max(tops))
    return figure


def replicates(config: NetworkConfig) -> str:
    """What a figure's title says of the data."""
    n = len(config.seeds)
    return f"{config.model} on {config.dataset}, {n} seed{'s' if n > 1 else ''}"
