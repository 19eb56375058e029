"""Rules about regression targets: their scale against the outputs', and their shape."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import NOTE, SEVERE, WARNING, Finding, Kind, rule
from tfinit.diagnostics.judging.rules.labels import of, with_targets
from tfinit.diagnostics.measuring.outputs import Output

# Losses that compare number by number, and those of them whose slope is that of the distance.
_DISTANCES = ("mean_absolute_error", "huber", "log_cosh")
_NUMBERS = ("mean_squared_error", *_DISTANCES)
_RELATIVE = ("mean_absolute_percentage_error", "mean_squared_logarithmic_error", "poisson")
_BOUNDED = ("softmax", "sigmoid", "tanh", "hard_sigmoid", "softsign", "hard_tanh")
# rms of targets that are not scaled, and how many times the outputs that begin.
_LARGE, _VERY_LARGE, _BEYOND = 10.0, 100.0, 3.0
# Steps until the outputs are where the targets are, and how many fewer it must be for targets of
# size 1: else it is the rate that is small.
_STEPS_SEVERE, _STEPS_WARNING, _FEWER = 1e4, 1e3, 10.0
# Or fewer steps, if it were a small part of them for targets of size 1.
_STEPS_MANY, _FAR_FEWER = 500, 100.0
_RISES, _CUT = 2.0, 0.5  # the loss after steps that were tried, and weights without a gradient
_FAST = 1.0  # first update of a weight / the weight: then it is thrown away
_TINY, _TINY_SEVERE = 50.0, 100.0  # outputs that begin, over what targets vary by
_COARSE = 30.0  # how far a step moves the outputs, over what targets vary by
_MOST_STEPS = 1e9
# Targets that look like pixels: the largest is above, in rows of so many.
_PIXELS, _ROW = 100, 28


@rule(Kind("far targets", ("not finite", "missing targets"), fault="targets"), code="TFI045")
def _far_targets(evidence: Evidence) -> Iterator[Finding]:
    """Regression targets far from the scale of the outputs.

    Why: Outputs begin near 0 with a size of about 1. Adam moves every weight by about its learning
    rate in a step, however large the error is, so outputs creep towards targets of 100,000, and
    differences that are small against the targets' mean are learned last. SGD makes steps that grow
    with the error, and throws the weights away.

    Evidence: The rms of the targets, the outputs before training, and the optimizer's first step
    under a loss of numbers (mean squared or absolute error, Huber, log-cosh). Above 10 and 3 times
    the outputs it is a note. Adaptive and clipped optimizers: how far their step moves the outputs
    gives the number of steps to the targets, with weights growing on the way, and more where the
    mean is many times what they vary by: severe from 10,000 steps on, where targets of size 1 would
    take a tenth at most, or from 500 on, where these would take a hundredth; a warning from 1,000
    steps on.
    SGD: severe where 20 steps that were tried raise the loss or end all gradients, or where the
    first one changes a weight by as much as the weight; else a warning. Targets that vary by less
    than a fiftieth of what the outputs begin with, these being at most 10: a warning; for SGD
    severe below a hundredth, as thousands of steps only take the outputs back; for adaptive
    optimizers severe where a step at a rate that stays moves the outputs by 30 times what the
    targets vary by: it leaps over them each time.

    Cure: Standardize the targets, and undo it in what the network predicts.

    Example:
        model.add(Dense(1))
        model.compile("adam", "mse")
        model.fit(x, house_prices)  # around 250,000
    """
    for output, targets in with_targets(evidence):
        if not _is_of_numbers(output, targets):
            continue
        scale = _scale(output, targets)
        if scale is None:
            continue
        if scale.size > max(_LARGE, _BEYOND * scale.begins):
            severity, effect = _effect(evidence, output, scale)
            if output.activation in _BOUNDED:
                severity, effect = WARNING, f"a {output.activation} never gets there"
        elif 0 < scale.std < scale.begins / _TINY and scale.begins <= _LARGE:
            severity, effect = _effect_of_tiny(evidence, output, scale)
        else:
            continue
        yield evidence.finding(
            "far targets",
            severity,
            output.head,
            f"The targets{of(output)} have mean {scale.mean:.3g} and deviation {scale.std:.3g}, "
            f"the outputs begin at rms {scale.begins:.2g}: {effect}.",
            Cure(
                "Standardize the targets, and turn predictions back by * std + mean:",
                "y = (y - y.mean(0)) / y.std(0)"
                if scale.std > 0 and len(evidence.found.outputs) == 1
                else "",
            ),
        )


@rule(
    Kind("broadcast targets", ("missing flatten",), fault="labels"),
    code="TFI046",
)
def _broadcast_targets(evidence: Evidence) -> Iterator[Finding]:
    """Targets of another shape than the outputs, which are compared all with all.

    Why: Where shapes differ, numbers are repeated until they fit: targets of shape (32,) minus
    outputs of shape (32, 1) are 32 × 32 differences, of each output with each example's target.
    The best answer to that is the mean of all targets, and that is what is learned.

    Evidence: The shapes of targets and outputs under a loss of Keras's that compares numbers, once
    Keras has added or dropped a last axis of 1; under a loss of your own, for targets (n,) and
    outputs (n, 1): whether it gives another number for targets of shape (n, 1). Severe.

    Cure: Give the targets the shape of the outputs.

    Example:
        class Squares(keras.losses.Loss):
            def call(self, y, outputs):  # y has shape (32,), outputs have (32, 1)
                return keras.ops.mean((y - outputs) ** 2)
    """
    for output, targets in with_targets(evidence):
        loss = output.loss
        if loss is None:
            continue
        given, made = targets.shape, output.values.shape
        numbers = loss.is_keras and loss.name in (*_NUMBERS, *_RELATIVE)
        if not (numbers and _is_spread(given, made)) and not evidence.found.spreads:
            continue
        wider = len(made) > len(given) or (made[-1:] != given[-1:] and given[-1:] == (1,))
        single = given in ((made[0],), (made[0], 1)) and math.prod(made[1:]) > 1
        if single and len(made) == 2:
            continue  # the head has units too many, which is told of it
        words = (
            "Let the network give one answer for each example: Dense(1) last, and recurrent layers "
            "with return_sequences=False before it."
            if single
            else "Give the targets the shape of the outputs:"
        )
        fits = math.prod(given) == math.prod(made)
        yield evidence.finding(
            "broadcast targets",
            SEVERE,
            output.head,
            f"The targets{of(output)} have shape {given} and the outputs {made}: "
            f"{'each target is compared with several outputs' if wider else 'they are repeated'}.",
            Cure(words, f"y = y.reshape({('len(y)', *made[1:])})".replace("'", "") if fits else ""),
        )


def _is_spread(given: tuple[int, ...], made: tuple[int, ...]) -> bool:
    """Whether a loss of Keras's repeats targets or outputs until they fit."""
    if len(made) == len(given) + 1 and made[-1] == 1:
        given, made = ((*given, 1), made) if len(given) == 1 else (given, made[:-1])
    elif len(given) == len(made) + 1 and given[-1] == 1:
        given, made = (given, (*made, 1)) if len(made) == 1 else (given[:-1], made)
    return given != made


