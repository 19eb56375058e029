"""The calls of a functional model with the shapes that Keras recorded, for one sample.

Reading them takes a hundredth of the time of a run on placeholders. A batch axis that was open when
the model was made is 1. So it must still be the batch axis where a layer is called: that is so
behind Keras's own layers, and behind operations that work on each entry by itself; a reshape may
have put something else there.
"""

from typing import Any, NamedTuple

import keras

from tfinit.graph.keras_internals import arguments_of, is_from_keras_3
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.tracing import own_graph, trace

_ENTRY_BY_ENTRY = ("add", "subtract", "multiply", "divide", "average", "maximum", "minimum")


class RecordedCall(NamedTuple):
    """One call of a layer: symbolic arguments without open axes, and what it made."""

    layer: Any
    args: list[Any]
    kwargs: dict[str, Any]
    outputs: Any


def recorded_calls(model: Any) -> list[RecordedCall] | None:
    """The calls of layers in a functional or sequential model, or None where they do not tell.

    Operations that are no layers are left out: they have no weights.
    """
    if own_graph(model) is None:
        return None
    graph = trace(model, composites=False)
    found = []
    for step, node in zip(graph.steps, graph.nodes, strict=True):
        recorded = arguments_of(node) if node is not None else None
        if recorded is None or not _keeps_batch(step.op):
            return None
        try:
            args, kwargs, outputs = keras.tree.map_structure(_of_one, (*recorded, node.outputs))
        except _Open:
            return None
        if isinstance(step.op, keras.layers.Layer):
            found.append(RecordedCall(step.op, list(args), kwargs, outputs))
    return found


class _Open(Exception):
    """An axis beside that of the batch is open."""


def _of_one(part: Any) -> Any:
    if not isinstance(part, keras.KerasTensor):
        return part
    if not part.shape or part.shape[0] is not None or None in part.shape[1:]:
        raise _Open
    return keras.KerasTensor((1, *part.shape[1:]), part.dtype)


def _keeps_batch(op: Any) -> bool:
    if not is_from_keras_3(type(op)):
        return False
    kind = kind_of(op, exactly=True)
    if isinstance(op, keras.layers.Layer):
        return not kind.own_code
    return bool(kind.activation) or kind.merge in _ENTRY_BY_ENTRY
