"""Rules about the range of the outputs: what they cannot reach, and what limits the logits."""

import math
from collections.abc import Iterator

import numpy as np

from tfinit.diagnostics.judging import reading
from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import SEVERE, WARNING, Change, Finding, Kind, rule
from tfinit.diagnostics.measuring.outputs import Output

BOUNDED = Kind("bounded logits", fault="head")
# The loss that is left when all is learned, over that of guessing.
_LEFT_SEVERE = 0.4
# What of the targets' variance cannot be reached.
_BEYOND_SEVERE, _BEYOND_WARNING = 0.2, 0.01
_CUT = 16.1  # -log(1e-7): what Keras's cross-entropies give for a share of 0


@rule(BOUNDED, code="TFI025")
def _logits_that_are_probabilities(evidence: Evidence) -> Iterator[Finding]:
    """A loss that is told of logits (``from_logits=True``) and is given probabilities.

    Why: the loss applies softmax or sigmoid itself. Of probabilities, which lie between 0 and 1,
    it makes shares that are nearly even: however long it trains, the loss stays high. (On
    TensorFlow, Keras looks through its own softmax and sigmoid and warns; elsewhere it does not.)

    Evidence: the loss has ``from_logits=True`` and the last activation is softmax or sigmoid. The
    lowest loss that such outputs can have, over that of guessing: severe from 0.4, else a warning;
    a warning too where Keras takes the logits itself.

    Cure: no activation, or no ``from_logits``.

    Example:
        keras.layers.Dense(10, activation="softmax")
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    """
    for output in evidence.found.outputs:
        loss, ends = output.loss, reading.activation(evidence, output)
        if loss is None or not loss.from_logits or not loss.is_keras:
            continue
        if ends not in ("softmax", "sigmoid") or reading.reach(evidence, output) is None:
            continue
        left = _least(output, 0.0, 1.0)
        if (output.units < 2 and ends == "softmax") or left is None:
            continue
        least, guess = left
        seen_through = (
            " Keras on TensorFlow takes what is before it; other backends do not."
            if output.keeps_logits
            else ""
        )
        severe = least >= _LEFT_SEVERE * guess and not output.keeps_logits
        yield evidence.finding(
            BOUNDED.name,
            SEVERE if severe else WARNING,
            output.head,
            f"The {loss.words} applies {_of(output)} itself (from_logits=True), and "
            f"{reading.ends(evidence, output)}: of numbers between 0 and 1 the loss cannot fall "
            f"below {least:.3g}, where guessing has {guess:.3g}.{seen_through}",
            _only_one(evidence, output),
            fault="loss",
        )


def _of(output: Output) -> str:
    return "sigmoid" if reading.takes_probabilities(output) else "softmax"


def _only_one(evidence: Evidence, output: Output) -> Cure:
    if len(evidence.found.outputs) > 1 or output.loss is None:
        return reading.rewritten(evidence, output, None)
    change = Change("model.loss", "from_logits", False)
    code = f'model.compile(model.optimizer, loss="{output.loss.name}")'
    return Cure("Write from_logits=False in the loss:", code, (change,))


@rule(BOUNDED, code="TFI026")
def _squeezed_logits(evidence: Evidence) -> Iterator[Finding]:
    """A softmax of numbers that an activation has squeezed before: softmax twice.

    Why: softmax needs logits of any size to give a class a share near 1. Those that come out of a
    softmax, sigmoid or tanh differ by 1 or 2 at most: the shares stay nearly even and the loss
    stays high. Of those behind a ReLU, every negative one is 0 and has no gradient.

    Evidence: the activations behind the last kernel. The lowest loss that such logits can have,
    over that of guessing: severe from 0.4, a warning below; behind a ReLU a warning.

    Cure: the last layer without the first of the two activations.

    Example:
        keras.layers.Dense(10, activation="softmax")
        keras.layers.Softmax()
    """
    for output in evidence.found.outputs:
        squeezed, by = _squeezed(output)
        bounds = reading.range_of(by)
        if not by or output.units < 2 or bounds is None:
            continue
        left = _least(output, *bounds, classes=squeezed == "softmax")
        if left is None:
            continue
        least, guess = left
        told = f"{reading.name(output)} has {by} and then {squeezed}: "
        if math.isfinite(bounds[1] - bounds[0]):
            told += (
                f"of numbers between {bounds[0]:g} and {bounds[1]:g} the cross-entropy cannot fall "
                f"below {least:.3g}, where guessing has {guess:.3g}."
            )
        else:
            told += f"units that are negative give {bounds[0]:.2g} and have hardly a gradient."
        yield evidence.finding(
            BOUNDED.name,
            SEVERE if least >= _LEFT_SEVERE * guess else WARNING,
            output.head,
            told,
            _without_first(output, by),
        )