@rule(Kind("pixels as targets", fault="targets"), code="TFI047")
def _pixels_as_targets(evidence: Evidence) -> Iterator[Finding]:
    """Targets of 0 to 255 for outputs of 0 to 1.

    Why: A network that is to give its inputs back, or to draw, ends in a sigmoid. It reaches 1 and
    no further, so against pixels of 255 all outputs go to 1 and stay there. Cross-entropy falls
    below 0 besides.

    Evidence: Targets in the shape of images, or in rows of 28 numbers or more, from 0 up to more
    than 100 and at most 255, for a bounded output or under binary cross-entropy. Severe.

    Cure: Divide them by 255, as the inputs.

    Example:
        autoencoder.fit(images / 255, images)
    """
    for output, targets in with_targets(evidence):
        loss, shape = output.loss, output.values.shape
        if loss is None or not loss.is_keras or targets.size != output.values.size:
            continue
        known = targets[np.isfinite(targets)] if targets.dtype.kind == "f" else targets
        if not known.size or not (known.min() >= 0 and _PIXELS < known.max() <= 255):
            continue
        binary = loss.name == "binary_crossentropy"
        if math.prod(shape[1:]) < _ROW or not (output.activation in _BOUNDED or binary):
            continue
        yield evidence.finding(
            "pixels as targets",
            SEVERE,
            output.head,
            f"The targets{of(output)} go from {known.min():.3g} to {known.max():.3g} as pixels, "
            f"the outputs from {output.values.min():.2g} to {output.values.max():.2g}: "
            f"{output.activation} and {loss.words} are for targets from 0 to 1.",
            Cure("Scale them as the inputs:", "y = y / 255"),
        )


class _Scale(NamedTuple):
    """Of the targets of an output, of the column that is farthest from it.

    Attributes:
        mean: Of the targets.
        std: Of the targets.
        size: Their rms.
        begins: rms of the outputs.
        distance: rms of targets - outputs.
    """

    mean: float
    std: float
    size: float
    begins: float
    distance: float


def _scale(output: Output, targets: np.ndarray) -> _Scale | None:
    wide = targets.reshape(output.values.shape).astype(np.float64)
    made = output.values.astype(np.float64)
    columns = (np.moveaxis(part, -1, 0).reshape(output.units, -1) for part in (wide, made))
    found = []
    for given, values in zip(*columns, strict=True):
        known = np.isfinite(given) & np.isfinite(values)
        if not known.any():
            continue
        given, values = given[known], values[known]
        apart, size, begins = (
            math.sqrt(float(np.mean(part**2))) for part in (given - values, given, values)
        )
        found.append(_Scale(float(given.mean()), float(given.std()), size, begins, apart))
    return max(found, key=lambda s: s.size / max(s.begins, 1.0), default=None)


