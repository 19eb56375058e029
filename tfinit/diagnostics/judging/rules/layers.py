"""Rules about layers: what stands where it does not belong, is missing, or lets nothing through."""

from collections.abc import Iterator

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
from tfinit.graph.kernels import Kernel
from tfinit.graph.linearity import is_depthwise

# R² of the best linear map, below which a linear network cannot learn the targets.
_EXPLAINS_NOTHING = 0.05
# What sigmoids leave of the gradient of the last layer, below which they are to blame.
_SIGMOIDS, _LITTLE = ("sigmoid", "hard_sigmoid"), 0.1


@rule(Kind("linear network", fault="activation"), code="TFI125")
def _linear_network(evidence: Evidence) -> Iterator[Finding]:
    """Layers in a row with no activation between them: together they are one linear layer.

    Why: a layer without an activation multiplies by a matrix. Two of them multiply by two
    matrices, which is one matrix: however many layers there are, the network can draw straight
    lines only.

    Evidence: all that the last layer reads is a linear function of the inputs, through one hidden
    layer or more. It is severe where the best linear map that there is explains less than 5% of the
    targets of this batch (R², corrected for the number of inputs; told from three examples for each
    input on), else a warning. A network that is narrower inside than at both ends, as a linear
    autoencoder, is a note: that is a reason to have two layers.

    Cure: write an activation into every hidden layer, `activation="relu"` for example.

    Example:
        keras.Sequential([keras.Input((8,)), Dense(64), Dense(64), Dense(1)])
    """
    found = evidence.found
    if not found.structure.is_linear:
        return
    hidden = [layer for layer in evidence.kernels if not layer.head]
    if not hidden:
        return
    first = hidden[0]
    narrow = min(layer.shape[-1] for layer in hidden)
    ends = min(
        max((w.fan_in for w in first.weights), default=0),
        max((layer.shape[-1] for layer in evidence.kernels if layer.head), default=0),
    )
    fit = found.linear_fit
    severity = NOTE if narrow < ends else WARNING
    explained = ""
    if fit is not None:
        explained = f" The best linear map explains {max(fit, 0.0):.0%} of the targets."
        severity = SEVERE if fit < _EXPLAINS_NOTHING else severity
    yield evidence.finding(
        "linear network",
        severity,
        first.key,
        f"There is no activation between its {len(evidence.kernels)} layers with kernels: together "
        f"they compute one linear function of the inputs, as a single layer would.{explained}",
        _activate(first.layer, first.shape[-1], [layer.key for layer in hidden]),
    )


@rule(Kind("missing activation", ("linear network",), fault="activation"), code="TFI126")
def _missing_activation(evidence: Evidence) -> Iterator[Finding]:
    """One layer feeds another of the same kind with no activation between them.

    Why: two layers in a row without an activation compute what one of them could: the first is
    work and weights for nothing.

    Evidence: a layer without activation whose output goes, through nothing but dropout, reshaping,
    averages or batch normalization, into another layer with a kernel, and that is not narrower
    than what it reads and what is made of it. A warning for Dense after Dense, a note for others. A
    narrower layer is a bottleneck, which has a reason.

    Cure: write an activation into the first layer, as `activation="relu"`.

    Example:
        [Dense(128, activation="relu"), Dense(64), Dense(10, activation="softmax")]
    """
    structure = evidence.found.structure
    if structure.is_linear:
        return
    by_step: dict[int, Kernel] = {
        k.step: k for k in structure.kernels if k.step is not None and k.ends_step
    }
    pairs = []
    for pair in structure.linear_pairs:
        first, then = by_step.get(pair.first), by_step.get(pair.then)
        if first is None or then is None or is_depthwise(first.layer) or is_depthwise(then.layer):
            continue
        if not first.trainable or structure.makes_scores(first.layer):
            continue
        if structure.makes_scores(then.layer) or structure.is_normalized(first.layer):
            continue
        if then.key in structure.gates:  # a product is bent enough
            continue
        width = first.shape[-1]
        if width >= min(first.fan_in, then.shape[-1]):
            pairs.append((first, then))
    dense = [p for p in pairs if type(p[0].layer) is type(p[1].layer) and len(p[0].shape) == 2]
    if pairs:
        first, then = (dense or pairs)[0]
        name, after = (k.key.rsplit("/", 1)[0] for k in (first, then))
        yield evidence.finding(
            "missing activation",
            WARNING if dense else NOTE,
            name,
            f"No activation stands between {name!r} ({first.shape[-1]} units) and {after!r}: the "
            f"two compute what {after!r} could alone.{elsewhere(pairs)}",
            _activate(type(first.layer).__name__, first.shape[-1], [name]),
        )


def _activate(layer: str, units: int, keys: list[str]) -> Cure:
    written = f'{layer}({units}, …, activation="relu")'
    changes = tuple(Change(key, "activation", "relu") for key in keys)
    return Cure(f"Give hidden layers an activation: write {written}.", "", changes)


