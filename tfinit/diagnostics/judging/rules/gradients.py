"""Rules about weights that no gradient reaches."""

from collections.abc import Iterator

from tfinit.diagnostics.judging import cures
from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import SEVERE, WARNING, Finding, Kind, rule

VANISHING = Kind(
    "vanishing",
    ("not finite", "twins", "bias off", "dead units", "saturated"),
    cures.steady,
    fault="initial",
)


@rule(VANISHING, code="TFI100")
def _no_gradient(evidence: Evidence) -> Iterator[Finding]:
    cut = [
        weights.key
        for layer in evidence.layers
        for weights in layer.weights
        if weights.trainable and weights.gradient_std is None
    ]
    if cut:
        others = f" and {len(cut) - 1} others" if len(cut) > 1 else ""
        trained = [w for layer in evidence.layers for w in layer.weights if w.trainable]
        yield evidence.finding(
            "vanishing",
            SEVERE if len(cut) == len(trained) else WARNING,
            cut[0].rsplit("/", 1)[0],
            f"No gradient of the loss reaches {cut[0]!r}{others}.",
            Cure("Look for stop_gradient, rounding or argmax behind it, or an unused output.", ""),
        )
