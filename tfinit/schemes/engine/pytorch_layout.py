"""How PyTorch names and lays out what is in the weights of a Keras layer.

====================== ============================ =====================================
Keras                  PyTorch                      its axes
====================== ============================ =====================================
Dense (in, out)        weight (out, in)             turned
Conv (*w, in, out)     weight (out, in, *w)         the window behind
transposed             weight (in, out, *w)         the window behind
depthwise (*w, c, m)   weight (c · m, 1, *w)        the channels parted
EinsumDense            weight (out, in)             turned, in and out parted
normalizations         weight, bias, running_mean   the same
recurrent              weight_ih_l0, weight_hh_l0   turned; a GRU's gates are r, z, n
====================== ============================ =====================================
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfinit.graph.layer_kinds import kind_of, letters_of

_NAMES = {
    **dict.fromkeys(("kernel", "gamma", "embeddings", "scale", "alpha"), ("weight",)),
    **dict.fromkeys(("bias", "beta"), ("bias",)),
    "moving_mean": ("running_mean",),
    "moving_variance": ("running_var",),
}
_RECURRENT = {
    "kernel": ("weight_ih_l0",),
    "recurrent_kernel": ("weight_hh_l0",),
    "bias": ("bias_ih_l0", "bias_hh_l0"),
}


def names_of(layer: Any, name: str) -> tuple[str, ...]:
    """What PyTorch's module calls what is in a weight; () where it has no such thing."""
    return (_RECURRENT if kind_of(layer).gates else _NAMES).get(name, ())


def in_kerass_order(
    layer: Any,
    name: str,
    shape: tuple[int, ...],
    arrays: Sequence[np.ndarray],
    flattened: tuple[int, ...] | None = None,
) -> np.ndarray | str:
    """The value of a weight of this shape; or why the arrays are none, in words.

    Args:
        layer: The layer.
        name: What it calls the weight.
        shape: Of the weight.
        arrays: What PyTorch has: one, or the two biases of a recurrent layer.
        flattened: The shape (*window, channels) that was flattened into the rows of a Dense layer.
            PyTorch has the channels before the window.
    """
    gates = kind_of(layer).gates
    if gates == "zrc":
        arrays = [_swapped(array) for array in arrays]
    array = arrays[0] if len(arrays) == 1 else _bias(layer, arrays)
    if isinstance(array, str):
        return array
    given, letters = array.shape, letters_of(layer, name, len(shape))
    window = letters.count("*")
    rules: Mapping[str, Callable[[], np.ndarray]] = {
        "": lambda: array.reshape(shape),
        "vo": lambda: array,
        "*io": lambda: _window_first(array),
        "*oi": lambda: _window_first(array),
        "*cm": lambda: np.moveaxis(array.reshape(*shape[-2:], *given[2:]), (0, 1), (-2, -1)),
        "io": lambda: _rows(array.T, flattened),
    }
    kind = "*" * (window > 0) + letters.lstrip("*")
    if kind not in rules and letters == "i" * letters.count("i") + "o" * letters.count("o"):
        kind, rules = "einsum", {"einsum": lambda: array.T.reshape(shape)}
    try:
        value = rules[kind]()
    except (KeyError, ValueError):
        value = None
    if value is None or value.shape != shape:
        return f"the source's has shape {given}, in PyTorch's order of axes"
    return value


def _window_first(array: np.ndarray) -> np.ndarray:
    return np.transpose(array, (*range(2, array.ndim), 1, 0))


def _rows(matrix: np.ndarray, flattened: tuple[int, ...] | None) -> np.ndarray:
    if flattened is None:
        return matrix
    *window, channels = flattened
    parted = matrix.reshape(channels, *window, -1)
    return np.moveaxis(parted, 0, -2).reshape(matrix.shape)


def _bias(layer: Any, arrays: Sequence[np.ndarray]) -> np.ndarray | str:
    if kind_of(layer).gates != "zrc":
        return arrays[0] + arrays[1]
    if not layer.reset_after:
        return "PyTorch resets behind the product: build the layer with reset_after=True"
    return np.stack(arrays)


def _swapped(array: np.ndarray) -> np.ndarray:
    """The gates z, r, n of a GRU from r, z, n."""
    reset, update, new = np.split(array, 3)
    return np.concatenate([update, reset, new])
