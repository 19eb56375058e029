"""Which activation a layer or operation applies: in itself, or as a layer of its own.

Keras's own are known by their names. Any other function, operation or layer is asked: numbers go
in, and what comes out says whether it is an activation.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tfinit.errors import InputError
from tfinit.gains import evaluate
from tfinit.graph.keras_internals import forget_losses
from tfinit.graph.layer_kinds import keras_of, kind_of, snake
from tfinit.graph.overlay import overlaid


class Activation(NamedTuple):
    """An activation as the schemes see it.

    Attributes:
        name: Keras's name, ``"relu"``; for another function or layer, its own name.
        source: What `tfinit.gains.gain` takes: the name, or the layer or function if the name
            alone does not say it all.
    """

    name: str
    source: Any

    def __str__(self) -> str:
        return self.name

    def behind(self, factor: float) -> "Activation":
        """The activation of ``factor · z``."""
        if factor == 1:
            return self
        return Activation(self.name, partial(_scaled, self.source, factor))


LINEAR = Activation("linear", "linear")

# What an unknown function is asked at; the last of each side is twice as far as the one before.
_POINTS = np.array([-12.0, -6.0, -2.3, -1.0, -0.4, 0.0, 0.4, 1.0, 2.3, 6.0, 12.0])


def activation_of(op: Any) -> Activation | None:
    """The activation that an operation is, or None if it is something else.

    A layer that only contains one (a Dense layer with ``activation=``) is something else: see
    `own_activation`.
    """
    name = kind_of(op, exactly=True).activation
    if name == "given":
        return _named(op.activation)
    if name in ("", "softmax"):
        return Activation(name, name) if name else _by_values(_name_of(op), op)
    if hasattr(op, "negative_slope") and keras_of(op) is None:  # of keras.ops
        return Activation(name, partial(_leaky_relu, slope=op.negative_slope))
    # A layer of tf_keras that records the call of a function has no settings.
    is_layer = keras_of(op) is not None and not hasattr(op, "symbol")
    return Activation(name, op if is_layer else name)


def own_activation(layer: Any) -> Activation | None:
    """The activation inside a layer, or None if there is none (or it is linear)."""
    return _named(getattr(layer, "activation", None))


def gate_activations(cell: Any) -> tuple[Activation, ...]:
    """The activation of each gate of a recurrent cell, in the order of its kernel's columns.

    Empty for a layer that is not one of Keras's recurrent cells.
    """
    inner = own_activation(cell) or LINEAR
    gate = _named(getattr(cell, "recurrent_activation", None)) or LINEAR
    return tuple(inner if which == "c" else gate for which in kind_of(cell).gates)


def _named(function: Any) -> Activation | None:
    if function is None:
        return None
    if keras_of(function) is not None:  # a layer as the activation of a layer
        return activation_of(function)
    name = getattr(function, "__name__", type(function).__name__)
    package = (getattr(function, "__module__", None) or "").split(".")[0]
    if package in ("keras", "tf_keras") and _is_keras_name(name):
        return None if name == "linear" else Activation(name, name)
    try:
        same = np.allclose(evaluate(function, _POINTS), _POINTS, rtol=1e-5, atol=1e-6)
    except InputError:  # not elementwise, or of another backend: an activation, if an unknown one
        same = False
    return None if same else Activation(name, function)


def _is_keras_name(name: str) -> bool:
    """False for ``"sin"``: `keras.ops` has functions that are no activations by name."""
    import keras

    try:
        return keras.activations.get(name) is not None
    except ValueError:
        return False


def _by_values(name: str, op: Any) -> Activation | None:
    """An operation, or a layer without kernel, as an activation, if what it does is one.

    That is: elementwise, bent, finite everywhere and no faster than a line far out. So squares,
    roots and exponentials, of which normalizations are written by hand, are none.
    """
    function = _function_of(op)
    if function is None:
        return None
    try:
        values = evaluate(function, _POINTS)
    except InputError:
        return None
    if not np.all(np.isfinite(values)):
        return None
    near, far = np.abs(values[[1, -2]]).max(), np.abs(values[[0, -1]]).max()
    line = np.polyval(np.polyfit(_POINTS, values, 1), _POINTS)
    bent = np.abs(values - line).max() > 1e-4 * max(1.0, near)
    return Activation(name, function) if bent and far <= 3 * max(near, 1.0) else None


def _function_of(op: Any) -> Callable[[Any], Any] | None:
    """What to ask of an operation, or of a layer that may be an activation; None of others."""
    library = keras_of(op)
    if hasattr(op, "symbol"):  # tf_keras's record of the call of a TensorFlow function
        return op.function
    if library is None:
        return getattr(op, "call", None)
    # Of Keras's own layers those above are activations, and a Lambda is anything.
    of_user = type(op).__module__.split(".")[0] not in ("keras", "tf_keras")
    holds = ("kernel", "embeddings")
    if not (of_user or kind_of(op).own_code) or any(w.name.endswith(holds) for w in op.weights):
        return None
    return partial(_called, op)


def _called(layer: Any, z: Any) -> Any:
    """What a layer makes of numbers; losses that it adds, and what it writes, are forgotten."""
    if keras_of(layer) != "keras":
        return layer.call(z)
    import keras

    with overlaid() as put, keras.StatelessScope(initialize_variables=False):
        forget_losses(put, layer)
        return layer.call(z)


def _name_of(op: Any) -> str:
    if hasattr(op, "symbol"):
        return op.symbol.split(".")[-1]
    return snake(type(op).__name__).lstrip("_")


def _scaled(source: Any, factor: float, z: np.ndarray) -> np.ndarray:
    return evaluate(source, factor * np.asarray(z))


def _leaky_relu(z: Any, slope: float) -> Any:
    return np.where(z > 0, z, slope * z)
