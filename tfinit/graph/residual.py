"""Residual branches, found from a graph: what is added to a shorter path from the same fork."""

from typing import NamedTuple

from tfinit.errors import InputError
from tfinit.graph.attention import score_steps, score_values
from tfinit.graph.calls import Graph, Step, bears_kernel
from tfinit.graph.kernels import Kernel
from tfinit.graph.layer_kinds import kind_of

_ROOT = -1


class ResidualBranch(NamedTuple):
    """One residual branch.

    Attributes:
        add: The index of the step that adds the branch to its shortcut.
        steps: The steps with kernels on the branch, but those of scores, in data-flow order.
        last: Those of them with no other between them and the addition.
    """

    add: int
    steps: tuple[int, ...]
    last: tuple[int, ...]


def residual_branches(graph: Graph) -> list[ResidualBranch]:
    """The branches of every addition that has a shortcut with fewer kernels than the branch.

    The fork of an addition is the last step that all its paths pass (its immediate dominator).
    Two paths with equally many kernels, such as the embeddings of tokens and of types, are neither
    a shortcut of the other; nor is what does not depend on the inputs, such as that of positions,
    or the bias that is added to the scores of an attention.
    """
    producers = graph.producers()
    beside = score_steps(graph)
    bearing = [bears_kernel(s.op) and index not in beside for index, s in enumerate(graph.steps)]
    forks: list[int] = []
    depth: list[int] = []

    scores = score_values(graph)
    constant: set[int] = set()  # steps that do not depend on the inputs

    def parents_of(step: Step) -> list[int]:
        found = [producers.get(value, _ROOT) for value in step.inputs]
        return [parent for parent in found if parent not in constant]

    def common(a: int, b: int) -> int:
        while a != b:
            if a == _ROOT or b == _ROOT:
                return _ROOT
            if depth[a] >= depth[b]:
                a = forks[a]
            else:
                b = forks[b]
        return a

    def walk(start: int, fork: int) -> tuple[list[int], list[int]]:
        """The steps with kernels from `start` back to `fork`, and those that come first."""
        # Each entry says whether a step with a kernel was already passed on the way.
        stack, seen, found, last = [(start, False)], set(), set(), set()
        while stack:
            index, passed = stack.pop()
            if index in (fork, _ROOT) or (index, passed) in seen:
                continue
            seen.add((index, passed))
            if bearing[index]:
                found.add(index)
                if not passed:
                    last.add(index)
            stack.extend((p, passed or bearing[index]) for p in parents_of(graph.steps[index]))
        return sorted(found), sorted(last)

    branches: list[ResidualBranch] = []
    for index, step in enumerate(graph.steps):
        parents = parents_of(step)
        if not parents:
            constant.add(index)
        fork = parents[0] if parents else _ROOT
        for parent in parents[1:]:
            fork = common(fork, parent)
        forks.append(fork)
        depth.append(0 if fork == _ROOT else depth[fork] + 1)
        if kind_of(step.op).merge == "add" and len(parents) > 1 and not scores & {*step.outputs}:
            paths = [walk(parent, fork) for parent in parents]
            shortest = min(len(found) for found, _ in paths)
            branches += [
                ResidualBranch(index, tuple(found), tuple(last))
                for found, last in paths
                if len(found) > shortest
            ]
    return branches


def require_branches(scheme: str, branches: list[ResidualBranch]) -> list[ResidualBranch]:
    """The branches; InputError if there are none."""
    if not branches:
        raise InputError(
            f"Scheme {scheme!r} needs a residual network, but the model adds no branch to a "
            'shortcut. Use "he" or "lsuv".'
        )
    return branches


def ending(kernels: list[Kernel], steps: set[int]) -> set[str]:
    """The keys of the kernels that make the outputs of the given steps."""
    return {kernel.key for kernel in kernels if kernel.step in steps and kernel.ends_step}


def head_steps(graph: Graph) -> set[int]:
    """The steps with kernels that have no other between them and the model's outputs."""
    producers = graph.producers()
    stack = [producers[value] for value in graph.outputs if value in producers]
    seen: set[int] = set()
    heads: set[int] = set()
    while stack:
        index = stack.pop()
        if index in seen:
            continue
        seen.add(index)
        if bears_kernel(graph.steps[index].op):
            heads.add(index)
        else:
            inputs = graph.steps[index].inputs
            stack.extend(producers[value] for value in inputs if value in producers)
    return heads


class Stream(NamedTuple):
    """A row of residual additions, each to the sum before it: an encoder, or a decoder.

    Attributes:
        branches: Their branches in data-flow order, each with its own steps alone: of a decoder's
            attention to an encoder those behind the encoder's last sum.
        reads_another: Whether some of them read the sum of another row, as such an attention does.
    """

    branches: tuple[ResidualBranch, ...]
    reads_another: bool

    @property
    def additions(self) -> int:
        """How many there are: 2 for each layer of a transformer, 3 in a decoder with an encoder."""
        return len({branch.add for branch in self.branches})

    @property
    def steps(self) -> set[int]:
        """The steps with kernels on its branches, but those of scores."""
        return {step for branch in self.branches for step in branch.steps}


def residual_streams(graph: Graph, branches: list[ResidualBranch]) -> list[Stream]:
    """The branches by the row that they are added to, the first row first."""
    producers = graph.producers()
    row_of: dict[int, int] = {}  # an addition → the first of its row

    def before(start: int, through_kernels: bool) -> tuple[set[int], set[int]]:
        """What leads to a step: the last additions before it, and the steps behind them."""
        stack, passed, sums = [start], {start}, set()
        while stack:
            for value in graph.steps[stack.pop()].inputs:
                index = producers.get(value, _ROOT)
                if index in row_of:
                    sums.add(index)
                elif (
                    index not in passed
                    and index != _ROOT
                    and (through_kernels or not bears_kernel(graph.steps[index].op))
                ):
                    passed.add(index)
                    stack.append(index)
        return sums, passed

    rows: dict[int, list[ResidualBranch]] = {}
    reading: set[int] = set()
    for add in sorted({branch.add for branch in branches}):
        shortcut, _ = before(add, through_kernels=False)
        sums, own = before(add, through_kernels=True)
        row = row_of[add] = min((row_of[index] for index in shortcut), default=add)
        if any(row_of[index] != row for index in sums):
            reading.add(row)
        rows.setdefault(row, []).extend(
            branch._replace(steps=tuple(step for step in branch.steps if step in own))
            for branch in branches
            if branch.add == add
        )
    return [Stream(tuple(found), row in reading) for row, found in sorted(rows.items())]


def behind_kernels(graph: Graph, branch: ResidualBranch) -> list[int]:
    """The steps between a branch's last kernels and the addition, in data-flow order."""
    reached = {value for step in branch.last for value in graph.steps[step].outputs}
    behind: list[int] = []
    for index in range(min(branch.last, default=branch.add) + 1, branch.add):
        step = graph.steps[index]
        if not bears_kernel(step.op) and reached & {*step.inputs}:
            reached.update(step.outputs)
            behind.append(index)
    wanted = {*graph.steps[branch.add].inputs}
    found: list[int] = []
    for index in reversed(behind):
        if wanted & {*graph.steps[index].outputs}:
            wanted.update(graph.steps[index].inputs)
            found.append(index)
    return found[::-1]