def _squeezed(output: Output) -> tuple[str, str]:
    """The last activation and what is squeezed before it, with no arithmetic between them."""
    places = [n for n, applied in enumerate(output.applied) if applied.is_activation]
    loss = output.loss
    if loss is not None and loss.from_logits and places:
        last = output.applied[places[-1]].what
        behind = output.applied[places[-1] + 1 :]
        if not all(reading.keeps_range(applied.what) for applied in behind):
            return "", ""  # scaled behind, as logits that are capped softly
        # Softmax and sigmoid are those that the loss makes: `_logits_that_are_probabilities`.
        if last not in ("softmax", "sigmoid"):
            return _of(output), last
    if len(places) < 2:
        return "", ""
    first, last = places[-2:]
    between = output.applied[first + 1 : last]
    if output.applied[last].what not in ("softmax", "sigmoid") or any(
        not reading.keeps_range(applied.what) for applied in between
    ):
        return "", ""
    return output.applied[last].what, output.applied[first].what


def _without_first(output: Output, by: str) -> Cure:
    key = next(applied.key for applied in output.applied if applied.what == by)
    changes = (Change(key, "activation", None),) if key == output.head else ()
    where = f"activation in {key!r}" if key == output.head else f"{key!r}"
    return Cure(f"Write no {where}: leave {by} out.", "", changes)


def _least(
    output: Output, low: float, high: float, classes: bool | None = None
) -> tuple[float, float] | None:
    """The lowest mean cross-entropy of logits between two numbers, and that of guessing."""
    wide = high - low
    units = output.units
    if reading.takes_probabilities(output) or classes is False:
        targets = output.of_targets
        ones = 0.5 if targets is None or targets.kind not in ("binary", "several", "one-hot") else 0
        if targets is not None and not ones:
            ones = float(np.mean(targets.known))
        of_one = math.log1p(math.exp(-high)) if math.isfinite(high) else 0.0
        of_zero = math.log1p(math.exp(low)) if math.isfinite(low) else 0.0
        return ones * of_one + (1 - ones) * of_zero, math.log(2)
    if units < 2:
        return None
    least = math.log1p((units - 1) * math.exp(-wide)) if math.isfinite(wide) else 0.0
    return least, math.log(units)


