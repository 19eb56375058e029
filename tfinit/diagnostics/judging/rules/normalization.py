"""Rules about normalizations: over what, along which axis, and where they stand."""

from collections.abc import Iterator

from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence, elsewhere
from tfinit.diagnostics.judging.findings import SEVERE, WARNING, Change, Finding, Kind, rule
from tfinit.diagnostics.measuring.settings import Normalized


@rule(Kind("normalized away", fault="activation"), code="TFI130")
def _normalized_away(evidence: Evidence) -> Iterator[Finding]:
    """A normalization over a single number, which makes a constant of it.

    Why: a number less the mean of itself is zero. What comes out is the layer's bias (beta),
    whatever goes in; over a single number, RMS and unit normalization leave its sign.

    Evidence: LayerNormalization, GroupNormalization or their like whose axis holds one entry of an
    example; BatchNormalization where the batch that the model was built for has one example, or the
    batch at hand does, and there are no positions to average over. It is severe where all of the
    signal goes through it, but a warning where only the batch at hand is so small.

    Cure: normalize over the axis of the features, or take the layer out; for BatchNormalization
    train with batches of 16 or more.

    Example:
        [Dense(1), LayerNormalization(), Dense(10)]
    """
    found = evidence.found
    gone: list[tuple[Normalized, str]] = []
    for norm in found.settings.normalized:
        if norm.entries == 1 and norm.over != "batch":
            gone.append((norm, SEVERE if norm.only_way else WARNING))
        elif norm.entries == 1 and norm.trains and found.examples == 1:
            fixed = found.settings.batch == 1 and norm.only_way
            gone.append((norm, SEVERE if fixed else WARNING))
    if gone:
        norm, severity = next((g for g in gone if g[1] == SEVERE), gone[0])
        what = "its batch of one example" if norm.over == "batch" else "the one number at its axis"
        words = (
            "Train with batches of 16 examples or more, or use LayerNormalization()."
            if norm.over == "batch"
            else "Normalize over the axis of the features, or take it out."
        )
        left = "its sign" if norm.over in ("rms", "unit") else "a constant"
        yield evidence.finding(
            "normalized away",
            severity,
            norm.key,
            f"{norm.key!r} normalizes over {what} (input {norm.shape} for an example): what is "
            f"left is {left}.{elsewhere(gone)}",
            Cure(words, ""),
        )


@rule(Kind("wrong axis", fault="activation"), code="TFI131")
def _wrong_axis(evidence: Evidence) -> Iterator[Finding]:
    """A normalization along another axis than that of the channels.

    Why: BatchNormalization keeps a mean and a scale for each channel, LayerNormalization averages
    over the channels of a position. With another axis each row of an image, or each step of a
    sequence, gets a scale of its own, and what channels are to each other is left as it was.

    Evidence: BatchNormalization or GroupNormalization whose axis is not that of the channels (the
    last one, unless layers before it say data_format="channels_first"), or LayerNormalization over
    axes without it, on inputs of rank 3 or more. A warning: it learns, but not as meant.

    Cure: leave the axis out, `BatchNormalization()`; its default is the last axis.

    Example:
        [Conv2D(16, 3), BatchNormalization(axis=1), ReLU()]
    """
    wrong = [
        norm
        for norm in evidence.found.settings.normalized
        if len(norm.shape) > 1 and norm.channels not in norm.axes and norm.entries > 1
    ]
    if wrong:
        norm = wrong[0]
        axes = ", ".join(map(str, norm.axes))
        axis = 1 if norm.channels == 1 else -1
        yield evidence.finding(
            "wrong axis",
            WARNING,
            norm.key,
            f"{norm.key!r} normalizes by axis {axes} of inputs of shape {norm.shape} for an "
            f"example, and their channels are at axis {norm.channels}.{elsewhere(wrong)}",
            Cure(f"Write axis={axis}.", "", (Change(norm.key, "axis", axis),)),
        )


@rule(Kind("normalized output", fault="head"), code="TFI133")
def _normalized_output(evidence: Evidence) -> Iterator[Finding]:
    """BatchNormalization behind the last layer, so that the batch decides what an output is.

    Why: it gives every output mean 0 and variance 1 over the batch. The same example gets another
    answer in other company, a regression cannot reach its targets until beta and gamma have learned
    their mean and scale, and between the last layer and softmax the classes that are rare are
    lifted to the size of those that are frequent.

    Evidence: BatchNormalization that uses the batch's statistics stands between the last layer with
    a kernel and an output that has targets and a loss of Keras's. A warning: it learns, slowly.

    Cure: take it out, or put it before the last layer.

    Example:
        [Dense(10), BatchNormalization(), Softmax()]
    """
    training = {norm.key for norm in evidence.found.settings.normalized if norm.trains}
    for output in evidence.found.outputs:
        if output.targets is None or output.loss is None or not output.loss.is_keras:
            continue
        for applied in output.applied:
            if applied.what == "batch_normalization" and applied.key in training:
                before = f" and before its {output.activation}" if output.activations else ""
                yield evidence.finding(
                    "normalized output",
                    WARNING,
                    applied.key,
                    f"{applied.key!r} stands behind the last layer {output.head!r}{before}: over a "
                    "batch each output has its mean and its deviation, whatever the targets have.",
                    Cure("Take it out, or put it before the last layer.", ""),
                )
