"""Rules about weights that no gradient reaches, or one of exact zeros."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from tfinit.diagnostics.judging import cures
from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import NOTE, SEVERE, WARNING, Finding, Kind, rule
from tfinit.diagnostics.measuring.layers import LayerSignals
from tfinit.diagnostics.measuring.outputs import Output
from tfinit.diagnostics.measuring.parameters import Parameter

VANISHING = Kind(
    "vanishing",
    (
        *("not finite", "twins", "bias off", "dead units", "saturated", "scale jump"),
        *("missing inputs", "examples alike", "normalized away", "gates saturated"),
        "hidden softmax",
    ),
    cures.steady,
    fault="initial",
)
# What explains gradients of zero by itself.
_EXPLAIN = (
    *("not finite", "twins", "bias off", "dead units", "saturated", "vanishing", "scale jump"),
    *("one-unit softmax", "head against loss", "too few units", "missing targets"),
    *("missing inputs", "examples alike", "normalized away", "frozen", "loss against targets"),
    *("hidden softmax", "gates saturated", "dropout"),
)
# A loss below it has no more to teach where the outputs fit the targets; what fits them.
_NOTHING_LEFT, _FITS = 1e-5, 0.1
_MOST = 0.5  # of the entries of all kernels that train
_SAME = 1e-6  # what an output varies by, against its size: rounding; of a gradient, to the loss


@rule(VANISHING, code="TFI100")
def _no_gradient(evidence: Evidence) -> Iterator[Finding]:
    """Weights that the loss does not depend on, as far as backpropagation sees.

    Why: A weight is trained by the gradient of the loss. Where something behind it has none
    (rounding, argmax, ``stop_gradient``, a step through NumPy), or where its output is not used,
    there is no gradient, and the optimizer leaves the weight as it is.

    Evidence: The trainable weights for which backpropagation gives no gradient at all. Severe
    where these are all of them, else a warning.

    Cure: Take out what cuts the gradient, or the layers that nothing uses.

    Example:
        outputs = keras.ops.stop_gradient(Dense(3)(inputs))
    """
    trained = evidence.found.parameters
    cut = [p.key for p in trained if p.gradient is None]
    if cut:
        others = f" and {len(cut) - 1} others" if len(cut) > 1 else ""
        yield evidence.finding(
            "vanishing",
            SEVERE if len(cut) == len(trained) else WARNING,
            cut[0].rsplit("/", 1)[0],
            f"No gradient of the loss reaches {cut[0]!r}{others}.",
            Cure("Look for stop_gradient, rounding or argmax behind it, or an unused output.", ""),
            fault="activation",
        )


@rule(Kind("no gradient", _EXPLAIN, fault="activation"), code="TFI101")
def _zero_gradient(evidence: Evidence) -> Iterator[Finding]:
    """Weights whose gradient is exactly zero, so that no step moves them.

    Why: The gradient of a weight is a product of what comes before it and of all slopes behind
    it. One factor of zero for every example (an activation that is flat there, a softmax over one
    unit, which is 1 whatever it gets, two factors that both start at zero) makes the whole product
    zero, and the loss never changes.

    Evidence: Kernels (trainable weights of two axes or more) whose gradient on the batch is
    zero in every entry (or only rounding, where the last activation makes an output constant:
    on some processors a softmax over one unit is 0.99999994), and that are at least half of the
    entries of all kernels, the first one among them. Severe if so; a note where they are fewer.
    Not counted: zeros of the first step only, behind a weight that starts at zero and is moved
    by that step (a zero-initialized head, gamma or LoRA factor), and a batch that the network
    already fits.

    Cure: Change what makes the product zero: it is named. No other initial weights help where it is
    the last activation; where two factors are zero, let one of them start at random numbers.

    Example:
        Dense(1, activation="softmax")
    """
    kernels = [p for p in evidence.found.parameters if _is_kernel(p)]
    limit = _rounding(evidence)
    still = [p for p in kernels if p.gradient is not None and p.gradient <= limit]
    if not still or any(_opens(p) for p in evidence.found.parameters) or _fits(evidence):
        return
    entries = sum(math.prod(p.shape) for p in kernels)
    share = sum(math.prod(p.shape) for p in still) / entries
    most = share >= _MOST and kernels[0] in still
    place, why, fault, cure = _reason(evidence, still)
    what = "all" if len(still) == len(kernels) else f"{len(still)} of"
    exactly = "exactly zero" if all(p.gradient == 0 for p in still) else "zero but for rounding"
    yield evidence.finding(
        "no gradient",
        SEVERE if most else NOTE,
        place,
        f"The gradient of the loss is {exactly} for {what} {len(kernels)} kernels "
        f"({share:.0%} of their weights): no step moves them. {why}",
        Cure(cure, ""),
        fault=fault,
    )


def _rounding(evidence: Evidence) -> float:
    """What a gradient may be and is zero all the same."""
    constant = any(_constant_output(evidence, output) for output in evidence.found.outputs)
    return _SAME * abs(evidence.found.loss) if constant else 0.0


def _is_kernel(weight: Parameter) -> bool:
    return len(weight.shape) > 1 and not _is_bias(weight)


def _is_bias(weight: Parameter) -> bool:
    name = weight.key.rsplit("/", 1)[-1].lower()
    return "bias" in name or name in ("beta", "b", "offset", "shift")


def _opens(weight: Parameter) -> bool:
    """True if it starts at zero and is moved: from the next step on it lets gradients through."""
    return weight.rms == 0 and bool(weight.gradient) and not _is_bias(weight)


def _fits(evidence: Evidence) -> bool:
    """True if there is nothing left to learn from the batch, or nothing that says so."""
    if abs(evidence.found.loss) > _NOTHING_LEFT:
        return False
    outputs = [o for o in evidence.found.outputs if o.targets is not None]
    return all(map(_output_fits, outputs))


def _output_fits(output: Output) -> bool:
    targets, values = np.asarray(output.targets), output.values
    if targets.dtype.kind not in "fiub" or values.dtype.kind != "f":
        return True
    if targets.size == values.size:
        targets, values = targets.ravel().astype(float), values.ravel()
        if set(np.unique(targets)) <= {-1.0, 1.0}:  # a margin
            return bool(np.all(targets * values > 0))
        off = np.mean(np.abs(targets - values))
        return bool(off <= _FITS * max(float(targets.std()), float(np.abs(targets).mean()), 1e-30))
    if targets.size * output.units == values.size:
        classes = values.reshape(-1, output.units).argmax(-1)
        return bool(np.mean(classes == targets.ravel()) > 1 - _FITS)
    return True


def _reason(evidence: Evidence, still: Sequence[Parameter]) -> tuple[str, str, str, str]:
    """Where the gradient ends: the layer, a sentence, the fault and what to do."""
    for output in evidence.found.outputs:
        if told := _constant_output(evidence, output):
            return told
    zeros = [p for p in still if p.rms == 0]
    if len(zeros) > 1:
        place = zeros[0].key.rsplit("/", 1)[0]
        why = (
            f"{zeros[0].key!r} and {len(zeros) - 1} others are all zeros, and each is trained only "
            "by what the others are."
        )
        cure = "Let one factor of each product start at random numbers: kernel_initializer or the"
        return place, why, "initial", f"{cure} like, not all of them at zeros."
    through = [
        layer for layer in evidence.layers if layer.output_gradient and layer.output_gradient.norm
    ]
    if not through:
        head = next((o.head for o in evidence.found.outputs if o.head), "")
        why = "The loss does not change with the outputs at all."
        return head, why, "loss", "Take a loss that depends on every output, and suits the targets."
    last = through[0]  # the farthest that a gradient comes
    if last.linear_gradient is not None and not last.linear_gradient.norm and last.activation:
        why = f"It ends at {last.key!r}: the slope of its {last.activation} is zero for all inputs."
        fault = "head" if last.head else "activation"
        return last.key, why, fault, "Take an activation that has a slope there."
    why = f"It comes back to the output of {last.key!r}, and no further."
    return last.key, why, "activation", "Look for what has no slope there: sign, round, clip, max."


def _constant_output(evidence: Evidence, output: Output) -> tuple[str, str, str, str] | None:
    """What is said of an output that its last activation makes constant."""
    head = next((r for r in reversed(evidence.layers) if r.key == output.head), None)
    values = output.values
    if head is None or values.dtype.kind != "f" or not np.all(np.isfinite(values)):
        return None
    if len(values) < 2 or not _is_constant(values) or not _varies(head, values):
        return None
    at = float(values.ravel()[0])
    what = output.activation
    why = (
        f"What {output.head!r} makes of the examples varies by {head.linear.variation:.2g}, but "
        f"{what} turns it into {at:.3g} for every one of them."
    )
    if what == "softmax":
        cure = 'Softmax over one unit is always 1. Write Dense(1, activation="sigmoid").'
    elif what == "linear":
        cure = "Leave out what stands between the last layer and the output."
    else:
        cure = f"Leave the {what} of the last layer out, or take one whose range holds the targets."
    return output.head, why, "head", cure


def _is_constant(values: np.ndarray) -> bool:
    spread = values.max(axis=0) - values.min(axis=0)
    return bool(np.max(spread) <= _SAME * np.max(np.abs(values)))


def _varies(head: LayerSignals, values: np.ndarray) -> bool:
    """True if what the activation gets varies by enough to be seen in outputs of this size."""
    size = max(head.linear.rms, float(np.max(np.abs(values))))
    return head.linear.finite and head.linear.variation > _SAME * size
