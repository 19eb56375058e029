"""The batch that the passes run on where what was given would break them: with its holes filled.

A NaN, a class beyond the outputs or an id beyond an embedding's table would end a pass in an error,
or make all that comes after it NaN. Rules see what was given; layers are measured on the rest.
Values are replaced and no example is left out, so that a fixed batch size stays one.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from tfinit.diagnostics.measuring.outputs import Loss, compared
from tfinit.graph.calling import call
from tfinit.graph.calls import Graph
from tfinit.graph.gradients import without_gradients
from tfinit.graph.keras_internals import arguments_with, inputs_of
from tfinit.graph.layer_kinds import kind_of


class Lookup(NamedTuple):
    """An embedding that reads an input as it is.

    Attributes:
        key: Of the layer.
        input: The number of the input, flat.
        rows: How many rows its table has: ids are 0 to rows - 1.
        places: Which entries of the input it reads, of the flattened array.
    """

    key: str
    input: int
    rows: int
    places: np.ndarray


def lookups(graph: Graph, arrays: list[np.ndarray]) -> list[Lookup]:
    """The embeddings that read an input: itself, or entries of it that no layer has changed."""
    if len(graph.inputs) != len(arrays):
        return []
    return [found for n in range(len(arrays)) for found in _lookups(graph, n, arrays[n])]


def _lookups(graph: Graph, n: int, array: np.ndarray) -> Iterator[Lookup]:
    import keras

    readers = graph.readers()
    # Each value with the calls that it is the input's entries by.
    waiting: list[tuple[int, tuple[int, ...]]] = [(graph.inputs[n], ())]
    while waiting:
        value, way = waiting.pop()
        for index in readers.get(value, []):
            step = graph.steps[index]
            if kind_of(step.op).looks_up and getattr(step.op, "input_dim", None):
                places: Any = np.arange(array.size, dtype=np.int32).reshape(array.shape)
                for call_before in way:
                    node = graph.nodes[call_before]
                    tensor = keras.ops.convert_to_tensor(places)
                    args, how = arguments_with(node, {id(inputs_of(node)[0]): tensor})
                    places = keras.ops.convert_to_numpy(graph.steps[call_before].op(*args, **how))
                yield Lookup(step.key, n, int(step.op.input_dim), places.ravel())
            elif kind_of(step.op).carries and len(step.inputs) == 1 and graph.nodes:
                waiting += [(out, (*way, index)) for out in step.outputs]


class Mended(NamedTuple):
    """Inputs that a pass can run on.

    Attributes:
        x: The inputs with numbers for NaN, and with ids that the embeddings have.
        filled: The numbers of the inputs in which there was NaN, flat. A model that makes finite
            outputs of it, as one that masks it does, keeps it, and has none here.
        lookups: The embeddings that read an input.
    """

    x: Any
    filled: frozenset[int]
    lookups: tuple[Lookup, ...]


def mended_inputs(model: Any, graph: Graph, x: Any) -> Mended:
    """Mend the inputs of a model, a structure of tensors."""
    import keras

    arrays = [keras.ops.convert_to_numpy(part) for part in keras.tree.flatten(x)]
    mended = list(arrays)
    broken = frozenset(n for n, array in enumerate(arrays) if not _is_finite(array))
    if broken and _bears(model, x):
        broken = frozenset()
    for n in broken:
        mended[n] = filled(arrays[n])
    found = tuple(lookups(graph, mended))
    for lookup in found:
        array = mended[lookup.input]
        ids = array.ravel()[lookup.places]
        if ids.size and not (ids.min() > -1 and ids.max() < lookup.rows):
            array = array.copy()
            array.ravel()[lookup.places] = np.clip(ids, 0, lookup.rows - 1)
            mended[lookup.input] = array
    parts = [
        part if new is old else keras.ops.convert_to_tensor(new)
        for part, old, new in zip(keras.tree.flatten(x), arrays, mended, strict=True)
    ]
    return Mended(keras.tree.pack_sequence_as(x, parts), broken, found)


def mended_targets(y: Any) -> Any:
    """The targets with numbers for NaN."""
    import keras

    return keras.tree.map_structure(lambda part: part if _is_finite(part) else filled(part), y)


def in_range(
    model: Any, given: Any, loss: Callable[[Any, Any, Any, Any], Any]
) -> Callable[[Any, Any, Any, Any], Any]:
    """A batch's loss, of targets whose class numbers are those that the outputs have.

    Args:
        model: The model.
        given: What was given as the loss; None for the model's own.
        loss: (x, y, outputs, weights) → a scalar.
    """
    import keras
    from keras import ops

    def value(x: Any, y: Any, outputs: Any, weights: Any) -> Any:
        within: dict[int, Any] = {}
        shown = keras.tree.flatten(outputs)
        for n, (part, told) in enumerate(compared(model, outputs, y, given)):
            if told is None or part is None or not is_of_class_numbers(told):
                continue
            clipped = ops.clip(part, 0, int(shown[n].shape[-1]) - 1)
            if told.ignored is not None:
                clipped = ops.where(part == told.ignored, part, clipped)
            within[id(part)] = clipped
        y = keras.tree.map_structure(lambda part: within.get(id(part), part), y)
        return loss(x, y, outputs, weights)

    return value


def is_of_class_numbers(loss: Loss) -> bool:
    """Whether a loss takes the number of each example's class."""
    return loss.is_keras and loss.name == "sparse_categorical_crossentropy"


def filled(array: np.ndarray) -> np.ndarray:
    """The array with the mean of its column, over what is finite in it, for each NaN; else 0."""
    wide = array.astype(np.float64)
    known = np.isfinite(wide)
    wide[~known] = 0.0
    counts = np.maximum(known.sum(0), 1)
    means = np.broadcast_to(wide.sum(0) / counts, wide.shape)
    return np.where(known, wide, means).astype(array.dtype)


def _is_finite(array: np.ndarray) -> bool:
    # A sum is not finite where an entry is not; where it is too large, each is asked.
    if array.dtype.kind != "f" or math.isfinite(float(np.sum(array, dtype=np.float64))):
        return True
    return bool(np.all(np.isfinite(array)))


def _bears(model: Any, x: Any) -> bool:
    """Whether a model's outputs are finite though its inputs are not."""
    import keras

    from tfinit.graph.snapshot import apart

    with apart(model), without_gradients():
        outputs = keras.tree.flatten(call(model, x))
    return all(_is_finite(keras.ops.convert_to_numpy(output)) for output in outputs)
