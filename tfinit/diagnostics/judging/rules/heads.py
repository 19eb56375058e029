"""Rules about the head: whether its activation and its width suit the loss and the targets."""

from collections.abc import Iterator

import numpy as np

from tfinit.diagnostics.judging import reading
from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import SEVERE, WARNING, Finding, Kind, rule
from tfinit.diagnostics.measuring.outputs import Output

_HEAD = "head against loss"
HEAD = Kind(_HEAD, fault="head")
_RECTIFIED = 0.05  # share of outputs at 0
# Where Keras's cross-entropies cut shares off, so that they have no slope; how many may lie there.
_CUT_OFF = 1e-7
_CUT_SHARES, _CUT_PROBABILITIES = 0.05, 0.5
_POSITIVE = ("sigmoid", "softplus", "exponential")  # activations that are never 0
_AT_ONCE = 0.05  # share of examples with several classes from which targets are meant so
# Of examples with other than one class, and so many classes: more are items to be ranked.
_NOT_ONE, _FEW_CLASSES = 0.25, 100


@rule(Kind("one-unit softmax", fault="head"), code="TFI020")
def _softmax_of_one_unit(evidence: Evidence) -> Iterator[Finding]:
    """A softmax over a single unit: its output is 1, whatever the weights.

    Why: softmax divides each unit by the sum of all. A unit that is alone is divided by itself.
    Every prediction is 1, and accuracy stays at the share of ones in the targets.

    Evidence: the output has one unit, its activation is softmax, and all its values are 1.

    Cure: sigmoid for two classes, as many units as classes for more, no activation for numbers.

    Example:
        keras.layers.Dense(1, activation="softmax")
    """
    for output in evidence.found.outputs:
        if not reading.is_softmax_of_one(evidence, output):
            continue
        yield evidence.finding(
            "one-unit softmax",
            SEVERE,
            output.head,
            f"{reading.name(output)} has one unit, and softmax divides it by itself: all "
            f"{output.values.size} outputs are 1, whatever the weights.",
            _for_one_unit(evidence, output),
        )


def _for_one_unit(evidence: Evidence, output: Output) -> Cure:
    """What suits the targets instead of one unit that tells nothing."""
    targets = output.of_targets
    kind = targets.kind if targets else ""
    numbers = reading.takes_numbers(output)
    if targets and kind == "whole" and not numbers and targets.high >= 2:
        classes = int(targets.high) + 1
        return reading.rewritten(evidence, output, "softmax", classes, reading.SPARSE)
    if kind in ("numbers", "whole"):
        return reading.rewritten(evidence, output, None)
    if kind == "signs" and numbers:
        return reading.rewritten(evidence, output, "tanh")
    loss = reading.BINARY if reading.takes_shares(output) else ""
    return reading.rewritten(evidence, output, "sigmoid", loss=loss)


@rule(HEAD, code="TFI021")
def _categorical_cross_entropy_of_no_shares(evidence: Evidence) -> Iterator[Finding]:
    """A categorical cross-entropy of outputs that do not sum to 1: softmax is missing.

    Why: the loss takes the shares that the network gives to the classes. Sigmoid, ReLU, tanh and
    outputs without activation are no shares: zero and negative ones are cut off and have no
    gradient, and what is trained is not what `predict` shows. Keras divides the outputs by their
    sum first, so that of positive ones the order of the classes is learned all the same.

    Evidence: the loss is a (sparse) categorical cross-entropy with ``from_logits=False``, and the
    outputs are negative somewhere or do not sum to 1 within 0.02. Severe; a warning where the
    activation is never 0 (sigmoid, softplus, exponential), less than 5% of the outputs are cut off
    at 0 or 1, and no more than 5% of the examples have several classes.

    Cure: softmax as the last activation; or, of outputs without activation, ``from_logits=True``.

    Example:
        keras.layers.Dense(10, activation="sigmoid")
        model.compile("adam", "categorical_crossentropy")
    """
    for output in evidence.found.outputs:
        loss = output.loss
        if loss is None or output.units < 2 or loss.from_logits or not reading.is_finite(output):
            continue
        targets = output.of_targets
        kinds = ("one-hot", "shares") if loss.is_keras and loss.name == "kl_divergence" else ()
        if not reading.takes_shares(output) and not (targets and targets.kind in kinds):
            continue
        if reading.sums_to_one(output.values) or _is_dropped(output):
            continue
        sums = output.values.sum(-1, dtype=np.float64)
        low = float(output.values.min())
        low_too = f", the outputs begin at {low:.2g}" if low < 0 else ""
        yield evidence.finding(
            _HEAD,
            WARNING if _learns_the_order(evidence, output) else SEVERE,
            output.head,
            f"The {loss.words} takes shares of {output.units} classes that sum to 1, but "
            f"{reading.ends(evidence, output)}: the sums lie between {sums.min():.2g} and "
            f"{sums.max():.2g}{low_too}.",
            _softmax(evidence, output),
        )


