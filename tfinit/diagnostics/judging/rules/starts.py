"""Rules about how sure a network starts."""

from collections.abc import Iterator

from tfinit.diagnostics.judging import cures
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import SEVERE, WARNING, Finding, Kind, rule

# Cross-entropy before training, over that of guessing.
_START_SEVERE, _START_WARNING = 10.0, 2.0
_INPUTS_LARGE = 10.0  # their rms


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
