"""What the rules about heads and losses ask of an output: its range, its loss, its cures."""

import math
from typing import Any

import numpy as np

from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.judging.findings import Change
from tfinit.diagnostics.measuring.outputs import OFF, Output
from tfinit.variables import walk_layers

# Where the values of an activation lie.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("softmax", "sigmoid", "hard_sigmoid"), (0.0, 1.0)),
    **dict.fromkeys(("tanh", "hard_tanh", "softsign"), (-1.0, 1.0)),
    **dict.fromkeys(("relu", "softplus", "exponential"), (0.0, math.inf)),
    "relu6": (0.0, 6.0),
    "elu": (-1.0, math.inf),
    "selu": (-1.7581, math.inf),
    "gelu": (-0.17, math.inf),
    "silu": (-0.2785, math.inf),
    "swish": (-0.2785, math.inf),
    "mish": (-0.3089, math.inf),
}
# What may stand behind an activation and leaves the range as it is; also all pooling and dropout.
_KEEPS_RANGE = {
    *("flatten", "reshape", "permute", "identity", "squeeze", "expand_dims", "transpose"),
    *("activation", "activity_regularization", "input_layer", "masking", "cast"),
}

SPARSE, CATEGORICAL, BINARY = (
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "binary_crossentropy",
)
SQUARES = "mean_squared_error"
_OF_SHARES = (SPARSE, CATEGORICAL, "categorical_focal_crossentropy")
_OF_PROBABILITIES = (BINARY, "binary_focal_crossentropy")
_OF_NUMBERS = (
    *(SQUARES, "mean_absolute_error", "huber", "log_cosh"),
    *("mean_absolute_percentage_error", "mean_squared_logarithmic_error"),
)


def activation(evidence: Evidence, output: Output) -> str:
    """The last activation of an output; "" where it cannot be told."""
    if output.activations or output.head:
        return output.activation
    found = evidence.found
    last = evidence.layers[-1] if evidence.layers else None
    if last is not None and len(found.outputs) == 1 and last.shape == output.values.shape:
        # The layers of a model that could not be traced are those that were called.
        mean = float(np.mean(output.values, dtype=np.float64))
        if last.output.finite and math.isclose(last.output.mean, mean, rel_tol=1e-3, abs_tol=1e-6):
            return last.activation or ("linear" if last.weights else "")
    return "softmax" if output.units > 1 and sums_to_one(output.values) else ""


def reach(evidence: Evidence, output: Output) -> tuple[float, float] | None:
    """Between which numbers an output can lie; None where it is not bounded, or not known to be."""
    places = [n for n, applied in enumerate(output.applied) if applied.is_activation]
    for applied in output.applied[places[-1] + 1 :] if places else output.applied:
        if not keeps_range(applied.what):
            return None
    return _RANGES.get(activation(evidence, output))


def is_bare(output: Output) -> bool:
    """True if an output is what a kernel makes, with no activation and no arithmetic behind."""
    rest = (a.what for a in output.applied)
    return bool(output.head) and all(keeps_range(what) for what in rest)


def keeps_range(what: str) -> bool:
    """True of what leaves the range of a signal as it is, but for noise."""
    return what in _KEEPS_RANGE or "dropout" in what or "pooling" in what


def range_of(activation: str) -> tuple[float, float] | None:
    """Where the values of an activation lie; None of one that has no bounds, or is unknown."""
    return _RANGES.get(activation)


def sums_to_one(values: np.ndarray) -> bool:
    """True if the values are shares: 0 or more, and of sum 1 along one of their axes."""
    if values.ndim < 2 or not np.all(values >= 0):
        return False
    axes = {values.ndim - 1, 1}
    return any(np.all(abs(values.sum(axis, dtype=np.float64) - 1) <= OFF) for axis in axes)


def is_softmax_of_one(evidence: Evidence, output: Output) -> bool:
    """True of a single unit that softmax divides by itself, which is 1 but for rounding."""
    if output.units > 1 or activation(evidence, output) != "softmax":
        return False
    return bool(output.values.size and np.all(abs(output.values - 1) <= OFF))


def is_finite(output: Output) -> bool:
    """True if an output is of numbers, none of them NaN or infinite."""
    return output.values.dtype.kind == "f" and bool(np.all(np.isfinite(output.values)))


