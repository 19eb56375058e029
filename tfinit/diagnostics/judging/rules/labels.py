"""Rules about the targets: what they hold, and whether it is what the loss takes."""

from collections.abc import Iterator

import numpy as np

from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import NOTE, SEVERE, WARNING, Finding, Kind, rule
from tfinit.diagnostics.measuring.mending import is_of_class_numbers
from tfinit.diagnostics.measuring.outputs import Loss, Output

# What labels are divided by together with images, and how exactly that can be undone.
_FACTORS, _ROUNDED = (255.0, 256.0, 100.0, 10.0, 9.0), 1e-3
_HALF = 0.5  # from which on a probability says yes
# Examples of one value that may be chance, and those that are none.
_FEW, _MANY = 8, 64
# The share of the commonest class.
_COMMON, _RARE = 0.9, 0.98
_LISTED = 10  # classes whose weights are written out


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


@rule(Kind("fractions for classes", fault="labels"), code="TFI042")
def _fractions_for_classes(evidence: Evidence) -> Iterator[Finding]:
    """Fractions where the loss takes the numbers of classes.

    Why: Sparse categorical cross-entropy cuts the fraction off to get the number of the class.
    Labels that were divided by 255 together with the images all become class 0: the loss falls to 0
    and nothing is learned. Binary cross-entropy of labels 0 and 0.004 learns to say no to all.

    Evidence: Under sparse categorical cross-entropy: how many targets are no whole numbers, and how
    many classes are left once the fraction is cut off. Under binary cross-entropy: only two values,
    0 and one below 0.5. Both are severe.

    Cure: Undo what scaled them; only inputs are to be scaled.

    Example:
        x, y = x / 255, y / 255
        model.compile(loss="sparse_categorical_crossentropy")
    """
    for output, targets in with_targets(evidence):
        if targets.dtype.kind != "f" or output.loss is None:
            continue
        labels = known(output, targets)
        values = np.unique(labels)
        if is_of_class_numbers(output.loss):
            broken = int(np.count_nonzero(labels != np.trunc(labels)))
            if not broken:
                continue
            left = len(np.unique(np.trunc(labels)))
            told = (
                f"{broken:,} of {labels.size:,} targets{of(output)} are fractions, from "
                f"{values[0]:.3g} to {values[-1]:.3g}, and {output.loss.words} takes whole class "
                f"numbers: with the fraction cut off, {len(values)} different values become {left}."
            )
        elif _is_binary_loss(output.loss):
            if len(values) != 2 or values[0] != 0 or not 0 < values[1] < _HALF:
                continue
            told = (
                f"The targets{of(output)} are 0 and {values[1]:.3g}, and {output.loss.words} takes "
                "0 and 1: the network learns to say 0 to all."
            )
        else:
            continue
        yield evidence.finding(
            "fractions for classes", SEVERE, output.head, told, _whole_again(values)
        )


def _whole_again(values: np.ndarray) -> Cure:
    """What makes class numbers of fractions again."""
    for factor in _FACTORS:
        whole = values * factor
        if np.all(np.abs(whole - np.round(whole)) < _ROUNDED):
            return Cure(
                f"They look as if they had been divided by {factor:g}; scale only x:",
                f'y = numpy.round(y * {factor:g}).astype("int32")',
            )
    return Cure(
        "Pass the numbers of the classes, from 0 on; if each value is a class:",
        "classes, y = numpy.unique(y, return_inverse=True)",
    )