@rule(Kind("hidden softmax", ("not finite",), fault="activation"), code="TFI128")
def _hidden_softmax(evidence: Evidence) -> Iterator[Finding]:
    """Softmax between two layers, where a hidden activation is meant.

    Why: softmax makes of all units together numbers that sum to one. A unit can only grow by what
    the others lose, most are near zero, and the next layer reads little of what was there.

    Evidence: a layer with a kernel whose activation is softmax, and whose output is read by another
    layer with a kernel (not multiplied with something, as attention and gates are). With a single
    unit softmax is 1 whatever comes in.

    Cure: write another activation, as `activation="relu"`; keep softmax for the last layer.

    Example:
        [Dense(64, activation="softmax"), Dense(10, activation="softmax")]
    """
    structure = evidence.found.structure
    hidden = [
        kernel
        for kernel in structure.kernels
        if [str(a) for a in kernel.activations] == ["softmax"]
        and kernel.ends_step
        and not structure.is_head(kernel.layer)
        and structure.readers_of(kernel)
    ]
    if hidden:
        first = hidden[0]
        name, units = first.key.rsplit("/", 1)[0], first.shape[-1]
        told = (
            "one unit with softmax: it is 1, whatever comes in"
            if units == 1
            else f"{units} units with softmax: they are 1/{units} on average and sum to one, so "
            "that little of the signal is left for the next layer"
        )
        yield evidence.finding(
            "hidden softmax",
            WARNING,
            name,
            f"{name!r} is a hidden layer of {told}.{elsewhere(hidden)}",
            _activate(type(first.layer).__name__, units, [name]),
        )


@rule(
    Kind("hidden sigmoids", ("not finite", "twins", "saturated"), fault="activation"), code="TFI132"
)
def _hidden_sigmoids(evidence: Evidence) -> Iterator[Finding]:
    """Sigmoids in several hidden layers, which let little of the gradient through.

    Why: the slope of a sigmoid is 1/4 at most, so that each layer leaves a quarter of the gradient
    or less, and its outputs all lie about 1/2, which the next layer sees as a constant. The first
    layers hardly learn, and the loss stays where guessing puts it for long.

    Evidence: two hidden layers or more with sigmoid, and the gradient at the first of them is less
    than a tenth of that at the last layer. A warning: with patience, and adaptive rates, it learns.

    Cure: write activation="relu" or "tanh" into the hidden layers; sigmoid belongs to the last one.

    Example:
        [Dense(64, activation="sigmoid"), Dense(64, activation="sigmoid"), Dense(1)]

    Source: Glorot & Bengio, Understanding the difficulty of training deep feedforward neural
    networks, 2010.
    """
    structure = evidence.found.structure
    rows = [
        layer
        for layer in evidence.kernels
        if layer.follows in _SIGMOIDS
        and not (layer.head or layer.normalized or layer.scores)
        and not any(w.key in structure.gates or "recurrent" in w.key for w in layer.weights)
    ]
    heads = [layer for layer in evidence.kernels if layer.head and layer.linear_gradient]
    if len({layer.depth for layer in rows}) < 2 or not heads or not rows[0].linear_gradient:
        return
    last = max(layer.linear_gradient.norm for layer in heads if layer.linear_gradient)
    ratio = rows[0].linear_gradient.norm / last if last > 0 else 1.0
    if ratio < _LITTLE:
        yield evidence.finding(
            "hidden sigmoids",
            WARNING,
            rows[0].key,
            f"{len(rows)} hidden layers have a sigmoid, whose slope is 1/4 at most: at "
            f"{rows[0].key!r} the gradient is {ratio:.2g} of that at the last layer.",
            _activate(rows[0].layer, rows[0].shape[-1], [layer.key for layer in rows]),
        )


@rule(Kind("missing flatten", fault="head"), code="TFI127")
def _missing_flatten(evidence: Evidence) -> Iterator[Finding]:
    """The outputs have axes that the targets have not: a Flatten or a pooling is missing.

    Why: a Dense layer works on the last axis alone. Without Flatten in front of it an image of 28
    rows gets an answer for each row, and the loss compares all of them with the one label, or by
    repeating the targets, examples with each other's.

    Evidence: the outputs have more axes than the targets, and one between the first and the last is
    longer than 1. Targets that are class numbers have one axis less than the outputs by right.

    Cure: put Flatten(), or GlobalAveragePooling, before the last layer; of a recurrent layer, leave
    out return_sequences=True.

    Example:
        keras.Sequential([keras.Input((28, 28)), Dense(64, activation="relu"), Dense(1)])
    """
    for output in evidence.found.outputs:
        if output.targets is None or output.loss is None or not output.loss.is_keras:
            continue
        shape, given = output.values.shape, output.targets.shape
        of_rows = [n for n in shape[1:-1] if n > 1]
        least = len(given) + output.loss.name.startswith("sparse_")
        if len(given) > 1 and given[-1] == 1 and output.loss.name.startswith("sparse_"):
            least -= 1
        if of_rows and len(shape) > least:
            times = " × ".join(map(str, of_rows))
            yield evidence.finding(
                "missing flatten",
                SEVERE,
                output.head,
                f"The outputs have shape {shape} and the targets {given}: for each example there "
                f"are {times} answers and one target.",
                Cure(
                    "Put Flatten() or GlobalAveragePooling before the last layer; of a recurrent "
                    "layer before it, leave out return_sequences=True.",
                    "",
                ),
            )
