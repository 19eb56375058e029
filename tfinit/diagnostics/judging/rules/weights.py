"""Rules about how the weights were drawn: twins, biases, dead and saturated units, fans."""

import math
from collections.abc import Iterator

from tfinit.diagnostics.judging import cures
from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence, elsewhere
from tfinit.diagnostics.judging.findings import NOTE, SEVERE, WARNING, Finding, Kind, rule
from tfinit.diagnostics.measuring.layers import LayerSignals, Weights
from tfinit.diagnostics.measuring.twins import Alike

# Fractions of units or entries.
_DEAD_SEVERE, _DEAD_WARNING = 0.95, 0.5
_FEW_EXAMPLES = 4
_SATURATED_SEVERE, _SATURATED_WARNING = 1 / 3, 0.2
_FANS_WARNING = 3.0  # times that weights are too large or too small for their initializer
# A layer's bias against what its kernel makes of the data.
_BIAS_SEVERE, _BIAS_WARNING, _BIAS_LEAST = 8.0, 3.0, 0.1
# Up to here a bounded activation has a slope: gates begin at -2 on purpose.
_SLOPES = {"sigmoid": 4.0, "tanh": 2.0, "softsign": 4.0, "hard_sigmoid": 2.0, "hard_tanh": 0.9}


@rule(
    Kind("twins", ("not finite",), cures.saying("Draw the weights at random:"), fault="initial"),
    code="TFI002",
)
def _twins(evidence: Evidence) -> Iterator[Finding]:
    """Units of a layer, or layers side by side, that start equal and stay equal.

    Why: Units with the same weights get the same gradient, so that each step keeps them equal: a
    layer of them is worth a single unit. Weights of zeros or of another constant make them, and so
    does one initializer with a seed for several layers, whose kernels are then the same numbers.

    Evidence: Units with equal incoming weights (to 1e-6 of the largest) and equal gradients (to
    1e-4): severe from half of a layer's units, else a warning; a note where the gradients differ,
    for these part them. Kernels of several layers with equal numbers: a warning where their
    gradients are equal too, else a note.

    Cure: Draw the weights at random; give each layer an initializer of its own, or one without a
    seed.

    Example:
        Dense(64, "relu", kernel_initializer="zeros")

    Goodfellow et al., Deep Learning, section 8.4 (breaking symmetry).
    """
    tied, copied = [], []
    for layer in evidence.kernels:
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
        more = elsewhere(tied)
        yield evidence.finding(
            "twins",
            SEVERE if fraction >= 0.5 else WARNING,
            layer.key,
            f"{twins.tied} of the {twins.units} units of {layer.key!r} have a twin with the same "
            f"incoming weights and the same update: training keeps them equal.{more}",
        )
    for layer, twins in copied[:1]:
        yield evidence.finding(
            "twins",
            NOTE,
            layer.key,
            f"{twins.copies} units of {layer.key!r} share their incoming weights with another; "
            "other outgoing weights will part them.",
        )
    if evidence.found.alike:
        yield _alike(evidence, evidence.found.alike)


def _opens(weights: Weights) -> bool:
    """True of a kernel of zeros that the first step moves: its bias is meant."""
    return weights.mean == 0 and weights.std == 0 and bool(weights.gradient_norm)


def _alike(evidence: Evidence, groups: tuple[Alike, ...]) -> Finding:
    """Kernels of several layers that hold the same numbers: the largest group."""
    tied = [group for group in groups if group.tied]
    keys = max(tied or groups, key=lambda group: len(group.keys)).keys
    more = f" and {len(keys) - 2} others" if len(keys) > 2 else ""
    names = f"{keys[0]!r} and {keys[1]!r}{more}"
    if tied:
        told = f"{names} hold the same numbers and get the same updates: they stay one layer."
    else:
        told = f"{names} hold the same numbers, as one initializer with a seed draws them."
    return evidence.finding(
        "twins",
        WARNING if tied else NOTE,
        keys[0].rsplit("/", 1)[0],
        told,
        Cure(
            "Give each layer an initializer of its own, or none with a seed; or draw them anew:",
            cures.scheme(evidence.found.structure),
        ),
    )


