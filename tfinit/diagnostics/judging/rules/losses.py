"""Rules about the loss and the metrics: whether they suit the task."""

import math
from collections.abc import Iterator

import numpy as np

from tfinit.diagnostics.judging import reading
from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import NOTE, SEVERE, WARNING, Change, Finding, Kind, rule
from tfinit.diagnostics.judging.rules.heads import HEAD
from tfinit.diagnostics.measuring.outputs import Output
from tfinit.diagnostics.measuring.signals import BOUNDED
from tfinit.diagnostics.measuring.targets import Targets

AGAINST = Kind("loss against targets", ("too few units",), fault="loss")
_BEYOND = 1e-3  # outside 0 to 1, of targets that are rounded or smoothed
_BEYOND_SEVERE = 0.01  # share of the targets
_MOST_CLASSES = 200  # of whole numbers that are taken for classes
_PIXELS = 255.0
_OUTWEIGHS = 100.0
# Of the loss at the start, what is gone once a network says no to every class.
_BY_NO = 0.85
_ACCURACY = {"accuracy", "acc", "binary_accuracy", "categorical_accuracy"}


@rule(AGAINST, code="TFI028")
def _cross_entropy_of_targets_that_are_no_shares(evidence: Evidence) -> Iterator[Finding]:
    """A cross-entropy of targets below 0 or above 1: it has no lowest value.

    Why: a cross-entropy compares shares, which lie between 0 and 1. Of other targets it becomes
    negative and falls for ever: the outputs are driven to 0 or 1 and tell nothing.

    Evidence: the loss is a binary cross-entropy and targets lie outside 0 to 1 by more than 0.001:
    severe from 1% of them. Two different ones, as 1 and 2 or -1 and 1, are taken for labels, whole
    numbers from 0 to at most 200 for classes (a fault of the head), up to 255 at several units for
    pixels; others for numbers. Of the categorical cross-entropy a warning: products of labels and
    weights may be meant.

    Cure: for classes a unit each and softmax; for two labels those of 0 and 1; for pixels
    ``y / 255``; for numbers no activation and the mean squared error.

    Example:
        keras.layers.Dense(1, activation="sigmoid")   # for the digits 0 to 9
        model.compile("adam", "binary_crossentropy")
    """
    for output in evidence.found.outputs:
        targets, loss = output.of_targets, output.loss
        if targets is None or loss is None or not targets.known.size:
            continue
        binary = reading.takes_probabilities(output)
        if not binary and not (reading.takes_shares(output) and loss.name != reading.SPARSE):
            continue
        known = targets.known
        outside = float(np.mean((known < -_BEYOND) | (known > 1 + _BEYOND)))
        if not outside:
            continue
        severe = SEVERE if binary and outside >= _BEYOND_SEVERE else WARNING
        told = (
            f"The {loss.words} compares shares, between 0 and 1, but {outside:.0%} of the targets "
            f"lie outside: they go from {targets.low:.3g} to {targets.high:.3g}."
        )
        what, cure = _instead(evidence, output, targets)
        yield evidence.finding(AGAINST.name, severe, output.head, told, cure, fault=what)
        if what == "head":  # the loss must be another too
            yield evidence.finding(AGAINST.name, WARNING, output.head, told, cure)


def _instead(evidence: Evidence, output: Output, targets: Targets) -> tuple[str, Cure]:
    """Which fault targets outside 0 to 1 show, and its cure."""
    several = targets.width > 1
    if len(targets.distinct) == 2 and not several:
        low, wide = targets.low, targets.high - targets.low
        moved = "y" if low == 0 else f"y {'-' if low > 0 else '+'} {abs(low):g}"
        code = moved if wide == 1 else f"({moved}) / {wide:g}" if low else f"y / {wide:g}"
        return "labels", Cure("Write the labels as 0 and 1:", f"y = {code}")
    if several and targets.whole and targets.low >= 0 and targets.high <= _PIXELS:
        return "targets", Cure("Scale the targets into 0 to 1:", "y = y / 255")
    if _are_classes(targets) and not several:
        classes = int(targets.high) + 1
        return "head", reading.rewritten(evidence, output, "softmax", classes, reading.SPARSE)
    return "loss", reading.rewritten(evidence, output, None, loss=reading.SQUARES)


