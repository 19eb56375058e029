"""Where a network computes no more than one matrix would: layers with nothing bent between them."""

from typing import Any, NamedTuple

from tfinit.graph.activations import LINEAR
from tfinit.graph.calls import Graph, bears_kernel
from tfinit.graph.layer_kinds import LayerKind, kind_of
from tfinit.graph.normalizations import applied

# What passes its input on, scaled or moved: by the names of rules in the table of layers.
_MOVING = ("same", "flatten", "reshape", "moving", "zero_padding", "batch_normalization")
_AVERAGING = ("same", "pad", "rescale", "average_pool", "global_average")
_SUMMING = ("add", "subtract", "average", "concatenate")


class LinearPair(NamedTuple):
    """Two calls of which the second reads what the first makes, with nothing bent between.

    Attributes:
        first: The index of the first's step.
        then: That of the second's.
    """

    first: int
    then: int


def linear_pairs(graph: Graph) -> list[LinearPair]:
    """All pairs of layers with kernels that one such layer could replace, in data-flow order."""
    made_by: dict[int, int] = {}  # value → the step whose linear output it is, moved at most
    found: list[LinearPair] = []
    for index, step in enumerate(graph.steps):
        before = {made_by.get(value, -1) for value in step.inputs}
        source = before.pop() if len(before) == 1 else -1
        straight = applied(step.op) is LINEAR
        if is_linear_layer(step.op):
            if source >= 0:
                found.append(LinearPair(source, index))
            source = index
        elif not _passes_on(step.op) or len(set(step.inputs)) != 1:
            source = -1
        if straight and source >= 0:
            made_by.update(dict.fromkeys(step.outputs, source))
    return found


def is_linear(graph: Graph, heads: set[int]) -> bool:
    """True if what each head reads is linear in the inputs, with a kernel between.

    Args:
        graph: The model's.
        heads: Its last steps with kernels (`tfinit.graph.residual.head_steps`). Their own
            activation, and what comes behind them, is the output's and does not count.
    """
    kernels = dict.fromkeys(graph.inputs, 0)  # of linear values: how many are behind them
    for index, step in enumerate(graph.steps):
        known = [kernels[value] for value in step.inputs if value in kernels]
        if not known or len(known) < len(step.inputs):
            if index in heads:
                return False
            continue
        layer = is_linear_layer(step.op)
        if index in heads and (not layer or not max(known)):
            return False
        summed = kind_of(step.op).merge in _SUMMING
        if applied(step.op) is LINEAR and (layer or summed or _passes_on(step.op)):
            kernels.update(dict.fromkeys(step.outputs, max(known) + layer))
    return bool(heads) and not graph.guessed


def is_linear_layer(op: Any) -> bool:
    """True of Dense, convolutions and the like, alone or wrapped; their activation aside."""
    kind = _inner(op)
    return kind.linear and not kind.looks_up and bears_kernel(op)


def is_depthwise(op: Any) -> bool:
    """True of layers that treat each channel by itself."""
    return _inner(op).left_alone == "depthwise"


def _inner(op: Any) -> LayerKind:
    kind = kind_of(op)
    layer = getattr(op, "layer", None)
    return _inner(layer) if kind.wrapper and layer is not None else kind


def _passes_on(op: Any) -> bool:
    kind = kind_of(op, exactly=True)
    return kind.channels in _MOVING or kind.moments in _AVERAGING or kind.moments == "dropout"