@rule(
    Kind(
        "bias off",
        ("not finite",),
        cures.saying("Set the biases to zero:", cures.with_biases),
        fault="initial",
    ),
    code="TFI003",
)
def _bias_off(evidence: Evidence) -> Iterator[Finding]:
    """Biases so large that units hardly see their inputs.

    Why: A unit puts out an activation of w·x + b. Where b is many times what w·x varies by, the
    unit is on, off or saturated for all examples alike, and what the examples differ by is lost.

    Evidence: The rms of a layer's biases (or of what is the same for all examples, if that is
    less) over what its kernel makes of the data varies by: severe from 8 times, a warning from 3.
    Not of last layers, where it is a prior, nor beside a kernel of zeros that the first step moves
    (a spatial transformer begins as the identity), nor before a normalization, nor of sigmoids up
    to 4 and tanh up to 2, which still have a slope there, as gates have.

    Cure: Start biases at zero.

    Example:
        Dense(64, "relu", bias_initializer=keras.initializers.Constant(-10))
    """
    worst: list[tuple[float, LayerSignals, float]] = []
    for layer in evidence.kernels:
        bias = layer.weights[-1].bias_rms if layer.weights else None
        if bias is None or not layer.linear.finite or layer.head or layer.normalized:
            continue
        if bias <= _SLOPES.get(layer.follows, 0.0) or _opens(layer.weights[-1]):
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
        more = elsewhere(worst)
        yield evidence.finding(
            "bias off",
            SEVERE if severe else WARNING,
            layer.key,
            f"The biases of {layer.key!r} have rms {bias:.3g}, what its kernel makes of the data "
            f"varies by {layer.linear.variation:.3g}: its units hardly see their inputs.{more}",
        )


@rule(
    Kind(
        "dead units",
        (
            "not finite",
            "twins",
            "bias off",
            "scale jump",
            "missing inputs",
            "normalized away",
            "examples alike",
        ),
        cures.revive,
        fault="activation",
    ),
    code="TFI005",
)
def _dead(evidence: Evidence) -> Iterator[Finding]:
    """ReLU units that are zero for every example, so that nothing trains them.

    Why: A ReLU passes a gradient only where its input is above zero. A unit whose input is below
    zero for all examples gets none, and stays as it is for ever. Where it is the last activation,
    the output itself is zero for all examples.

    Evidence: The share of a layer's units that are exactly zero for all examples of the batch:
    severe from 95%, a warning from 50%.

    Cure: Initialize for ReLU (He), with biases of zero, on scaled inputs. A deep network that has
    He's scale already loses units as depth makes the examples alike: shortcuts, normalization or
    leaky ReLUs lessen that. At the output, leave the ReLU out: a linear output holds all targets.

    Example:
        Dense(64, "relu", bias_initializer=keras.initializers.Constant(-10))

    He et al., ICCV 2015; Lu et al., Dying ReLU and Initialization, 2019.
    """
    worst: list[LayerSignals] = []
    for layer in evidence.layers:
        rectified = "relu" in layer.activation and layer.output.finite
        # Of few examples, many units are off by chance.
        least = _DEAD_WARNING if evidence.found.examples >= _FEW_EXAMPLES else _DEAD_SEVERE
        if rectified and layer.output.dead >= least:
            worst.append(layer)
    if worst:
        layer = next((w for w in worst if w.output.dead >= _DEAD_SEVERE), worst[0])
        units = layer.shape[-1]
        more = elsewhere(worst)
        last = _is_applied_last(evidence, layer)
        yield evidence.finding(
            "dead units",
            SEVERE if layer.output.dead >= _DEAD_SEVERE else WARNING,
            layer.key,
            f"{layer.output.dead:.0%} of the {units} units of {layer.key!r} are zero for all "
            f"{evidence.found.examples} examples, so nothing trains them.{more}",
            cures.unbounded(evidence.found, layer.key) if last else None,
            fault="head" if last else "",
        )


