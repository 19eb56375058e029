"""What the rules about heads and losses ask of an output: its range, its loss, its cures."""

import math
from typing import Any

import numpy as np

from tfinit.diagnostics.judging.cures import Cure
from tfinit.diagnostics.judging.evidence import Evidence
from tfinit.diagnostics.measuring.outputs import OFF, Output

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
_OF_SHARES = (SPARSE, CATEGORICAL, "categorical_focal_crossentropy")
_OF_PROBABILITIES = (BINARY, "binary_focal_crossentropy")
_OF_NUMBERS = (
    *("mean_squared_error", "mean_absolute_error", "huber", "log_cosh"),
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
        if applied.what not in _KEEPS_RANGE and not _keeps(applied.what):
            return None
    return _RANGES.get(activation(evidence, output))


def is_bare(output: Output) -> bool:
    """True if an output is what a kernel makes, with no activation and no arithmetic behind."""
    rest = (a.what for a in output.applied)
    return bool(output.head) and all(what in _KEEPS_RANGE or _keeps(what) for what in rest)


def _keeps(what: str) -> bool:
    return "dropout" in what or "pooling" in what


def sums_to_one(values: np.ndarray) -> bool:
    """True if the values are shares: 0 or more, and of sum 1 along one of their axes."""
    if values.ndim < 2 or not np.all(values >= 0):
        return False
    axes = {values.ndim - 1, 1}
    return any(np.all(abs(values.sum(axis, dtype=np.float64) - 1) <= OFF) for axis in axes)


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


def name(output: Output) -> str:
    """How a sentence calls the layer that an output comes from."""
    return repr(output.head) if output.head else f"the output {output.name!r}".replace(" ''", "")


def head_with(evidence: Evidence, output: Output, units: int, wanted: str | None) -> str:
    """How the last layer is to be written: ``Dense(3, activation="softmax")``."""
    op = _top_layer(evidence, output.head)
    kind = type(op).__name__ if op is not None and hasattr(op, "activation") else "Dense"
    size = "units" if hasattr(op, "units") else "filters" if hasattr(op, "filters") else ""
    kernel = f", {op.kernel_size}" if size == "filters" else ""
    act = f', activation="{wanted}"' if wanted else ""
    return f"{kind if size else 'Dense'}({units}{kernel}{act})"


def change_activation(evidence: Evidence, output: Output, wanted: str | None) -> str:
    """The line that gives the head another activation; "" where no line does it."""
    last = [applied for applied in output.applied if applied.is_activation]
    if len(last) > 1:
        return ""
    key = last[0].key if last else output.head
    op = _top_layer(evidence, key)
    if op is None or "activation" not in vars(op) or "recurrent_activation" in vars(op):
        return ""
    return f'model.get_layer("{key}").activation = keras.activations.{wanted or "linear"}'


def compile_with(loss: str) -> str:
    """The line that compiles a model with another loss."""
    return f"model.compile(model.optimizer, loss={loss})"


def is_only_output(evidence: Evidence) -> bool:
    """True if one loss is all that is compiled."""
    return len(evidence.found.outputs) == 1


def write(evidence: Evidence, output: Output, wanted: str | None, units: int | None = None) -> Cure:
    """Another activation of the head, and other units of it where they are said."""
    written = head_with(evidence, output, units or output.units, wanted)
    code = change_activation(evidence, output, wanted) if units in (None, output.units) else ""
    return Cure(f"Write {written}{':' if code else '.'}", code)


def _top_layer(evidence: Evidence, key: str) -> Any:
    layers = getattr(evidence.found.structure.model, "layers", ())
    return next((layer for layer in layers if key and layer.name == key), None)
