"""The head of each output: the last layer with a kernel, and what is applied behind it."""

from collections.abc import Iterator
from typing import NamedTuple

from tfinit.graph.activations import activation_of, own_activation
from tfinit.graph.calls import bears_kernel
from tfinit.graph.layer_kinds import snake
from tfinit.graph.structure import Structure


class Applied(NamedTuple):
    """What is applied to an output behind the last kernel.

    Attributes:
        key: Of the layer or operation.
        what: The activation's name, ``"softmax"``; of others the class in small letters,
            ``"dropout"``.
        is_activation: Whether it is one.
    """

    key: str
    what: str
    is_activation: bool


def heads_of(structure: Structure, count: int) -> Iterator[tuple[str, tuple[Applied, ...]]]:
    """For each output the key of its head ("" where it cannot be told), and what is behind it."""
    graph = structure.graph
    producers = graph.producers()
    for n in range(count):
        if graph.guessed or len(graph.outputs) != count:
            yield "", ()
            continue
        value: int | None = graph.outputs[n]
        behind: list[Applied] = []
        key = ""
        while value is not None and value in producers:
            step = graph.steps[producers[value]]
            inside = own_activation(step.op)
            bears = bears_kernel(step.op)
            if inside is not None and (bears or activation_of(step.op) is None):
                behind.append(Applied(step.key, inside.name, True))
            if bears:
                key = step.key
                break
            found = activation_of(step.op)
            if found is not None:
                behind.append(Applied(step.key, found.name, True))
            elif inside is None:
                behind.append(Applied(step.key, snake(type(step.op).__name__), False))
            value = step.inputs[0] if len(set(step.inputs)) == 1 else None
        yield key, tuple(reversed(behind))
