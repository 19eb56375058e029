"""The cross-entropy that a network begins with."""

import math
from typing import NamedTuple

import numpy as np

from tfinit.diagnostics.measuring.outputs import Output, are_probabilities
from tfinit.diagnostics.measuring.targets import Targets

_LEAST = 1e-30  # what a probability is taken for that has become 0
_ENTROPIES = (
    *("sparse_categorical_crossentropy", "categorical_crossentropy", "binary_crossentropy"),
)


class Start(NamedTuple):
    """How sure a network is of the targets before training.

    Attributes:
        cross_entropy: The mean over the batch.
        classes: Among how many it chooses; 2 of zeros and ones.
        head: The key of the layer that it comes from; "" where it cannot be told.
    """

    cross_entropy: float
    classes: int
    head: str

    @property
    def guess(self) -> float:
        """That of guessing: log(classes)."""
        return math.log(self.classes)


def start_of(outputs: tuple[Output, ...], guessed: bool) -> Start | None:
    """That of the first output whose loss is a cross-entropy.

    Args:
        outputs: Those of the model.
        guessed: True if the loss was not said: then it is the cross-entropy where the targets are
            classes.
    """
    for output in outputs:
        targets, loss = output.of_targets, output.loss
        if (
            targets is None
            or targets.ignored is not None
            or not output.values.size
            or not np.all(np.isfinite(output.values))
        ):
            continue
        named = loss is not None and loss.is_keras and loss.name in _ENTROPIES
        if not named and not (guessed and loss is None):
            continue
        binary = loss is not None and loss.name == "binary_crossentropy"
        logits = None if loss is None else bool(loss.from_logits)
        found = _binary(output, targets, logits) if binary else _classes(output, targets, logits)
        if found is None and loss is None and targets.values.dtype.kind in "iub":
            found = _binary(output, targets, logits)
        if found is not None:
            return Start(*found, output.head)
    return None


def _classes(output: Output, targets: Targets, logits: bool | None) -> tuple[float, int] | None:
    values, y = output.values.astype(np.float64), targets.values
    if output.units < 2 or y.dtype.kind not in "fiub":
        return None
    if logits is None:
        logits = not are_probabilities(values)
    elif not logits and not are_probabilities(values):
        return None
    if y.shape == values.shape and targets.kind in ("one-hot", "shares"):
        return float(-(y * _logs(values, logits)).sum(-1).mean()), output.units
    labels = y.reshape(y.shape[:-1]) if y.shape[-1:] == (1,) else y
    if labels.shape != values.shape[:-1] or not targets.whole:
        return None
    if len(targets.known) < len(y) or targets.low < 0 or targets.high >= output.units:
        return None
    places = labels.astype(np.int64)[..., None]
    logs = np.take_along_axis(_logs(values, logits), places, -1)
    return float(-logs.mean()), output.units


def _logs(values: np.ndarray, logits: bool) -> np.ndarray:
    if not logits:
        return np.log(np.maximum(values, _LEAST))
    top = values.max(-1, keepdims=True)
    return values - top - np.log(np.exp(values - top).sum(-1, keepdims=True))


def _binary(output: Output, targets: Targets, logits: bool | None) -> tuple[float, int] | None:
    values = output.values.astype(np.float64)
    if targets.values.size != values.size or targets.low < 0 or not targets.high <= 1:
        return None
    y = targets.values.astype(np.float64).reshape(values.shape)
    inside = bool(np.all((values >= 0) & (values <= 1)))
    if logits is None:
        logits = not inside
    if logits:
        losses = np.logaddexp(0.0, values) - y * values
    elif inside:
        no = np.log(np.maximum(1 - values, _LEAST))
        losses = -(y * np.log(np.maximum(values, _LEAST)) + (1 - y) * no)
    else:
        return None
    return float(losses.mean()), 2
