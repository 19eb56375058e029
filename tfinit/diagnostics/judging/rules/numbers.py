"""Rules about numbers that are NaN or infinite."""

import math
from collections.abc import Callable, Iterator

from tfinit.diagnostics.judging import cures
from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import SEVERE, Finding, Kind, rule
from tfinit.diagnostics.measuring.layers import LayerSignals
from tfinit.graph.calls import Step, bears_kernel
from tfinit.graph.layer_kinds import kind_of

# What is wrong with the data, or with the loss of such a head, makes a loss infinite too.
_CAUSES = (
    *("missing inputs", "missing targets", "negative labels", "too few units"),
    *("head against loss", "loss against targets"),
)


@rule(Kind("not finite", _CAUSES, cures.finite, fault="initial"), code="TFI001")
def _not_finite(evidence: Evidence) -> Iterator[Finding]:
    """Numbers that are NaN or infinite: weights, activations, gradients or the loss.

    Why: One NaN spreads to all weights with the first step, and the loss is NaN from then on. It
    comes from log(0), the slope of √ at 0, x / 0, exp of large numbers, or signals that are larger
    than the number format holds (65504 in float16).

    Evidence: The first place, in the order of the calls, where anything is NaN or infinite:
    weights, else what a layer puts out; on the way back, the place nearest to the loss. Layers and
    operations without weights (Lambda, ``keras.ops``) are named too, as what stands between the
    last finite numbers and the first that are not.

    Cure: Keep what goes into log, √ and division away from 0 (add 1e-7), and what goes into exp
    small; of weights that are NaN, build the model anew. New weights are named as a cure only where
    they are one on a copy.

    Example:
        Lambda(lambda x: keras.ops.sqrt(x))  # its slope at 0 is infinite
    """
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
                told = f"{where} is NaN or infinite{half}."
                between = _before(evidence, layer) if signal is layer.linear else []
                yield _at(evidence, between, layer.key, told, "What it reads is made by")
                return
    for layer in reversed(evidence.layers):
        gradient = layer.linear_gradient or layer.output_gradient
        if gradient is not None and not gradient.finite:
            told = f"The gradient with respect to the output of {layer.key!r} is NaN or infinite."
            between = _behind(evidence, layer)
            yield _at(evidence, between, layer.key, told, "It comes back through")
            return
    if not math.isfinite(evidence.found.loss):
        yield evidence.finding(
            "not finite",
            SEVERE,
            "",
            f"The loss is {evidence.found.loss}, of outputs that are all finite.",
            Cure("Look at the loss for log(0), x / 0 or overflow, and at the targets.", ""),
            fault="loss",
        )


def _at(evidence: Evidence, between: list[Step], layer: str, told: str, through: str) -> Finding:
    """The finding at what stands between the finite numbers and the others, if anything does."""
    if evidence.found.half or not between:
        return evidence.finding("not finite", SEVERE, layer, told)
    between = [step for step in between if not _is_harmless(step)] or between
    names = ", ".join(f"{step.key!r} ({type(step.op).__name__})" for step in between[:4])
    return evidence.finding(
        "not finite",
        SEVERE,
        between[0].key,
        f"{told} {through} {names}.",
        Cure("Look for log(0), √0 or its slope, x / 0, exp or overflow there.", ""),
        fault="activation",
    )


def _is_harmless(step: Step) -> bool:
    """True for what makes no NaN of finite numbers: it moves them, adds or drops."""
    kind = kind_of(step.op)
    joins = kind.merge not in ("", "divide")
    return joins or kind.keeps_mean or bool(kind.normalization)


def _before(evidence: Evidence, layer: LayerSignals) -> list[Step]:
    """The calls whose work a layer reads that nobody has seen to be finite."""
    graph = evidence.found.structure.graph
    producers = graph.producers()
    return _unseen(evidence, layer, lambda step: [producers.get(v) for v in step.inputs])


def _behind(evidence: Evidence, layer: LayerSignals) -> list[Step]:
    """The calls that read a layer's work, up to those whose gradient was seen to be finite."""
    readers = evidence.found.structure.graph.readers()
    return _unseen(
        evidence, layer, lambda step: [r for v in step.outputs for r in readers.get(v, [])]
    )


def _unseen(
    evidence: Evidence, layer: LayerSignals, following: Callable[[Step], list[int | None]]
) -> list[Step]:
    graph = evidence.found.structure.graph
    key = layer.key.split("#")[0]
    start = next((step for step in graph.steps if step.key == key), None)
    if start is None or graph.guessed:
        return []
    seen = {row.key.split("#")[0] for row in evidence.layers}
    found: dict[int, Step] = {}
    waiting = [following(start)]
    while waiting:
        for index in waiting.pop():
            if index is None or index in found:
                continue
            step = graph.steps[index]
            if step.key in seen or bears_kernel(step.op):
                continue
            found[index] = step
            waiting.append(following(step))
    return [found[index] for index in sorted(found)]
