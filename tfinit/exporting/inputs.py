"""What a model is fed: the user's arrays, or random ones, in the order of the model's inputs."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from tfinit import arguments
from tfinit.errors import InputError

# What stands for a free length, such as a sequence's or an image's.
_FREE = 32


def names_of(model: Any) -> list[str] | None:
    """The names of the inputs in their order; None where the model does not know them."""
    inputs = _specs(model)
    return None if inputs is None else [spec.name for spec in inputs]


def _specs(model: Any) -> list[Any] | None:
    inputs = getattr(model, "inputs", None)
    return list(inputs) if inputs else None


def in_order(model: Any, given: Any, name: str) -> list[np.ndarray]:
    """One array for each input, with the examples along the first axis.

    Args:
        model: Takes them.
        given: An array, a list of arrays in the order of ``model.inputs``, or a dictionary by name.
        name: Of the argument, for errors.

    Raises:
        InputError: their number, shapes or lengths do not fit the model.
    """
    specs = _specs(model)
    if isinstance(given, Mapping):
        wanted = names_of(model) or list(given)
        if set(wanted) != set(given):
            raise InputError(f"`{name}` has the inputs {list(given)}, the model takes {wanted}.")
        arrays = [given[key] for key in wanted]
    elif isinstance(given, list | tuple):
        arrays = list(given)
    else:
        arrays = [given]
    arrays = [arguments.array(name, array) for array in arrays]
    if specs is not None and len(specs) != len(arrays):
        raise InputError(
            f"`{name}` must hold {len(specs)} arrays, one for each input of the model "
            f"({', '.join(spec.name for spec in specs)}), received {len(arrays)}."
        )
    lengths = {len(array) if array.ndim else 0 for array in arrays}
    if len(lengths) != 1 or 0 in lengths:
        raise InputError(
            f"`{name}` must hold at least one example, and as many for each input; received "
            f"arrays of shape {[array.shape for array in arrays]}."
        )
    for spec, array in zip(specs or [], arrays, strict=False):
        wanted_shape = tuple(spec.shape)[1:]
        fits = len(wanted_shape) == array.ndim - 1 and all(
            n is None or n == m for n, m in zip(wanted_shape, array.shape[1:], strict=True)
        )
        if not fits:
            raise InputError(
                f"`{name}` has examples of shape {array.shape[1:]} for the input {spec.name!r}, "
                f"the model takes {wanted_shape}."
            )
    dtypes = [spec.dtype for spec in specs] if specs else [_plain(array) for array in arrays]
    arrays = [array.astype(dtype) for array, dtype in zip(arrays, dtypes, strict=True)]
    for array in arrays:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"`{name}` has values that are NaN or infinite.")
    return arrays


def _plain(array: np.ndarray) -> Any:
    return np.dtype("float32") if array.dtype.kind == "f" else array.dtype


def random_inputs(model: Any, examples: int, seed: int = 0) -> list[np.ndarray]:
    """Standard normal numbers, and 0 or 1 for whole numbers.

    Raises:
        InputError: the model does not know its inputs' shapes, or takes text.
    """
    specs = _specs(model)
    if specs is None or any("string" in str(spec.dtype) for spec in specs):
        raise InputError(
            "`representative_data` is needed: the model does not say what its inputs look like. "
            "Pass a few of them."
        )
    rng = np.random.default_rng(seed)
    arrays = []
    for spec in specs:
        shape = (examples, *(n or _FREE for n in tuple(spec.shape)[1:]))
        if np.issubdtype(np.dtype(spec.dtype), np.floating):
            arrays.append(rng.normal(size=shape).astype(spec.dtype))
        else:
            arrays.append(rng.integers(0, 2, shape).astype(spec.dtype))
    return arrays


def outputs_of(model: Any, inputs: list[np.ndarray], batch: int = 32) -> list[np.ndarray]:
    """What Keras computes: one array for each output, flattened in the order of `keras.tree`."""
    parts = []
    for start in range(0, len(inputs[0]), batch):
        taken = [array[start : start + batch] for array in inputs]
        outputs = keras.tree.flatten(model(packed(model, taken), training=False))
        parts.append([keras.ops.convert_to_numpy(output) for output in outputs])
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def packed(model: Any, flat: list[Any]) -> Any:
    """Inputs as the model's call takes them: alone, as a list, or as a dictionary."""
    if _specs(model) is None:
        return flat[0] if len(flat) == 1 else flat
    try:
        return keras.tree.pack_sequence_as(model.input, flat)
    except (AttributeError, ValueError):
        return flat[0] if len(flat) == 1 else flat


def each(arrays: list[np.ndarray], most: int) -> Callable[[], Any]:
    """A function that gives the examples one by one, as lists of batches of 1."""

    def examples() -> Any:
        for n in range(min(most, len(arrays[0]))):
            yield [array[n : n + 1] for array in arrays]

    return examples