def _learns_the_order(evidence: Evidence, output: Output) -> bool:
    """True of outputs that Keras can divide by their sum: positive, with a slope, of one class."""
    several = output.of_targets is not None and output.of_targets.at_once >= _AT_ONCE
    positive = reading.activation(evidence, output) in _POSITIVE
    return positive and not several and _cut_off(output) < _CUT_SHARES


def _cut_off(output: Output) -> float:
    """The share of the outputs where a cross-entropy has no slope."""
    return float(np.mean((output.values <= _CUT_OFF) | (output.values >= 1 - _CUT_OFF)))


def _is_dropped(output: Output) -> bool:
    """True if it is Dropout that keeps the shares from summing to 1."""
    return "softmax" in output.activations and any("dropout" in a.what for a in output.applied)


def _softmax(evidence: Evidence, output: Output) -> Cure:
    targets = output.of_targets
    ends = reading.activation(evidence, output)
    if targets is not None and targets.at_once >= _AT_ONCE and ends == "sigmoid":
        words = "The targets have several classes at once. "
        return reading.rewritten(evidence, output, loss=reading.BINARY, words=words)
    return reading.rewritten(evidence, output, "softmax")


@rule(HEAD, code="TFI022")
def _one_unit_for_several_classes(evidence: Evidence) -> Iterator[Finding]:
    """A categorical cross-entropy over a single unit: it is 0 or without a meaning.

    Why: with one unit there is one class, and its share is always 1. The loss is 0 from the start
    and moves no weight; a label of 1 has no unit at all.

    Evidence: the loss is a (sparse) categorical cross-entropy, and the output has one unit. Where
    the targets are numbers that are not whole, it is a fault of the loss.

    Cure: for two classes sigmoid with the binary cross-entropy, else a unit for each class; for
    numbers no activation and the mean squared error.

    Example:
        keras.layers.Dense(1, activation="sigmoid")
        model.compile("adam", "sparse_categorical_crossentropy")
    """
    for output in evidence.found.outputs:
        if output.units > 1 or not reading.takes_shares(output) or output.loss is None:
            continue
        if reading.is_softmax_of_one(evidence, output):
            continue  # that is said of it already
        targets = output.of_targets
        are_numbers = targets is not None and targets.kind == "numbers"
        seen = f"{len(targets.distinct)} classes" if targets else ""
        if targets is not None and are_numbers:
            seen = f"numbers from {targets.low:.3g} to {targets.high:.3g}"
        yield evidence.finding(
            _HEAD,
            SEVERE,
            output.head,
            f"The {output.loss.words} compares classes, but {reading.name(output)} has one unit"
            f"{seen and f'; the targets are {seen}'}.",
            reading.rewritten(evidence, output, None, loss=reading.SQUARES)
            if are_numbers
            else _for_one_unit(evidence, output),
            fault="loss" if are_numbers else "",
        )


