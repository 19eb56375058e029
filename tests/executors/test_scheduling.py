"""What begins when: plans of numbers, whose jobs add 1 to the sum of those that they need."""

import pytest

from tfinit.errors import WorkError
from tfinit.executors.job import Ended, Job, Serial
from tfinit.executors.scheduling import work_off


class Plan:
    def __init__(self, graph, log, there=()):
        self._graph, self._log, self._there = graph, log, there
        self.done = {}

    def __enter__(self):
        self._log.append("open")
        return self

    def __exit__(self, *error):
        self._log.append("close")

    def graph(self):
        return self._graph

    def begin(self, node):
        if any(needed not in self.done for needed in self._graph[node]):
            return None
        self._log.append(node)
        if node in self._there:
            self.done[node] = 0
            return f"{node} was there"
        total = sum(self.done[needed] for needed in self._graph[node])
        return Job(node, lambda: total, lambda task, tell: task + 1, None, lambda *told: None)

    def end(self, node, outcome):
        self.done[node] = outcome
        return f"{node} = {outcome}"


class Two:
    """Two at once, of which the later one always ends first; some fail."""

    slots = 2

    def __init__(self, failing=()):
        self.waiting, self.failing = [], failing

    def submit(self, job):
        self.waiting.append(job)
        assert len(self.waiting) <= 2

    def ended(self):
        job = self.waiting.pop()
        if job.name in self.failing:
            return Ended(job, error=ValueError("no luck\nat all"))
        return Ended(job, job.work(job.task(), job.heard))


# A chain of three, with something beside each of its links.
CHAIN = {"a": [], "a'": [], "b": ["a"], "b'": ["a"], "c": ["b"], "c'": ["b"]}


def test_one_process_does_all_in_the_order_of_the_graph():
    log = []
    plan = Plan(CHAIN, log)
    told = [result for _, result in work_off([plan], Serial())]
    assert log == ["open", "a", "a'", "b", "b'", "c", "c'", "close"]
    assert told == ["a = 1", "a' = 1", "b = 2", "b' = 2", "c = 3", "c' = 3"]


def test_with_workers_what_the_longest_chain_waits_for_goes_first():
    log = []
    list(work_off([Plan(CHAIN, log)], Two()))
    # a' ends first, and then there is nothing but a to wait for.
    assert log == ["open", "a", "a'", "b", "b'", "c", "c'", "close"]
    wide = {"x": [], "y": [], "z": [], "c1": ["z"], "c2": ["c1"]}
    log = []
    list(work_off([Plan(wide, log)], Two()))
    assert log[:3] == ["open", "z", "x"]


def test_what_is_there_is_not_done_again_and_what_needs_it_can_begin():
    log = []
    plan = Plan(CHAIN, log, there=("a", "b"))
    assert [result for _, result in work_off([plan], Serial())] == [
        "a was there",
        "a' = 1",
        "b was there",
        "b' = 1",
        "c = 1",
        "c' = 1",
    ]


def test_plans_are_opened_when_there_is_room_and_closed_when_they_are_over():
    log = []
    plans = (Plan({name: []}, log) for name in "pqr")
    list(work_off(plans, Serial()))
    assert log == ["open", "p", "close", "open", "q", "close", "open", "r", "close"]
    log = []
    plans = (Plan({name: []}, log) for name in "pqr")
    list(work_off(plans, Two()))
    assert log == ["open", "p", "open", "q", "close", "open", "r", "close", "close"]


def test_each_node_is_told_when_it_has_ended_or_is_left_out():
    log = []
    plan = Plan(CHAIN, [], there=("a",))
    with pytest.raises(WorkError):
        for _, result in work_off([plan], Two({"b"}), lambda: log.append(".")):
            log.append(result)
    # The fourth and the fifth are b, which fails, and one of those that need it.
    assert log[:2] == [".", "a was there"]
    assert log.count(".") == len(CHAIN)


def test_what_fails_is_named_at_the_end_and_only_what_needs_it_is_left_out():
    log, told = [], []
    with pytest.raises(WorkError, match=r"1 of 6 failed.*\n  b: ValueError: no luck at all\n"):
        for _, result in work_off([Plan(CHAIN, log)], Two({"b"})):
            told.append(result)
    assert sorted(told) == ["a = 1", "a' = 1", "b' = 2"]
    assert log[-1] == "close"


def test_what_ends_it_closes_what_is_open():
    log = []
    plan = Plan(CHAIN, log)
    plan.end = lambda node, outcome: (_ for _ in ()).throw(WorkError("the disk is full"))
    with pytest.raises(WorkError, match="the disk is full"):
        list(work_off([plan], Serial()))
    assert log == ["open", "a", "close"]


def test_a_long_chain_is_worked_off_without_recursion():
    chain = {n: [n - 1] if n else [] for n in range(20_000)}
    plan = Plan(chain, [])
    plan._there = range(20_000)
    assert sum(1 for _ in work_off([plan], Two())) == 20_000
