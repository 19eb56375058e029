"""Rules about the head: how it suits the loss and the targets, and how sure it starts."""

import math
from collections.abc import Iterator

from tfinit.diagnostics.judging import cures
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import SEVERE, WARNING, Finding, Kind, rule

# Cross-entropy before training, over that of guessing.
_START_SEVERE, _START_WARNING = 10.0, 2.0


@rule(
    Kind(
        "confident start",
        ("not finite", "scale jump", "saturated", "exploding"),
        cures.less_confident,
        fault="initial",
    ),
    code="TFI008",
)
def _confident_start(evidence: Evidence) -> Iterator[Finding]:
    if evidence.found.start is None:
        return
    loss, classes = evidence.found.start
    guess = math.log(classes)
    if loss <= _START_WARNING * guess:
        return
    head = next((layer.key for layer in reversed(evidence.kernels)), "")
    times = loss / guess
    factor = f"{times:,.0f}" if 1e3 <= times < 1e6 else f"{times:.3g}"
    yield evidence.finding(
        "confident start",
        SEVERE if loss > _START_SEVERE * guess else WARNING,
        head,
        f"The cross-entropy before training is {loss:.3g}, {factor} times the "
        f"{guess:.3g} of guessing among {classes} classes: the network is sure, and wrong.",
    )
