"""Rules about numbers that are NaN or infinite."""

import math
from collections.abc import Iterator

from tfinit.diagnostics.judging import cures
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import SEVERE, Finding, Kind, rule


@rule(Kind("not finite", cure=cures.finite, fault="initial"), code="TFI001")
def _not_finite(evidence: Evidence) -> Iterator[Finding]:
    for key in evidence.found.broken[:1]:
        others = len(evidence.found.broken) - 1
        more = f", and {others} more" if others else ""
        yield evidence.finding(
            "not finite", SEVERE, key, f"The weights of {key!r} are NaN or infinite{more}."
        )
    if evidence.found.broken:
        return
    for layer in evidence.layers:
        for signal, what in ((layer.linear, "before"), (layer.output, "after")):
            if not signal.finite:
                where = f"The output of {layer.key!r}"
                if layer.activation:
                    where += f" {what} its {layer.activation}"
                half = " in float16, which ends at 65504" if evidence.found.half else ""
                yield evidence.finding(
                    "not finite", SEVERE, layer.key, f"{where} is NaN or infinite{half}."
                )
                return
    for layer in reversed(evidence.layers):
        gradient = layer.linear_gradient or layer.output_gradient
        if gradient is not None and not gradient.finite:
            yield evidence.finding(
                "not finite",
                SEVERE,
                layer.key,
                f"The gradient with respect to the output of {layer.key!r} is NaN or infinite.",
            )
            return
    if not math.isfinite(evidence.found.loss):
        yield evidence.finding("not finite", SEVERE, "", f"The loss is {evidence.found.loss}.")
