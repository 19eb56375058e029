"""Which activation a layer or operation applies: in itself, or as a layer of its own."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tfinit.variables import keras_of


class Activation(NamedTuple):
    """An activation as the schemes see it.

    Attributes:
        name: Keras's name, ``"relu"``; for a function of the user's own, the function's name.
        source: What `tfinit.gains.gain` takes: the name, or the layer or function if the name
            alone does not say it all.
    """

    name: str
    source: Any

    def __str__(self) -> str:
        return self.name


LINEAR = Activation("linear", "linear")

# Operations of keras.ops and of tf.nn, in functional models, under Keras's names of activations.
_OPERATIONS = {
    *("relu", "relu6", "elu", "selu", "celu", "gelu", "silu", "swish", "mish", "softplus"),
    *("softsign", "sigmoid", "hard_sigmoid", "hard_silu", "log_sigmoid", "tanh", "hard_tanh"),
    *("tanh_shrink", "soft_shrink", "squareplus", "softmax", "log_softmax"),
}
_LAYERS = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "PReLU": "prelu", "ELU": "elu"}


def activation_of(op: Any) -> Activation | None:
    """The activation that an operation is, or None if it is something else.

    A layer that only contains one (a Dense layer with ``activation=``) is something else: see
    `own_activation`.
    """
    kind = type(op).__name__
    if kind in _LAYERS:
        return Activation(_LAYERS[kind], op)
    if kind == "Softmax":
        return Activation("softmax", "softmax")
    if kind == "Activation":
        return _named(op.activation)
    if kind == "LeakyRelu":  # of keras.ops
        return Activation("leaky_relu", partial(_leaky_relu, slope=op.negative_slope))
    # tf_keras records a call of a TensorFlow function as a layer that names its symbol.
    name = op.symbol.split(".")[-1] if kind == "TFOpLambda" else _snake(kind)
    if name in _OPERATIONS and (keras_of(op) is None or kind == "TFOpLambda"):
        return Activation(name, name)
    return None


def own_activation(layer: Any) -> Activation | None:
    """The activation inside a layer, or None if there is none (or it is linear)."""
    return _named(getattr(layer, "activation", None))


def gate_activations(cell: Any) -> tuple[Activation, ...]:
    """The activation of each gate of a recurrent cell, in the order of its kernel's columns.

    Empty for a layer that is not one of Keras's recurrent cells.
    """
    kinds = (_GATES.get(cls.__name__) for cls in type(cell).__mro__)
    gates = next((found for found in kinds if found), "")
    inner = own_activation(cell) or LINEAR
    gate = _named(getattr(cell, "recurrent_activation", None)) or LINEAR
    return tuple(inner if which == "c" else gate for which in gates)


# In the order of the columns of Keras's kernels; c is the candidate.
_GATES = {
    "SimpleRNNCell": "c",
    "GRUCell": "zrc",
    "LSTMCell": "ifco",
    "ConvLSTMCell": "ifco",
}


def _named(function: Any) -> Activation | None:
    if function is None:
        return None
    if keras_of(function) is not None:  # a layer as the activation of a layer
        return activation_of(function)
    name = getattr(function, "__name__", type(function).__name__)
    if name == "linear":
        return None
    package = (getattr(function, "__module__", None) or "").split(".")[0]
    return Activation(name, name if package in ("keras", "tf_keras") else function)


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


def _leaky_relu(z: Any, slope: float) -> Any:
    return np.where(z > 0, z, slope * z)
