"""What stands around each kernel of a model: normalization, additions, means, outputs, depth."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tfinit.diagnostics.advising.nonlinearity import Nonlinearity
from tfinit.graph.activations import LINEAR, Activation
from tfinit.graph.kernels import Kernel
from tfinit.graph.normalizations import applied, is_normalization, normalized_steps
from tfinit.graph.residual import ending, head_steps, residual_branches
from tfinit.graph.tracing import Graph, bears_kernel

# Layers and operations that leave the mean of their input as it is, or nearly.
_KEEPS_MEAN = re.compile(
    r"\w*(Dropout\w*|Pool\w*|UpSampling\w*|Cropping\w*)|Flatten|Reshape|Permute|Transpose|"
    r"RepeatVector|Identity|ActivityRegularization|Concatenate"
)


@dataclass(frozen=True)
class Surroundings:
    """Answers about the kernels of one traced model, from its graph alone.

    Args:
        graph: What `trace` found.
        kernels: What `find_kernels` found.
        kind: The kind of an activation.
    """

    graph: Graph
    kernels: list[Kernel]
    kind: Callable[[Activation], Nonlinearity]

    @cached_property
    def normalized(self) -> set[str]:
        """Keys of kernels whose output a normalization rescales (`normalized_steps`)."""
        return ending(self.kernels, normalized_steps(self.graph))

    @cached_property
    def additions(self) -> int:
        """How many residual additions there are: the N of 1/√N."""
        return len({branch.add for branch in self._branches})

    @cached_property
    def branch_ends(self) -> set[str]:
        """Keys of the kernels that end a residual branch."""
        return ending(self.kernels, {step for b in self._branches for step in b.last})

    @cached_property
    def sums_are_normalized(self) -> bool:
        """True if every residual sum goes into a normalization and nowhere else ("post-norm")."""
        users = [self._users(branch.add) for branch in self._branches]
        return bool(users) and all(
            found and all(is_normalization(self.graph.steps[i].op) for i in found)
            for found in users
        )

    @cached_property
    def shortcuts(self) -> set[str]:
        """Keys of kernels that only a residual addition reads, and that end no branch."""
        adds = {branch.add for branch in self._branches}
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
        return ending(self.kernels, head_steps(self.graph))

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

    @cached_property
    def saturating_depth(self) -> int:
        """The most odd saturating activations in a row, with no normalization among them."""
        run: dict[int, int] = {}
        for step in self.graph.steps:
            longest = max((run.get(value, 0) for value in step.inputs), default=0)
            if is_normalization(step.op):
                longest = 0
            elif self.kind(applied(step.op)).kind == "odd":
                longest += 1
            run.update(dict.fromkeys(step.outputs, longest))
        return max(run.values(), default=0)

    @cached_property
    def _branches(self) -> list[Any]:
        return residual_branches(self.graph)

    @cached_property
    def _kernel_steps(self) -> set[int]:
        return {kernel.step for kernel in self.kernels if kernel.step is not None}

    @cached_property
    def _readers(self) -> dict[int, list[int]]:
        readers: dict[int, list[int]] = {}
        for index, step in enumerate(self.graph.steps):
            for value in step.inputs:
                readers.setdefault(value, []).append(index)
        return readers

    def _users(self, index: int) -> list[int]:
        """The steps that read a step's outputs; empty where one of them leaves the model."""
        outputs = self.graph.steps[index].outputs
        if set(outputs) & set(self.graph.outputs):
            return []
        return [reader for value in outputs for reader in self._readers.get(value, [])]

    def _joins(self, index: int, adds: set[int]) -> bool:
        """True if the only way from a step leads to an addition, through nothing that acts."""
        while index not in adds:
            users = self._users(index)
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
            for user in self._users(stack.pop()):
                op = self.graph.steps[user].op
                if type(op).__name__ == "Multiply":
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
            elif len(read) == 1 and _KEEPS_MEAN.fullmatch(type(step.op).__name__):
                mean = read.pop()
            means.update(dict.fromkeys(step.outputs, mean))
        return means
