"""`tfinit prune`: a saved model in, a pruned one out."""

from dataclasses import dataclass

import tyro

from tfinit.cli.console import checked, loading
from tfinit.cli.device import OnDevice, warm_up
from tfinit.fine_tuning.config import PruneConfig
from tfinit.progress import Bar


@dataclass(frozen=True)
class _Prune(OnDevice, PruneConfig):
    __doc__ = (PruneConfig.__doc__ or "").split("\n")[0]

    def run(self) -> int:
        prune(checked(self, PruneConfig), self.device)
        return 0


COMMANDS = {"prune": tyro.conf.configure(tyro.conf.PositionalRequiredArgs)(_Prune)}


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
