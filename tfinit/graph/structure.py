"""What of a model's graph a diagnosis needs: depth, who reads whom, what its initializers mean."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tfinit.fans import fans
from tfinit.graph.kernels import Kernel, find_kernels, matrices
from tfinit.graph.normalizations import is_normalization, normalized_steps
from tfinit.graph.residual import head_steps, residual_branches
from tfinit.graph.tracing import Graph, bears_kernel, trace
from tfinit.variables import walk_layers

_MERGES = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot")
# σ of drawn weights differs from the formula by so much at most, by chance and cutting.
_LIKE, _FEW = 0.2, 64
# Fans that are off by less than this change little.
_WRONG = 1.9


def is_merge(op: Any) -> bool:
    """True for layers that bring several signals together."""
    return any(cls.__name__ in _MERGES for cls in type(op).__mro__)


@dataclass
class Structure:
    """A model's graph and kernels, read."""

    model: Any
    graph: Graph
    kernels: list[Kernel]
    _by_layer: dict[int, list[Kernel]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Any) -> "Structure":
        """Read a built model of Keras 3."""
        graph = trace(model)
        # Of a kernel without entries nothing can be said.
        kernels = [k for k in find_kernels(model, graph) if 0 not in k.shape]
        found = cls(model, graph, kernels)
        inside = {
            id(part): layer
            for _, layer in walk_layers(model)
            if any(c.__name__ in ("RNN", "Wrapper") for c in type(layer).__mro__)
            for _, part in reversed(list(walk_layers(layer)))
        }
        for kernel in found.kernels:
            for owner in {id(kernel.layer), id(inside.get(id(kernel.layer), kernel.layer))}:
                found._by_layer.setdefault(owner, []).append(kernel)
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be told from the model."""
        return tuple(
            f"layer {key!r} could not be traced: depth is the order of calls in it"
            for key in self.graph.guessed
        )

    def kernels_of(self, layer: Any) -> list[Kernel]:
        """The kernels of a layer; of a recurrent layer or wrapper, those inside."""
        return self._by_layer.get(id(layer), [])

    def recurrent_of(self, kernel: Kernel) -> Kernel | None:
        """The recurrent kernel of the same cell."""
        same = (k for k in self.kernels_of(kernel.layer) if k.name == "recurrent_kernel")
        return next(same, None)

    @cached_property
    def _step_of(self) -> dict[int, int]:
        """A layer → the step of its first call that it is part of."""
        found: dict[int, int] = {}
        for index, step in enumerate(self.graph.steps):
            parts = [step.op]
            if hasattr(step.op, "weights"):
                parts += [layer for _, layer in walk_layers(step.op)]
            for part in parts:
                found.setdefault(id(part), index)
        return found

    def depths(self, calls: list[tuple[str, int, Any]]) -> dict[tuple[str, int], int]:
        """The number of layers with kernels on the longest way to each call's output.

        A graph that had to be guessed, and a second call, count on from what was called before.
        """
        producers = self.graph.producers()
        of_step: list[int] = []
        for step in self.graph.steps:
            before = [of_step[producers[v]] for v in step.inputs if v in producers]
            own = bears_kernel(step.op) and not hasattr(step.op, "input_dim")
            # A gate (squeeze and excite) is beside the way of the signal that it multiplies.
            longest = min if type(step.op).__name__ == "Multiply" else max
            of_step.append(longest(before, default=0) + own)
        depths: dict[tuple[str, int], int] = {}
        last = 0
        for key, n, layer in calls:
            step = self._step_of.get(id(layer))
            if n == 0 and step is not None and not self.graph.guessed:
                last = of_step[step]
            elif any(k.name != "embeddings" for k in self.kernels_of(layer)):
                last += 1
            depths[key, n] = last
        return depths

    @cached_property
    def _normalized(self) -> set[int]:
        return normalized_steps(self.graph)

    def is_normalized(self, layer: Any) -> bool:
        """True if a normalization undoes the scale of a layer's output."""
        return self._step_of.get(id(layer)) in self._normalized

    def reads(self, layer: Any) -> str:
        """What stands between a layer and the kernels before it, see `LayerSignals.reads`."""
        index = self._step_of.get(id(layer))
        if index is None or self.graph.guessed:
            return ""
        step = self.graph.steps[index]
        if step.op is not layer and any(k.ends_step for k in self.kernels_of(layer)):
            return "sum"  # of an attention layer's values, inside it
        producers = self.graph.producers()
        while len(step.inputs) == 1 and step.inputs[0] in producers:
            step = self.graph.steps[producers[step.inputs[0]]]
            if is_normalization(step.op):
                return "normalization"
            if is_merge(step.op):
                return "sum"
            if bears_kernel(step.op):
                break
        return ""

    def normalization_before(self, key: str) -> str:
        """The key of the normalization whose output an activation reads; "" if it reads none."""
        producers = self.graph.producers()
        for step in self.graph.steps:
            if step.key == key and not bears_kernel(step.op):
                before = [self.graph.steps[producers[v]] for v in step.inputs if v in producers]
                return next((step.key for step in before if is_normalization(step.op)), "")
        return ""

    @cached_property
    def _heads(self) -> set[int]:
        return head_steps(self.graph)

    def is_head(self, layer: Any) -> bool:
        """True for the last layer with a kernel before an output."""
        return self._step_of.get(id(layer)) in self._heads

    @cached_property
    def is_normalized_throughout(self) -> bool:
        """True if normalizations follow at least half of the kernels."""
        followed = [self.is_normalized(k.layer) for k in self.kernels if k.name != "embeddings"]
        return 2 * sum(followed) >= len(followed) > 0

    @cached_property
    def has_branches(self) -> bool:
        """True for a residual network."""
        return bool(residual_branches(self.graph))

    @cached_property
    def hidden_activations(self) -> tuple[str, ...]:
        """The names of what follows the kernels, the most frequent first; heads aside."""
        names = [
            str(activation)
            for kernel in self.kernels
            if kernel.step not in self._heads and kernel.name != "embeddings"
            for activation in kernel.activations
            if str(activation) != "linear"
        ]
        return tuple(sorted(set(names), key=lambda name: -names.count(name)))

    def rows_that_read(self, kernel: Kernel) -> np.ndarray | None:
        """How the kernels that read a kernel's units weight them, a row for each unit.

        None where it cannot be told: through sums of branches, or with another shape.
        """
        readers = self._readers(kernel)
        if not readers:
            return None
        maps, _, _, units = matrices(kernel).sizes()
        units *= maps if len(kernel.activations) == 1 else 1  # a unit has all its gates
        parts = []
        for reader in readers:
            how = matrices(reader)
            maps, _, inputs, _ = how.sizes()
            # The maps of gates read all units, those of groups some.
            if (maps > 1 and len(reader.activations) == 1) or inputs % units:
                return None
            order = (*how.inputs, *how.batch, *how.window, *how.outputs)
            rows = reader.variable.numpy().reshape(how.shape).transpose(order)
            # Flattened positions of an image: the channel changes fastest.
            rows = rows.reshape(inputs // units, units, -1).transpose(1, 0, 2)
            parts.append(rows.reshape(units, -1))
        return np.concatenate(parts, axis=1)

    def _readers(self, kernel: Kernel) -> list[Kernel] | None:
        if kernel.step is None or self.graph.guessed:
            return None
        users: dict[int, list[int]] = {}
        for index, step in enumerate(self.graph.steps):
            for value in step.inputs:
                users.setdefault(value, []).append(index)
        stack = list(self.graph.steps[kernel.step].outputs)
        readers: list[Kernel] = []
        while stack:
            for index in users.get(stack.pop(), ()):
                step = self.graph.steps[index]
                if is_merge(step.op):
                    return None
                if bears_kernel(step.op):
                    # Those at the layer's entrance; of an attention layer one cannot tell.
                    inside = ("recurrent_kernel", "pointwise_kernel")
                    first = [k for k in self.kernels_of(step.op) if k.name not in inside]
                    if not first:
                        return None
                    readers += first
                else:
                    stack.extend(step.outputs)
        return readers

    def initializer_of(self, kernel: Kernel) -> str:
        """The class of the initializer that a layer holds for a kernel; "" if it holds none."""
        found = _initializer(kernel)
        return "" if found is None else type(found).__name__

    def wrong_fans(self, kernel: Kernel, std: float) -> float | None:
        """σ of the weights / σ by the layer's true fans, if the initializer used other fans.

        None where the fans are right, where the weights do not look like the initializer's (they
        were trained, or set), or where it has no fans.
        """
        found = _initializer(kernel)
        scale, mode = getattr(found, "scale", None), getattr(found, "mode", None)
        if not isinstance(scale, int | float) or math.prod(kernel.shape) < _FEW:
            return None
        true = _fan(mode, kernel.fan_in, kernel.fan_out)
        used = _fan(mode, *fans(kernel.shape))
        if true is None or used is None:
            return None
        off = math.sqrt(true / used)
        like = std / math.sqrt(scale / used)
        if not abs(like - 1) < _LIKE or 1 / _WRONG < off < _WRONG:
            return None
        return off


def _initializer(kernel: Kernel) -> Any:
    # depthwise_kernel → depthwise_initializer, and that is where DepthwiseConv keeps its kernel's.
    name = kernel.name.removesuffix("_kernel")
    found = getattr(kernel.layer, f"{name}_initializer", None)
    if found is None and name == "kernel":
        found = getattr(kernel.layer, "depthwise_initializer", None)
    return found


def _fan(mode: Any, fan_in: float, fan_out: float) -> float | None:
    known = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    return known.get(mode)
