"""One piece of work: what it is about, what does it, and what it tells before it ends."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tfinit.errors import WorkError, first_line, reason

Tell = Callable[[str, Any], None]
Work = Callable[[Any, Tell], Any]


@dataclass(frozen=True, eq=False)
class Job:
    """A call of a pure function of ``task``, in this process or in another.

    Attributes:
        name: What people call it: ``"seed 0 level 3 ticket"``.
        task: () → what it is about. Asked for when the work begins; once more where the process
            that did it was lost: then it may say where to go on.
        work: What does it in this process: (task, tell) → outcome.
        setup: () → such a function in another process, which keeps it for jobs of a setup that is
            pickled alike. Tasks are pickled too. None: only this process can do it.
        heard: Called here with what the work tells before it ends: a kind, and a value.
    """

    name: str
    task: Callable[[], Any]
    work: Work
    setup: Callable[[], Work] | None
    heard: Tell


class Steps:
    """Counts the steps of a job that may be begun again: none is told twice.

    Args:
        progress: Called with the number of steps since the last call.

    Attributes:
        told: How many were told.

    Example:
        >>> found = []
        >>> steps = Steps(found.append)
        >>> steps(3)
        >>> steps.begin()
        >>> steps(2)
        >>> steps(2)
        >>> found
        [3, 1]
    """

    def __init__(self, progress: Callable[[int], None]):
        self._progress, self.told, self._now = progress, 0, 0

    def begin(self) -> None:
        """The job begins, or begins again."""
        self._now = 0

    def __call__(self, done: int) -> None:
        """So many steps more are done."""
        self._now += done
        more = self._now - self.told
        if more > 0:
            self.told = self._now
            self._progress(more)


@dataclass(frozen=True)
class Ended:
    """A job that has ended.

    Attributes:
        job: Which.
        outcome: What it gave.
        error: Why it gave nothing; None: it did.
    """

    job: Job
    outcome: Any = None
    error: Exception | None = None


def told(error: Exception) -> str:
    """Why a job gave nothing, in a line.

    Example:
        >>> told(ValueError("no luck"))
        'ValueError: no luck'
    """
    if isinstance(error, WorkError):
        return first_line(error)
    return f"{type(error).__name__}: {reason(error)}"


class Executor(Protocol):
    """What does jobs."""

    @property
    def slots(self) -> int:
        """How many it does at once."""

    def submit(self, job: Job) -> None:
        """Begin a job, or let it wait."""

    def ended(self) -> Ended:
        """Wait for the next job that ends; meanwhile what jobs tell is heard."""


class Serial:
    """Does one job at a time, in this process. What a job raises is raised.

    Example:
        >>> job = Job("half", lambda: 4, lambda task, tell: task / 2, None, print)
        >>> serial = Serial()
        >>> serial.submit(job)
        >>> serial.ended().outcome
        2.0
    """

    slots = 1

    def __init__(self) -> None:
        self._waiting: list[Job] = []

    def submit(self, job: Job) -> None:
        """Let a job wait until its end is asked for."""
        self._waiting.append(job)

    def ended(self) -> Ended:
        """Do the job."""
        job = self._waiting.pop(0)
        return Ended(job, job.work(job.task(), job.heard))