def _is(output: Output, names: tuple[str, ...]) -> bool:
    return output.loss is not None and output.loss.is_keras and output.loss.name in names


def takes_shares(output: Output) -> bool:
    """True if its loss is a cross-entropy over several classes."""
    return _is(output, _OF_SHARES)


def takes_probabilities(output: Output) -> bool:
    """True if its loss is a binary cross-entropy."""
    return _is(output, _OF_PROBABILITIES)


def takes_numbers(output: Output) -> bool:
    """True if its loss is one for regression."""
    return _is(output, _OF_NUMBERS)


def is_stretched(output: Output) -> bool:
    """True if several units are compared with one number each time."""
    if output.targets is None or output.units < 2:
        return False
    shape = output.targets.shape
    return len(shape) == output.values.ndim and shape[-1] == 1


def name(output: Output) -> str:
    """How a sentence calls the layer that an output comes from."""
    return repr(output.head) if output.head else f"the output {output.name!r}".replace(" ''", "")


def ends(evidence: Evidence, output: Output) -> str:
    """What a sentence says of its last activation: ``"'fc' ends in relu"``."""
    what = activation(evidence, output)
    told = {"": "gives others", "linear": "has no activation"}.get(what, f"ends in {what}")
    return f"{name(output)} {told}"


def rewritten(
    evidence: Evidence,
    output: Output,
    activation: str | None = "",
    units: int | None = None,
    loss: str = "",
    words: str = "",
) -> Cure:
    """The head written otherwise: another activation, other units, another loss.

    Args:
        evidence: What the rule looks at.
        output: Whose head it is.
        activation: The new activation; None for none, "" for the one that it has.
        units: How many units; None for as many as it has.
        loss: The new loss, by its name; "" for the one that it has.
        words: What to say before.
    """
    said, changes, lines = [], [], []
    units = None if units == output.units else units
    places = [applied for applied in output.applied if applied.is_activation]
    place = places[-1].key if places else output.head
    op = _layer(evidence, place)
    if activation != "" and op is not None and place != output.head:
        said.append(f'Activation("{activation or "linear"}") for {place!r}')
    elif activation != "" or units:
        kept = output.activation if activation == "" else activation
        said.append(_written(evidence, output, units, None if kept == "linear" else kept))
    if units and output.head:
        changes.append(Change(output.head, "units", units))
    if activation != "" and op is not None and "activation" in vars(op):
        changes.append(Change(place, "activation", activation))
        of_model = any(
            layer is op for layer in getattr(evidence.found.structure.model, "layers", ())
        )
        if of_model and len(places) < 2 and not hasattr(op, "recurrent_activation"):
            lines.append(
                f'model.get_layer("{op.name}").activation = '
                f"keras.activations.{activation or 'linear'}"
            )
    if loss:
        said.append(f'loss="{loss}" in model.compile')
        if len(evidence.found.outputs) == 1:
            changes.append(Change("model.compile", "loss", loss))
            lines.append(f'model.compile(model.optimizer, loss="{loss}")')
    # A line that does half of it is none.
    code = "; ".join(lines) if len(lines) == len(said) and not units else ""
    told = f"{words}Write {' and '.join(said)}{':' if code else '.'}"
    return Cure(told, code, tuple(changes))


def _written(evidence: Evidence, output: Output, units: int | None, activation: str | None) -> str:
    """How the last layer is to be written: ``Dense(3, activation="softmax")``."""
    op = _layer(evidence, output.head)
    ending = f', activation="{activation}"' if activation else ""
    if hasattr(op, "filters") and hasattr(op, "kernel_size"):
        return f"{type(op).__name__}({units or output.units}, {op.kernel_size}{ending})"
    if op is None or (hasattr(op, "units") and not hasattr(op, "recurrent_activation")):
        return f"Dense({units or output.units}{ending})"
    if units is None and ending and "activation" in vars(op):
        return f"{ending[2:]} in {output.head!r}"
    return f"Dense({units or output.units}{ending}) behind {output.head!r}"


def _layer(evidence: Evidence, key: str) -> Any:
    """A layer by its key; None of none."""
    walked = walk_layers(evidence.found.structure.model)
    return next((layer for known, layer in walked if key and known == key), None)
