"""The biases of the outputs from what the targets are on average."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tfinit.arguments import array
from tfinit.errors import InputError
from tfinit.graph.heads import Applied, heads_of
from tfinit.graph.keras_internals import given_losses
from tfinit.graph.kernels import Kernel
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Record, Report
from tfinit.schemes.engine.task import Task

# What each class is counted for beside its examples: none has a prior of zero.
_SEEN = 0.5
# A mean that an activation does not reach is put so far inside its range.
_INSIDE = 0.01
_SHARES = ("softmax", "log_softmax")
_NONE = ("", "linear")


@scheme("Output biases, from targets", of_targets=True)
def output_bias(task: Task) -> Report:
    """The bias of each output becomes what the targets are on average, seen through its activation.

    * softmax, or logits under a categorical cross-entropy: b = ln p, p the share of each class;
    * sigmoid, or logits under a binary one: b = ln(p / (1 - p)), p the share of ones of each unit;
    * numbers: b = μ, the mean of each unit's targets; behind tanh, softplus, exponential or relu
      what these turn into μ.

    A network then starts with the loss of who knows the prior, where a large first loss teaches it
    little else for many steps. Shares are counted with half an example more in each class. Only the
    last biases are written, so initialize the kernels before.

    Args:
        task: The model, and targets as `fit` takes them: an array, or a list or dictionary of them
            for several outputs.

    Returns:
        A report with a line for each output. An output is left as it is, with the reason, where
        its layer has no bias or is frozen, where something else stands behind it, or its targets do
        not fit.

    Raises:
        InputError: the targets are NaN or infinite, not as many as the outputs, or fit none of
            them.

    Example:
        >>> layer = keras.layers.Dense(2, "softmax", name="d")
        >>> model = keras.Sequential([keras.Input((4,)), layer])
        >>> y = numpy.array([0] * 90 + [1] * 10)
        >>> print(initialize(model, "output_bias", y))
        output_bias: 1 of 1 weights initialized
        key     layer  shape  action  activation  note
        d/bias  Dense  2      set     softmax     log prior, -2.26 to -0.11

    Karpathy, A recipe for training neural networks, 2019; Lin et al., Focal loss for dense object
    detection, ICCV 2017, section 4.1 (a prior for rare classes).
    """
    from tfinit.named_arrays import ends  # it imports Keras

    names = list(ends(task.model, "outputs").names)
    targets = _for_each(task.targets, names)
    losses = _losses(task.model, names, len(targets))
    by_key = {kernel.key.rsplit("/", 1)[0]: kernel for kernel in task.kernels}
    records = []
    for n, (key, applied) in enumerate(heads_of(task.structure, len(targets))):
        kernel, own = by_key.get(key), targets[n]
        if own is None or kernel is None:
            why = "no targets" if own is None else "its last layer cannot be told"
            name = names[n] if names else f"output {n + 1}"
            records.append(Record(key or name, "", (), "kept", note=why))
        else:
            records.append(_set(task, kernel, applied, own, losses[n]))
    if all(record.action == "kept" for record in records):
        notes = "; ".join(f"{record.key}: {record.note}" for record in records)
        raise InputError(
            f"Scheme 'output_bias' can set no bias: {notes}. Give the last layer a bias, and its "
            "activation alone behind it."
        )
    return task.report("output_bias", records)


def _set(
    task: Task, kernel: Kernel, applied: tuple[Applied, ...], targets: np.ndarray, loss: str
) -> Record:
    activation = "/".join(part.what for part in applied)
    key = f"{kernel.key.rsplit('/', 1)[0]}/bias"

    def record(action: str, note: str) -> Record:
        shape = () if kernel.bias is None else tuple(kernel.bias.shape)
        name = type(kernel.layer).__name__
        return Record(key, name, shape, action, activation=activation, note=note)

    if kernel.bias is None:
        return record("kept", "no bias")
    if not (kernel.trainable and kernel.bias.trainable):
        return record("kept", "frozen")
    if len(applied) > 1 or not all(part.is_activation for part in applied):
        return record("kept", f"{' and '.join(part.what for part in applied)} behind it")
    units = int(np.prod(tuple(kernel.bias.shape)))
    means = _means(targets, units, activation, loss)
    if isinstance(means, str):
        return record("kept", means)
    what, values = means
    task.write(kernel.bias, values.reshape(tuple(kernel.bias.shape)).astype(np.float32))
    low, high = values.min(), values.max()
    return record("set", f"{what}, {low:.3g}" + (f" to {high:.3g}" if high > low else ""))


def _means(
    targets: np.ndarray, units: int, activation: str, loss: str
) -> tuple[str, np.ndarray] | str:
    """What the biases are, in words and numbers; or why there are none."""
    whole = bool(np.all(targets == np.round(targets)))
    wide = targets.shape[-1:] == (units,) and targets.ndim > 1
    entropy = "crossentropy" in loss
    logits = (entropy and "binary" not in loss) if loss else not wide
    classes = activation in _SHARES or (activation in _NONE and units > 1 and logits)
    if classes:
        if wide and units > 1:
            counts = targets.reshape(-1, units).sum(0)
        elif whole and targets.size and 0 <= targets.min() <= targets.max() < units:
            counts = np.bincount(targets.astype(np.int64).ravel(), minlength=units)
        else:
            return f"its targets are no classes of {units}"
        if counts.min() < 0:
            return "its targets are no shares"
        return "log prior", np.log((counts + _SEEN) / (counts.sum() + _SEEN * units))
    if not wide and units > 1:
        return f"its targets are of shape {targets.shape}, it has {units} units"
    rows = targets.reshape(-1, units)
    if activation == "sigmoid" or (activation in _NONE and entropy):
        if rows.min() < 0 or rows.max() > 1:
            return "its targets are not in [0, 1]"
        share = (rows.sum(0) + _SEEN) / (len(rows) + 2 * _SEEN)
        return "log-odds", np.log(share) - np.log1p(-share)
    inverse = _INVERSES.get(activation)
    if inverse is None:
        return f"it is not known what becomes a mean behind {activation}"
    with np.errstate(all="ignore"):
        values = inverse(rows.mean(0))
    if not np.all(np.isfinite(values)):
        return f"{activation} does not reach the mean of its targets"
    return "mean", values


def _inside(mean: np.ndarray) -> np.ndarray:
    return np.where(np.abs(mean) < 1, np.clip(mean, _INSIDE - 1, 1 - _INSIDE), np.nan)


# Activation → what it turns into a mean; NaN or infinite where nothing is.
_INVERSES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "": lambda mean: mean,
    "linear": lambda mean: mean,
    "relu": lambda mean: np.where(mean > 0, mean, np.nan),
    "tanh": lambda mean: np.arctanh(_inside(mean)),
    "softplus": lambda mean: np.where(mean > 30, mean, np.log(np.expm1(mean))),
    "exponential": np.log,
}


def _for_each(given: Any, names: list[str]) -> list[np.ndarray | None]:
    """The targets of each output, float64."""

    def read(part: Any) -> np.ndarray | None:
        if part is None:
            return None
        found = array("x", part).astype(np.float64)
        if not found.ndim or not found.size or not np.all(np.isfinite(found)):
            raise InputError(
                "`x`, the targets, must hold one for each example, none NaN or infinite. Remove "
                "or replace those."
            )
        return found

    if isinstance(given, dict):
        unknown = sorted(set(given) - set(names))
        if unknown:
            raise InputError(
                f"`x`, the targets, are of {', '.join(map(str, unknown))}; the outputs of `model` "
                f"are {', '.join(names) or 'not named'}."
            )
        return [read(given.get(name)) for name in names]
    if len(names) > 1:
        if not isinstance(given, list | tuple) or len(given) != len(names):
            raise InputError(
                f"`x`, the targets, must be one array for each of the outputs {', '.join(names)}."
            )
        return [read(part) for part in given]
    one = isinstance(given, list | tuple) and len(given) == 1 and np.ndim(given[0]) > 0
    return [read(given[0] if one else given)]


def _losses(model: Any, names: list[str], count: int) -> list[str]:
    """How the loss of each output is called, in small letters; "" of none."""
    given, _ = given_losses(model)
    if isinstance(given, dict):
        found = [given.get(name) for name in names]
    elif isinstance(given, list | tuple):
        found = list(given)
    else:
        found = [given] * count
    if len(found) != count:
        found = [None] * count
    return [_called(loss) for loss in found]


def _called(loss: Any) -> str:
    if loss is None:
        return ""
    own = getattr(loss, "name", None) or getattr(loss, "__name__", "a function")
    name = (loss if isinstance(loss, str) else str(own)).lower()
    return "binary_crossentropy" if name == "bce" else name
