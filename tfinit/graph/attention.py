"""What of a network only says who attends to whom: beside the way of the signal.

Queries, keys and what biases their products end in a softmax, and so do the scores by which a
router chooses experts. What they are decides about weights of a mean; the signal itself goes
through the values.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tfinit.graph.activations import activation_of
from tfinit.graph.calls import Graph, bears_kernel
from tfinit.graph.keras_internals import arguments_of, attention_output
from tfinit.graph.kernels import Kernel
from tfinit.graph.layer_kinds import kind_of, letters_of
from tfinit.variables import walk_layers


def score_values(graph: Graph) -> set[int]:
    """The values that nothing but a softmax inside the model sees, before the next kernel."""
    # Value → is it so of all that read it? Absent: nothing reads it.
    scores = dict.fromkeys(graph.outputs, False)
    for step in reversed(graph.steps):
        made = [scores[value] for value in step.outputs if value in scores]
        if not made:
            continue
        through = all(made) and not bears_kernel(step.op)
        activation = activation_of(step.op)
        if activation is not None and activation.name == "softmax":
            through = not {*step.outputs} & {*graph.outputs}
        for place, value in enumerate(step.inputs):
            # Of queries, keys and values in one operation the first two.
            score = through or (is_fused(step.op) and place < 2)
            scores[value] = scores.get(value, True) and score
    return {value for value, is_score in scores.items() if is_score}


def score_steps(graph: Graph) -> set[int]:
    """The steps with kernels that make nothing but scores."""
    scores = score_values(graph)
    return {
        index
        for index, step in enumerate(graph.steps)
        if bears_kernel(step.op) and step.outputs and {*step.outputs} <= scores
    }


def score_layers(layer: Any) -> list[Any]:
    """The layers that make queries and keys inside an attention layer that is one step."""
    names = kind_of(layer).projections[:2]
    return [getattr(layer, name) for name in names if getattr(layer, name, None) is not None]


def is_fused(op: Any) -> bool:
    """True for Keras's operation that attends: from queries, keys and values to their means."""
    return kind_of(op).attention and not hasattr(op, "weights")


class SelfAttention(NamedTuple):
    """The four kernels of an attention layer in which tokens attend to themselves."""

    query: Kernel
    key: Kernel
    value: Kernel
    output: Kernel


def self_attentions(model: Any, graph: Graph, kernels: Sequence[Kernel]) -> list[SelfAttention]:
    """The attention layers that make queries, keys and values of one input, by head.

    Layers whose heads do not show in the shapes of their kernels are left out, and so are those
    with queries of another input: a decoder's to an encoder.
    """
    of_layer = {id(k.layer): k for k in kernels if k.name == "kernel" and len(k.shape) == 3}
    called = {id(step.op): n for n, step in reversed([*enumerate(graph.steps)])}
    found = []
    for _, layer in walk_layers(model):
        names = kind_of(layer).projections
        if not names:
            continue
        last = attention_output(layer) or getattr(layer, names[-1].replace("value", "output"), None)
        parts = [*(getattr(layer, name, None) for name in names), last]
        own = [of_layer[id(part)] for part in parts if id(part) in of_layer]
        if id(layer) in called:
            given = _attended(graph, called[id(layer)])
        else:
            steps = [graph.steps[called[id(part)]] for part in parts[:3] if id(part) in called]
            given = {step.inputs[0] for step in steps}
        if len(own) == 4 and len(given) == 1:
            found.append(SelfAttention(*own))
    return found


def _attended(graph: Graph, index: int) -> set[int]:
    """What an attention layer that is one step is given as queries, values and keys."""
    arguments = arguments_of(graph.nodes[index]) if graph.nodes else None
    if arguments is None:
        return {*graph.steps[index].inputs[:2]}
    args, kwargs = arguments
    names = ("query", "value", "key")
    given = dict(zip(names, args, strict=False)) | kwargs
    return {id(given[name]) for name in names if given.get(name) is not None}


def by_head(kernel: Kernel, values: np.ndarray) -> np.ndarray:
    """A kernel of an attention layer with its heads on the first axis: (heads, inputs, outputs).

    Of queries, keys and values the outputs of a head are its channels; of the output's kernel its
    inputs are.
    """
    return np.transpose(values, _order(kernel))


def from_heads(kernel: Kernel, values: np.ndarray) -> np.ndarray:
    """The kernel that `by_head` takes apart."""
    return np.transpose(values, np.argsort(_order(kernel)))


def _order(kernel: Kernel) -> list[int]:
    # Heads come before their channels, in the equations of all.
    letters = letters_of(kernel.layer, kernel.name, 3)
    of = {letter: [axis for axis in range(3) if letters[axis] == letter] for letter in "io"}
    if len(of["o"]) == 2:
        head, channels = of["o"]
        return [head, *of["i"], channels]
    head, channels = of["i"]
    return [head, channels, *of["o"]]
