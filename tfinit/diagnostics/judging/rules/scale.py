"""Rules about how signals change from layer to layer: jumps, growth and decay with depth."""

import math
import statistics
from collections.abc import Iterator

from tfinit.diagnostics.judging import cures
from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence, elsewhere
from tfinit.diagnostics.judging.findings import (
    NOTE,
    SEVERE,
    WARNING,
    Change,
    Finding,
    Kind,
    rule,
)
from tfinit.diagnostics.judging.rules.gradients import VANISHING
from tfinit.diagnostics.judging.rules.input_scale import SCALE_JUMP
from tfinit.diagnostics.judging.trends import Trend
from tfinit.diagnostics.measuring.layers import LayerSignals
from tfinit.diagnostics.measuring.signals import BOUNDED
from tfinit.graph.calls import bears_kernel
from tfinit.graph.layer_kinds import kind_of

# How much a signal may change from the first layer to the last, in decades.
_DECADES_SEVERE, _DECADES_WARNING = 3.0, 2.0
# What a hidden sigmoid layer's output varies by, against its size.
_SQUASHED_SEVERE, _SQUASHED_WARNING = 0.0015, 0.01
_SIGMOIDS = ("sigmoid", "hard_sigmoid")
_FEW_EXAMPLES = 4  # below which nothing is said of how they differ
_FEW_LAYERS = 3  # steps from layer to layer below which a trend is no trend
# A layer's factor against its neighbours'.
_JUMP_SEVERE, _JUMP_WARNING = 100.0, 20.0
_BOUNDS = {**dict.fromkeys((*BOUNDED, "sin", "cos", "erf"), 1.0), "relu6": 6.0}  # of activations


@rule(
    SCALE_JUMP,
    Kind("normalization hides it", cure=cures.redraw_if_not_meant, fault="initial"),
    code="TFI004",
)
def scale_jump(evidence: Evidence) -> Iterator[Finding]:
    """A layer out of scale with the others.

    Why: Layers of the same kind multiply the signal by about the same factor. One that multiplies
    it by a hundred times more or less drowns what comes beside it, or lets it fade, and one
    learning rate cannot suit both it and the others.

    Evidence: The rms of what a layer makes over that of what it reads, against the factor that most
    layers have: severe from 100 times (or one hundredth), a warning from 20. Behind a normalization
    it is a note: the signal does not show it, but the layer's steps do.

    Cure: Draw that layer's weights anew.

    Example:
        Dense(64, "relu", kernel_initializer=keras.initializers.RandomNormal(stddev=50))
    """
    inputs = [signal for signal in evidence.found.inputs if signal.finite]
    trend = evidence.trends.size
    rows = [
        layer
        for layer in evidence.kernels
        if layer.linear.finite and layer.linear.rms > 0 and not layer.scores
    ]
    if len(rows) < _FEW_LAYERS:
        return
    before = inputs[0].rms if len(inputs) == 1 and inputs[0].rms > 0 else None
    of_depth: dict[int, float] = {}
    for layer in rows:
        made = _passed_on(layer)
        of_depth[layer.depth] = max(made, of_depth.get(layer.depth, 0.0))
    jumps: list[tuple[LayerSignals, float, float]] = []
    for layer in rows:
        last = of_depth.get(layer.depth - 1, before if layer.depth == 1 else None)
        if layer.reads:
            # A sum's size is not that of the branch that ends in it.
            last = 1.0 if layer.reads == "normalization" else None
        if last and last >= 1e-290:
            jumps.append((layer, last, layer.linear.rms / last))
    # Against the trend, and against what most layers do: with shortcuts there is no trend.
    usual = (trend.factor, statistics.median([jump for *_, jump in jumps] or [1.0]))
    hidden: list[tuple[float, LayerSignals, float]] = []
    for layer, last, factor in jumps:
        size, jump = min((max(factor / u, u / factor), factor / u) for u in usual)
        if size < _JUMP_WARNING:
            continue
        if layer.normalized:
            hidden.append((size, layer, jump))
            continue
        # Inputs have scales of their own, and a head may well start small.
        if layer.depth == 1 or (layer.head and jump < 1 and size < _JUMP_SEVERE):
            continue
        yield evidence.finding(
            "scale jump",
            SEVERE
            if size >= _JUMP_SEVERE and not layer.head and _knows_depth(evidence)
            else WARNING,
            layer.key,
            f"{layer.key!r} multiplies the signal by {jump:.3g} against the other layers "
            f"(rms {last:.3g} before, {layer.linear.rms:.3g} after).",
        )
    if hidden:
        _, layer, jump = max(hidden, key=lambda h: h[0])
        more = elsewhere(hidden)
        yield evidence.finding(
            "normalization hides it",
            NOTE,
            layer.key,
            f"{layer.key!r} multiplies the signal by {jump:.3g}. The normalization after it hides "
            "that from the signal, but the layer's effective learning rate goes with 1 / its "
            f"scale squared.{more}",
        )


