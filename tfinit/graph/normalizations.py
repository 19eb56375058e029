"""Normalizations in a model's graph: which layers they are, and whose scale they undo."""

from typing import Any

import numpy as np

from tfinit.errors import InputError
from tfinit.gains import evaluate
from tfinit.graph.activations import LINEAR, Activation, activation_of, own_activation
from tfinit.graph.calls import Graph, bears_kernel
from tfinit.graph.layer_kinds import kind_of

_POINTS = np.array([-12.0, -1.0, -0.3, 0.0, 0.3, 1.0, 12.0])


def is_normalization(op: Any) -> bool:
    """True for a layer that sets the scale of its input anew, on every batch or example."""
    return bool(kind_of(op).normalization)


def applied(op: Any) -> Activation:
    """The activation that a step applies to what it makes."""
    inner = getattr(op, "layer", None)  # a wrapper's
    found = activation_of(op) or own_activation(op)
    return found or (own_activation(inner) if inner is not None else None) or LINEAR


def normalized_steps(graph: Graph) -> set[int]:
    """The steps whose output meets a normalization before anything that sees its scale.

    ReLU and the leaky ones are passed through: they scale with their input. Kernels, other
    activations, what joins several values and the model's outputs see the scale.
    """
    lost = dict.fromkeys(graph.outputs, False)  # value → do all that read it undo its scale?
    found: set[int] = set()
    by_name: dict[str, bool] = {}
    for index in reversed(range(len(graph.steps))):
        step = graph.steps[index]
        passes = bool(step.outputs) and _is_homogeneous(applied(step.op), by_name)
        # What nobody reads is undone by nobody.
        if passes and all(lost.get(value, False) for value in step.outputs):
            found.add(index)
        through = index in found and not bears_kernel(step.op) and len(step.inputs) == 1
        for value in step.inputs:
            lost[value] = lost.get(value, True) and (through or is_normalization(step.op))
    return found


def _is_homogeneous(activation: Activation, by_name: dict[str, bool]) -> bool:
    """True if φ(2z) = 2φ(z), as of lines, ReLU and the leaky ones.

    Args:
        activation: φ.
        by_name: What is known of those that their names say all of; it is added to.
    """
    source = activation.source
    if activation is LINEAR:
        return True
    if isinstance(source, str) and source in by_name:
        return by_name[source]
    try:
        once, twice = (evaluate(source, n * _POINTS) for n in (1, 2))
        found = bool(np.allclose(twice, 2 * once, rtol=1e-4, atol=1e-6))
    except InputError:
        found = False
    if isinstance(source, str):
        by_name[source] = found
    return found