def _are_classes(targets: Targets) -> bool:
    """True of whole numbers from 0 on that come again and again."""
    few = len(targets.distinct) <= max(2, targets.known.size / 2)
    return targets.kind == "whole" and targets.high <= _MOST_CLASSES and few


@rule(Kind("squares for classes", fault="loss"), code="TFI029")
def _squares_for_classes(evidence: Evidence) -> Iterator[Finding]:
    """A loss for numbers, as the mean squared error, where the targets are classes.

    Why: squared errors of shares are small even where an answer is wrong, and behind softmax or
    sigmoid their gradient vanishes where the network is sure and wrong: it learns slowly, or
    stops. Class numbers have no distance: 3 is not between 2 and 4 if they are kinds of fruit.

    Evidence: the loss is one for regression, and the targets are one-hot, or zeros and ones of
    both kinds (a note where the head has no activation and nobody asks for an accuracy, as in
    least-squares GANs), or whole numbers that are judged by an accuracy (severe: against one
    unit it counts nothing but zeros and ones). Severe too: the mean absolute error of sigmoid or
    softmax, of three classes and more, or where all hidden activations are flat at both ends.

    Cure: the cross-entropy that fits.

    Example:
        keras.layers.Dense(10, activation="softmax")
        model.compile("sgd", "mse")                   # y: one-hot

    Zhang & Sabuncu, Generalized Cross Entropy Loss, NeurIPS 2018 (absolute errors train hardly).
    """
    for output in evidence.found.outputs:
        targets, loss = output.of_targets, output.loss
        if targets is None or loss is None or not reading.takes_numbers(output):
            continue
        asked = bool(_ACCURACY & {*output.metrics})
        ends = reading.activation(evidence, output)
        severity, classes = WARNING, len(targets.distinct)
        if targets.kind == "one-hot":
            kept = "" if ends == "softmax" else "softmax"
            cure = reading.rewritten(evidence, output, kept, loss=reading.CATEGORICAL)
            what, classes = "one-hot", output.units
        elif targets.kind == "binary" and output.units == 1 and classes == 2:
            if ends in ("linear", "") and not asked:
                severity = NOTE
            if ends == "softmax":
                continue  # of one unit
            kept = "" if ends == "sigmoid" else "sigmoid"
            cure = reading.rewritten(evidence, output, kept, loss=reading.BINARY)
            what = "zeros and ones"
        elif asked and output.units == 1 and targets.width == 1 and _are_classes(targets):
            severity = SEVERE if classes > 2 and targets.values.dtype.kind in "iu" else WARNING
            units = int(targets.high) + 1
            cure = reading.rewritten(evidence, output, "softmax", units, reading.SPARSE)
            what = f"class numbers from {targets.low:g} to {targets.high:g}"
        else:
            continue
        if loss.name == "mean_absolute_error" and ends in ("sigmoid", "softmax"):
            several = targets.kind == "one-hot" and output.units > 2
            severity = SEVERE if several or _is_flat(evidence) else severity
        yield evidence.finding(
            "squares for classes",
            severity,
            output.head,
            f"The {loss.words} is for numbers, and the targets are {classes} classes ({what}).",
            cure,
        )


