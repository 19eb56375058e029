"""Rules: what was measured → what is wrong, where, and how one sees it.

Each rule is a function of a `Case` that yields findings. `tfinit.diagnostics.causes` runs them all.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from tfinit.diagnostics.cures import Cure, choose_cure
from tfinit.diagnostics.findings import NOTE, SEVERE, WARNING, Finding
from tfinit.diagnostics.measurement import LayerSignals, Measurement
from tfinit.diagnostics.trends import Trend, Trends

# How much a signal may change from the first layer to the last, in decades.
_DECADES_SEVERE, _DECADES_WARNING = 3.0, 2.0
_FEW_LAYERS = 3  # steps from layer to layer below which a trend is no trend
# Fractions of units or entries.
_DEAD_SEVERE, _DEAD_WARNING = 0.95, 0.5
_SATURATED_SEVERE, _SATURATED_WARNING = 1 / 3, 0.2
# A layer's factor against its neighbours'; its bias against what its kernel makes.
_JUMP_SEVERE, _JUMP_WARNING = 100.0, 20.0
_BIAS_SEVERE, _BIAS_WARNING, _BIAS_LEAST = 8.0, 3.0, 0.1
_INPUT_LARGE = 10.0
# Cross-entropy before training, over that of guessing.
_START_SEVERE, _START_WARNING = 10.0, 2.0


@dataclass(frozen=True)
class Case:
    """What the rules look at."""

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

    def finding(
        self, kind: str, severity: str, layer: str, evidence: str, cure: Cure | None = None
    ) -> Finding:
        """A finding with the cure for it, by default the one for its kind."""
        cure = cure or choose_cure(kind, self.found, layer)
        return Finding(kind, severity, layer, evidence, cure.words, cure.code)


def _no_gradient(case: Case) -> Iterator[Finding]:
    cut = [
        weights.key
        for layer in case.layers
        for weights in layer.weights
        if weights.trainable and weights.gradient_std is None
    ]
    if cut:
        others = f" and {len(cut) - 1} others" if len(cut) > 1 else ""
        trained = [w for layer in case.layers for w in layer.weights if w.trainable]
        yield case.finding(
            "vanishing",
            SEVERE if len(cut) == len(trained) else WARNING,
            cut[0].rsplit("/", 1)[0],
            f"No gradient of the loss reaches {cut[0]!r}{others}.",
            Cure("Look for stop_gradient, rounding or argmax behind it, or an unused output.", ""),
        )


def _not_finite(case: Case) -> Iterator[Finding]:
    for key in case.found.broken[:1]:
        others = len(case.found.broken) - 1
        more = f", and {others} more" if others else ""
        yield case.finding(
            "not finite", SEVERE, key, f"The weights of {key!r} are NaN or infinite{more}."
        )
    if case.found.broken:
        return
    for layer in case.layers:
        for signal, what in ((layer.linear, "before"), (layer.output, "after")):
            if not signal.finite:
                where = f"The output of {layer.key!r}"
                if layer.activation:
                    where += f" {what} its {layer.activation}"
                half = " in float16, which ends at 65504" if case.found.half else ""
                yield case.finding(
                    "not finite", SEVERE, layer.key, f"{where} is NaN or infinite{half}."
                )
                return
    for layer in reversed(case.layers):
        gradient = layer.linear_gradient or layer.output_gradient
        if gradient is not None and not gradient.finite:
            yield case.finding(
                "not finite",
                SEVERE,
                layer.key,
                f"The gradient by the output of {layer.key!r} is NaN or infinite.",
            )
            return
    if not math.isfinite(case.found.loss):
        yield case.finding("not finite", SEVERE, "", f"The loss is {case.found.loss}.")


def _twins(case: Case) -> Iterator[Finding]:
    tied, copied = [], []
    for layer in case.kernels:
        for weights in layer.weights:
            if weights.twins is not None and weights.twins.tied:
                tied.append((layer, weights.twins))
            elif weights.twins is not None and weights.twins.copies:
                copied.append((layer, weights.twins))
    if tied:
        layer, twins = max(tied, key=lambda pair: pair[1].tied / pair[1].units)
        layer, twins = next(
            pair for pair in tied if pair[1].tied / pair[1].units >= twins.tied / twins.units / 2
        )
        fraction = twins.tied / twins.units
        others = _others(tied)
        yield case.finding(
            "twins",
            SEVERE if fraction >= 0.5 else WARNING,
            layer.key,
            f"{twins.tied} of the {twins.units} units of {layer.key!r} have a twin with the same "
            f"incoming weights and the same update: training keeps them equal.{others}",
        )
    for layer, twins in copied[:1]:
        yield case.finding(
            "twins",
            NOTE,
            layer.key,
            f"{twins.copies} units of {layer.key!r} share their incoming weights with another; "
            "other outgoing weights will part them.",
        )


def _bias_off(case: Case) -> Iterator[Finding]:
    worst: list[tuple[float, LayerSignals, float]] = []
    for layer in case.kernels:
        bias = layer.weights[-1].bias_rms if layer.weights else None
        if bias is None or not layer.linear.finite or layer.head or layer.normalized:
            continue
        varies = layer.linear.variation
        # What the units have whatever the input; biases that cancel it are on purpose.
        offset = math.sqrt(max(layer.linear.rms**2 - varies**2, 0.0))
        ratio = min(bias, offset) / max(varies, 1e-30)
        if ratio > _BIAS_WARNING and bias > _BIAS_LEAST:
            worst.append((ratio, layer, bias))
    if worst:
        severe = [w for w in worst if w[0] >= _BIAS_SEVERE]
        # Layers that nothing reaches any more were cut off by one before them.
        seen = (w for w in severe if w[1].linear.variation > 0)
        _, layer, bias = next(seen, worst[0])
        others = _others(worst)
        yield case.finding(
            "bias off",
            SEVERE if severe else WARNING,
            layer.key,
            f"The biases of {layer.key!r} have rms {bias:.3g}, what its kernel makes of the data "
            f"varies by {layer.linear.variation:.3g}: its units hardly see their inputs.{others}",
        )


def _scale_jump(case: Case) -> Iterator[Finding]:
    inputs = [signal for signal in case.found.inputs if signal.finite]
    if inputs and max(s.rms for s in inputs) > _INPUT_LARGE and not _begins_normalized(case):
        rms = max(s.rms for s in inputs)
        yield case.finding(
            "scale jump",
            WARNING,
            "",
            f"The inputs have rms {rms:.3g}: every layer carries that scale on.",
            Cure("Scale the inputs to variance 1, as (x - mean) / std.", ""),
        )
    trend = case.trends.size
    rows = [layer for layer in case.kernels if layer.linear.finite and layer.linear.rms > 0]
    if len(rows) < _FEW_LAYERS:
        return
    before = inputs[0].rms if len(inputs) == 1 and inputs[0].rms > 0 else None
    of_depth: dict[int, float] = {}
    for layer in rows:
        # What a normalization passes on has size 1, whatever it got.
        made = 1.0 if layer.normalized else layer.linear.rms
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
        yield case.finding(
            "scale jump",
            SEVERE if size >= _JUMP_SEVERE and not layer.head else WARNING,
            layer.key,
            f"{layer.key!r} multiplies the signal by {jump:.3g} against the other layers "
            f"(rms {last:.3g} before, {layer.linear.rms:.3g} after).",
        )
    if hidden:
        _, layer, jump = max(hidden, key=lambda h: h[0])
        others = _others(hidden)
        yield case.finding(
            "normalization hides it",
            NOTE,
            layer.key,
            f"{layer.key!r} multiplies the signal by {jump:.3g}. The normalization after it hides "
            "that from the signal, but the layer's effective learning rate goes with 1 / its "
            f"scale squared.{others}",
        )


def _begins_normalized(case: Case) -> bool:
    first = case.layers[0] if case.layers else None
    return bool(first and (first.normalized or first.depth == 0))


def _dead(case: Case) -> Iterator[Finding]:
    worst: list[LayerSignals] = []
    for layer in case.layers:
        rectified = "relu" in layer.activation and layer.output.finite
        if rectified and layer.output.dead >= _DEAD_WARNING:
            worst.append(layer)
    if worst:
        layer = next((w for w in worst if w.output.dead >= _DEAD_SEVERE), worst[0])
        units = layer.shape[-1]
        others = _others(worst)
        yield case.finding(
            "dead units",
            SEVERE if layer.output.dead >= _DEAD_SEVERE else WARNING,
            layer.key,
            f"{layer.output.dead:.0%} of the {units} units of {layer.key!r} are zero for all "
            f"{case.found.examples} examples, so nothing trains them.{others}",
        )


def _saturated(case: Case) -> Iterator[Finding]:
    worst = [
        layer
        for layer in case.layers
        if (layer.output.saturated or 0.0) >= _SATURATED_WARNING
        and not (layer.activation == "softmax" and layer is case.layers[-1])
        and not layer.head
    ]
    if worst:
        layer = next((w for w in worst if w.output.saturated >= _SATURATED_SEVERE), worst[0])
        severe = layer.output.saturated >= _SATURATED_SEVERE and layer.activation != "softmax"
        others = _others(worst)
        yield case.finding(
            "saturated",
            SEVERE if severe else WARNING,
            layer.key,
            f"{layer.output.saturated:.0%} of what {layer.key!r} puts out is at the flat ends of "
            f"{layer.activation}, where its slope is near zero (inputs of rms "
            f"{layer.linear.rms:.3g}).{others}",
        )


def _others(found: Sequence[object]) -> str:
    """A sentence about all places of a finding but the one that is named."""
    rest = len(found) - 1
    if rest < 1:
        return ""
    return " So it is in one other layer." if rest == 1 else f" So it is in {rest} other layers."


def _vanishing_and_exploding(case: Case) -> Iterator[Finding]:
    trends = case.trends
    gradient = trends.gradient
    if gradient.layers >= _FEW_LAYERS:
        # On the way back: values at small depths against those at the last.
        decades = -gradient.decades
        if decades <= -_DECADES_WARNING:
            yield _vanishing(case, gradient, decades)
        elif decades >= _DECADES_WARNING:
            yield _exploding(case, "Gradients grow", trends.backward_factor, gradient, decades)
            return
    if trends.size.layers >= _FEW_LAYERS:
        growth, fall = trends.size.decades, trends.variation.decades
        if growth >= _DECADES_WARNING:
            yield _exploding(case, "Activations grow", trends.forward_factor, trends.size, growth)
        elif fall <= -_DECADES_WARNING and -gradient.decades > -_DECADES_WARNING:
            yield case.finding(
                "vanishing",
                SEVERE if fall <= -_DECADES_SEVERE else WARNING,
                _where(case, trends.variation, 10**-_DECADES_WARNING, backward=False),
                f"What depends on the input shrinks {trends.variation.factor:.2g}× a layer: after "
                f"{trends.variation.layers} layers it is {10**fall:.0e} of the first.",
            )


def _vanishing(case: Case, gradient: Trend, decades: float) -> Finding:
    last = gradient.values[-1]
    ratios = [value / last if last > 0 else 0.0 for value in gradient.values]
    deepest = max(n for n, r in enumerate(ratios) if r <= max(10**decades, min(ratios)) * 1.001)
    at = gradient.depths[deepest]
    ratio = ratios[deepest]
    size = "zero" if ratio < 1e-200 else f"{ratio:.0e} of the last"
    return case.finding(
        "vanishing",
        _by_decades(case, -decades),
        _where(case, gradient, 10**-_DECADES_WARNING, backward=True),
        f"Gradients shrink {case.trends.backward_factor:.2g}× a layer: at layer {at} of "
        f"{gradient.depths[-1]} they are {size}.",
    )


def _exploding(case: Case, what: str, factor: float, trend: Trend, decades: float) -> Finding:
    backward = trend is case.trends.gradient
    return case.finding(
        "exploding",
        _by_decades(case, decades),
        _where(case, trend, 10**_DECADES_WARNING, backward),
        f"{what} {factor:.3g}× a layer, {10**decades:.0e} times over {trend.layers} layers.",
    )


def _by_decades(case: Case, decades: float) -> str:
    # Behind normalizations a step's size does not depend on the gradient's: such networks learn.
    if case.found.structure.is_normalized_throughout:
        return WARNING
    return SEVERE if decades >= _DECADES_SEVERE else WARNING


def _where(case: Case, trend: Trend, beyond: float, backward: bool) -> str:
    """The layer at which a signal has changed by a factor, in the direction it goes."""
    ends = list(zip(trend.depths, trend.values, strict=True))
    if backward:
        ends.reverse()
    start = ends[0][1] or 1e-300
    for depth, value in ends:
        ratio = value / start
        if (beyond < 1 and ratio <= beyond) or (beyond > 1 and ratio >= beyond):
            return next(layer.key for layer in case.kernels if layer.depth == depth)
    return next((layer.key for layer in case.kernels if layer.depth == ends[-1][0]), "")


def _confident_start(case: Case) -> Iterator[Finding]:
    if case.found.start is None:
        return
    loss, classes = case.found.start
    guess = math.log(classes)
    if loss <= _START_WARNING * guess:
        return
    head = next((layer.key for layer in reversed(case.kernels)), "")
    times = loss / guess
    factor = f"{times:,.0f}" if 1e3 <= times < 1e6 else f"{times:.3g}"
    yield case.finding(
        "confident start",
        SEVERE if loss > _START_SEVERE * guess else WARNING,
        head,
        f"The cross-entropy before training is {loss:.3g}, {factor} times the "
        f"{guess:.3g} of guessing among {classes} classes: the network is sure, and wrong.",
    )


def _wrong_fans(case: Case) -> Iterator[Finding]:
    wrong = [
        (layer, weights)
        for layer in case.layers
        for weights in layer.weights
        if weights.wrong_fans is not None
    ]
    if not wrong:
        return
    layer, weights = max(wrong, key=lambda pair: abs(math.log(pair[1].wrong_fans or 1)))
    off = weights.wrong_fans or 1.0
    others = _others(wrong)
    hidden = " The normalization after it hides that." if layer.normalized else ""
    size = f"{1 / off:.2g} times too small" if off < 1 else f"{off:.2g} times too large"
    yield case.finding(
        "wrong fans",
        NOTE if layer.normalized else WARNING,
        layer.key,
        f"{weights.initializer} read the fans of {weights.key!r} from its shape; in this layer an "
        f"output sums {weights.fan_in:g} products and an input enters {weights.fan_out:g}. The "
        f"weights are {size} for its formula.{others}{hidden}",
    )


RULES: Sequence[Callable[[Case], Iterator[Finding]]] = (
    _not_finite,
    _no_gradient,
    _twins,
    _bias_off,
    _scale_jump,
    _dead,
    _saturated,
    _vanishing_and_exploding,
    _confident_start,
    _wrong_fans,
)
