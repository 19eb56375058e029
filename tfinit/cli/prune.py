"""`tfinit prune`: a saved model in, a pruned one out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from tfinit.block_sizes import BLOCK_SIZES
from tfinit.cli.console import checked, loading
from tfinit.cli.device import OnDevice, warm_up
from tfinit.fine_tuning.config import PruneConfig, check_given
from tfinit.progress import Bar
from tfinit.pruning.calibrated import names
from tfinit.pruning.scoring import channel_names


@dataclass(frozen=True)
class _Prune(OnDevice, PruneConfig):
    __doc__ = (PruneConfig.__doc__ or "").split("\n")[0]

    choices: ClassVar[Mapping[str, Iterable[str | None]]] = {
        **OnDevice.choices,
        "allocation": names.ALLOCATIONS,
        "blocks": BLOCK_SIZES,
        "structure": names.STRUCTURES,
        "channel_score": channel_names.SCORES,
        "channel_allocation": channel_names.ALLOCATIONS,
    }
    also: ClassVar[Mapping[str, str]] = {"x": "--data"}
    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "what is pruned": ("sparsity", "allocation", "keep_zeros", "blocks", "out"),
        "training": ("data", "loss", "epochs", "batch_size", "learning_rate", "seed", "device"),
        "without training": (
            *("after_training", "score", "structure", "examples", "repair", "damping"),
        ),
        "whole channels": (
            *("channels", "target", "gradual", "channel_score", "channel_allocation"),
            *("round_to", "protect", "filters"),
        ),
    }
    command_lines: ClassVar[Sequence[str]] = (
        "tfinit prune model.keras --sparsity 0.9 --data digits",
        "tfinit prune model.keras --after-training --structure 2:4 --data mine.py:load",
        "tfinit prune model.keras --channels --target macs=0.3 --out small.keras",
    )

    def run(self) -> int:
        config = checked(self, PruneConfig)
        check_given(config, self.typed)
        prune(config, self.device)
        return 0


COMMANDS = {"prune": _Prune}


def prune(config: PruneConfig, device: str = "auto") -> None:
    """Prune a saved model; print its report, and what it cost."""
    from rich.console import Console

    with loading():
        warm_up(device)  # first: Keras on PyTorch chooses as it is imported
        from tfinit.fine_tuning.run import fine_tune
    with Bar(f"pruning to {config.goal}") as bar:
        result = fine_tune(config, progress=bar, warn=bar.warn)
    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(str(result))
    told = (
        "It is smaller, and so faster in any runtime."
        if config.channels
        else "The zeros are real; they save space once the file is compressed, and time where the "
        "runtime skips them."
    )
    console.print(f"Model: {result.out}, report: {result.report_file}. {told}")