def _is_of_numbers(output: Output, targets: np.ndarray) -> bool:
    """Whether an output is compared number by number with targets of its size."""
    if targets.size != output.values.size or output.values.ndim < 2:
        return False
    if output.loss is None:
        return targets.dtype.kind == "f"
    return output.loss.is_keras and output.loss.name in _NUMBERS


def _effect(evidence: Evidence, output: Output, scale: _Scale) -> tuple[str, str]:
    """How bad that is for the optimizer, and what it does, in words."""
    optimizer, rates = evidence.found.optimizer, evidence.found.rates
    mild = WARNING if scale.size > _VERY_LARGE else NOTE
    alone = len(evidence.found.outputs) == 1
    if optimizer is None or optimizer.decrease is None or output.loss is None or not alone:
        return mild, "they are far apart"
    if not (optimizer.adaptive or optimizer.clips):
        fast = max((p.update_ratio or 0.0 for p in evidence.found.parameters), default=0.0)
        if fast / scale.distance >= _FAST:  # so it would be for targets of size 1
            return mild, "they are far apart"
        if rates is not None and rates.given is not None:
            given = rates.given
            end = given.losses[-1]
            if not given.finite or end > _RISES * given.losses[0] or given.cut >= _CUT:
                told = f"{end:.3g}" if math.isfinite(end) else "infinity"
                return SEVERE, (
                    f"steps of {optimizer.name} grow with that, and the loss goes from "
                    f"{given.losses[0]:.3g} to {told} in {len(given.losses) - 1} steps"
                )
        elif fast >= _FAST:
            return SEVERE, f"the first step of {optimizer.name} changes a weight {fast:.2g} times"
        return WARNING, f"steps of {optimizer.name} grow with that"
    move = _move(evidence, output, scale)
    if move is None:
        return mild, "they are far apart"
    steps = _steps_to(evidence, move, scale.distance)
    steps *= math.sqrt(1 + abs(scale.mean) / max(scale.std, 1e-30)) if scale.std > 0 else 1.0
    told = (
        f"a step of {optimizer.name} moves them by about {move:.2g}, so that they need some "
        f"{_rounded(steps)} steps"
    )
    times = steps / _steps_to(evidence, move, 1.0)
    slow = steps >= _STEPS_SEVERE and times >= _FEWER
    if slow or (steps >= _STEPS_MANY and times >= _FAR_FEWER):
        return SEVERE, f"{told}, {_rounded(times)} times those to targets of size 1"
    return (WARNING if steps >= _STEPS_WARNING else mild), told


def _move(evidence: Evidence, output: Output, scale: _Scale) -> float | None:
    """How far the optimizer's first step moves the only output; None where it cannot be told."""
    optimizer = evidence.found.optimizer
    if optimizer is None or optimizer.decrease is None or output.loss is None:
        return None
    if len(evidence.found.outputs) > 1:
        return None
    slope = 1.0 if output.loss.name in _DISTANCES else 2 * scale.distance
    move = optimizer.decrease / slope
    return move if move > 0 else None


def _effect_of_tiny(evidence: Evidence, output: Output, scale: _Scale) -> tuple[str, str]:
    """The same, of targets that vary by less than the outputs do before training."""
    optimizer = evidence.found.optimizer
    move = _move(evidence, output, scale)
    if move is not None and optimizer is not None and optimizer.adaptive:
        coarse = move / scale.std
        if coarse >= _COARSE and not optimizer.scheduled:
            return SEVERE, (
                f"a step of {optimizer.name} moves them by about {move:.2g}, {coarse:,.0f} times "
                "what the targets vary by"
            )
    slow = optimizer is not None and not optimizer.adaptive and output.loss is not None
    told = f"for long, training only takes back the {scale.begins / scale.std:,.0f} times too much"
    return SEVERE if slow and scale.begins > _TINY_SEVERE * scale.std else WARNING, told


def _steps_to(evidence: Evidence, move: float, distance: float) -> float:
    """How many steps outputs take over a distance: each layer's weights grow with every step.

    The t with move · t · (1 + u·t)^(L - 1) = distance, for L layers whose weights change by the
    share u of themselves in the first step.
    """
    kernels = [k for k in evidence.kernels if not k.normalized and not k.scores]
    ratios = [w.update_ratio for k in kernels for w in k.weights if w.update_ratio and w.trainable]
    grows = float(np.median(ratios)) if ratios else 0.0
    behind = max(len({k.depth for k in kernels}) - 1, 0)
    low, high = 0.0, math.log(_MOST_STEPS)
    for _ in range(60):
        half = (low + high) / 2
        reached = math.log(move) + half + behind * math.log1p(grows * math.exp(half))
        low, high = (half, high) if reached < math.log(max(distance, 1e-30)) else (low, half)
    return math.exp(high)


def _rounded(steps: float) -> str:
    return f"{float(f'{steps:.1g}'):,.0f}" if steps < _MOST_STEPS / 2 else "a billion"
