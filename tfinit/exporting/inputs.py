"""What a model is fed: the user's arrays, or random ones, in the order of the model's inputs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from tfinit import arguments
from tfinit.errors import InputError
from tfinit.graph.keras_internals import layer_and_all_in_it
from tfinit.named_arrays import fits
from tfinit.variables import put_back

_CALIBRATION = 200  # examples

# What stands for a free length, such as a sequence's or an image's.
_FREE = 32
# Where a model's layers know no words.
_WORDS = ("a", "b", "c", "d")


def names_of(model: Any) -> list[str] | None:
    """The names of the inputs in their order; None where the model does not know them."""
    inputs = _specs(model)
    return None if inputs is None else [spec.name for spec in inputs]


def _specs(model: Any) -> list[Any] | None:
    inputs = getattr(model, "inputs", None)
    return list(inputs) if inputs else None


def batch_of(model: Any) -> int | None:
    """How many examples a model takes at once; None where that is free."""
    shapes = [tuple(spec.shape) for spec in _specs(model) or []]
    return next((shape[0] for shape in shapes if shape and shape[0] is not None), None)


def signature(model: Any) -> list[Any] | None:
    """What Keras's exporters are told where the batch is fixed; None: what they find themselves."""
    batch = batch_of(model)
    if batch is None:
        return None

    def fixed(spec: Any) -> Any:
        return keras.InputSpec(spec.dtype, (batch, *spec.shape[1:]), name=spec.name)

    if isinstance(model, keras.Sequential):
        return [fixed(spec) for spec in model.inputs]
    return [keras.tree.map_structure(fixed, model.input)]