def _passed_on(layer: LayerSignals) -> float:
    """The size of what the next layer gets, in terms of what the kernel makes.

    What a normalization passes on has size 1, and what a bounded activation passes on is within
    its bounds, whatever they got.
    """
    if layer.normalized:
        return 1.0
    return min(layer.linear.rms, _BOUNDS.get(layer.follows, math.inf))


def _begins_normalized(evidence: Evidence) -> bool:
    first = evidence.layers[0] if evidence.layers else None
    return bool(first and (first.normalized or first.depth == 0 or first.reads == "normalization"))


@rule(
    VANISHING,
    Kind("exploding", ("not finite", "bias off", "saturated"), cures.steady, fault="initial"),
    code="TFI007",
)
def vanishing_and_exploding(evidence: Evidence) -> Iterator[Finding]:
    """Gradients, or what depends on the input, that shrink or grow from layer to layer.

    Why: Each layer multiplies what passes through it. A factor of 0.7 is a thousandth after twenty
    layers: the first layers get no gradient and do not learn. A factor of 1.4 is a thousand: steps
    are far too large there, and the loss jumps or is NaN.

    Evidence: The median growth of a layer (of gradients on the way back, of activations forward),
    over all layers: severe from 3 decades, a warning from 2. A warning too where every layer has a
    normalization, behind which steps do not depend on the gradient's size.

    Cure: Weights whose scale suits the activation (He for ReLU); shortcuts or normalization in deep
    networks; ReLU in the place of sigmoids, whose slope is a quarter at most.

    Example:
        [Dense(64, "relu", kernel_initializer="glorot_normal") for _ in range(30)]

    Glorot & Bengio, AISTATS 2010; He et al., ICCV 2015; Schoenholz et al., ICLR 2017.
    """
    trends = evidence.trends
    gradient = trends.gradient
    if gradient.layers >= _FEW_LAYERS:
        # On the way back: values at small depths against those at the last.
        decades = -gradient.decades
        if decades <= -_DECADES_WARNING:
            yield _vanishing(evidence, gradient, decades)
        elif decades >= _DECADES_WARNING:
            yield _exploding(evidence, "Gradients grow", trends.backward_factor, gradient, decades)
            return
    if trends.size.layers >= _FEW_LAYERS:
        growth, fall = trends.size.decades, trends.variation.decades
        if growth >= _DECADES_WARNING:
            yield _exploding(
                evidence, "Activations grow", trends.forward_factor, trends.size, growth
            )
        elif fall <= -_DECADES_WARNING and -gradient.decades > -_DECADES_WARNING:
            yield evidence.finding(
                "vanishing",
                SEVERE if fall <= -_DECADES_SEVERE and _knows_depth(evidence) else WARNING,
                _where(evidence, trends.variation, 10**-_DECADES_WARNING, backward=False),
                f"What depends on the input shrinks {trends.variation.factor:.2g}× a layer: after "
                f"{trends.variation.layers} layers it is {10**fall:.0e} of the first.",
                fault="activation" if _has_sigmoids(evidence) else "",
            )


