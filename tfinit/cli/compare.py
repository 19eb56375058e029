"""`tfinit compare`: a race of initializations, as a table, JSON or a figure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import tyro

from tfinit.cli.console import Dataset, check_plot, checked, loading
from tfinit.cli.device import warm_up
from tfinit.cli.workers import WithWorkers
from tfinit.comparison.config import CompareConfig
from tfinit.datasets import datasets_help
from tfinit.executors.workers import Workers
from tfinit.files import png, write_whole
from tfinit.flag_help import FlagHelp
from tfinit.progress import Bar
from tfinit.training.judged import DIRECTIONS


@dataclass(frozen=True)
class _Compare(WithWorkers, CompareConfig):
    __doc__ = (CompareConfig.__doc__ or "").split("\n")[0]

    dataset: Dataset = field(default="digits", metadata=FlagHelp(datasets_help))
    plot: Path | None = None
    """Write the learning curves to this .png file."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print everything as JSON instead of the table."""

    stopped: ClassVar[str] = "Nothing was written."
    choices: ClassVar[Mapping[str, Iterable[str | None]]] = {
        **WithWorkers.choices,
        "metric_direction": DIRECTIONS,
    }
    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "what is compared, on what": ("schemes", "model", "dataset"),
        "training": ("steps", "batch_size", "optimizer", "learning_rate", "seeds"),
        "result": ("metric", "metric_direction", "plot", "json"),
        **WithWorkers.groups,
    }
    command_lines: ClassVar[Sequence[str]] = (
        "tfinit compare --schemes xavier he orthogonal --model mlp-30-relu",
        "tfinit compare --model mine.py:build --data mine.py:load --plot race.png",
    )

    def run(self) -> int:
        words = (word for typed in self.schemes for word in typed.split(","))
        schemes = tuple(word.strip() for word in words if word.strip())
        config = checked(self, CompareConfig, schemes=schemes)
        compare(config, self.plot, self.json, self.device, self.chosen_workers())
        return 0


COMMANDS = {"compare": _Compare}


def compare(
    config: CompareConfig,
    plot: Path | None = None,
    as_json: bool = False,
    device: str = "auto",
    workers: Workers | None = None,
) -> None:
    """Race initializations; print the table or JSON, and write the figure if there is to be one.

    Raises:
        InputError: as the race says, or ``plot`` is no name of a .png file or cannot be written.
        WorkError: the figure cannot be written.
    """
    check_plot(plot)
    with loading():
        from tfinit.comparison.from_config import compare_named

        warm_up(device, threads=config.threads)
    with Bar(lines=True) as bar:
        comparison = compare_named(config, bar, workers=workers)
    print(json.dumps(comparison.to_dict(), indent=2) if as_json else comparison, flush=True)
    if plot is not None:
        write_whole(plot, png(comparison.plot()), "The results are those above.")
