"""What layers are set to that lets no signal through, or another than was meant.

Rates of dropout, what normalizations average over, weights that are frozen as they were drawn.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tfinit.diagnostics.measuring.initializers import drawn
from tfinit.graph.calls import Graph, bears_kernel
from tfinit.graph.keras_internals import arguments_of, inputs_of
from tfinit.graph.kernels import Kernel
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.structure import Structure

# Weights as they were drawn: σ within this of the initializer's.
_LIKE, _FEW = 0.05, 64
_BIASES = (0.0, 1.0)  # as layers draw them: of an LSTM the forget gate begins at 1


class Dropped(NamedTuple):
    """One layer that drops what it reads.

    Attributes:
        key: Of the layer.
        rate: The part that is dropped, together with the layers that drop right before it: with no
            kernel between.
        units: How many draws are made for an example; 0 where it cannot be told.
        only_way: True if nothing of the inputs comes to the outputs but through it.
    """

    key: str
    rate: float
    units: int
    only_way: bool


class Normalized(NamedTuple):
    """One normalization.

    Attributes:
        key: Of the layer.
        over: ``"batch"``, ``"layer"``, ``"group"``, ``"rms"`` or ``"unit"``.
        axes: Of its input: those that it averages over; of ``"batch"`` and ``"group"`` the one that
            it keeps.
        shape: Of its input, without the batch.
        channels: The axis of the channels.
        entries: How many numbers of one example are averaged.
        only_way: True if nothing of the inputs comes to the outputs but through it.
        trains: True if it uses the batch's statistics when the model is trained.
        behind_frozen: How many frozen kernels, and none that trains, come before it.
    """

    key: str
    over: str
    axes: tuple[int, ...]
    shape: tuple[int, ...]
    channels: int
    entries: int
    only_way: bool
    trains: bool
    behind_frozen: int


@dataclass(frozen=True)
class Settings:
    """What was read of the layers of a model.

    Attributes:
        dropped: What drops, of layers and of recurrent cells.
        normalized: The normalizations of Keras whose input's shape is known.
        fresh: Keys of frozen kernels, with none that trains before them, that hold what their
            initializer drew.
        trainable: How many numbers training moves.
        numbers: How many there are in kernels and other weights.
        batch: The size of the batch that the model was built for; None where it was left open.
    """

    dropped: tuple[Dropped, ...]
    normalized: tuple[Normalized, ...]
    fresh: tuple[str, ...]
    trainable: int
    numbers: int
    batch: int | None


def settings_of(structure: Structure, values: dict[str, np.ndarray]) -> Settings:
    """What the layers of a model are set to.

    Args:
        structure: The model's graph, read.
        values: Key → a kernel's values.
    """
    model = structure.model
    frozen = _frozen_before(structure)
    inputs = getattr(model, "inputs", None) or []
    shapes = [tuple(tensor.shape) for tensor in inputs]
    return Settings(
        tuple(_dropped(structure.graph)),
        tuple(_normalized(structure, frozen)),
        tuple(
            kernel.key
            for kernel in structure.kernels
            if kernel.step in frozen
            and not kernel.trainable
            and _is_fresh(kernel, values[kernel.key])
        ),
        sum(math.prod(w.shape) for w in model.trainable_weights),
        sum(math.prod(w.shape) for w in model.weights),
        next((shape[0] for shape in shapes if shape), None),
    )


def _dropped(graph: Graph) -> Iterator[Dropped]:
    left: dict[int, float] = {}  # value → what dropout has left of it since the last kernel
    for index, step in enumerate(graph.steps):
        before = min((left.get(value, 1.0) for value in step.inputs), default=1.0)
        if len(set(step.inputs)) == 1 and not bears_kernel(step.op):
            left.update(dict.fromkeys(step.outputs, before))
        rate = getattr(step.op, "rate", None)
        kind = kind_of(step.op)
        if isinstance(rate, int | float) and kind.channels == "same" and hasattr(step.op, "seed"):
            shape = _shape(graph, index)
            if kind.moments == "dropout" and getattr(step.op, "noise_shape", None) is None:
                # Of images whole channels are dropped by layers that say so.
                whole = "data_format" in vars(step.op) or "Spatial" in type(step.op).__name__
                units = shape[-1] if whole and shape else math.prod(shape) if shape else 0
            else:
                units = 0
            rest = before * (1 - rate)
            left.update(dict.fromkeys(step.outputs, rest))
            yield Dropped(step.key, 1 - rest, units, _is_only_way(graph, index))
        elif kind.recurrent:
            cell = getattr(step.op, "cell", None)
            rates = (getattr(cell, name, 0.0) for name in ("dropout", "recurrent_dropout"))
            rate = max((r for r in rates if isinstance(r, int | float)), default=0.0)
            if rate > 0:
                yield Dropped(step.key, float(rate), 0, False)


def _normalized(structure: Structure, frozen: dict[int, int]) -> Iterator[Normalized]:
    graph = structure.graph
    for index, step in enumerate(graph.steps):
        over, shape = kind_of(step.op, exactly=True).normalization, _shape(graph, index)
        axis = getattr(step.op, "axis", None)
        if over in ("", "own") or not shape or axis is None or None in shape:
            continue
        rank = len(shape) + 1
        axes = tuple(a % rank for a in (axis if isinstance(axis, list | tuple) else [axis]))
        if 0 in axes:
            continue
        entries = math.prod(shape[a - 1] for a in axes)
        if over == "batch":
            entries = math.prod(shape) // max(entries, 1)
        elif over == "group":
            entries = math.prod(shape) // max(getattr(step.op, "groups", 1), 1)
        trains = (
            over == "batch" and bool(step.op.trainable) and not _is_called_for_use(graph, index)
        )
        yield Normalized(
            step.key,
            over,
            axes,
            shape,
            _channel_axis(graph, index, rank),
            entries,
            _is_only_way(graph, index),
            trains,
            frozen.get(index, 0),
        )


def _is_called_for_use(graph: Graph, index: int) -> bool:
    """True if the call itself says that it is not of a training."""
    node = graph.nodes[index] if graph.nodes else None
    _, named = (arguments_of(node) if node is not None else None) or ([], {})
    return named.get("training") is False


def _channel_axis(graph: Graph, index: int, rank: int) -> int:
    """Where the channels are: as the layers before it say that have a word to say, else last."""
    for step in reversed(graph.steps[:index]):
        given = getattr(step.op, "data_format", None)
        if given is not None:
            return 1 if given == "channels_first" else rank - 1
    return rank - 1


def _shape(graph: Graph, index: int) -> tuple[int, ...]:
    """The shape of what a step reads, without the batch; () where it was not recorded."""
    node = graph.nodes[index] if graph.nodes else None
    read = inputs_of(node) if node is not None else []
    shape = tuple(read[0].shape)[1:] if read else ()
    return () if None in shape else shape


def _is_only_way(graph: Graph, index: int) -> bool:
    """True if all that comes from the inputs to the outputs passes a step."""
    reached = set(graph.inputs)
    for place, step in enumerate(graph.steps):
        if place != index and reached & {*step.inputs}:
            reached.update(step.outputs)
    return not graph.guessed and not reached & {*graph.outputs}


def _frozen_before(structure: Structure) -> dict[int, int]:
    """Each step up to which no kernel trains → how many frozen ones there are."""
    kernels: dict[int, list[Kernel]] = {}
    for kernel in structure.kernels:
        if kernel.step is not None:
            kernels.setdefault(kernel.step, []).append(kernel)
    graph = structure.graph
    counts = dict.fromkeys(graph.inputs, 0)
    found: dict[int, int] = {}
    for index, step in enumerate(graph.steps):
        before = [counts[value] for value in step.inputs if value in counts]
        own = kernels.get(index, [])
        if len(before) < len(step.inputs) or any(k.trainable for k in own):
            continue
        found[index] = max(before, default=0) + len(own)
        counts.update(dict.fromkeys(step.outputs, found[index]))
    return {} if graph.guessed else found


def _is_fresh(kernel: Kernel, values: np.ndarray) -> bool:
    """True if a kernel and its bias look as their initializers make them."""
    wanted = drawn(kernel)
    if wanted is None or values.size < _FEW or not np.all(np.isfinite(values)):
        return False
    if kernel.bias is not None and not np.all(np.isin(kernel.bias.numpy(), _BIASES)):
        return False
    sigma, largest = wanted
    by_chance = 1 / math.sqrt(values.size)
    return (
        abs(float(values.std()) / sigma - 1) < _LIKE + 1.5 * by_chance
        and abs(float(values.mean())) < 4 * sigma * by_chance
        and float(np.max(np.abs(values))) <= 1.0001 * largest
    )
