"""Loads what trains, once: TensorFlow, and the network that most pages begin with."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from tfinit.demo.run import Engine
from tfinit.demo.settings import Settings

_log = logging.getLogger(__name__)
# Loading takes about so many times the processor time that it took to open the page.
_WORK = 7


def load_engine() -> Engine:
    """What trains."""
    # The last two are imported by the others in the middle of their work, where two threads could
    # wait for each other's modules.
    import tfinit.diagnostics.diagnosis
    import tfinit.pruning.in_training.model_masks  # noqa: F401
    from tfinit.demo.lottery import Lottery
    from tfinit.demo.plane import opening_event
    from tfinit.demo.python_code import python_code
    from tfinit.demo.training import PaneTraining

    return Engine(PaneTraining, opening_event, Lottery, python_code)


def first_steps(engine: Engine) -> None:
    """Train some steps with the default settings, so that all that a page needs is compiled."""
    settings = Settings()
    engine.opening_event(settings)
    training = engine.training(settings, 0)
    training.begin()
    training.frame(0)
    training.diagnose()
    training.advance(1)
    training.outcome()


class Loaded:
    """``loaded()`` is the engine. Whoever is first loads it, in one thread; others wait.

    Args:
        load: Gives the engine.
        around: What loading happens in.
        first: What is done with it before others get it.
    """

    def __init__(
        self,
        load: Callable[[], Engine],
        around: Callable[[], AbstractContextManager[Any]],
        first: Callable[[Engine], None] | None,
    ):
        self._load, self._around, self._first = load, around, first
        self._engine: Engine | None = None
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._opened = time.process_time()

    def __call__(self) -> Engine:
        """The engine."""
        with self._lock:
            if self._engine is None:
                with self._around():
                    engine = self._load()
                if self._first is not None:
                    self._try(self._first, engine)
                self._engine = engine
            return self._engine

    def seconds_left(self) -> float | None:
        """About how long it still takes, by the processor time that is spent; None: it is done."""
        if self._engine is not None:
            return None
        whole = max(_WORK * self._opened, 1.0)
        spent = time.process_time() - self._opened
        # What was spent may have waited for others, and so may the rest.
        pace = (time.monotonic() - self._began) / spent if spent > 0.1 * whole else 1.0
        return pace * max(whole - spent, 0.1 * whole)

    @staticmethod
    def _try(first: Callable[[Engine], None], engine: Engine) -> None:
        try:
            first(engine)
        except BaseException:  # the first run will fail in the same way, and say so to its page
            _log.exception("The first steps failed.")
