"""Rules about how a network starts: how sure it is, and whether its weights are next to nothing."""

import math
import statistics
from collections.abc import Iterator

from tfinit.diagnostics.judging import cures
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import SEVERE, WARNING, Finding, Kind, rule

# Cross-entropy before training, over that of guessing.
_START_SEVERE, _START_WARNING = 10.0, 2.0
_INPUTS_LARGE = 10.0  # their rms
# What is left of the inputs before the last layer, and how much of a signal a kernel passes on.
_LEFT, _PASSED_ON = 1e-3, 0.1
# Of the loss, by a step of the kernels alone; steps until the kernels have grown.
_FALLS, _STEPS_SEVERE, _STEPS_WARNING = 1e-6, 1e4, 1e3


@rule(
    Kind(
        "confident start",
        (
            *("not finite", "scale jump", "saturated", "exploding"),
            *("one-unit softmax", "head against loss", "too few units"),
        ),
        cures.less_confident,
        fault="initial",
    ),
    code="TFI008",
)
def _confident_start(evidence: Evidence) -> Iterator[Finding]:
    """A network that is sure of its answers before it has learned anything.

    Why: answers that are sure and wrong cost much. The first steps of training only take them
    back, with large gradients that may ruin the layers before; behind saturated sigmoids they
    may never be taken back.

    Evidence: the cross-entropy on the batch, where it is the loss, over that of guessing, which is
    log(classes), for one sigmoid or several log(2): severe above 10, a warning above 2. A bias
    that knows how often each class comes starts below guessing. Where the inputs have an rms
    above 10 and the head's weights a usual size, it is a fault of the inputs.

    Cure: a smaller last layer, or inputs of variance 1.

    Example:
        keras.layers.Dense(10, kernel_initializer=keras.initializers.RandomNormal(stddev=10))

    Karpathy, A Recipe for Training Neural Networks, 2019.
    """
    start = evidence.found.start
    if start is None or start.cross_entropy <= _START_WARNING * start.guess:
        return
    head = start.head or next((layer.key for layer in reversed(evidence.kernels)), "")
    times = start.cross_entropy / start.guess
    factor = f"{times:,.0f}" if 1e3 <= times < 1e6 else f"{times:.3g}"
    inputs = max((s.rms for s in evidence.found.inputs if s.finite), default=0.0)
    usual = cures.has_usual_scale(evidence.found, head)
    yield evidence.finding(
        "confident start",
        SEVERE if times > _START_SEVERE else WARNING,
        head,
        f"The cross-entropy {evidence.when} is {start.cross_entropy:.3g}, {factor} times the "
        f"{start.guess:.3g} of guessing among {start.classes} classes: the network is sure, and "
        "wrong.",
        fault="inputs" if usual and inputs > _INPUTS_LARGE else "",
    )


@rule(
    Kind(
        "tiny weights",
        (
            *("not finite", "twins", "bias off", "dead units", "saturated", "vanishing"),
            *("no gradient", "frozen", "frozen head", "gates saturated", "missing inputs"),
            *("examples alike", "one-unit softmax", "constant targets"),
        ),
        fault="initial",
    ),
    code="TFI011",
)
def _tiny_weights(evidence: Evidence) -> Iterator[Finding]:
    """Weights so small that the network cannot tell its inputs apart.

    Why: a layer's gradient is multiplied by the weights of the others. Where all are tiny, so are
    the outputs and every gradient: only the last bias learns, which is the same for all examples,
    and the loss stands still at what guessing gives. Weights grow in proportion to themselves, so
    that it takes long until they count. Adam does not help where gradients are below its ε.

    Evidence: what the inputs vary by is less than a thousandth before the last layer; most kernels
    make a tenth or less of what they read (√fan in · σ); and the first step of the kernels would
    lower the loss by a millionth of itself or less. The update over the weight of most kernels,
    with momentum gathered, gives the steps until they have grown: severe from 10,000, a warning
    from 1,000. Behind embeddings, and where a normalization stands between, nothing is said.

    Cure: Draw the weights to the layers' sizes (Glorot, He).

    Example:
        small = keras.initializers.RandomNormal(stddev=1e-4)
        [Dense(16, "tanh", kernel_initializer=small), Dense(1, kernel_initializer=small)]

    Saxe et al., Exact solutions to the nonlinear dynamics of learning, 2014.
    """
    found, optimizer = evidence.found, evidence.found.optimizer
    kernels = [k for k in evidence.kernels if k.weights and not k.scores]
    inputs = max((s.variation for s in found.inputs if s.finite), default=0.0)
    if optimizer is None or not inputs or any(k.normalized or k.reads for k in kernels):
        return
    hidden = [layer for layer in evidence.layers if not layer.head and layer.depth > 0]
    last = max((layer.depth for layer in hidden), default=0)
    left = max((h.output.variation for h in hidden if h.depth == last), default=inputs) / inputs
    passed = [w.std * math.sqrt(w.fan_in) for k in kernels for w in k.weights if w.std > 0]
    if not (0 < left < _LEFT) or not passed or statistics.median(passed) > _PASSED_ON:
        return
    trained = [p for p in found.parameters if len(p.shape) > 1 and p.update_ratio]
    falls = sum(
        (p.gradient or 0.0) * (p.update_ratio or 0.0) * p.rms * math.sqrt(math.prod(p.shape))
        for p in trained
    )
    if not trained or falls * optimizer.gathered > _FALLS * abs(found.loss):
        return
    ratio = statistics.median(p.update_ratio or 0.0 for p in trained) * optimizer.gathered
    steps = 1 / max(ratio, 1e-9)
    if steps < _STEPS_WARNING:
        return
    of_all = min(kernels, key=lambda k: min(w.std for w in k.weights))
    yield evidence.finding(
        "tiny weights",
        SEVERE if steps >= _STEPS_SEVERE else WARNING,
        of_all.key,
        f"The kernels have a standard deviation of {of_all.weights[0].std:.2g} ({of_all.key!r}): "
        f"before the last layer {left:.0e} is left of what the inputs vary by, and a step of "
        f"{optimizer.name} changes most kernels by {ratio:.0e} of their size.",
    )