@rule(Kind("too few units", fault="head"), code="TFI023")
def _label_without_a_unit(evidence: Evidence) -> Iterator[Finding]:
    """A class number that no unit of the output stands for.

    Why: class numbers count from 0, and each is the place of a unit. A label beyond the last unit
    has none: Keras fails, or the loss is NaN.

    Evidence: the loss is a sparse categorical cross-entropy, and the largest label is the number
    of units or more. Where no label is 0 and the largest is the number of units, labels count
    from 1, which is a fault of the labels.

    Cure: a unit for each class; ``y - 1`` for labels that count from 1.

    Example:
        keras.layers.Dense(9, activation="softmax")   # for the digits 0 to 9
        model.compile("adam", "sparse_categorical_crossentropy")
    """
    for output in evidence.found.outputs:
        targets, loss = output.of_targets, output.loss
        if targets is None or loss is None or loss.name != reading.SPARSE or output.units < 2:
            continue
        if not targets.high >= output.units:
            continue
        beyond = float(np.mean(targets.known >= output.units))
        told = (
            f"Labels go from {targets.low:g} to {targets.high:g}, but {reading.name(output)} has "
            f"{output.units} units, for 0 to {output.units - 1}: {beyond:.0%} of the labels have "
            "none."
        )
        if targets.low >= 1 and targets.high == output.units:
            cure = Cure("Labels count from 0. Subtract one:", "y = y - 1")
            yield evidence.finding("too few units", SEVERE, "", told, cure, fault="labels")
        elif targets.whole:
            cure = reading.rewritten(evidence, output, units=int(targets.high) + 1)
            yield evidence.finding("too few units", SEVERE, output.head, told, cure)


@rule(HEAD, code="TFI024")
def _binary_cross_entropy_of_no_probabilities(evidence: Evidence) -> Iterator[Finding]:
    """A binary cross-entropy of outputs that can leave 0 to 1: sigmoid is missing.

    Why: the loss takes probabilities. It cuts what is below 0 or above 1 off, and where it is cut
    there is no gradient: these examples teach nothing. A ReLU head is stuck at 0 as soon as its
    input is negative.

    Evidence: the loss is a binary cross-entropy with ``from_logits=False``, and the last
    activation (none, ReLU, tanh …) has values outside 0 to 1, or the outputs have. Severe if half
    of the outputs or more lie at 0, at 1 or beyond, or if steps that were tried (see TFI080) do not
    lower the loss; else a warning: what lies between can pull the rest along. Under a loss of your
    own: the last layer is a ReLU and the targets are 0 and 1; severe where 5% of the outputs
    are 0, else a warning.

    Cure: sigmoid as the last activation; or, of outputs without activation, ``from_logits=True``.

    Example:
        keras.layers.Dense(1, activation="relu")
        model.compile("adam", "binary_crossentropy")
    """
    for output in evidence.found.outputs:
        loss = output.loss
        if loss is None or loss.from_logits or not reading.is_finite(output):
            continue
        if not loss.is_keras:
            yield from _rectified_under_own_loss(evidence, output)
        if not reading.takes_probabilities(output) or not _are_shares(output):
            continue
        low, high = float(output.values.min(initial=0)), float(output.values.max(initial=0))
        leaves = low < -1e-3 or high > 1 + 1e-3
        known = reading.reach(evidence, output)
        beyond = reading.is_bare(output) if known is None else not (0 <= known[0] <= known[1] <= 1)
        ends = reading.activation(evidence, output)
        if _is_dropped(output) or (ends in ("sigmoid", "hard_sigmoid", "softmax") and not leaves):
            continue
        if not (leaves or (beyond and ends)):
            continue
        cut, rates = _cut_off(output), evidence.found.rates
        now = f", {cut:.0%} of them at 0, at 1 or beyond" if cut else " now, and may leave 0 to 1"
        fails = rates is not None and rates.given is not None and not rates.given.does
        yield evidence.finding(
            _HEAD,
            SEVERE if fails or cut >= _CUT_PROBABILITIES else WARNING,
            output.head,
            f"The {loss.words} takes probabilities, but {reading.ends(evidence, output)}: the "
            f"outputs go from {low:.2g} to {high:.2g}{now}, where the loss has no slope.",
            reading.rewritten(evidence, output, "sigmoid"),
        )