@rule(Kind("binary loss for one-hot", fault="loss"), code="TFI030")
def _binary_cross_entropy_of_one_hot(evidence: Evidence) -> Iterator[Finding]:
    """A binary cross-entropy where each example has one class of several.

    Why: it takes every class for a question of its own, most of which are answered by "no". A
    network that says "no" to all has a low loss and a high accuracy, and has learned nothing.

    Evidence: the loss is a binary cross-entropy, the output has two units or more, and every
    example of the batch has exactly one class. A warning; severe where saying no to all takes 85%
    of the loss away (50 classes and more), the outputs begin undecided, and all hidden
    activations are flat at both ends: then what is left hardly moves the layers before.

    Cure: softmax with the categorical cross-entropy. Leave it if an example may have several.

    Example:
        keras.layers.Dense(10, activation="softmax")
        model.compile("adam", "binary_crossentropy")  # y: one-hot
    """
    for output in evidence.found.outputs:
        targets, loss = output.of_targets, output.loss
        if targets is None or loss is None or not reading.takes_probabilities(output):
            continue
        if targets.kind != "one-hot" or not _is_enough(targets):
            continue
        kept = "" if reading.activation(evidence, output) == "softmax" else "softmax"
        share = 1 / output.units
        no = -(share * math.log(share) + (1 - share) * math.log1p(-share))
        by_no = 1 - no / math.log(2)
        start = evidence.found.start
        undecided = start is not None and start.cross_entropy > math.log(2) / 2
        yield evidence.finding(
            "binary loss for one-hot",
            SEVERE if by_no >= _BY_NO and undecided and _is_flat(evidence) else WARNING,
            output.head,
            f"All {len(targets.known)} examples have one of {output.units} classes, and the "
            f"{loss.words} asks {output.units} questions, {output.units - 1} of which have the "
            f"answer no: who says no to all has {by_no:.0%} of the loss behind.",
            reading.rewritten(evidence, output, kept, loss=reading.CATEGORICAL),
        )


def _is_flat(evidence: Evidence) -> bool:
    """True if all hidden activations are flat at both ends."""
    hidden = {*evidence.found.structure.hidden_activations}
    return bool(hidden) and hidden <= {*BOUNDED}


def _is_enough(targets: Targets) -> bool:
    """False of so few examples, or so alike, that one class each may be chance."""
    places = targets.known.size // targets.width
    return places >= 8 and int(np.count_nonzero(targets.known.reshape(places, -1).any(0))) > 1


@rule(Kind("metric", fault="loss"), code="TFI031")
def _metric_that_does_not_fit(evidence: Evidence) -> Iterator[Finding]:
    """A metric that cannot tell how good the network is.

    Why: `accuracy` counts answers that equal the target. Numbers hardly ever do, so that it stays
    near 0 however well the network learns; and where each example has one class of many,
    `binary_accuracy` is near 1 from the start.

    Evidence: the compiled metrics beside the loss and the targets: an accuracy of numbers that are
    not whole; `binary_accuracy` of one-hot targets; `categorical_accuracy` of class numbers and
    `sparse_categorical_accuracy` of one-hot; a note: an accuracy with its threshold of 0.5 of one
    unit without activation under ``from_logits=True``.

    Cure: ``metrics=["mae"]`` for numbers; ``"accuracy"`` for classes, of which Keras chooses the
    form that fits.

    Example:
        keras.layers.Dense(1)
        model.compile("adam", "mse", metrics=["accuracy"])
    """
    for output in evidence.found.outputs:
        targets, loss, asked = output.of_targets, output.loss, {*output.metrics}
        if targets is None or loss is None or not asked:
            continue
        metric = next(iter(asked & _ACCURACY), "")
        severity, wanted, told = WARNING, "accuracy", ""
        if metric and reading.takes_numbers(output) and targets.kind == "numbers":
            wanted = "mae"
            told = (
                f"{metric!r} counts outputs that equal their targets; these are numbers from "
                f"{targets.low:.3g} to {targets.high:.3g}, {len(targets.distinct)} different ones."
            )
        elif "binary_accuracy" in asked and targets.kind == "one-hot" and output.units > 2:
            told = (
                f"'binary_accuracy' asks each of {output.units} classes alone: a network that "
                f"says no to all has {1 - 1 / output.units:.0%}."
            )
        elif "categorical_accuracy" in asked and targets.width == 1 and output.units > 1:
            told = "'categorical_accuracy' takes one-hot targets, and these are class numbers."
        elif "sparse_categorical_accuracy" in asked and targets.kind == "one-hot":
            told = "'sparse_categorical_accuracy' takes class numbers, and the targets are one-hot."
        elif (
            metric in ("accuracy", "acc", "binary_accuracy")
            and reading.takes_probabilities(output)
            and loss.from_logits
            and reading.activation(evidence, output) == "linear"
        ):
            severity = NOTE
            told = f"{metric!r} takes outputs above 0.5 for a yes; of logits it is those above 0."
        if not told:
            continue
        if severity == NOTE:
            cure = Cure("Write metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)].", "")
        else:
            change = Change("model.compile", "metrics", [wanted])
            cure = Cure(f'Write metrics=["{wanted}"] in model.compile.', "", (change,))
        yield evidence.finding("metric", severity, output.head, told, cure)