def _is_applied_last(evidence: Evidence, layer: LayerSignals) -> bool:
    """True of an activation that makes an output of the model."""
    return any(a.key == layer.key for output in evidence.found.outputs for a in output.applied)


@rule(
    Kind(
        "saturated", ("not finite", "bias off", "scale jump", "gates saturated"), fault="activation"
    ),
    code="TFI006",
)
def _saturated(evidence: Evidence) -> Iterator[Finding]:
    """Units of tanh, sigmoid or softmax inside the network at the flat ends.

    Why: At its ends a bounded activation is flat: whatever changes before it, its output stays, and
    so hardly any gradient comes back through it.

    Evidence: The share of what a layer puts out where the slope is below a twentieth of the
    steepest (beyond ±0.975 for tanh): severe from a third, a warning from a fifth.

    Cure: Scale the inputs, and draw the weights for the activation (Glorot for tanh), or take ReLU.

    Example:
        Dense(64, "tanh", kernel_initializer=keras.initializers.RandomNormal(stddev=2))

    Glorot & Bengio, AISTATS 2010.
    """
    in_time = {seen.key for seen in evidence.found.recurrent}  # judged by their gates
    worst = [
        layer
        for layer in evidence.layers
        if (layer.output.saturated or 0.0) >= _SATURATED_WARNING
        and layer.key.split("#")[0] not in in_time
        and not (layer.activation == "softmax" and layer is evidence.layers[-1])
        and not layer.head
    ]
    if worst:
        flat = [w for w in worst if (w.output.saturated or 0.0) >= _SATURATED_SEVERE]
        layer = (flat or worst)[0]
        severe = bool(flat) and layer.activation != "softmax"
        more = elsewhere(worst)
        yield evidence.finding(
            "saturated",
            SEVERE if severe else WARNING,
            layer.key,
            f"{layer.output.saturated:.0%} of what {layer.key!r} puts out is at the flat ends of "
            f"{layer.activation}, where its slope is near zero (inputs of rms "
            f"{layer.linear.rms:.3g}).{more}",
        )


@rule(
    Kind(
        "wrong fans",
        cure=cures.saying("Initialize with the scheme, which knows the layer's fans:"),
        fault="initial",
    ),
    code="TFI009",
)
def _wrong_fans(evidence: Evidence) -> Iterator[Finding]:
    """Weights drawn for another number of inputs than the layer has.

    Why: Keras's initializers read a layer's inputs from the shape of its weight. In depthwise,
    grouped and transposed convolutions, and in attention, that is another number than the layer
    sums, and the weights are too small or too large by the root of the ratio.

    Evidence: The standard deviation that the initializer's formula gives with the layer's own fans,
    over that of the weights: a warning from 3 times on, a note from 1.9, and behind normalization.

    Cure: Initialize with a scheme, which knows the layer's fans.

    Example:
        DepthwiseConv2D(3)  # Glorot counts all channels, each output sums nine products
    """
    wrong = [
        (layer, weights)
        for layer in evidence.layers
        for weights in layer.weights
        if weights.wrong_fans is not None
    ]
    if not wrong:
        return
    layer, weights = max(wrong, key=lambda pair: abs(math.log(pair[1].wrong_fans or 1)))
    off = weights.wrong_fans or 1.0
    more = elsewhere(wrong)
    hidden = " The normalization after it hides that." if layer.normalized else ""
    size = f"{1 / off:.2g} times too small" if off < 1 else f"{off:.2g} times too large"
    yield evidence.finding(
        "wrong fans",
        NOTE if layer.normalized or 1 / _FANS_WARNING < off < _FANS_WARNING else WARNING,
        layer.key,
        f"{weights.initializer} read the fans of {weights.key!r} from its shape; in this layer an "
        f"output sums {weights.fan_in:g} products and an input enters {weights.fan_out:g}. The "
        f"weights are {size} for its formula.{more}{hidden}",
    )
