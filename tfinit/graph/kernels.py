"""The kernels of a model, each with its layer, its fans and the activation that follows it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tfinit.fans import fans
from tfinit.graph.activations import LINEAR, Activation, gate_activations, own_activation
from tfinit.graph.calls import Graph
from tfinit.graph.keras_internals import attention_output
from tfinit.graph.layer_kinds import axes_of, kind_of, letters_of
from tfinit.variables import all_weights, own_weights, walk_layers, weight_name

_REVERSE = "reverse_embeddings"


@dataclass(frozen=True)
class Kernel:
    """A kernel, recurrent kernel or embedding of a model.

    Attributes:
        key: The weight's stable key.
        name: The weight's own name, ``"kernel"``.
        variable: The weight.
        layer: The layer that owns it.
        bias: The layer's bias, or None. Only the kernel that makes the layer's output has one, and
            none of a recurrent cell, whose bias belongs to its gates.
        step: The index in the graph of the first call that uses it; None if no call does.
        activations: What follows; one for each gate of a recurrent cell, else one.
        fan_in: The products that one output sums; of one gate, in a recurrent cell.
        fan_out: The products that one input enters; of one gate, in a recurrent cell.
        trainable: False if the layer is frozen, or the weight has no entries.
        ends_step: True if it makes the output of the step: of an attention layer, the last one.
        recurrent: True if it is part of a recurrent layer: of its cell, or of what its cell holds.
    """

    key: str
    name: str
    variable: Any
    layer: Any
    bias: Any
    step: int | None
    activations: tuple[Activation, ...]
    fan_in: float
    fan_out: float
    trainable: bool
    ends_step: bool
    recurrent: bool

    @property
    def is_embedding(self) -> bool:
        """True for a table of vectors, and for the way back from them."""
        return self.name in ("embeddings", _REVERSE)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weight."""
        return tuple(self.variable.shape)


def find_kernels(model: Any, graph: Graph) -> list[Kernel]:
    """Every kernel of a built model in data-flow order, shared ones once.

    Args:
        model: A built model of Keras 3 or tf_keras.
        graph: What `trace` found in it.

    Returns:
        The weights named like kernels and embeddings. Layers that no call reaches come last.
    """
    keys = {id(variable): key for key, variable in all_weights(model).items()}
    trainable = {id(variable) for variable in model.trainable_weights}
    following = graph.following()
    inside = _of_recurrent_layers(model)
    found: list[Kernel] = []
    done: set[int] = set()

    def collect(
        layer: Any, step: int | None, end: Any, outer: Activation, reverse: bool = False
    ) -> None:
        own = {weight_name(w): w for w in own_weights(layer)}
        behind = outer if layer is end else LINEAR
        ahead = own_activation(layer) or behind
        # Of several kernels the layer's activation may be inside, and not at its end.
        gated = any(axes.inside == "activation" for axes in kind_of(layer).kernels.values())
        read_by = {"": behind if gated else ahead, "activation": ahead, "product": LINEAR}
        gates = gate_activations(layer)
        for name, variable in own.items():
            axes = axes_of(layer, name)
            if axes is None or id(variable) in done:
                continue
            # One call of an untied embedding reads the one, its call in reverse the other.
            if step is not None and (name == _REVERSE) != (reverse and _REVERSE in own):
                continue
            done.add(id(variable))
            last = not axes.inside
            # As Keras's initializers count: 1 of a scalar, and where there is nothing to sum.
            some = math.prod(variable.shape) and len(variable.shape)
            fan_in, fan_out = fans(layer, variable) if some else (1.0, 1.0)
            found.append(
                Kernel(
                    key=keys[id(variable)],
                    name=name,
                    variable=variable,
                    layer=layer,
                    bias=own.get("bias") if last and not gates else None,
                    step=step,
                    activations=gates or (read_by[axes.inside],),
                    fan_in=fan_in,
                    fan_out=fan_out,
                    trainable=id(variable) in trainable and 0 not in variable.shape,
                    ends_step=last and layer is end,
                    recurrent=id(layer) in inside or "recurrent_kernel" in own,
                )
            )

    for index, step in enumerate(graph.steps):
        if not getattr(step.op, "weights", None):
            continue
        outer = following.get(step.outputs[0], LINEAR) if step.outputs else LINEAR
        end = _last_layer(step.op)
        for _, layer in walk_layers(step.op):
            collect(layer, index, end, outer, graph.is_reverse(index))
    for _, layer in walk_layers(model):
        collect(layer, None, None, LINEAR)
    return found


