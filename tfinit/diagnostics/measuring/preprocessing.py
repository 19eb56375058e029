"""What a model itself does to its inputs first: Rescaling and Normalization, and their inverse.

What comes out of them is what its layers are to be judged by, and what has variance 1 where data
are made up.
"""

from collections.abc import Container
from typing import Any

import numpy as np

from tfinit.arguments import on_host
from tfinit.graph.calls import Graph
from tfinit.graph.layer_kinds import kind_of

_INVERTIBLE = ("rescaling", "normalization")


def preprocessing(graph: Graph, value: int) -> list[Any]:
    """The Rescaling and Normalization layers that an input passes before anything else."""
    found: list[Any] = []
    while True:
        readers = [step for step in graph.steps if value in step.inputs]
        if len(readers) != 1 or kind_of(readers[0].op).preprocessing not in _INVERTIBLE:
            return found
        found.append(readers[0].op)
        (value,) = readers[0].outputs


def preprocessed(model: Any, graph: Graph, x: Any, looked_up: Container[int] = ()) -> list[Any]:
    """The float tensors that a model's inputs become by them, and as it takes them.

    Args:
        model: The model, which makes floats of whole numbers where its input says so.
        graph: Its graph.
        x: The inputs.
        looked_up: The numbers of the inputs, flat, that an embedding reads: these are left out.
    """
    import keras

    parts = keras.tree.flatten(x)
    values = graph.inputs if len(graph.inputs) == len(parts) else [-1] * len(parts)
    taken = keras.tree.flatten(getattr(model, "inputs", None) or [])
    found = []
    for n, (value, part) in enumerate(zip(values, parts, strict=True)):
        if n in looked_up:
            continue
        if len(taken) == len(parts) and "float" in str(taken[n].dtype):
            part = keras.ops.cast(part, taken[n].dtype)
        for layer in preprocessing(graph, value):
            part = layer(part)
        if "float" in str(part.dtype):
            found.append(part)
    return found


def undo(layers: list[Any], wanted: np.ndarray) -> np.ndarray:
    """What the layers turn into the wanted array."""
    for layer in reversed(layers):
        if kind_of(layer).preprocessing == "rescaling":
            wanted = (wanted - np.asarray(layer.offset)) / np.asarray(layer.scale)
        else:
            mean = np.asarray(on_host(layer.mean))
            std = np.maximum(np.sqrt(np.asarray(on_host(layer.variance))), 1e-7)
            wanted = (wanted - mean) / std if layer.invert else wanted * std + mean
    return wanted
