"""All runs of a server, and the threads that train them in turn."""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable

from tfinit.demo.limits import Limits
from tfinit.demo.run import Conflict, Engine, Run, Unit
from tfinit.demo.settings import Control, LotterySettings, Settings
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
        self._runs: dict[str, Run] = {}
        self._waiting: deque[Run] = deque()  # opened ones; the first waited longest
        self._threads: list[threading.Thread] = []
        self._stopped = False
        self._swept = time.monotonic()

    def __len__(self) -> int:
        return len(self._runs)

    def create(self, settings: Settings) -> str:
        """Make a run; returns its id, which cannot be guessed.

        Raises:
            TooMany: ``limits.max_runs`` go already.
        """
        with self.changed:
            if len(self._runs) >= self.limits.max_runs:
                raise TooMany(
                    f"{len(self._runs)} trainings are going, as many as allowed. "
                    "Wait until one ends."
                )
            key = secrets.token_urlsafe(16)
            self._runs[key] = Run(settings, self.limits, self._engine, time.monotonic())
            return key

    def get(self, key: str) -> Run | None:
        """The run of an id, or None."""
        return self._runs.get(key)

    def open(self, run: Run) -> bool:
        """Begin a run, as its page listens now; False if one listens already, or it is over."""
        with self.changed:
            if run.opened or run.ended:
                return False
            run.opened = True
            run.heard = time.monotonic()
            run.outbox.open()
            self._waiting.append(run)
            self.changed.notify_all()
            return True

    def steer(self, run: Run, control: Control) -> None:
        """Do what a run's page says: see `Run.control`."""
        with self.changed:
            _check_going(run)
            run.control(control, time.monotonic())
            self.changed.notify_all()

    def start_lottery(self, run: Run, settings: LotterySettings) -> None:
        """Start its lottery: see `Run.start_lottery`."""
        with self.changed:
            _check_going(run)
            run.start_lottery(settings, time.monotonic())
            self.changed.notify_all()

    def forget(self, run: Run) -> None:
        """End a run; what it is doing just now is its last unit of work."""
        with self.changed:
            self._end(run)

    def wake(self) -> None:
        """Say that a run may have work: its page has taken what it was sent."""
        with self.changed:
            self.changed.notify()

    def sweep(self) -> None:
        """End the runs whose time is over. To be called now and then."""
        now, limits = time.monotonic(), self.limits
        with self.changed:
            passed, self._swept = now - self._swept, now
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
                        f"This run has trained for {limits.seconds:g} seconds, as long as a run "
                        "may. Start a new one.",
                    )
                elif not run.training and quiet > limits.idle_seconds:
                    self._end(
                        run,
                        f"This run was paused for {limits.idle_seconds:g} seconds, so it was "
                        "ended. Start a new one.",
                    )

    def start(self) -> None:
        """Start the threads."""
        for number in range(self.limits.workers):
            # A daemon: a training that hangs must not keep the server from ending.
            thread = threading.Thread(target=self._work, name=f"tfinit-demo-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, seconds: float = 0.5) -> None:
        """End all runs and the threads, for whose last units of work is waited so long."""
        with self.changed:
            self._stopped = True
            for run in list(self._runs.values()):
                self._end(run)
            self.changed.notify_all()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _end(self, run: Run, problem: str | None = None) -> None:
        run.end(problem)
        self._runs = {key: other for key, other in self._runs.items() if other is not run}
        if run in self._waiting:
            self._waiting.remove(run)

    def _work(self) -> None:
        try:
            self._engine()
        except Exception:  # the first run will fail in the same way, and say so to its page
            _log.exception("The trainings could not be loaded.")
        while (unit := self._next()) is not None:
            self._do(unit)
            del unit  # while this thread waits it must not keep an ended run

    def _next(self) -> Unit | None:
        """The next piece of work, as soon as there is one; None when the server stops."""
        with self.changed:
            while not self._stopped:
                now = time.monotonic()
                later = float("inf")
                for run in self._waiting:
                    unit = run.next_unit(now)
                    if isinstance(unit, Unit):
                        self._waiting.remove(run)
                        self._waiting.append(run)
                        return unit
                    later = min(later, unit)
                run = unit = None
                self.changed.wait(None if later == float("inf") else max(0.0, later - now))
        return None

    def _do(self, unit: Unit) -> None:
        problem = result = None
        try:
            result = unit.work()
        except InputError as error:
            problem = str(error)
        except Exception:
            _log.exception("A run failed.")
            problem = "This run failed through a fault of tfinit; the server's log says where."
        with self.changed:
            self.units += 1
            if unit.run.ended:
                return
            if problem is None:
                unit.done(result)
            else:
                self._end(unit.run, problem)
            self.changed.notify_all()


def _check_going(run: Run) -> None:
    if run.ended:
        raise Conflict("This run has ended. Start a new one.")