def whole_batches(arrays: list[np.ndarray], batch: int | None) -> list[np.ndarray]:
    """The examples, of which the first are repeated until they fill batches."""
    if batch is None:
        return arrays
    taken = np.arange(-(-len(arrays[0]) // batch) * batch) % len(arrays[0])
    return [array[taken] for array in arrays]


def in_order(model: Any, given: Any, name: str) -> list[np.ndarray]:
    """One array for each input, with the examples along the first axis.

    Args:
        model: Takes them.
        given: An array, a list of arrays in the order of ``model.inputs``, or a dictionary by name.
        name: Of the argument, for errors.

    Raises:
        InputError: their number, shapes, lengths or kinds of values do not fit the model.
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
    arrays = [text if (text := _text(a)) is not None else arguments.array(name, a) for a in arrays]
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
        if not fits(spec, array):
            raise InputError(
                f"`{name}` has examples of shape {array.shape[1:]} for the input {spec.name!r}, "
                f"the model takes {tuple(spec.shape)[1:]}."
            )
    dtypes = [spec.dtype for spec in specs] if specs else [_plain(array) for array in arrays]
    return [_as(array, dtype, name) for array, dtype in zip(arrays, dtypes, strict=True)]


def _text(value: Any) -> np.ndarray | None:
    """Words as NumPy's array of text; None where it is something else."""
    try:
        found = np.asarray(arguments.on_host(value))
    except Exception:  # of any kind, from what is no array; `arguments.array` says it
        return None
    if found.dtype.kind == "O" and all(isinstance(word, str | bytes) for word in found.flat):
        # As TensorFlow has them: bytes in UTF-8.
        plain = [w.decode(errors="replace") if isinstance(w, bytes) else w for w in found.flat]
        found = np.array(plain, str).reshape(found.shape)
    elif found.dtype.kind == "S":
        found = np.char.decode(found, errors="replace")
    return found if found.dtype.kind == "U" and found.size else None


def _as(array: np.ndarray, dtype: Any, name: str) -> np.ndarray:
    """An array as an input takes it, if it can hold the values."""
    if (str(dtype) == "string") != (array.dtype.kind == "U") and array.dtype != dtype:
        given = "text" if array.dtype.kind == "U" else f"numbers of type {array.dtype}"
        raise InputError(f"`{name}` holds {given} for an input of type {dtype}.")
    if array.dtype.kind == "U":
        return array
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"`{name}` has values that are NaN or infinite.")
    there = array.astype(dtype)
    if np.dtype(dtype).kind in "biu" and not np.array_equal(there, array):
        raise InputError(
            f"`{name}` has values that an input of type {dtype} cannot hold, between {array.min()} "
            f"and {array.max()}. Round, scale or clip them."
        )
    return there


def _plain(array: np.ndarray) -> Any:
    return np.dtype("float32") if array.dtype.kind == "f" else array.dtype


def random_inputs(model: Any, examples: int, seed: int = 0) -> list[np.ndarray]:
    """Standard normal numbers, 0 or 1 for whole numbers, words that the model knows for text.

    Raises:
        InputError: the model does not know its inputs' shapes.
    """
    specs = _specs(model)
    if specs is None:
        raise InputError(
            "`representative_data` is needed: the model does not say what its inputs look like. "
            "Pass a few of them."
        )
    rng = np.random.default_rng(seed)
    arrays = []
    for spec in specs:
        shape = (examples, *(n or _FREE for n in tuple(spec.shape)[1:]))
        if spec.dtype == "string":
            arrays.append(_random_text(model, shape, rng))
        elif np.issubdtype(np.dtype(spec.dtype), np.integer) or spec.dtype == "bool":
            arrays.append(rng.integers(0, 2, shape).astype(spec.dtype))
        else:
            arrays.append(rng.normal(size=shape).astype(spec.dtype))
    return arrays


def _random_text(model: Any, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Three words each where the model takes text apart, else one."""
    layers = [each for each in layer_and_all_in_it(model) if hasattr(each, "get_vocabulary")]
    words = [w for layer in layers for w in layer.get_vocabulary(include_special_tokens=False)]
    words = [str(word) for word in words] or list(_WORDS)
    length = 3 if any(isinstance(each, keras.layers.TextVectorization) for each in layers) else 1
    chosen = rng.choice(words, (int(np.prod(shape)), length))
    return np.array([" ".join(some) for some in chosen]).reshape(shape)


def outputs_of(model: Any, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """What Keras computes: one array for each output, flattened in the order of `keras.tree`.

    What a layer keeps from one batch to the next goes on here, and is in the model as before after.
    """
    size = batch_of(model) or 32
    parts = []
    if not all(layer.built for layer in layer_and_all_in_it(model)):
        model(packed(model, [tensor(array[:size]) for array in inputs]))  # makes its variables
    with keras.StatelessScope():
        for start in range(0, len(inputs[0]), size):
            taken = [tensor(array[start : start + size]) for array in inputs]
            outputs = keras.tree.flatten(model(packed(model, taken), training=False))
            parts.append([_numpy(output) for output in outputs])
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


@contextmanager
def from_rest(model: Any) -> Iterator[None]:
    """While this is open, what stateful layers keep between batches is as they begin: zero."""
    states = [
        state for layer in stateful_layers(model) for state in keras.tree.flatten(layer.states)
    ]
    with put_back(states):
        for state in states:
            state.assign(keras.ops.zeros_like(state.value))
        yield


def stateful_layers(model: Any) -> list[Any]:
    """The recurrent layers that go on in the next batch where they were."""
    return [
        layer
        for layer in layer_and_all_in_it(model)
        if getattr(layer, "stateful", False) and getattr(layer, "states", None) is not None
    ]


def tensor(array: np.ndarray) -> Any:
    """An array of numbers, or of text, as Keras takes it."""
    kind = "string" if array.dtype.kind == "U" else array.dtype.name
    return keras.ops.convert_to_tensor(array, dtype=kind)


def _numpy(output: Any) -> np.ndarray:
    found = keras.ops.convert_to_numpy(output)
    text = _text(found) if found.dtype.kind in "OSU" else None
    return found if text is None else text


def packed(model: Any, flat: list[Any]) -> Any:
    """Inputs as the model's call takes them: alone, as a list, or as a dictionary."""
    if _specs(model) is None:
        return flat[0] if len(flat) == 1 else flat
    try:
        return keras.tree.pack_sequence_as(model.input, flat)
    except (AttributeError, ValueError):
        return flat[0] if len(flat) == 1 else flat


def calibrating(model: Any, arrays: list[np.ndarray]) -> Callable[[], Any]:
    """A function that gives the examples that the ranges of the activations are taken from."""
    return each(arrays, _CALIBRATION, batch_of(model))


def each(arrays: list[np.ndarray], most: int, batch: int | None = None) -> Callable[[], Any]:
    """A function that gives the examples one by one, or in batches that the model takes."""
    arrays = whole_batches([array[:most] for array in arrays], batch)

    def examples() -> Any:
        for n in range(0, len(arrays[0]), batch or 1):
            yield [array[n : n + (batch or 1)] for array in arrays]

    return examples