def _rectified_under_own_loss(evidence: Evidence, output: Output) -> Iterator[Finding]:
    """A ReLU as the head of zeros and ones, whatever compares them."""
    targets, loss = output.of_targets, output.loss
    if targets is None or loss is None or targets.kind not in ("binary", "several"):
        return
    if not output.head or output.activations != ("relu",) or len(targets.distinct) < 2:
        return
    dead = float(np.mean(output.values == 0))
    yield evidence.finding(
        _HEAD,
        SEVERE if dead >= _RECTIFIED else WARNING,
        output.head,
        f"The targets are 0 and 1, but {reading.ends(evidence, output)}: the outputs go from 0 to "
        f"{float(output.values.max()):.2g} and have no upper end; {dead:.0%} of them are 0, where "
        "nothing trains them.",
        reading.rewritten(evidence, output, "sigmoid"),
    )


def _are_shares(output: Output) -> bool:
    """False of targets outside 0 to 1: then it is the loss that does not suit, or they."""
    targets = output.of_targets
    return targets is None or not (targets.low < 0 or targets.high > 1)


@rule(HEAD, code="TFI034")
def _softmax_for_several_at_once(evidence: Evidence) -> Iterator[Finding]:
    """A softmax where an example can have several classes at once.

    Why: softmax shares 1 out among the classes. Of two classes that are both true, each can get
    half at most, and an example without any class still gets some.

    Evidence: the targets are zeros and ones, at least 5% of the examples have more than one class,
    and the last activation is softmax. Severe under the binary cross-entropy and squared errors;
    under the categorical one where a quarter of the examples have none or several of at most 100
    classes, so that no output can be right for them. With more classes, or a top-k accuracy, it is
    a warning: the best of many items are to be ranked (Liang et al. 2018, Mahajan et al. 2018).

    Cure: sigmoid, with the binary cross-entropy.

    Example:
        keras.layers.Dense(20, activation="softmax")   # for 20 tags
        model.compile("adam", "binary_crossentropy")
    """
    for output in evidence.found.outputs:
        targets, loss = output.of_targets, output.loss
        if targets is None or loss is None or targets.at_once < _AT_ONCE:
            continue
        ends = reading.activation(evidence, output)
        if ends != "softmax" and not (loss.from_logits and reading.takes_shares(output)):
            continue
        most = int(targets.known.sum(-1).max())
        ranks = output.units > _FEW_CLASSES or any("top_k" in m for m in output.metrics)
        mild = reading.takes_shares(output) and (
            ranks or float(np.mean(targets.known.sum(-1) != 1)) < _NOT_ONE
        )
        other = "" if reading.takes_probabilities(output) else reading.BINARY
        yield evidence.finding(
            _HEAD,
            WARNING if mild or not loss.is_keras else SEVERE,
            output.head,
            f"{targets.at_once:.0%} of the examples have several classes at once, up to {most}; "
            f"softmax shares 1 out among the {output.units} classes, so that each of {most} gets "
            f"at most 1/{most}.",
            reading.rewritten(evidence, output, "sigmoid", loss=other),
        )


@rule(HEAD, code="TFI035")
def _units_without_targets(evidence: Evidence) -> Iterator[Finding]:
    """Several units that are all compared with the same number.

    Why: targets of one number and outputs of several do not fit, but Keras stretches the targets:
    every unit is trained to the same number. Of class numbers, none is told from the others.

    Evidence: the loss is one for regression, the targets have one number where the output has
    several units.

    Cure: one unit for a number; for classes softmax with the sparse categorical cross-entropy.

    Example:
        keras.layers.Dense(10)                        # y: numbers of shape (n, 1)
        model.compile("adam", "mse")
    """
    for output in evidence.found.outputs:
        targets = output.of_targets
        if targets is None or output.loss is None or not reading.takes_numbers(output):
            continue
        if not reading.is_stretched(output):
            continue
        if targets.kind in ("whole", "binary") and targets.high < output.units:
            cure = reading.rewritten(evidence, output, "softmax", loss=reading.SPARSE)
        else:
            cure = reading.rewritten(evidence, output, None, 1)
        yield evidence.finding(
            _HEAD,
            SEVERE,
            output.head,
            f"{reading.name(output)} has {output.units} units and each target is one number: the "
            f"{output.loss.words} compares all {output.units} with the same.",
            cure,
        )