@rule(Kind("constant targets", fault="labels"), code="TFI043")
def _constant_targets(evidence: Evidence) -> Iterator[Finding]:
    """Targets that are the same for all examples.

    Why: A network that puts out that one value has a loss of 0, whatever its inputs. It learns
    nothing about them, with an accuracy of 100%.

    Evidence: The targets of all examples are the same, under a loss of Keras's. Severe from 64
    examples on, in a network with one output and nothing frozen; else a warning, as a smaller batch
    may be of sorted data, and a GAN's generator is trained on targets of ones.

    Cure: Look at how the targets are made; if the data is sorted, take a batch of all of it.

    Example:
        y = (frame["income"] == ">50K").astype(int)  # the file has " >50K": all are 0
    """
    for output, targets in with_targets(evidence):
        labels = known(output, targets)
        if output.loss is not None and not output.loss.is_keras:
            continue
        if len(targets) < _FEW or not labels.size or np.any(targets[1:] != targets[:1]):
            continue
        classes = _classes(output, targets)
        first = labels if classes is None else classes
        if np.any(first != first[0]):
            value = "alike"
        else:
            value = f"{first[0]:.4g}" if classes is None else f"of class {first[0]}"
        frozen = any(not w.trainable for layer in evidence.layers for w in layer.weights)
        sure = len(targets) >= _MANY and len(evidence.found.outputs) == 1 and not frozen
        yield evidence.finding(
            "constant targets",
            SEVERE if sure else WARNING,
            output.head,
            f"All {len(targets):,} targets{of(output)} are {value}: to put that out always is all "
            "that can be learned.",
            Cure(
                "Look at how the targets are made. If the data is sorted, diagnose and train on "
                "examples of all of it:",
                "order = numpy.random.permutation(len(x)); x, y = x[order], y[order]",
            ),
        )


@rule(Kind("imbalance", fault="labels"), code="TFI044")
def _imbalance(evidence: Evidence) -> Iterator[Finding]:
    """Classes of which one has nearly all examples.

    Why: To say the common class always is right nearly always. The loss falls at once to what that
    gives, the accuracy is high, and the rare class is not found for long.

    Evidence: The share of the commonest class among the targets of a classification: a note from
    90%, a warning from 98% on. Never severe: networks do learn from such data, but slowly.

    Cure: Count the rare class more with `class_weight`, and begin with the share of each class in
    the last bias, so that the first steps are not spent on learning it.

    Example:
        y = transactions["fraud"]  # 0.2% are 1
        model.fit(x, y)  # an accuracy of 99.8% without a single fraud found
    """
    for output, targets in with_targets(evidence):
        classes = _classes(output, targets)
        if classes is None or classes.size < _MANY:
            continue
        values, counts = np.unique(classes, return_counts=True)
        share = counts.max() / classes.size
        if len(values) < 2 or share < _COMMON:
            continue
        weights = {
            int(v): float(f"{classes.size / (len(values) * n):.3g}")
            for v, n in zip(values, counts, strict=True)
        }
        plain = len(evidence.found.outputs) == 1 and classes.size == len(targets)
        told = f" Pass class_weight={weights} to fit." if plain and len(values) <= _LISTED else ""
        yield evidence.finding(
            "imbalance",
            WARNING if share >= _RARE else NOTE,
            output.head,
            f"{share:.1%} of the targets{of(output)} are of class {values[counts.argmax()]:g}; the "
            f"rarest of {len(values)} classes has {counts.min():,} of {classes.size:,}.",
            Cure(
                f"Judge it by recall or AUC, not by accuracy.{told} Begin with the shares in the "
                "last bias:",
                'tfinit.initialize(model, "output_bias", y)' if plain else "",
            ),
        )


def _classes(output: Output, targets: np.ndarray) -> np.ndarray | None:
    """The class of each example or position, of a classification into exclusive classes."""
    if _is_one_hot(output, targets):
        return targets.argmax(-1).ravel()
    if takes_class_numbers(output, targets):
        labels = known(output, targets)
        return None if np.any(labels != np.trunc(labels)) else labels.astype(np.int64)
    single = output.units == 1 and output.loss is not None and _is_binary_loss(output.loss)
    if single and set(np.unique(targets)) <= {0, 1}:
        return targets.ravel().astype(np.int64)
    return None


def _is_one_hot(output: Output, targets: np.ndarray) -> bool:
    if targets.ndim < 2 or targets.shape != output.values.shape or output.units < 2:
        return False
    return bool(np.all((targets == 0) | (targets == 1)) and np.all(targets.sum(-1) == 1))


def _is_binary_loss(loss: Loss) -> bool:
    return loss.is_keras and loss.name in ("binary_crossentropy", "binary_focal_crossentropy")


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
