"""A model's graph and kernels, read: how deep a layer is, what stands before and behind it."""

from functools import cached_property
from typing import Any

from tfinit.graph.activations import LINEAR, Activation
from tfinit.graph.attention import score_layers, score_steps
from tfinit.graph.calls import Graph, bears_kernel
from tfinit.graph.kernels import Kernel, find_kernels
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.linearity import LinearPair, is_linear, linear_pairs
from tfinit.graph.nonlinearity import Nonlinearity, nonlinearity
from tfinit.graph.normalizations import applied, is_normalization, normalized_steps
from tfinit.graph.residual import (
    ResidualBranch,
    Stream,
    ending,
    head_steps,
    residual_branches,
    residual_streams,
)
from tfinit.graph.tracing import trace
from tfinit.variables import walk_layers


def is_merge(op: Any) -> bool:
    """True for layers and operations that bring several signals together."""
    return bool(kind_of(op).merge)


class Structure:
    """Answers about one traced model, from its graph alone.

    Args:
        model: A built model of Keras 3 or tf_keras.
        graph: What `trace` found.
        kernels: What `find_kernels` found; all, or those that are asked about.
    """

    def __init__(self, model: Any, graph: Graph, kernels: list[Kernel]) -> None:
        self.model, self.graph, self.kernels = model, graph, kernels
        self._kinds: dict[Any, Nonlinearity] = {}

    @classmethod
    def of(cls, model: Any, x: Any = None) -> "Structure":
        """Read a built model, with the kernels that have entries; `x` as `trace` takes it."""
        graph = trace(model, x)
        return cls(model, graph, [k for k in find_kernels(model, graph) if 0 not in k.shape])

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be told from the model."""
        return tuple(
            f"layer {key!r} could not be traced, so depth is the order of calls in it: {why}"
            for key, why in self.graph.reasons.items()
        )

    def kind(self, activation: Activation) -> Nonlinearity:
        """`nonlinearity`, each activation looked at once."""
        source = activation.source
        # Sources need not be hashable.
        key = source if isinstance(source, str) else id(source)
        if key not in self._kinds:
            self._kinds[key] = nonlinearity(activation)
        return self._kinds[key]

    @cached_property
    def _by_layer(self) -> dict[int, list[Kernel]]:
        inside = {
            id(part): layer
            for _, layer in walk_layers(self.model)
            if kind_of(layer).recurrent or kind_of(layer).wrapper
            for _, part in reversed(list(walk_layers(layer)))
        }
        found: dict[int, list[Kernel]] = {}
        for kernel in self.kernels:
            for owner in {id(kernel.layer), id(inside.get(id(kernel.layer), kernel.layer))}:
                found.setdefault(owner, []).append(kernel)
        return found

    def kernels_of(self, layer: Any) -> list[Kernel]:
        """The kernels of a layer; of a recurrent layer or wrapper, those inside."""
        return self._by_layer.get(id(layer), [])

    def recurrent_of(self, kernel: Kernel) -> Kernel | None:
        """The recurrent kernel of the same cell."""
        same = (k for k in self.kernels_of(kernel.layer) if k.name == "recurrent_kernel")
        return next(same, None)

    @cached_property
    def _step_of(self) -> dict[int, int]:
        """Id of a layer → the first step that calls it, or a layer that it is in."""
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
            own = bears_kernel(step.op) and not kind_of(step.op).looks_up
            # A gate (squeeze and excite) is beside the way of the signal that it multiplies.
            longest = min if kind_of(step.op).merge == "multiply" else max
            of_step.append(longest(before, default=0) + own)
        depths: dict[tuple[str, int], int] = {}
        last = 0
        for key, n, layer in calls:
            step = self._step_of.get(id(layer))
            if n == 0 and step is not None and not self.graph.guessed:
                last = of_step[step]
            elif any(not k.is_embedding for k in self.kernels_of(layer)):
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
        # Attention may be given one tensor as queries, keys and values, and a mask besides.
        while len(read := {*step.inputs} & self._behind_kernels) == 1:
            step = self.graph.steps[producers[read.pop()]]
            if is_normalization(step.op):
                return "normalization"
            if is_merge(step.op):
                return "sum"
            if bears_kernel(step.op):
                break
        return ""

    @cached_property
    def _behind_kernels(self) -> set[int]:
        """The values that a kernel had a part in: masks and positions of the inputs are none."""
        found: set[int] = set()
        for step in self.graph.steps:
            if bears_kernel(step.op) or is_normalization(step.op) or found & {*step.inputs}:
                found |= {*step.outputs}
        return found

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
    def _scores(self) -> set[int]:
        found = score_steps(self.graph)
        layers = {id(self.graph.steps[step].op) for step in found}
        return layers | {
            id(part) for _, layer in walk_layers(self.model) for part in score_layers(layer)
        }

    def makes_scores(self, layer: Any) -> bool:
        """True for a layer beside the way of the signal: of queries, of keys, a router."""
        return id(layer) in self._scores

    @cached_property
    def is_normalized_throughout(self) -> bool:
        """True if normalizations follow at least half of the kernels."""
        followed = [self.is_normalized(k.layer) for k in self.kernels if not k.is_embedding]
        return 2 * sum(followed) >= len(followed) > 0

    @property
    def has_branches(self) -> bool:
        """True for a residual network."""
        return bool(self.branches)

    @cached_property
    def hidden_activations(self) -> tuple[str, ...]:
        """The names of what follows the kernels, the most frequent first; heads aside."""
        names = [
            str(activation)
            for kernel in self.kernels
            if kernel.step not in self._heads and not kernel.is_embedding
            for activation in kernel.activations
            if str(activation) != "linear"
        ]
        return tuple(sorted(set(names), key=lambda name: -names.count(name)))

    def readers_of(self, kernel: Kernel) -> list[Kernel] | None:
        """The kernels that read what a kernel makes; None where it cannot be told."""
        if kernel.step is None or self.graph.guessed:
            return None
        stack = list(self.graph.steps[kernel.step].outputs)
        readers: list[Kernel] = []
        while stack:
            for index in self._readers.get(stack.pop(), ()):
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

    @cached_property
    def is_linear(self) -> bool:
        """True if all that the heads read is linear in the inputs, through other kernels."""
        return is_linear(self.graph, self._heads)

    @cached_property
    def linear_pairs(self) -> list[LinearPair]:
        """The pairs of layers in a row with nothing bent between them."""
        return [] if self.graph.guessed else linear_pairs(self.graph)

    @cached_property
    def normalized(self) -> set[str]:
        """Keys of kernels whose output a normalization rescales (`normalized_steps`)."""
        return ending(self.kernels, self._normalized)

    @cached_property
    def additions(self) -> int:
        """How many residual additions there are: the N of 1/√N."""
        return len({branch.add for branch in self.branches})

    @cached_property
    def branch_ends(self) -> set[str]:
        """Keys of the kernels that end a residual branch."""
        return ending(self.kernels, {step for b in self.branches for step in b.last})

    @cached_property
    def sums_are_normalized(self) -> bool:
        """True if every residual sum goes into a normalization and nowhere else ("post-norm")."""
        users = [self.users(branch.add) for branch in self.branches]
        return bool(users) and all(
            found and all(is_normalization(self.graph.steps[i].op) for i in found)
            for found in users
        )

    @cached_property
    def shortcuts(self) -> set[str]:
        """Keys of kernels that only a residual addition reads, and that end no branch."""
        adds = {branch.add for branch in self.branches}
        steps = {i for i in self._kernel_steps if self._joins(i, adds)}
        return ending(self.kernels, steps) - self.branch_ends

    @cached_property
    def first(self) -> set[str]:
        """Keys of the kernels with no other between them and the model's inputs."""
        behind: set[int] = set()  # values that a kernel had a part in
        found = set()
        for index, step in enumerate(self.graph.steps):
            bears, later = bears_kernel(step.op), any(value in behind for value in step.inputs)
            if bears and not later:
                found.add(index)
            if bears or later:
                behind.update(step.outputs)
        return {kernel.key for kernel in self.kernels if kernel.step in found}

    @cached_property
    def outputs(self) -> set[str]:
        """Keys of the kernels with no other between them and the model's outputs."""
        return ending(self.kernels, self._heads)

    @cached_property
    def gates(self) -> set[str]:
        """Keys of the kernels whose output is multiplied with something before the next kernel."""
        return ending(self.kernels, {i for i in self._kernel_steps if self._multiplies(i)})

    @cached_property
    def means(self) -> dict[str, float]:
        """Key → the mean that a sigmoid before the kernel gives to its inputs; those that have."""
        of_value = self._means_of_values()
        found = {}
        for kernel in self.kernels:
            if kernel.step is not None and kernel.ends_step:
                read = {of_value.get(v, 0.0) for v in self.graph.steps[kernel.step].inputs}
                if len(read) == 1 and (mean := read.pop()):
                    found[kernel.key] = mean
        return found

    def in_a_row(self, kind: str) -> int:
        """The most activations of a kind in a row, with no normalization among them."""
        run: dict[int, int] = {}
        for step in self.graph.steps:
            longest = max((run.get(value, 0) for value in step.inputs), default=0)
            if is_normalization(step.op):
                longest = 0
            elif self.kind(applied(step.op)).kind == kind:
                longest += 1
            run.update(dict.fromkeys(step.outputs, longest))
        return max(run.values(), default=0)

    @cached_property
    def branches(self) -> list[ResidualBranch]:
        """What `residual_branches` finds."""
        return residual_branches(self.graph)

    @cached_property
    def streams(self) -> list[Stream]:
        """What `residual_streams` finds: encoders and decoders."""
        return residual_streams(self.graph, self.branches)

    @cached_property
    def attends(self) -> bool:
        """True if the model has attention, in a layer or written out."""
        written_out = bool(score_steps(self.graph))
        return written_out or any(kind_of(step.op).attention for step in self.graph.steps)

    @cached_property
    def _kernel_steps(self) -> set[int]:
        return {kernel.step for kernel in self.kernels if kernel.step is not None}

    @cached_property
    def _readers(self) -> dict[int, list[int]]:
        return self.graph.readers()

    def users(self, index: int) -> list[int]:
        """The steps that read a step's outputs; empty where one of them leaves the model."""
        outputs = self.graph.steps[index].outputs
        if set(outputs) & set(self.graph.outputs):
            return []
        return [reader for value in outputs for reader in self._readers.get(value, [])]

    def _joins(self, index: int, adds: set[int]) -> bool:
        """True if the only way from a step leads to an addition, through nothing that acts."""
        while index not in adds:
            users = self.users(index)
            if len(users) != 1:
                return False
            if applied(self.graph.steps[index].op) is not LINEAR:
                return False
            (index,) = users
            step = self.graph.steps[index]
            if bears_kernel(step.op) or is_normalization(step.op):
                return False
            if len(step.inputs) > 1 and index not in adds:
                return False
        return True

    def _multiplies(self, start: int) -> bool:
        stack, seen = [start], {start}
        while stack:
            for user in self.users(stack.pop()):
                op = self.graph.steps[user].op
                if kind_of(op).merge == "multiply":
                    return True
                if user not in seen and not bears_kernel(op):
                    seen.add(user)
                    stack.append(user)
        return False

    def _means_of_values(self) -> dict[int, float]:
        means: dict[int, float] = {}
        for step in self.graph.steps:
            activation = applied(step.op)
            read = {means.get(value, 0.0) for value in step.inputs}
            mean = 0.0
            if activation is not LINEAR:
                mean = self.kind(activation).at_zero
            elif len(read) == 1 and kind_of(step.op).keeps_mean:
                mean = read.pop()
            means.update(dict.fromkeys(step.outputs, mean))
        return means
