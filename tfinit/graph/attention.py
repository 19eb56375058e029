"""What of a network only says who attends to whom: beside the way of the signal.

Queries, keys and what biases their products end in a softmax, and so do the scores by which a
router chooses experts. What they are decides about weights of a mean; the signal itself goes
through the values.
"""

from typing import Any

from tfinit.graph.activations import activation_of
from tfinit.graph.calls import Graph, bears_kernel
from tfinit.graph.layer_kinds import kind_of


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
