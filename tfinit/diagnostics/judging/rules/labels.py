"""Rules about the targets: what they hold, and whether it is what the loss takes."""

from collections.abc import Iterator

import numpy as np

from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import SEVERE, Finding, Kind, rule
from tfinit.diagnostics.measuring.mending import is_of_class_numbers
from tfinit.diagnostics.measuring.outputs import Output


@rule(Kind("missing targets", fault="labels"), code="TFI040")
def _missing_targets(evidence: Evidence) -> Iterator[Finding]:
    """Targets that are NaN or infinite.

    Why: The loss of such an example is NaN, so its gradient is too, and after the first step all
    weights are NaN.

    Evidence: The count of targets that are not finite. Severe under Keras's losses, which give NaN
    for them; under a loss of your own only where the loss is NaN, as it may leave them out.

    Cure: Leave these examples out, or replace the values.

    Example:
        y = frame["price"].to_numpy()  # rows without a price are NaN
        model.fit(x, y)
    """
    for output, targets in with_targets(evidence):
        lost = _not_finite(targets)
        if not lost:
            continue
        own = output.loss is not None and not output.loss.is_keras
        if own and np.isfinite(evidence.found.loss):
            continue
        yield evidence.finding(
            "missing targets",
            SEVERE,
            output.head,
            f"{lost:,} of {targets.size:,} targets{of(output)} are NaN or infinite: so are "
            "their loss, its gradient, and after one step every weight.",
            Cure(
                "Leave these examples out:",
                "keep = numpy.isfinite(y.reshape(len(y), -1)).all(1); x, y = x[keep], y[keep]",
            ),
        )


@rule(Kind("negative labels", fault="labels"), code="TFI041")
def _negative_labels(evidence: Evidence) -> Iterator[Finding]:
    """Class numbers below 0.

    Why: Sparse categorical cross-entropy looks up the output of each example's class, and counts
    from 0. For a negative class TensorFlow stops with an error on the CPU and gives NaN elsewhere;
    other backends give NaN or take another class without a word.

    Evidence: Under sparse categorical cross-entropy, and for whole numbers where no loss is given:
    the smallest target. Severe where it is below 0, but for the loss's `ignore_class`.

    Cure: Number the classes from 0 on.

    Example:
        y = numpy.where(returns > 0, 1, -1)
        model.compile(loss="sparse_categorical_crossentropy")
    """
    for output, targets in with_targets(evidence):
        if not takes_class_numbers(output, targets):
            continue
        labels = known(output, targets)
        below = int(np.count_nonzero(labels <= -1))
        if not below:
            continue
        yield evidence.finding(
            "negative labels",
            SEVERE,
            output.head,
            f"The class numbers{of(output)} go from {labels.min():g} to {labels.max():g}: "
            f"{below:,} of {labels.size:,} are below 0, and the {output.units} outputs are of "
            f"classes 0 to {output.units - 1}.",
            Cure(
                "Number the classes from 0 on, without gaps:",
                "classes, y = numpy.unique(y, return_inverse=True)",
            ),
        )


def with_targets(evidence: Evidence) -> Iterator[tuple[Output, np.ndarray]]:
    """The outputs that have targets of numbers, with these."""
    for output in evidence.found.outputs:
        if output.targets is not None and output.targets.dtype.kind in "biuf":
            yield output, output.targets


def takes_class_numbers(output: Output, targets: np.ndarray) -> bool:
    """Whether the targets are meant as numbers of classes: the loss takes them, or is not given."""
    if output.loss is not None:
        return is_of_class_numbers(output.loss)
    shape = targets.shape[:-1] if targets.shape[-1:] == (1,) else targets.shape
    return targets.dtype.kind in "iu" and shape == output.values.shape[:-1] and output.units > 1


def known(output: Output, targets: np.ndarray) -> np.ndarray:
    """The targets that are finite and that the loss does not leave out, flat."""
    flat = targets.ravel()
    if flat.dtype.kind == "f":
        flat = flat[np.isfinite(flat)]
    ignored = None if output.loss is None else output.loss.ignored
    return flat if ignored is None else flat[flat != ignored]


def of(output: Output) -> str:
    """Which output is meant, where there are several."""
    return f" of {output.name!r}" if output.name else ""


def _not_finite(targets: np.ndarray) -> int:
    if targets.dtype.kind != "f":
        return 0
    return int(targets.size - np.count_nonzero(np.isfinite(targets)))
