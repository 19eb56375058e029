"""Threads that die or hang in the middle of a run: the page is told, and others train on."""

import threading
from contextlib import contextmanager

import pytest

pytest.importorskip("fastapi", reason="needs tfinit[demo]")

from demo_trainings import Sleeper, engine_of

from tfinit.demo.limits import Limits
from tfinit.demo.run import Unit
from tfinit.demo.workers import Workers

ONE = Limits(workers=1, unit_seconds=0.6)


def health(server):
    answer = server.get("/health")
    return answer.status, answer.json


def trains(server):
    """Whether a new page's training goes on."""
    with server.page() as page:
        page.ready().say(action="start")
        return page.until("frame", step=20)["step"] == 20


class Failing(Sleeper):
    """Its seed says where it fails, with what no `except Exception` catches; 16 hangs."""

    awake = threading.Event()

    def begin(self):
        self.fail(11, SystemExit(0))

    def diagnose(self):
        self.fail(12, KeyboardInterrupt())
        return super().diagnose()

    def advance(self, steps):
        self.fail(13, GeneratorExit())
        if self.settings.seed == 16:
            self.awake.wait(20)
        super().advance(steps)

    def frame(self, layer):
        self.fail(14, StopIteration())
        return super().frame(layer)

    def outcome(self):
        # No JSON: found only when the work is done, by the one who has the lock.
        return {"pane": 0, "outcome": float("nan")} if self.settings.seed == 15 else None

    def fail(self, seed, error):
        if self.settings.seed == seed:
            raise error


@pytest.fixture(scope="module")
def failing(serving):
    with serving(ONE, engine=engine_of(Failing)) as server:
        yield server


@pytest.mark.parametrize("seed", range(11, 16))
def test_whatever_ends_a_training_its_page_is_told_and_the_thread_goes_on(failing, seed, caplog):
    with failing.page(seed=seed) as page:
        if seed in (13, 15):
            page.ready().say(action="start")
        assert "fault of tfinit" in page.problem()
        assert list(page) == []
    assert "A run failed." in caplog.text
    assert trains(failing)
    well = {"status": "ok", "listened_to": 0, "working": 1, "hanging": 0}
    assert failing.waits_for(lambda: health(failing) == (200, well))


def test_a_run_that_cannot_say_what_it_does_next_harms_no_other(failing):
    def broken(now):
        raise SystemExit

    with failing.page() as page:
        page.ready()
        failing.runs.get(page.key).next_unit = broken
        page.say(speed=2)
        assert "fault of tfinit" in page.problem()
    assert trains(failing)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_replaced(failing, monkeypatch, caplog):
    def no_memory(*_):
        raise SystemExit  # the one that a thread dies of without a word

    with failing.page(seed=13) as page:
        page.ready()
        with monkeypatch.context() as patched:
            patched.setattr("tfinit.demo.runs._log.exception", no_memory)
            page.say(action="start")
            assert "thread that trained this run has died" in page.problem()
    assert "has died, and is replaced" in caplog.text
    assert trains(failing)
    assert health(failing)[1]["status"] == "ok"


def test_a_training_that_hangs_is_given_up_and_its_thread_replaced(failing, caplog):
    with failing.page(seed=16) as page:
        page.ready().say(action="start")
        assert "did not end within 0.6 seconds" in page.problem()
    assert "in advance" in caplog.text  # where it hangs
    assert trains(failing)
    assert (health(failing)[0], health(failing)[1]["hanging"]) == (200, 1)
    Failing.awake.set()
    assert failing.waits_for(lambda: health(failing)[1]["hanging"] == 0)
    assert trains(failing)


@contextmanager
def hanging(limits):
    """Workers that hang in their first piece of work, each in another run."""
    over, began = threading.Event(), threading.Semaphore(0)

    def work(worker):
        worker.begin(Unit(f"run {worker.name[-1]}", None, None))
        began.release()
        over.wait(20)

    workers = Workers(limits, work)
    workers.fill()
    try:
        yield workers, began
    finally:
        over.set()


def test_threads_that_hang_are_not_replaced_for_ever():
    with hanging(Limits(workers=1, unit_seconds=0.4)) as (workers, began):
        given_up = []
        while not workers.failing:
            assert began.acquire(timeout=20)
            given_up += [run for run, _ in workers.watch(1.0)]
        assert given_up == ["run 0", "run 1", "run 2", "run 3", "run 4"]
        assert (workers.working, workers.hanging) == (0, 5)
        assert workers.watch(1.0) == []


def test_a_machine_that_slept_is_no_training_that_hangs():
    with hanging(Limits(workers=2, unit_seconds=60)) as (workers, began):
        for _ in range(2):
            assert began.acquire(timeout=20)
        assert workers.watch(3600) == []
        assert (workers.working, workers.hanging, workers.failing) == (2, 0, False)


def test_what_cannot_be_loaded_is_seen_in_the_health(serving):
    asked = threading.Event()

    def engine():
        asked.wait(20)
        raise SystemExit("no TensorFlow")

    with serving(ONE, engine=engine) as server:
        assert health(server)[1]["status"] == "loading"
        asked.set()
        ill = {"status": "failing", "listened_to": 0, "working": 1, "hanging": 0}
        assert server.waits_for(lambda: health(server) == (503, ill))
        with server.page() as page:
            assert "fault of tfinit" in page.problem()
        assert server.post("/api/python", {"settings": {}}).status == 500
        assert server.get("/").status == 200
