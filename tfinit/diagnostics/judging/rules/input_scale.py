"""Rules about the scale of the inputs: large, far from 0, or so small that nothing is seen."""

import math
from collections.abc import Iterator

import numpy as np

from tfinit.diagnostics.judging import cures
from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import SEVERE, WARNING, Finding, Kind, rule
from tfinit.diagnostics.measuring.layers import LayerSignals
from tfinit.diagnostics.measuring.signals import Signal

_LARGE = 10.0  # rms from which on inputs are not scaled
_LARGE_IF_FLAT = 3.0  # the same, where a first layer is at its flat ends
# What of the inputs varies over the examples, against all of it: below the first, a network learns
# hardly; below the second it is rounding, as of a batch of one example, which tells nothing.
_VARIES, _SAME = 0.05, 1e-6
# How far a layer's sum of what varies reaches with weights of size 1 / √fan_in.
_SMALL, _TINY = 0.05, 0.005
_SATURATED = 1 / 3  # of what a first layer puts out
_USUAL_GAIN = (
    3.0  # of a network from inputs to outputs, up to which it is the inputs that are large
)
_SURE = 10.0  # cross-entropy before training, over that of guessing
_MISSES = 100.0  # squared error before training, over the variance of the targets
_UNEQUAL = 100.0  # largest deviation of a column over the median one

# The loss after steps that were tried, weights without a gradient then, and a usual rate.
_RISES, _CUT, _RATE = 2.0, 0.5, 1.0

SCALE_JUMP = Kind("scale jump", ("not finite",), cures.redraw_layer, fault="initial")


@rule(SCALE_JUMP, code="TFI062")
def _large_inputs(evidence: Evidence) -> Iterator[Finding]:
    """Inputs that are not scaled.

    Why: A layer sums its inputs, so what they are too large its units are too large: tanh and
    sigmoid end up at their flat ends, where no gradient passes; softmax is sure before it has
    learned anything; and a step of SGD, which grows with the inputs' square, throws the weights far
    away. One large column of a table hides all others.

    Evidence: The rms of the inputs, behind the network's own Rescaling or Normalization: a warning
    above 10, or above 3 where it flattens the first layer. Severe where one sees what it does: a
    third or more of a first layer is at the flat ends of its activation; the cross-entropy is more
    than 10 times that of guessing, or the squared error more than 100 times the variance of the
    targets, while the network itself multiplies by at most 3; or 20 steps of SGD that were tried
    raise the loss or end most gradients, at a rate of 1 or less. Networks that normalize first are
    left alone.

    Cure: Standardize each column, or divide pixels by 255.

    Example:
        model.fit(images, labels)  # pixels from 0 to 255

    LeCun et al., Efficient BackProp, 1998.
    """
    least = _LARGE_IF_FLAT if _saturates(evidence) else _LARGE
    large = [s for s in _inputs(evidence) if not _is_offset(s) and s.rms > least]
    if not large or _begins_normalized(evidence) or _takes_pixels(evidence):
        return
    worst = max(large, key=lambda s: s.rms)
    effect = (
        _saturates(evidence)
        or _is_sure(evidence, worst)
        or _misses(evidence, worst)
        or _throws(evidence)
    )
    yield evidence.finding(
        "scale jump",
        SEVERE if effect else WARNING,
        "",
        f"The inputs have rms {worst.rms:.3g}{_unequal(evidence)}: "
        f"{effect or 'every layer carries that scale on.'}",
        standardize(evidence),
        fault="inputs",
    )


@rule(SCALE_JUMP, code="TFI063")
def _offset_inputs(evidence: Evidence) -> Iterator[Finding]:
    """Inputs whose mean hides what varies.

    Why: A unit sums the mean of the inputs with what differs between examples. Where the mean is
    20 times as large, all examples look the same to it, and a ReLU is on for all or off for all.

    Evidence: The part of the inputs that varies over the examples against their rms. Severe below
    5%, where a first layer makes as little of the examples; a batch without any difference tells
    nothing.

    Cure: Subtract the mean of each column and divide by its deviation.

    Example:
        model.fit(frame[["year", "pressure_hpa"]], y)  # 2019 ± 3, 1013 ± 8
    """
    offset = [s for s in _inputs(evidence) if _is_offset(s)]
    if not offset or _begins_normalized(evidence) or not _means_reach_kernels(evidence):
        return
    worst = min(offset, key=lambda s: s.variation / s.rms)
    yield evidence.finding(
        "scale jump",
        SEVERE,
        "",
        f"The inputs have rms {worst.rms:.3g} and vary by {worst.variation:.2g} over the "
        "examples: units see their mean, whatever their weights.",
        standardize(evidence),
        fault="inputs",
    )


