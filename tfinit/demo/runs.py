"""All runs of a server, and the threads that train them in turn."""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tfinit.demo.limits import Limits, spoken
from tfinit.demo.run import Conflict, Engine, PageRun, Unit
from tfinit.demo.settings import Control, LotterySettings, Settings
from tfinit.demo.workers import Worker, Workers
from tfinit.errors import InputError

_log = logging.getLogger(__name__)


class TooMany(Exception):
    """As many runs go as are allowed."""


class Runs:
    """The runs that go, by their ids.

    Of those that have work, the one that waited longest gets the next free thread, for one unit of
    work of one pane. So nobody starves, however many panes or layers another has.

    Args:
        limits: The server's limits.
        engine: Gives what trains. Called in the threads, at once and whenever it is needed.

    Attributes:
        changed: The lock of all runs; notified when one of them may have work.
        units: Pieces of work done.
    """

    def __init__(self, limits: Limits, engine: Callable[[], Engine]):
        self.limits = limits
        self.changed = threading.Condition()
        self.units = 0
        self._engine = engine
        self._runs: dict[str, PageRun] = {}
        self._waiting: deque[PageRun] = deque()  # opened ones; the first waited longest
        self._workers = Workers(limits, self._work)
        self._loaded: bool | None = None  # None: not yet known
        self._stopped = False
        self._swept = time.monotonic()

    def __len__(self) -> int:
        return len(self._runs)

    def create(self, settings: Settings) -> str:
        """Make a run; returns its id, which cannot be guessed. It has no place until it is opened.

        Raises:
            TooMany: ``limits.max_runs`` go already.
        """
        with self.changed:
            self._who_makes_room(time.monotonic())
            unopened = [run for run in self._runs.values() if not run.opened]
            if len(unopened) >= self.limits.unopened:
                self._end(unopened[0])
            key = secrets.token_urlsafe(16)
            self._runs[key] = PageRun(settings, self.limits, self._engine, time.monotonic())
            return key

    def get(self, key: str) -> PageRun | None:
        """The run of an id, or None."""
        return self._runs.get(key)

    def open(self, run: PageRun) -> bool:
        """Begin a run, as its page listens now; False if one listens already, or it is over.

        Raises:
            TooMany: ``limits.max_runs`` go already.
        """
        with self.changed:
            if run.opened or run.ended:
                return False
            now = time.monotonic()
            resting = self._who_makes_room(now)
            if resting is not None:
                self._end(
                    resting,
                    f"Nothing was asked of this run for {spoken(self.limits.crowded_seconds)}, and "
                    "another waited for its place.",
                    rested=True,
                )
            run.opened = True
            run.heard = now
            run.outbox.open()
            self._waiting.append(run)
            self.changed.notify_all()
            return True

    def steer(self, run: PageRun, control: Control) -> None:
        """Do what a run's page says: see `PageRun.control`."""
        with self.changed:
            _check_going(run)
            run.control(control, time.monotonic())
            self.changed.notify_all()

    def start_lottery(self, run: PageRun, settings: LotterySettings) -> None:
        """Start its lottery: see `PageRun.start_lottery`."""
        with self.changed:
            _check_going(run)
            run.start_lottery(settings, time.monotonic())
            self.changed.notify_all()

    def forget(self, run: PageRun) -> None:
        """End a run; what it is doing just now is its last unit of work."""
        with self.changed:
            self._end(run)

    def wake(self) -> None:
        """Say that a run may have work: its page has taken what it was sent."""
        with self.changed:
            self.changed.notify()

    def sweep(self) -> None:
        """End the runs whose time is over, replace threads that died. To be called now and then."""
        now, limits = time.monotonic(), self.limits
        with self.changed:
            passed, self._swept = now - self._swept, now
            if self._stopped:
                return
            for run, problem in self._workers.watch(passed):
                self._end(run, problem)
            for run in list(self._runs.values()):
                if run.training:
                    run.trained += passed
                    run.heard = now  # its pause has not begun
                quiet = now - run.heard
                if not run.opened and quiet > limits.unopened_seconds:
                    self._end(run)
                elif run.trained > limits.seconds:
                    self._end(
                        run,
                        f"This run has trained for {spoken(limits.seconds)}, as long as a run "
                        "may. Start a new one.",
                    )
                elif not run.training and quiet > limits.idle_seconds:
                    self._end(
                        run,
                        f"Nothing was asked of this run for {spoken(limits.idle_seconds)}, so its "
                        "place was given back.",
                        rested=True,
                    )

    def start(self) -> None:
        """Start the threads."""
        with self.changed:
            self._workers.fill()

    def health(self) -> dict[str, Any]:
        """``status``: ``"loading"``, ``"ok"``, or ``"failing"`` if nothing or less can be trained.

        Beside it the numbers of runs that are ``listened_to``, of threads ``working``, and of those
        ``hanging``, which were replaced.
        """
        with self.changed:
            failing = self._workers.failing or self._loaded is False
            return {
                "status": "failing" if failing else "ok" if self._loaded else "loading",
                "listened_to": sum(run.opened for run in self._runs.values()),
                "working": self._workers.working,
                "hanging": self._workers.hanging,
            }

    def stop(self, seconds: float = 0.5) -> None:
        """End all runs and the threads, for whose last units of work is waited so long."""
        with self.changed:
            self._stopped = True
            for run in list(self._runs.values()):
                self._end(run)
            self.changed.notify_all()
        self._workers.join(seconds)

    def _end(self, run: PageRun, problem: str | None = None, rested: bool = False) -> None:
        run.end(problem, rested)
        self._runs = {key: other for key, other in self._runs.items() if other is not run}
        if run in self._waiting:
            self._waiting.remove(run)

    def _who_makes_room(self, now: float) -> PageRun | None:
        """The run that would end for another: None while there is room.

        Raises:
            TooMany: none is paused for long enough.
        """
        opened = [run for run in self._runs.values() if run.opened]
        if len(opened) < self.limits.max_runs:
            return None
        resting = min((r for r in opened if not r.training), key=lambda r: r.heard, default=None)
        if resting is None or now - resting.heard <= self.limits.crowded_seconds:
            going = "1 training is" if len(opened) == 1 else f"{len(opened)} trainings are"
            raise TooMany(f"{going} going, as many as allowed. Wait until one ends.")
        return resting

    def _work(self, worker: Worker) -> None:
        try:
            self._engine()
            self._loaded = True
        except BaseException:  # the first run will fail in the same way, and say so to its page
            _log.exception("The trainings could not be loaded.")
            self._loaded = self._loaded or False
        while (unit := self._next(worker)) is not None:
            self._do(unit)
            # While this thread waits it must not keep an ended run.
            worker.unit = unit = None

    def _next(self, worker: Worker) -> Unit | None:
        """The next piece of work, as soon as there is one; None when the thread must end."""
        with self.changed:
            while not (self._stopped or worker.replaced):
                now = time.monotonic()
                later = float("inf")
                for run in tuple(self._waiting):
                    unit: Unit | float = float("inf")
                    with self._blamed(run):
                        unit = run.next_unit(now)
                    if isinstance(unit, Unit):
                        self._waiting.remove(run)
                        self._waiting.append(run)
                        worker.begin(unit)
                        return unit
                    later = min(later, unit)
                run, unit = None, float("inf")  # type: ignore[assignment]
                self.changed.wait(None if later == float("inf") else max(0.0, later - now))
        return None

    def _do(self, unit: Unit) -> None:
        with self._blamed(unit.run):
            result = unit.work()
            with self.changed:
                self.units += 1
                self._loaded = True
                if not unit.run.ended:
                    unit.done(result)
                    self.changed.notify_all()

    @contextmanager
    def _blamed(self, run: PageRun) -> Iterator[None]:
        """Whatever goes wrong here ends this run, with a word to its page, and nothing else."""
        try:
            yield
            return
        except InputError as error:
            problem = str(error)
        except BaseException:  # a thread that ended would be missed, and nobody asked for it
            _log.exception("A run failed.")
            problem = "This run failed through a fault of tfinit; the server's log says where."
        with self.changed:
            self._end(run, problem)
            self.changed.notify_all()


def _check_going(run: PageRun) -> None:
    if run.ended:
        raise Conflict("This run has ended. Start a new one.")