@rule(VANISHING, code="TFI010")
def _squashed(evidence: Evidence) -> Iterator[Finding]:
    """Hidden sigmoids that put out nearly the same for every input.

    Why: A sigmoid puts out a half plus a quarter of its input. The half is the same for all
    examples, and with each such layer less is left of what they differ by. The last layer then sees
    a constant, learns it, and the loss stands still at what guessing gives.

    Evidence: What the outputs of a hidden sigmoid layer vary by over the examples, against their
    size: severe below 0.15%, a warning below 1%; not of gates, whose outputs multiply others.

    Cure: ReLU in hidden layers; or weights for sigmoids, which take the half out again.

    Example:
        [Dense(8, "sigmoid"), Dense(8, "sigmoid"), Dense(8, "sigmoid"), Dense(8, "sigmoid")]

    Glorot & Bengio, AISTATS 2010.
    """
    if evidence.found.examples < _FEW_EXAMPLES or not _knows_depth(evidence):
        return
    if any(f.severity == SEVERE for f in vanishing_and_exploding(evidence)):
        return
    rows = [r for r in evidence.layers if r.activation in _SIGMOIDS and _feeds_kernels(evidence, r)]
    rows = [r for r in rows if r.output.finite and r.output.variation > 0]
    worst = min(rows, key=lambda r: r.output.variation / r.output.rms, default=None)
    if worst is None:
        return
    share = worst.output.variation / worst.output.rms
    if share < _SQUASHED_WARNING:
        yield evidence.finding(
            "vanishing",
            SEVERE if share < _SQUASHED_SEVERE else WARNING,
            worst.key,
            f"What {worst.key!r} puts out varies by {share:.2g} of its size over the examples: "
            f"{_several(len(rows))} of {worst.activation} leave a constant.",
            Cure(
                'Write activation="relu" in hidden layers, or draw the weights for sigmoids:',
                "tfinit.recommend(model).apply()",
                tuple(Change(r.key, "activation", "relu") for r in rows if r.is_kernel),
            ),
            fault="activation",
        )


def _several(layers: int) -> str:
    return "one layer" if layers == 1 else f"{layers} layers"


def _feeds_kernels(evidence: Evidence, layer: LayerSignals) -> bool:
    """True if layers with kernels read it, and nothing else: gates and outputs do not."""
    graph = evidence.found.structure.graph
    readers = graph.readers()
    waiting = [step for step in graph.steps if step.key == layer.key.split("#")[0]]
    found = False
    while waiting:
        step = waiting.pop()
        reading = [graph.steps[r] for value in step.outputs for r in readers.get(value, [])]
        if not reading:
            return False
        for reader in reading:
            if bears_kernel(reader.op):
                found = True
            elif kind_of(reader.op).keeps_mean:  # it flattens, pools or drops
                waiting.append(reader)
            else:
                return False
    return found


def _has_sigmoids(evidence: Evidence) -> bool:
    """True if they are the commonest activation of hidden layers."""
    return any(name in _SIGMOIDS for name in evidence.found.structure.hidden_activations[:1])


def _vanishing(evidence: Evidence, gradient: Trend, decades: float) -> Finding:
    last = gradient.values[-1]
    ratios = [value / last if last > 0 else 0.0 for value in gradient.values]
    deepest = max(n for n, r in enumerate(ratios) if r <= max(10**decades, min(ratios)) * 1.001)
    at = gradient.depths[deepest]
    ratio = ratios[deepest]
    size = "zero" if ratio < 1e-200 else f"{ratio:.0e} of the last"
    return evidence.finding(
        "vanishing",
        _by_decades(evidence, -decades),
        _where(evidence, gradient, 10**-_DECADES_WARNING, backward=True),
        f"Gradients shrink {evidence.trends.backward_factor:.2g}× a layer: at layer {at} of "
        f"{gradient.depths[-1]} they are {size}.",
        fault="activation" if _has_sigmoids(evidence) else "",
    )


def _exploding(
    evidence: Evidence, what: str, factor: float, trend: Trend, decades: float
) -> Finding:
    backward = trend is evidence.trends.gradient
    return evidence.finding(
        "exploding",
        _by_decades(evidence, decades),
        _where(evidence, trend, 10**_DECADES_WARNING, backward),
        f"{what} {factor:.3g}× a layer, {10**decades:.0e} times over {trend.layers} layers.",
    )


def _knows_depth(evidence: Evidence) -> bool:
    """False where the order of layers is a guess, of which no severe finding is made."""
    return not evidence.found.structure.graph.guessed


def _by_decades(evidence: Evidence, decades: float) -> str:
    # Behind normalizations a step's size does not depend on the gradient's: such networks learn.
    if evidence.found.structure.is_normalized_throughout or not _knows_depth(evidence):
        return WARNING
    return SEVERE if decades >= _DECADES_SEVERE else WARNING


def _where(evidence: Evidence, trend: Trend, beyond: float, backward: bool) -> str:
    """The layer at which a signal has changed by a factor, in the direction it goes."""
    ends = list(zip(trend.depths, trend.values, strict=True))
    if backward:
        ends.reverse()
    start = ends[0][1] or 1e-300
    for depth, value in ends:
        ratio = value / start
        if (beyond < 1 and ratio <= beyond) or (beyond > 1 and ratio >= beyond):
            return next(layer.key for layer in evidence.kernels if layer.depth == depth)
    return next((layer.key for layer in evidence.kernels if layer.depth == ends[-1][0]), "")