@rule(Kind("loss outweighs", fault="loss"), code="TFI033")
def _loss_that_outweighs(evidence: Evidence) -> Iterator[Finding]:
    """One loss of several that is so large that the others hardly count.

    Why: the sum of the losses is trained. What is shared by the outputs serves the largest of
    them; the others wait until it is small.

    Evidence: each loss on the batch, times its weight: a warning where the largest is 100 times
    the next one or more.

    Cure: scale these targets, or weight the losses so that they begin alike.

    Example:
        model.compile("adam", {"price": "mse", "kind": "categorical_crossentropy"})
    """
    known = [(o.first_loss, o) for o in evidence.found.outputs if o.first_loss is not None]
    known = [(value, output) for value, output in known if np.isfinite(value) and value > 0]
    if len(known) < 2:
        return
    (largest, first), (next_one, second), *_ = sorted(known, key=lambda pair: -pair[0])
    if largest < _OUTWEIGHS * next_one:
        return
    weight = float(f"{next_one / largest * (first.loss.weight if first.loss else 1.0):.1g}")
    yield evidence.finding(
        "loss outweighs",
        WARNING,
        first.head,
        f"The loss of {first.name!r} begins at {largest:.3g}, that of {second.name!r} at "
        f"{next_one:.3g}: what they share is trained for {first.name!r} alone.",
        Cure(
            f"Standardize the targets of {first.name!r}, or write "
            f"loss_weights={{{first.name!r}: {weight:g}, …}} in model.compile.",
            "",
        ),
    )


@rule(HEAD, code="TFI036")
def _hinge_of_a_bounded_head(evidence: Evidence) -> Iterator[Finding]:
    """A hinge loss of outputs that cannot be negative.

    Why: the hinge loss wants -1 or less for one class and 1 or more for the other. Sigmoid,
    softmax and ReLU end at 0: one class never gets there.

    Evidence: the loss is a hinge, and the last activation has no values below 0.

    Cure: tanh or no activation.

    Example:
        keras.layers.Dense(1, activation="sigmoid")
        model.compile("adam", "hinge")
    """
    for output in evidence.found.outputs:
        bounds, loss = reading.reach(evidence, output), output.loss
        if loss is None or loss.name not in ("hinge", "squared_hinge") or not loss.is_keras:
            continue
        if bounds is None or bounds[0] < 0 or reading.is_softmax_of_one(evidence, output):
            continue
        yield evidence.finding(
            HEAD.name,
            SEVERE,
            output.head,
            f"The {loss.words} loss wants -1 and 1, and {reading.ends(evidence, output)}, which "
            f"gives {bounds[0]:g} and more.",
            reading.rewritten(evidence, output, "tanh"),
        )


@rule(HEAD, code="TFI037")
def _loss_of_positive_numbers(evidence: Evidence) -> Iterator[Finding]:
    """A loss that takes logarithms of the outputs, and outputs that are negative.

    Why: the Poisson loss of a negative output is NaN, and ends the training. The squared
    logarithmic error cuts negative outputs off at 0: these examples have no gradient.

    Evidence: the share of negative outputs. Severe under the Poisson loss from the first one on;
    under the mean squared logarithmic error severe from one half, else a warning.

    Cure: softplus or exponential as the last activation.

    Example:
        keras.layers.Dense(1)
        model.compile("adam", "poisson")
    """
    for output in evidence.found.outputs:
        loss = output.loss
        if loss is None or not loss.is_keras or not reading.is_finite(output):
            continue
        if loss.name not in ("poisson", "mean_squared_logarithmic_error"):
            continue
        negative = float(np.mean(output.values < 0))
        if not negative:
            continue
        yield evidence.finding(
            HEAD.name,
            SEVERE if loss.name == "poisson" or negative >= 0.5 else WARNING,
            output.head,
            f"The {loss.words} loss takes the logarithm of the outputs, and {negative:.0%} of them "
            f"are negative: {reading.ends(evidence, output)}.",
            reading.rewritten(evidence, output, "softplus"),
        )
