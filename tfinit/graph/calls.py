"""A model as the calls of its layers in data-flow order: who feeds whom, and what follows."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tfinit.gains import sinusoid
from tfinit.graph.activations import LINEAR, Activation, activation_of
from tfinit.graph.keras_internals import arguments_of, is_symbolic
from tfinit.graph.layer_kinds import KERNEL_NAMES, kind_of


class Step(NamedTuple):
    """One call of a layer or operation; values are numbers, equal where a tensor is the same."""

    key: str
    op: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Nested(NamedTuple):
    """One call of a model inside the model; its steps are ``steps[start:stop]`` of the graph."""

    model: Any
    node: Any
    inputs: tuple[int, ...]
    start: int
    stop: int


@dataclass
class Graph:
    """The calls of a model in data-flow order.

    Attributes:
        steps: Every call; a shared layer has several.
        inputs: The values that enter the model.
        outputs: The values that leave it.
        reasons: Key of a composite layer (of the model itself: its name) whose order is that of
            creation, not of data flow → why it could not be traced.
        nodes: Keras's record of the call behind each step; None where there is none.
        nested: Every call of a model inside the model that Keras recorded, in data-flow order,
            outer before inner; none of a model with composite layers, unless they are left whole.
    """

    steps: list[Step] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    nodes: list[Any] = field(default_factory=list)
    nested: list[Nested] = field(default_factory=list)

    @property
    def guessed(self) -> list[str]:
        """Keys of the composite layers whose order is that of creation."""
        return list(self.reasons)

    def producers(self) -> dict[int, int]:
        """Value → the index of the step that made it; the model's inputs are absent."""
        return {value: i for i, step in enumerate(self.steps) for value in step.outputs}

    def readers(self) -> dict[int, list[int]]:
        """Value → the indices of the steps that read it, each as often as it does."""
        found: dict[int, list[int]] = {}
        for index, step in enumerate(self.steps):
            for value in step.inputs:
                found.setdefault(value, []).append(index)
        return found

    def following(self) -> dict[int, Activation]:
        """Value → the first activation that it meets before another layer with a kernel.

        Normalization, dropout, pooling, reshaping, additions and the like are passed through.
        Where a value is used several times, the first use with an activation counts.
        """
        found: dict[int, Activation] = {}
        for index in reversed(range(len(self.steps))):
            step = self.steps[index]
            ahead = activation_of(step.op)
            if ahead is None:
                ahead = LINEAR
                # What follows a product of several signals is of none of them.
                product = kind_of(step.op).merge == "dot" and len(step.inputs) > 1
                if not bears_kernel(step.op) and not product:
                    seen = (found.get(value, LINEAR) for value in step.outputs)
                    ahead = next((a for a in seen if a is not LINEAR), LINEAR)
                    # sin(30·z) is written as a product and a sine.
                    if not isinstance(ahead.source, str) and sinusoid(ahead.source):
                        ahead = ahead.behind(self._factor(index))
            for value in step.inputs:
                # Steps come last first, so an earlier use overwrites a later one.
                if ahead is not LINEAR or value not in found:
                    found[value] = ahead
        return found

    def is_reverse(self, index: int) -> bool:
        """True for a call of an embedding the other way round, from vectors to words."""
        node = self.nodes[index] if self.nodes else None
        args, kwargs = (node and arguments_of(node)) or ([], {})
        return any(given is True for given in (*args[1:], kwargs.get("reverse")))

    def _factor(self, index: int) -> float:
        """The number that a step multiplies its input by; 1 of other steps."""
        op, node = self.steps[index].op, self.nodes[index] if self.nodes else None
        merge = kind_of(op).merge
        if merge not in ("multiply", "divide") or node is None:
            return 1.0
        args, kwargs = arguments_of(node) or ([], {})
        given = [*args, *kwargs.values()]
        if len(given) != 2 or len(self.steps[index].inputs) != 1:
            return 1.0
        numbers = [n for n in given if not is_symbolic(n) and np.size(n) == 1]
        if len(numbers) != 1:
            return 1.0
        factor = float(np.ravel(numbers[0])[0])
        if merge == "multiply":
            return factor
        return 1 / factor if factor and numbers[0] is given[1] else 1.0


def bears_kernel(op: Any) -> bool:
    """True if a layer has a kernel or an embedding, itself or below."""
    weights = getattr(op, "weights", ())
    return any(w.name.split("/")[-1].split(":")[0] in KERNEL_NAMES for w in weights)
