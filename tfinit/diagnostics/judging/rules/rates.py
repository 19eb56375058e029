"""Rules about the learning rate and the optimizer."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import SEVERE, WARNING, Change, Finding, Kind, rule
from tfinit.diagnostics.measuring.linear_fit import linear_fit
from tfinit.diagnostics.measuring.measurement import Measurement
from tfinit.diagnostics.measuring.one_step import FirstStep
from tfinit.diagnostics.measuring.outputs import Output
from tfinit.diagnostics.measuring.signals import BOUNDED
from tfinit.diagnostics.measuring.steps import Trial

# The highest loss of the tried steps against the first, of a large rate too; so many weights that
# no gradient reaches after the steps, which is no wonder where the loss is as low as this.
_RISES, _SOARS, _CUT = 2.0, 10.0, 0.5
_NO_LOWER, _LOWER, _NOTHING = 0.9, 1e-3, 1e-4
# By whether the optimizer is adaptive: up to here it is not the rate, but inputs or targets of more
# than the last.
_NOT_LARGE, _UNSCALED = {True: 0.01, False: 0.1}, 10.0
# A rate that is large whatever the data: of SGD, and of those whose step is as large as the rate.
_ABSURD, _ABSURD_ADAPTIVE, _REPLACED = 1.0, 0.1, 1.0
# Steps to halve the loss, and how far the first one moves the weights.
_STEPS_SEVERE, _STEPS_WARNING, _STEPS_IN_VAIN = 1e4, 2e3, 1e5
_LITTLE, _HARDLY = 1e-3, 1e-6
# A rate that does is so many times as large, or the rate is not what is too small.
_TIMES = 30
# Of a single layer that is to compute a linear map: how much of the targets there must be one for,
# and the steps to them. As many are a warning where it is a guess and the loss is only halved: here
# the loss is convex, steps are no longer later than they are at first, so it cannot be fewer.
_LINEAR, _STEPS_OF_ONE_LAYER = 0.5, 2e3
# Weights a tenth as large as those of variance 1 / inputs are small.
_SMALL = 0.1
_USUAL = {True: "0.001", False: "0.01"}

_DATA = (
    *("scale jump", "far targets", "targets out of reach", "head against loss"),
    *("loss against targets", "too few units", "one-unit softmax", "bounded logits"),
    *("missing targets", "negative labels", "fractions for classes", "constant targets"),
    *("missing inputs", "ids out of range", "broadcast targets", "examples alike"),
)
_BLOW_UPS = ("not finite", "exploding", *_DATA)
NO_SIGNAL = (
    *("not finite", "twins", "bias off", "dead units", "saturated", "vanishing", "no gradient"),
    *("frozen", "frozen head", "linear network", "hidden softmax", "normalized away", "dropout"),
    *("gates saturated", "forgetful", "tiny weights"),
    *_DATA,
)


def slower_or_faster(found: Measurement, layer: str) -> Cure:
    """The rate that was tried, and with which the loss falls."""
    optimizer = found.optimizer
    assert optimizer is not None
    tried = found.rates.cure if found.rates else None
    if tried is None:
        usual = _USUAL[optimizer.adaptive]
        return Cure(f"Begin with the usual {usual} once what else is wrong is mended.", "")
    words = (
        f"Use a learning rate from {tried.rate / 10:g} to {tried.rate:g}: with {tried.rate:g} the "
        f"loss falls from {tried.losses[0]:.3g} to {tried.losses[-1]:.3g} in "
        f"{_steps(tried)} on this batch."
    )
    change = (Change("model.optimizer", "learning_rate", tried.rate),)
    if optimizer.scheduled:
        return Cure(f"{words} Let the schedule's largest rate be that.", "")
    return Cure(words, f"model.optimizer.learning_rate = {tried.rate:g}", change)


@rule(
    Kind("rate far too large", cure=slower_or_faster, fault="rate"),
    Kind("rate too large", _BLOW_UPS, slower_or_faster, fault="rate"),
    code="TFI080",
)
def _rate_too_large(evidence: Evidence) -> Iterator[Finding]:
    """The learning rate is so large that steps raise the loss.

    Why: The gradient says where the loss falls nearby. A step that goes too far ends on the other
    side of the valley, higher than it began, the next one higher still. The loss grows, becomes
    NaN, or the units die and the network puts out one number from then on.

    Evidence: Where the first step of the optimizer (of a schedule: at its largest rate) would move
    most kernels by 20% of their size or more, or, of SGD, would lower the loss by half or more if
    the loss were linear, or has a rate of 1 with momentum gathered, 20 steps (5 of 2 million
    weights and more; with a rate of 1, half as many again) are tried on a copy with 128 examples of
    this batch. Severe if the loss becomes infinite or NaN; if it doubles on the way, and the last 5
    losses are at 90% of the first or more, or with a rate of 1 it had fallen before to less than
    90%; if half of the weights get no gradient any more while there still is a loss; of a rate
    above 1 of SGD, or of 0.1 with which Adam replaces most weights in a step, also if the loss
    rises to 10 times its start. A warning if it only doubles on the way; and where the loss is not
    one of Keras's, a schedule warms up or normalizations undo the weights' scale, unless it becomes
    infinite or NaN. Inputs or targets that are not scaled make steps too large, too: where they are
    above 10 and the rate is usual (SGD up to 0.1, Adam up to 0.01), they are named as the fault,
    and the rate is a warning.

    Cure: A smaller rate. The one that is named was tried: with it the loss of this batch falls.

    Example:
        model.compile(keras.optimizers.SGD(1000.0), "categorical_crossentropy")

    LeCun et al., Efficient BackProp, 1998 (a rate above 2 / curvature diverges).
    """
    found = evidence.found
    optimizer, rates = found.optimizer, found.rates
    if optimizer is None or rates is None or rates.given is None or rates.given.does:
        return
    given, ratio = rates.given, FirstStep.of(found).ratio or 0.0
    if optimizer.adaptive:
        absurd = abs(optimizer.rate) >= _ABSURD_ADAPTIVE and ratio >= _REPLACED
    else:
        absurd = abs(optimizer.rate) > _ABSURD
    rises = given.peak >= _RISES and (
        given.settled >= _NO_LOWER or (absurd and given.peak >= _SOARS)
    )
    rises = rises or (FirstStep.of(found).is_quick and given.thrown_back)
    dies = given.cut >= _CUT and given.losses[-1] > max(_LOWER * abs(given.losses[0]), _NOTHING)
    if not rises and not dies and given.peak < _RISES:
        return
    mild = (
        not has_known_loss(evidence)
        or optimizer.warms_up
        or found.structure.is_normalized_throughout
    )
    severe = (rises or dies) and not (mild and given.finite)
    at = f", after {given.losses[0] * given.peak:.3g} on the way" if given.peak >= _RISES else ""
    momentum = f" with momentum {optimizer.momentum:g}" if optimizer.momentum else ""
    fault, cure = _scales(evidence) if _is_usual(evidence) else ("", None)
    told = (
        f"{optimizer.name}'s learning rate of {optimizer.rate:.4g}{momentum} changes most weights "
        f"by {_times(ratio)} their size in the first step, and the loss of this batch goes from "
        f"{given.losses[0]:.3g} to "
        + (f"{given.losses[-1]:.3g}" if given.finite else "infinite or NaN")
        + f" in {_steps(given)}{at if given.finite else ''}."
        + (f" Then {given.cut:.0%} of the weights get no gradient any more." if dies else "")
    )
    kind, severity = "rate far too large" if absurd else "rate too large", WARNING
    if severe:
        severity = SEVERE
    yield evidence.finding(kind, severity, "", told, cure, fault)
    if fault and rates.cure is not None:
        told = f"As the {fault} are, a learning rate of {optimizer.rate:.4g} is too large."
        yield evidence.finding(kind, WARNING, "", told)


def _is_usual(evidence: Evidence) -> bool:
    optimizer = evidence.found.optimizer
    return optimizer is not None and abs(optimizer.rate) <= 1.01 * _NOT_LARGE[optimizer.adaptive]


def _scales(evidence: Evidence) -> tuple[str, Cure | None]:
    """Inputs or targets that make the steps of a usual rate too large: the fault, and its cure."""
    inputs = max((s.rms for s in evidence.found.inputs if s.finite), default=0.0)
    if inputs > _UNSCALED:
        words = (
            f"The inputs have rms {inputs:.3g}, and gradients grow with it: scale them to variance "
            "1, as (x - mean) / std, and keep the rate."
        )
        one = len(evidence.found.given) == 1
        return "inputs", Cure(words, "x = (x - x.mean(0)) / (x.std(0) + 1e-7)" if one else "")
    targets = [o.targets for o in evidence.found.outputs if _is_regression(o)]
    sizes = [
        float(np.sqrt(np.mean(np.square(t, dtype=np.float64)))) for t in targets if t is not None
    ]
    if max(sizes, default=0.0) > _UNSCALED:
        words = (
            f"The targets have rms {max(sizes):.3g}, and gradients grow with it: scale them to "
            "variance 1, as (y - mean) / std, and keep the rate."
        )
        one = len(evidence.found.outputs) == 1
        return "targets", Cure(words, "y = (y - y.mean(0)) / y.std(0)" if one else "")
    return "", None


def _is_regression(output: Output) -> bool:
    loss, targets = output.loss, output.targets
    known = loss is not None and targets is not None and targets.dtype.kind in "fiu"
    return known and "crossentropy" not in loss.name


@rule(
    Kind("rate too small", (*NO_SIGNAL, "clipping"), slower_or_faster, fault="rate"), code="TFI081"
)
def _rate_too_small(evidence: Evidence) -> Iterator[Finding]:
    """The learning rate is so small that a network from scratch hardly moves.

    Why: Each step changes the weights by so little that thousands of steps do what one with a usual
    rate does. The loss seems to stand still; nothing is wrong but the speed.

    Evidence: The first step of the optimizer (of a schedule: at its largest rate; with momentum as
    it gathers) gives how many steps the loss needs to halve, if all went as well as the first.
    Where the step moves most kernels by at most 0.1% of their size: severe from 10,000 on, a
    warning from 2,000 on; severe too if it moves them by at most 0.0001%. A warning of a rate that
    is usual: 0.01 of SGD, 0.001 of Adam (see TFI085). A single layer without activation under a
    loss of numbers, whose targets a linear map explains (R² of 50% or more): severe where its
    outputs need 2,000 steps of an adaptive optimizer and more to get to the targets, at a usual
    rate too, as the loss is convex and later steps are no longer than the first. Only where
    weights look freshly drawn (nothing frozen, biases constant): fine-tuning takes small rates on
    purpose. And only if a rate that is 30 times as large or more, and usual, was tried and lowers
    the loss of this batch.

    Cure: A larger rate. The one that is named was tried: with it the loss of this batch falls.

    Example:
        model.compile(keras.optimizers.SGD(0.00001), "mse")

    Bengio, Practical recommendations for gradient-based training, 2012.
    """
    found = evidence.found
    optimizer, rates = found.optimizer, found.rates
    if optimizer is None:
        return
    if optimizer.rate == 0 and found.parameters:
        told = f"{optimizer.name}'s learning rate is 0: no step changes anything."
        usual = _USUAL[optimizer.adaptive]
        cure = Cure(f"Use {usual}:", f"model.optimizer.learning_rate = {usual}")
        yield evidence.finding("rate too small", SEVERE, "", told, cure)
        return
    first = FirstStep.of(found)
    if rates is None or rates.cure is None or not first.is_short or not has_known_loss(evidence):
        return
    pace = pace_of(first)
    usual = abs(optimizer.rate) >= 0.99 * float(_USUAL[optimizer.adaptive])
    severity = WARNING if pace.severity and usual else pace.severity
    needs = f"at this pace the loss needs {pace.halved:,.0f} steps to halve"
    if _is_a_linear_map(evidence, first):
        # The loss is the square of the distance, which each step shortens by as much.
        steps = 2 / (abs(first.share or 0.0) * optimizer.gathered)
        severity = SEVERE if steps >= _STEPS_OF_ONE_LAYER else severity
        needs = f"at this pace it takes {steps:,.0f} steps to the targets"
    if not severity or rates.cure.rate < 0.99 * _TIMES * abs(optimizer.rate):
        return
    yield evidence.finding(
        "rate too small",
        severity,
        "",
        f"{optimizer.name}'s learning rate of {optimizer.rate:.4g} changes most weights by "
        f"{_times(pace.moved)} their size in a step: {needs}.",
    )


def _is_a_linear_map(evidence: Evidence, first: FirstStep) -> bool:
    """Whether a single layer is to compute one, by steps that do not grow with the gradient."""
    found = evidence.found
    if not (first.is_of_one_layer and first.optimizer.adaptive and len(found.outputs) == 1):
        return False
    [output] = found.outputs
    if output.activation not in ("", "linear") or not _is_regression(output):
        return False
    fit = linear_fit(found.given, output.targets)
    return fit is not None and fit >= _LINEAR


@rule(
    Kind("gradient too small", (*NO_SIGNAL, "clipping", "weight decay"), fault="activation"),
    code="TFI085",
)
def _gradient_too_small_for_a_usual_rate(evidence: Evidence) -> Iterator[Finding]:
    """The gradient is so small that a network from scratch hardly moves at a usual learning rate.

    Why: A step is the rate times the gradient. Each sigmoid on the way back takes three quarters of
    the gradient or more, and small weights take theirs: what is left may be too little to learn
    from, though every number is finite and nothing is saturated.

    Evidence: The numbers of "rate too small" (TFI081): severe if the loss needs 100,000 steps of
    SGD to halve at the pace of the first, at a rate of 0.01 to 1. 20 steps are tried (5 of 2
    million weights and more): where the gradient grows over them, as near zero weights, it is
    reckoned that it goes on to grow so. Steps are held against weights of variance 1 / inputs where
    the weights are smaller. The fault is the initial weights where most kernels are less than a
    tenth of that, or no hidden activation is sigmoid, tanh or softmax; else that activation.

    Cure: ReLU in the hidden layers, or weights drawn to the layers' sizes, and Adam.

    Example:
        Dense(8, "sigmoid", kernel_initializer=keras.initializers.RandomNormal(0, 0.05))

    Glorot & Bengio, Understanding the difficulty of training deep feedforward networks, 2010.
    """
    found, optimizer = evidence.found, evidence.found.optimizer
    if optimizer is None or optimizer.adaptive or not has_known_loss(evidence):
        return
    if not 0.99 * float(_USUAL[False]) <= abs(optimizer.rate) <= _ABSURD:
        return
    first = FirstStep.of(found)
    pace = pace_of(first)
    halved = _as_it_grows(pace.halved, found.rates.slow if found.rates else None)
    if pace.severity != SEVERE or halved < _STEPS_IN_VAIN:
        return
    small = first.size < _SMALL
    bounded = [] if small else sorted({*found.structure.hidden_activations} & {*BOUNDED})
    words = (
        f"Write relu for {bounded[0]} in the hidden layers, or redraw the weights and use Adam:"
        if bounded
        else "Redraw the weights, and use Adam:"
    )
    yield evidence.finding(
        "gradient too small",
        SEVERE,
        "",
        f"At {optimizer.name}'s usual rate of {optimizer.rate:.4g} a step changes most weights by "
        f"{_times(pace.moved)} {'a usual' if small else 'their'} size, and the loss needs "
        f"{halved:,.0f} steps to halve.",
        Cure(words, "tfinit.recommend(model).apply()"),
        "activation" if bounded else "initial",
    )


def _as_it_grows(steps: float, tried: Trial | None) -> float:
    """So many steps at the pace of the first, if each lowers the loss by g times the one before.

    ∫ exp(r·t) dt from 0 to T is to be ``steps``, where r = ln g, and T is given. The fall of a step
    along the gradient is its square, of which g is measured.
    """
    taken = len(tried.losses) - 1 if tried is not None else 0
    if tried is None or taken < 2 or tried.steeper <= 1 or not math.isfinite(tried.steeper):
        return steps
    growth = 2 * math.log(tried.steeper) / taken
    return math.log1p(growth * steps) / growth


class Pace(NamedTuple):
    """How slow a first step is.

    Attributes:
        moved: How far it moves most kernels, against themselves, with momentum gathered.
        halved: How many of it halve the loss.
        severity: "" if it is not too slow.
    """

    moved: float
    halved: float
    severity: str


def pace_of(first: FirstStep) -> Pace:
    """How slow it is."""
    if not first.is_short:
        return Pace(math.inf, 0.0, "")
    moved, share = first.moved, abs(first.share or 0.0) * first.optimizer.gathered
    halved = 0.7 / max(share, 1e-30)
    if (halved >= _STEPS_SEVERE and moved <= _LITTLE) or moved <= _HARDLY:
        return Pace(moved, halved, SEVERE)
    slow = halved >= _STEPS_WARNING and moved <= _LITTLE
    return Pace(moved, halved, WARNING if slow else "")


def has_known_loss(evidence: Evidence) -> bool:
    """Whether the losses are Keras's, which are lower the better and 0 at best."""
    losses = [output.loss for output in evidence.found.outputs if output.loss is not None]
    return bool(losses) and all(loss.is_keras for loss in losses)


def _times(ratio: float) -> str:
    if ratio >= 2:
        return f"{ratio:,.0f} times"
    return f"{100 * ratio:.0f}% of" if ratio >= 0.1 else f"{100 * ratio:.2g}% of"


def _steps(trial: Trial) -> str:
    count = len(trial.losses) - 1
    return "1 step" if count == 1 else f"{count} steps"
