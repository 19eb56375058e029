"""Channels through layers that go step by step: LSTM, GRU, Bidirectional, TimeDistributed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from tfinit.graph.channel_values import (
    Call,
    Channels,
    Rule,
    Shape,
    Untouchable,
    Value,
    side_by_side,
)
from tfinit.graph.elementwise import elementwise
from tfinit.graph.layer_kinds import kind_of
from tfinit.variables import all_weights

RuleOf = Callable[[Any], Rule]


def _recurrent(channels: Channels, call: Call) -> list[Value]:
    layer = call.layer
    taken, states = _given(channels, call)
    made = _units(channels, call, layer, taken, states)
    weights = _weights(channels, layer, taken, made)
    channels.weigh(call, weights, {"units": made})
    # A sequence or its end, and the states: each of the units.
    return [replace(made, axis=len(shape) - 1) for shape in call.made_shapes]


def _bidirectional(channels: Channels, call: Call) -> list[Value]:
    """Both ways have as many units: Keras takes the width of one for that of the other."""
    layer = call.layer
    halves = {"layer": layer.forward_layer, "backward_layer": layer.backward_layer}
    for half in halves.values():
        if kind_of(half, exactly=True).channels != "recurrent":
            raise Untouchable(f"it goes both ways with a {type(half).__name__}")
    taken, states = _given(channels, call)
    if layer.forward_layer.cell.units != layer.backward_layer.cell.units:
        raise Untouchable("its two ways have units of different numbers")
    ways, weights, count = [], {}, len(states) // 2
    for i, half in enumerate(halves.values()):
        own = states[i * count : (i + 1) * count]
        ways.append(_units(channels, call, half, taken, own, f"{half.name}/"))
        own_weights = _weights(channels, half, taken, ways[-1])
        names = list(all_weights(layer))
        prefix = names[i * len(own_weights)].split("/")[0]
        weights |= {f"{prefix}/{key}": axes for key, axes in own_weights.items()}
    channels.join(*ways)
    channels.weigh(
        call, weights, {f"{key}.config.units": way for key, way in zip(halves, ways, strict=True)}
    )
    return _both(layer, call, ways)


def _both(layer: Any, call: Call, ways: list[Value]) -> list[Value]:
    """The outputs of two ways, put together as the layer does, and the states of each."""
    shapes = [len(shape) - 1 for shape in call.made_shapes]
    axis = shapes[0]
    forward, backward = (replace(way, axis=axis) for way in ways)
    if layer.merge_mode is None:
        outputs = [forward, backward]
    elif layer.merge_mode == "concat":
        outputs = [side_by_side([forward, backward])]
    else:
        zeros = (forward.constants == 0) & (backward.constants == 0)
        outputs = [forward.having(np.where(zeros, 0.0, np.nan))]
    left = len(shapes) - len(outputs)
    states = [replace(way, axis=1) for way in ways for _ in range(left // 2)]
    return [*outputs, *states]


def _given(channels: Channels, call: Call) -> tuple[Value, list[Value]]:
    """What a recurrent layer reads, and its first states if it is given some."""
    if call.layer.stateful:
        raise Untouchable("it is stateful")
    given = channels.given(call, "sequences", "initial_state")
    taken = channels.along(-1, call, given["sequences"])
    states = [part for part in keras.tree.flatten(given.get("initial_state")) if part is not None]
    if any(id(state) not in map(id, call.tensors) for state in states):
        raise Untouchable("it begins with states that are no tensors of the model")
    return taken, [channels.along(-1, call, state) for state in states]


def _units(
    channels: Channels, call: Call, layer: Any, taken: Value, states: list[Value], part: str = ""
) -> Value:
    """The units of a recurrent layer, noted with what they read: its input and themselves."""
    cell = layer.cell
    made = channels.fresh(cell.units, len(call.made_shape) - 1)
    for state in states:
        channels.join(made, state)
    gates = len(kind_of(cell).gates)
    kernels = (cell.kernel, cell.recurrent_kernel)
    uses = np.concatenate([_by_gate(channels, kernel, gates).any(axis=1) for kernel in kernels])
    if not states:
        made = made.having(np.where(_silent(channels, cell, gates), 0.0, np.nan))
    channels.mix(call, side_by_side([taken, made]), made, uses, part=part)
    return made


def _by_gate(channels: Channels, kernel: Any, gates: int) -> np.ndarray:
    """(inputs, gates, units) of a kernel: is a weight not zero."""
    array = channels.nonzero(kernel, 0, 1)
    return array.reshape(len(array), gates, -1)


def _silent(channels: Channels, cell: Any, gates: int) -> np.ndarray:
    """Units that are 0 at every step, as their candidates are: f(0) = 0 of nothing."""
    try:
        function = elementwise(cell.activation)
    except Untouchable:
        return np.zeros(cell.units, dtype=bool)
    zero = keras.ops.convert_to_tensor([[0.0]], dtype=cell.compute_dtype)
    if keras.ops.convert_to_numpy(function(zero)).any():
        return np.zeros(cell.units, dtype=bool)
    candidate = kind_of(cell).gates.index("c")
    weights = [cell.kernel, cell.recurrent_kernel]
    heard = [_by_gate(channels, kernel, gates)[:, candidate].any(axis=0) for kernel in weights]
    if cell.use_bias:
        bias = channels.array(cell.bias).reshape(-1, gates, cell.units)
        heard.append((bias[:, candidate] != 0).any(axis=0))
    return ~np.any(heard, axis=0)


def _weights(
    channels: Channels, layer: Any, taken: Value, made: Value
) -> dict[str, tuple[Value | None, ...]]:
    """Where the units are in the weights of a recurrent layer: once in each gate."""
    gates = made.at(np.tile(np.arange(len(made)), len(kind_of(layer.cell).gates)))
    axes: dict[str, tuple[Value | None, ...]] = {
        "kernel": (taken, gates),
        "recurrent_kernel": (made, gates),
        "bias": (*[None] * (len(layer.cell.bias.shape) - 1), gates) if layer.cell.use_bias else (),
    }
    return {key: axes[key.split("/")[-1]] for key in all_weights(layer)}


def each_step(rule_of: RuleOf) -> Rule:
    """The rule of TimeDistributed: that of the layer in it, at each step."""

    def rule(channels: Channels, call: Call) -> Value | list[Value]:
        inner, [taken] = call.layer.layer, call.taken
        if taken.axis == 1:
            raise Untouchable("its channels are on the axis of steps")
        given = (*call.shapes, *call.made_shapes)
        shapes: list[Shape] = [(shape[0], *shape[2:]) for shape in given]
        step = Call(
            *(inner, f"{call.name}/{inner.name}", [replace(taken, axis=taken.axis - 1)]),
            *(shapes[:1], shapes[1]),
            made_shapes=shapes[1:],
        )
        made = rule_of(inner)(channels, step)
        if isinstance(made, list):
            raise Untouchable(f"it calls a {type(inner).__name__} at each step")
        return replace(made, axis=made.axis + 1)

    return rule


RULES: dict[str, Rule] = {"recurrent": _recurrent, "bidirectional": _bidirectional}
OWN_ARGUMENTS = set(RULES)
