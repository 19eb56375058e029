"""What `fine_tune` did."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfinit.pruning.calibrated.result import AfterTraining, Repair
from tfinit.pruning.channels.result import ChannelPruning
from tfinit.pruning.counting.report import SparsityReport
from tfinit.results import Result, json_ready


@dataclass(frozen=True, repr=False)
class FineTuned(Result):
    """What `fine_tune` did.

    Attributes:
        report: The sparsity of the saved model.
        before: Metrics of the given model on the test data, empty without test data.
        after: The same of the pruned model.
        model: The pruned model, stripped.
        out: Its file.
        report_file: The file of the report.
        channels: What was removed, where whole channels were; of its model only the name.
        after_training: The errors, where it was pruned without training.
        repaired: What was repaired, where that was asked for.
    """

    report: SparsityReport
    before: dict[str, float]
    after: dict[str, float]
    model: Any
    out: Path
    report_file: Path
    channels: ChannelPruning | None = None
    after_training: AfterTraining | None = None
    repaired: Repair | None = None

    def __str__(self) -> str:
        """The table of the sparsity, the errors or the channels; a line for each metric."""
        tables = [self._table(), *([] if self.repaired is None else [self.repaired])]
        return "\n".join([*map(str, tables), *self._remarks()])

    def to_dict(self) -> dict[str, Any]:
        """All but the model, which is in its file."""
        found = {"sparsity": self.report, "before": self.before, "after": self.after}
        parts = ("channels", "after_training", "repaired")
        found |= {name: getattr(self, name) for name in parts if getattr(self, name) is not None}
        return json_ready({**found, "out": self.out, "report_file": self.report_file})

    def _rows(self) -> list[dict[str, Any]]:
        return self._table()._rows()

    def _table(self) -> Result:
        return self.channels or self.after_training or self.report

    def _remarks(self) -> list[str]:
        return [
            f"test {name}: {before:.4g} before, {self.after[name]:.4g} pruned"
            for name, before in self.before.items()
        ]
