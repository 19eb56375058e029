"""`tfinit prune`: a saved model in, a pruned one out."""

from dataclasses import dataclass

import tyro

from tfinit.cli.console import checked, loading, progress_bar, warn
from tfinit.cli.device import OnDevice, wake_up
from tfinit.fine_tuning.config import PruneConfig


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
        wake_up(device)  # first: Keras on PyTorch chooses as it is imported
        from tfinit.fine_tuning.run import fine_tune
    progress = progress_bar()
    with progress:
        task = progress.add_task(f"pruning to {config.sparsity:.0%}", total=None)
        result = fine_tune(
            config,
            started=lambda done, steps: progress.update(task, completed=done, total=steps),
            stepped=lambda: progress.advance(task),
            warn=lambda line: warn(progress, line),
        )
    console = Console()
    console.print(str(result.report), highlight=False, soft_wrap=True, markup=False)
    for name, before in result.before.items():
        line = f"test {name}: {before:.4g} before, {result.after[name]:.4g} pruned"
        console.print(line, highlight=False)
    console.print(
        f"Model: {result.out}, report: {result.report_file}. The zeros are real; they save space "
        "once the file is compressed, and time where the runtime skips them.",
        highlight=False,
        soft_wrap=True,
    )
