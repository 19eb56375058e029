"""In which order jobs are begun: what waits for what, and what others wait for first.

A plan says what there is to do, as a graph. Nodes of it become jobs as soon as all that they need
is done; of those that could begin, the one that the longest chain waits for goes first.
"""

import heapq
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from graphlib import TopologicalSorter
from types import TracebackType
from typing import Any, Protocol

from tfinit.errors import WorkError
from tfinit.executors.job import Executor, Job, told


class Plan(AbstractContextManager, Protocol):
    """Work of which parts wait for each other. It is entered before the first part begins."""

    def graph(self) -> Mapping[Any, Iterable[Any]]:
        """Each node → the nodes that it needs. In the order in which one process does them."""

    def begin(self, node: Any, /) -> Any:
        """The `Job` of a node of which all that it needs is done, or its result, if that is there.

        None: there is nothing to do, as what it needs has failed, or ended otherwise.
        """

    def end(self, node: Any, outcome: Any, /) -> Any:
        """The result of a node, of what its job gave."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is left open."""
        return


def work_off(
    plans: Iterable[Plan], executor: Executor, node_ended: Callable[[], Any] = lambda: None
) -> Iterator[tuple[Plan, Any]]:
    """Do all that plans have to do, one plan after the other where there is nothing else to begin.

    Args:
        plans: What there is to do.
        executor: What does it.
        node_ended: Called after each node: done, found done, or left out.

    Yields:
        A plan and a result of it, as each is there.

    Raises:
        WorkError: at the end, if jobs failed: it names them. What needs them was not begun, all
            else is done. Or as plans say.
    """
    failed: list[str] = []
    total = 0
    with ExitStack() as open_plans:
        waiting = iter(plans)
        opened: list[_Opened] = []
        running: dict[Job, tuple[_Opened, Hashable]] = {}

        def ready() -> _Opened | None:
            """A plan of which something can begin, opened if need be."""
            while True:
                found = next((one for one in opened if one.ready), None)
                if found is not None:
                    return found
                plan = next(waiting, None)
                if plan is None:
                    return None
                one = _Opened(plan, by_urgency=executor.slots > 1)
                open_plans.callback(one.close)
                opened.append(one)

        def finish(one: _Opened, node: Hashable) -> None:
            one.done(node)
            if one.is_over:
                opened.remove(one)
                one.close()

        while True:
            while len(running) < executor.slots and (one := ready()) is not None:
                node = one.next()
                begun = one.plan.begin(node)
                total += 1
                if isinstance(begun, Job):
                    running[begun] = one, node
                    executor.submit(begun)
                    continue
                node_ended()
                if begun is not None:
                    yield one.plan, begun
                finish(one, node)
            if not running:
                break
            ended = executor.ended()
            one, node = running.pop(ended.job)
            node_ended()
            if ended.error is None:
                yield one.plan, one.plan.end(node, ended.outcome)
            else:
                failed.append(f"{ended.job.name}: {told(ended.error)}")
            finish(one, node)
    if failed:
        raise WorkError(
            f"{len(failed)} of {total} failed, all else is done that does not need them:\n  "
            + "\n  ".join(failed)
            + "\nMend the cause and start again: what is done is kept."
        )


class _Opened:
    """A plan that was begun, and which of its nodes can begin.

    Args:
        plan: The plan.
        by_urgency: Whether what the longest chain waits for goes first; else it goes by the order
            of the graph.
    """

    def __init__(self, plan: Plan, by_urgency: bool):
        self.plan, self._stack = plan, ExitStack()
        self._stack.enter_context(plan)
        graph = plan.graph()
        self._sorter = TopologicalSorter(graph)
        self._sorter.prepare()
        place = {node: number for number, node in enumerate(graph)}
        chain = _chains(graph) if by_urgency else {}
        self._order = {node: (-chain.get(node, 0), number) for node, number in place.items()}
        self.ready: list[tuple[tuple[int, int], Hashable]] = []
        self._look()

    @property
    def is_over(self) -> bool:
        """Whether all is done."""
        return not self._sorter.is_active()

    def close(self) -> None:
        """Leave the plan."""
        self._stack.close()

    def next(self) -> Hashable:
        """Take the node that is to begin."""
        return heapq.heappop(self.ready)[1]

    def done(self, node: Hashable) -> None:
        """What waited for a node need not wait for it any more."""
        self._sorter.done(node)
        self._look()

    def _look(self) -> None:
        for node in self._sorter.get_ready():
            heapq.heappush(self.ready, (self._order[node], node))


def _chains(graph: Mapping[Hashable, Iterable[Hashable]]) -> dict[Hashable, int]:
    """Each node → how many wait for it and for each other, one after the other."""
    length = dict.fromkeys(graph, 0)
    for node in reversed(list(TopologicalSorter(graph).static_order())):
        for needed in graph[node]:
            length[needed] = max(length[needed], length[node] + 1)
    return length