@rule(SCALE_JUMP, code="TFI064")
def _tiny_inputs(evidence: Evidence) -> Iterator[Finding]:
    """Inputs so small that the first layer sees next to nothing.

    Why: What a unit makes of the example is its weights times the inputs. With inputs of 0.001 the
    examples differ by next to nothing behind it, and weights must grow a thousandfold first.
    Images that were divided by 255 twice are such inputs.

    Evidence: What varies in the inputs times √fan_in of the first layer, which is what a usual
    layer makes of it: a warning below 0.05, severe below 0.005, for SGD below 0.05.

    Cure: Standardize the inputs; scale them once.

    Example:
        x = x / 255  # and the network begins with Rescaling(1 / 255)
    """
    first = [layer for layer in _first(evidence) if layer.weights]
    inputs = _inputs(evidence)
    # Of several inputs it is not known which layer reads which.
    if len(inputs) != 1 or not first or _begins_normalized(evidence):
        return
    (signal,) = inputs
    if signal.variation <= _SAME * signal.rms or signal.rms == 0:
        return
    fan_in = max(layer.weights[-1].fan_in for layer in first)
    reach = signal.variation * math.sqrt(fan_in)
    seen = max(layer.linear.variation for layer in first)
    if reach >= _SMALL or seen >= _SMALL or _is_offset(signal):
        return
    optimizer = evidence.found.optimizer
    slow = optimizer is not None and not optimizer.adaptive
    yield evidence.finding(
        "scale jump",
        SEVERE if slow or reach < _TINY else WARNING,
        "",
        f"The inputs vary by {signal.variation:.2g} over the examples; the first layer makes "
        f"{seen:.2g} of it: examples look alike to the network.",
        standardize(evidence),
        fault="inputs",
    )


def standardize(evidence: Evidence) -> Cure:
    """What scales the inputs, by what they hold."""
    looked_at = evidence.found.looked_at
    one = len(looked_at) == 1
    if one and looked_at[0].is_of_pixels:
        return Cure("Scale the pixels to 0 to 1:", "x = x / 255")
    words = "Standardize the inputs, feature by feature: (x - mean) / std."
    if any(g.whole and len(g.shape) == 2 and g.high > 1 for g in looked_at):
        words += " Numbers of words or categories are looked up by an Embedding instead."
    return Cure(words, "x = (x - x.mean(0)) / (x.std(0) + 1e-7)" if one else "")


def _inputs(evidence: Evidence) -> list[Signal]:
    return [signal for signal in evidence.found.inputs if signal.finite]


def _first(evidence: Evidence) -> list[LayerSignals]:
    return [layer for layer in evidence.kernels if layer.depth == 1 and layer.linear.finite]


def _is_offset(inputs: Signal) -> bool:
    return _SAME * inputs.rms < inputs.variation < _VARIES * inputs.rms


def _means_reach_kernels(evidence: Evidence) -> bool:
    """True if a first layer makes as little of the examples as its inputs hold.

    Else no kernel reads such an input as it is: it is a mask, or is standardized, looked up or
    sorted into bins before.
    """
    # Few units may see somewhat more than their inputs hold.
    first = (layer.linear for layer in _first(evidence))
    return any(0 < s.variation < 3 * _VARIES * s.rms for s in first)


def _begins_normalized(evidence: Evidence) -> bool:
    first = evidence.layers[0] if evidence.layers else None
    return bool(first and (first.normalized or first.depth == 0 or first.reads == "normalization"))


def _takes_pixels(evidence: Evidence) -> bool:
    """Whether a pretrained network reads the inputs that is made for large ones."""
    found = evidence.found
    return not found.drawn and any(base.takes != "unit" for base in found.backbones)


