"""The threads that train, and the watch over them: one that died or hangs is replaced."""

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable

from tfinit.demo.limits import Limits
from tfinit.demo.run import PageRun, Unit

_log = logging.getLogger(__name__)
# Threads that hang and are replaced, for each that works. More would help nobody: see `failing`.
_REPLACED = 4
# Seconds that count at most between two looks: if the machine slept, the work did as well.
_AT_ONCE = 0.5


class Worker(threading.Thread):
    """A thread that trains. A daemon: a training that hangs must not keep the server from ending.

    Attributes:
        unit: What it is doing.
        seconds: For how long.
        replaced: Whether another works in its place: it must end.
    """

    def __init__(self, number: int, work: Callable[["Worker"], None]):
        super().__init__(name=f"tfinit-demo-{number}", target=work, args=(self,), daemon=True)
        self.unit: Unit | None = None
        self.seconds = 0.0
        self.replaced = False

    def begin(self, unit: Unit) -> None:
        """Note what it does now."""
        self.unit, self.seconds = unit, 0.0


class Workers:
    """As many threads as the limits say. To be called by one thread at a time.

    Args:
        limits: The server's.
        work: What each does until it is to end. It calls `Worker.begin`, and then sets ``unit`` to
            None.
    """

    def __init__(self, limits: Limits, work: Callable[[Worker], None]):
        self._limits, self._work = limits, work
        self._working: list[Worker] = []
        self._hanging: list[Worker] = []
        self._made = 0

    @property
    def working(self) -> int:
        """Threads that work, or wait for work."""
        return sum(worker.is_alive() for worker in self._working)

    @property
    def hanging(self) -> int:
        """Threads that were replaced, and have not come back."""
        return sum(worker.is_alive() for worker in self._hanging)

    @property
    def failing(self) -> bool:
        """Whether there are fewer than there should be."""
        return self.working < self._limits.workers

    def fill(self) -> None:
        """Start those that are missing."""
        while len(self._working) < self._limits.workers and (
            len(self._hanging) <= _REPLACED * self._limits.workers
        ):
            worker = Worker(self._made, self._work)
            self._made += 1
            worker.start()
            self._working.append(worker)

    def watch(self, passed: float) -> list[tuple[PageRun, str]]:
        """Replace those that died or hang; returns whose work is lost, and why.

        Args:
            passed: Seconds since the last call.
        """
        lost = []
        self._hanging = [worker for worker in self._hanging if worker.is_alive()]
        for worker in tuple(self._working):
            worker.seconds += min(passed, _AT_ONCE)
            unit = worker.unit
            why = self._what_is_wrong(worker, unit)
            if why is None:
                continue
            self._working.remove(worker)
            worker.replaced = True
            if unit is not None:
                lost.append((unit.run, f"{why} Start a new one."))
        self.fill()
        return lost

    def join(self, seconds: float) -> None:
        """Wait for them, so long at most."""
        until = time.monotonic() + seconds
        for worker in self._working:
            worker.join(max(0.0, until - time.monotonic()))

    def _what_is_wrong(self, worker: Worker, unit: Unit | None) -> str | None:
        if not worker.is_alive():
            _log.error("A thread that trains has died, and is replaced.")
            return "The thread that trained this run has died, through a fault of tfinit."
        limit = self._limits.unit_seconds
        if unit is None or worker.seconds <= limit:
            return None
        frame = sys._current_frames().get(worker.ident or 0)
        where = "".join(traceback.format_stack(frame)) if frame else "it is not known where"
        _log.error("A training hangs for %g seconds, and its thread is replaced:\n%s", limit, where)
        self._hanging.append(worker)
        return f"A step of this run did not end within {limit:g} seconds, so the run was ended."
