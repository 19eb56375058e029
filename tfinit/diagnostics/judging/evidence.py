"""What the rules look at, and how they say what they found."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tfinit.diagnostics.judging.cures import Cure, choose_cure
from tfinit.diagnostics.judging.findings import Finding
from tfinit.diagnostics.judging.trends import Trends
from tfinit.diagnostics.measuring.layers import LayerSignals
from tfinit.diagnostics.measuring.measurement import Measurement


@dataclass(frozen=True)
class Evidence:
    """What the rules look at.

    Attributes:
        found: Everything that was measured.
    """

    found: Measurement

    @property
    def layers(self) -> tuple[LayerSignals, ...]:
        """The calls of layers."""
        return self.found.layers

    @cached_property
    def kernels(self) -> list[LayerSignals]:
        """Those with kernels that sum inputs."""
        return [layer for layer in self.layers if layer.is_kernel]

    @cached_property
    def trends(self) -> Trends:
        """How the signals grow."""
        return Trends.of(self.layers)

    @property
    def when(self) -> str:
        """When this is: ``"before training"``, or after how many steps of the optimizer."""
        steps = self.found.optimizer.steps if self.found.optimizer else 0
        return f"after {steps} step{'s' if steps > 1 else ''}" if steps else "before training"

    def finding(
        self,
        kind: str,
        severity: str,
        layer: str,
        evidence: str,
        cure: Cure | None = None,
        fault: str = "",
    ) -> Finding:
        """A finding, with its cure and its fault: by default those of its kind."""
        cure = cure or choose_cure(kind, self.found, layer)
        return Finding(
            kind,
            severity,
            layer,
            evidence,
            cure.words,
            cure.code,
            fault=fault,
            changes=cure.changes,
        )


def elsewhere(found: Sequence[object]) -> str:
    """A sentence about all places of a finding but the one that is named."""
    rest = len(found) - 1
    if rest < 1:
        return ""
    return " So it is in one other layer." if rest == 1 else f" So it is in {rest} other layers."
