"""A model called on data that a user gave: checked first, and without a trace in the model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tfinit.arguments import check_real
from tfinit.errors import InputError, reason
from tfinit.graph.gradients import without_gradients
from tfinit.variables import put_back, walk_layers


def output_shapes(model: Any, data: Any) -> list[tuple[int, ...]]:
    """The shapes of the model's outputs for checked data, of a pass that nothing remembers."""
    import keras

    from tfinit.graph.snapshot import apart

    with apart(model), without_gradients():
        return [tuple(output.shape) for output in keras.tree.flatten(call(model, data))]


def call(model: Any, data: Any, training: bool = False) -> Any:
    """The model's output for checked data; InputError if it cannot be called on it."""
    try:
        with states_kept(model):
            return model(data, training=training)
    except InputError as error:
        raise _as_raised(error) from None
    except Exception as error:
        raise InputError(
            f"`model` {model.name!r} cannot be called on `x`: {reason(error)}"
        ) from error


def is_stateful(op: Any) -> bool:
    """True if a layer is a stateful recurrent one, or has one in it."""
    return bool(_stateful(op))


def _stateful(op: Any) -> list[Any]:
    layers = [layer for _, layer in walk_layers(op)] if hasattr(op, "weights") else []
    return [layer for layer in layers if getattr(layer, "stateful", False)]


@contextmanager
def states_kept(op: Any) -> Iterator[None]:
    """Put back the states of stateful recurrent layers after the block."""
    import keras

    found = [keras.tree.flatten(getattr(layer, "states", None)) for layer in _stateful(op)]
    with put_back(state for part in found for state in part if hasattr(state, "assign")):
        yield


def _as_raised(error: InputError) -> InputError:
    """The error without the layer's name and arguments, with which Keras raises it anew."""
    while isinstance(error.__context__, InputError):
        error = error.__context__
    return error


def check_data(model: Any, data: Any, name: str = "x", finite: bool = True) -> Any:
    """The data as tensors; InputError if it is not finite or does not fit the model's inputs.

    ``name`` is what errors call it. With ``finite=False``, NaN and infinity are taken.
    """
    import keras

    arrays = keras.tree.flatten(data)
    for array in arrays:
        check_real(name, array)
        if not hasattr(array, "shape") and not np.isscalar(array):
            raise InputError(
                f"`{name}` must be arrays as the model takes them, received "
                f"{type(array).__name__}. Of a dataset, pass the inputs of one batch."
            )
    try:
        data = keras.tree.map_structure(keras.ops.convert_to_tensor, data)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"`{name}` must be arrays of numbers as the model takes them, received what is no "
            f"tensor: {reason(error)}"
        ) from error
    arrays = keras.tree.flatten(data)
    for array in arrays:
        if 0 in tuple(array.shape)[:1]:
            raise InputError(f"`{name}` must have one example or more, received none.")
        is_float = keras.backend.is_float_dtype(keras.backend.standardize_dtype(array.dtype))
        if finite and is_float:
            all_finite = keras.ops.all(keras.ops.isfinite(array))
            if not bool(keras.ops.convert_to_numpy(all_finite)):
                raise InputError(f"`{name}` has NaN or infinite values. Remove or replace them.")
    inputs = getattr(model, "inputs", None) or []
    if inputs and len(arrays) != len(inputs):
        raise InputError(
            f"`{name}` has {len(arrays)} arrays, the model has {len(inputs)} inputs: "
            f"{[tensor.name for tensor in inputs]}."
        )
    for wanted, array in zip(inputs, arrays, strict=False):
        # A dict is flattened by its keys, as the model's inputs are.
        shape, given = tuple(wanted.shape)[1:], tuple(array.shape)[1:]
        if len(shape) != len(given) or any(
            n is not None and n != m for n, m in zip(shape, given, strict=True)
        ):
            raise InputError(
                f"`{name}` has shape {tuple(array.shape)}, the model's input {wanted.name!r} "
                f"takes {tuple(wanted.shape)}, with the examples along the first axis."
            )
    return data