def _of_recurrent_layers(model: Any) -> set[int]:
    """The ids of Keras's recurrent layers and of all layers in them, cells of the user's too."""
    return {
        id(part)
        for _, layer in walk_layers(model)
        if kind_of(layer).recurrent
        for _, part in walk_layers(layer)
    }


def _last_layer(layer: Any) -> Any:
    """The layer inside one of Keras's own composites whose output is the composite's."""
    inner = attention_output(layer)  # attention
    if inner is None and kind_of(layer).wrapper:
        inner = layer.layer
    return layer if inner is None or inner is layer else _last_layer(inner)


class Matrices(NamedTuple):
    """A kernel as independent linear maps, window by window.

    The kernel's shape is first split (groups and gates become an axis of their own) into `shape`;
    `batch`, `window`, `inputs` and `outputs` are that shape's axes: which map, where in the
    window, and what the map goes from and to. `window_of_inputs` says on which side the window
    stands: a convolution sums over it, a transposed convolution spreads over it.
    """

    shape: tuple[int, ...]
    batch: tuple[int, ...]
    window: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    window_of_inputs: bool = True

    def sizes(self) -> tuple[int, int, int, int]:
        """How many maps, window positions, inputs and outputs there are."""
        parts = (self.batch, self.window, self.inputs, self.outputs)
        maps, window, inputs, outputs = (math.prod(self.shape[a] for a in part) for part in parts)
        return maps, window, inputs, outputs

    @property
    def _order(self) -> tuple[int, ...]:
        return (*self.batch, *self.window, *self.inputs, *self.outputs)

    def maps(self, kernel: np.ndarray) -> np.ndarray:
        """An array (maps, window, inputs, outputs) from a kernel."""
        return np.transpose(kernel.reshape(self.shape), self._order).reshape(self.sizes())

    def kernel(self, maps: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """The kernel of a given shape from an array (maps, window, inputs, outputs)."""
        order = self._order
        split = maps.reshape([self.shape[axis] for axis in order])
        return np.transpose(split, np.argsort(order)).reshape(shape)


def matrices(kernel: Kernel) -> Matrices:
    """How a kernel is a set of linear maps: by group, gate, channel or batch axis of an einsum."""
    return matrices_of(kernel.layer, kernel.name, kernel.shape, len(kernel.activations))


def matrices_of(layer: Any, name: str, shape: tuple[int, ...], gates: int = 1) -> Matrices:
    """The same of a layer's weight; `gates` are those of a recurrent cell."""
    n, letters = len(shape), letters_of(layer, name, len(shape))
    window = tuple(axis for axis, letter in enumerate(letters) if letter == "*")

    def of(which: str) -> tuple[int, ...]:
        return tuple(axis for axis, letter in enumerate(letters) if letter in which)

    if "e" in letters or hasattr(layer, "equation"):
        return Matrices(shape, of("e"), (), of("i*"), of("o"))
    if "c" in letters:
        return Matrices(shape, of("c"), window, (), of("m"))
    if letters.endswith("oi"):
        return Matrices(shape, (), window, of("i"), of("o"), window_of_inputs=False)
    parts = gates
    if parts == 1 and name == "kernel":
        parts = getattr(layer, "groups", 1)
    if n < 2:
        return Matrices((1,) * (2 - n) + shape, (), (), (0,), (1,))
    window = tuple(range(n - 2))
    split = (*shape[:-1], parts, shape[-1] // parts)
    return Matrices(split, (n - 1,), window, (n - 2,), (n,))