def _saturates(evidence: Evidence) -> str:
    """What is said of a first layer that is at its flat ends; "" of none."""
    own = {layer.key for layer in _first(evidence)}
    reads = max((signal.rms for signal in _inputs(evidence)), default=1.0)
    for n, layer in enumerate(evidence.layers):
        # The activation may be a layer behind it.
        bounded = layer.key in own or (
            n > 0 and evidence.layers[n - 1].key in own and not layer.weights
        )
        flat = layer.output.saturated or 0.0
        if bounded and flat >= _SATURATED and layer.linear.rms < _USUAL_GAIN * reads:
            return (
                f"{flat:.0%} of what {layer.key!r} makes of them is at the flat ends of "
                f"{layer.activation}, where its slope is near zero."
            )
    return ""


def _gain(evidence: Evidence, inputs: Signal) -> float:
    """What the network multiplies its inputs by, up to what enters the last activation."""
    heads = {output.head for output in evidence.found.outputs}
    made = [layer.linear.rms for layer in evidence.kernels if layer.key in heads]
    return max(made, default=math.inf) / inputs.rms


def _is_sure(evidence: Evidence, inputs: Signal) -> str:
    """What is said of a classification that begins sure and wrong, for its inputs' size."""
    found = evidence.found
    if len(found.outputs) != 1 or not _gain(evidence, inputs) < _USUAL_GAIN:
        return ""
    if found.start is None:
        return ""
    number, guess, units = found.start.cross_entropy, found.start.guess, found.outputs[0].units
    if not number > _SURE * guess:
        return ""
    of = f"among {units} classes" if units > 1 else "yes and no"
    return (
        f"the cross-entropy {evidence.when} is {number:.3g}, and guessing gives {guess:.3g} ({of})."
    )


def _misses(evidence: Evidence, inputs: Signal) -> str:
    """What is said of a regression whose outputs begin far beyond the targets, for that size."""
    found = evidence.found
    if len(found.outputs) != 1 or not _gain(evidence, inputs) < _USUAL_GAIN:
        return ""
    output = found.outputs[0]
    squared = output.loss is None or (
        output.loss.is_keras and output.loss.name == "mean_squared_error"
    )
    targets = output.targets
    if not squared or found.start is not None or targets is None or targets.dtype.kind not in "iuf":
        return ""
    known = targets[np.isfinite(targets)].astype(np.float64)
    variance = float(known.var()) if known.size > 1 else 0.0
    spread = float(output.values.std())
    if not (variance > 0 and spread > 3 * math.sqrt(float(np.mean(known**2)))):
        return ""
    if not found.loss > _MISSES * variance:
        return ""
    return (
        f"the outputs begin at rms {spread:.3g}, where the targets vary by "
        f"{math.sqrt(variance):.2g}: each step moves them by more than that."
    )


def _throws(evidence: Evidence) -> str:
    """What is said of steps of SGD that were tried and throw the weights away."""
    optimizer, rates = evidence.found.optimizer, evidence.found.rates
    if optimizer is None or optimizer.adaptive or optimizer.clips or abs(optimizer.rate) > _RATE:
        return ""
    if rates is None or rates.given is None:
        return ""
    given = rates.given
    start, end = given.losses[0], given.losses[-1]
    steps = f"in {len(given.losses) - 1} steps of {optimizer.name}"
    if not (given.finite and end < _RISES * start):
        told = f"{end:.3g}" if math.isfinite(end) else "infinity"
        return f"the loss goes from {start:.3g} to {told} {steps}, which grow with their square."
    if given.cut >= _CUT:
        return f"{given.cut:.0%} of the weights get no gradient any more {steps}."
    return ""


def _unequal(evidence: Evidence) -> str:
    """A few words on columns of very different size."""
    if len(evidence.found.looked_at) != 1:
        return ""
    stds = evidence.found.looked_at[0].stds
    varying = stds[stds > 0] if stds.size else stds
    if varying.size < 2 or varying.max() < _UNEQUAL * np.median(varying):
        return ""
    return (
        f" (column {int(np.nanargmax(stds))} varies by {varying.max():.3g}, half of the columns by "
        f"at most {np.median(varying):.2g})"
    )