@rule(Kind("targets out of reach", ("head against loss",), fault="head"), code="TFI027")
def _targets_out_of_reach(evidence: Evidence) -> Iterator[Finding]:
    """An output whose activation cannot reach the targets.

    Why: sigmoid and softmax end at 0 and 1, tanh at -1 and 1, ReLU begins at 0. Targets beyond
    are never reached: the units go to the end of their range, where the gradient is zero.

    Evidence: the targets, the range of the last activation, and the mean squared distance of the
    targets from that range over their variance: severe from 0.2, a warning from 0.01. Of softmax
    also the sum of each row of targets, which should be 1.

    Cure: no activation for numbers of any size; or scale the targets into the range.

    Example:
        keras.layers.Dense(1, activation="sigmoid")    # for prices of 3 to 103
        model.compile("adam", "mse")
    """
    for output in evidence.found.outputs:
        targets, bounds = output.of_targets, reading.reach(evidence, output)
        if targets is None or bounds is None or not targets.known.size:
            continue
        if output.loss is not None and not reading.takes_numbers(output):
            continue
        if reading.is_softmax_of_one(evidence, output) or reading.is_stretched(output):
            continue  # that is said of it already: a softmax of one unit; units without targets
        ends, (low, high) = reading.activation(evidence, output), bounds
        known = targets.known
        apart = np.maximum(np.maximum(low - known, known - high), 0.0)
        varies = float(np.mean((known - known.mean(0)) ** 2)) or float(np.mean(known**2)) or 1.0
        beyond = float(np.mean(apart**2)) / varies
        said = (
            f"{reading.ends(evidence, output)}, which gives {_between(low, high)}; the targets go "
            f"from {targets.low:.3g} to {targets.high:.3g}, {np.mean(apart > 0):.0%} of them beyond"
        )
        if ends == "softmax" and targets.width == output.units > 1:
            sums = known.sum(-1)
            off = float(np.mean((sums - 1) ** 2)) / output.units / varies
            if off > beyond:
                beyond = off
                said = (
                    f"{reading.ends(evidence, output)}, whose outputs sum to 1; the targets of an "
                    f"example sum to {sums.min():.3g} to {sums.max():.3g}"
                )
        if beyond < _BEYOND_WARNING:
            continue
        severe = beyond >= _BEYOND_SEVERE and output.loss is not None
        yield evidence.finding(
            "targets out of reach",
            SEVERE if severe else WARNING,
            output.head,
            f"{said}: {min(beyond, 1):.0%} of their variance cannot be learned.",
            reading.rewritten(evidence, output, None),
        )


def _between(low: float, high: float) -> str:
    return f"{low:.2g} to {high:.2g}" if math.isfinite(high) else f"{low:.2g} and more"


@rule(Kind("dropout behind the output", fault="head"), code="TFI032")
def _dropout_behind_the_output(evidence: Evidence) -> Iterator[Finding]:
    """Dropout behind the last layer: it strikes out what the network says.

    Why: Dropout sets outputs to 0 at random and makes the others larger. Behind the last layer it
    strikes out answers, right ones too, and no weight can undo that: of probabilities the loss
    stays high, of numbers they are wrong at random.

    Evidence: a Dropout between the last kernel and the output, the share of zeros that it makes,
    and what is left of the loss when all is learned: under a cross-entropy 16 for an answer that
    is struck out, over guessing; of squares, the share of the targets' variance. Severe from 0.4,
    else a warning.

    Cure: take it out, or put it before the last layer.

    Example:
        keras.layers.Dense(10, activation="softmax")
        keras.layers.Dropout(0.5)
    """
    for output in evidence.found.outputs:
        drops = [a.key for a in output.applied if "dropout" in a.what]
        if not drops or not output.values.size:
            continue
        struck = float(np.mean(output.values == 0))
        if not struck:
            continue  # its rate is 0
        left, told = _left_by_dropout(output, struck)
        yield evidence.finding(
            "dropout behind the output",
            SEVERE if left >= _LEFT_SEVERE else WARNING,
            drops[0],
            f"{drops[0]!r} stands behind the last layer, {reading.name(output)}: it sets "
            f"{struck:.0%} of the outputs to zero at random{told}.",
            Cure("Take it out, or put it before the last layer.", ""),
        )


def _left_by_dropout(output: Output, struck: float) -> tuple[float, str]:
    """What is left of the loss, against that of guessing, however long it trains; in words."""
    targets, loss = output.of_targets, output.loss
    cross = reading.takes_shares(output) or reading.takes_probabilities(output)
    if loss is not None and cross and not loss.from_logits:
        guess = math.log(2 if reading.takes_probabilities(output) else max(output.units, 2))
        return struck * _CUT / guess, f", which leaves a cross-entropy of {struck * _CUT:.2g}"
    if targets is None or not reading.takes_numbers(output) or not targets.known.size:
        return 0.0, ""
    known = targets.known
    varies = float(np.mean((known - known.mean(0)) ** 2))
    # Kept outputs can be right: those that are struck out are wrong by the target itself.
    left = struck * float(np.mean(known**2)) / varies if varies else 1.0
    return left, f", which leaves {min(left, 1):.0%} of the targets' variance"
