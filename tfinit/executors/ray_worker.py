"""What a process of Ray's does: it makes a setup once, and works on one task after the other."""

import os
import pickle
import queue
import socket
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tfinit.executors.job import Work
from tfinit.executors.versions import check_same_versions

# Kinds of messages beside those of the work itself: where it begins; its outcome; what it raised.
BEGUN, OUTCOME, RAISED = "begun", "outcome", "raised"
# Setups whose networks are kept, compiled: an experiment has two at most.
_KEPT = 2
_made: OrderedDict[str, Work] = OrderedDict()
# All is done in one thread, as frameworks remember things for each; the first one only listens.
_working = ThreadPoolExecutor(max_workers=1)


def stream(
    versions: dict[str, str], key: str, pickled: list[Any], arrays: list[Any], task: Any
) -> Iterator[tuple[str, Any]]:
    """Do a task, and yield what it tells: kinds and values, its outcome last.

    Args:
        versions: Those of the driver's process.
        key: The same for equal setups.
        pickled: Where one is to be had from, if it was not made here yet: a reference of Ray's, in
            a list so that Ray does not fetch it unasked.
        arrays: References to its arrays.
        task: What is given to the work.

    Raises:
        InputError: versions differ here. Or what the work raises.
    """
    yield BEGUN, f"{socket.gethostname()} {os.getpid()}"
    check_same_versions(versions)
    told: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def work() -> None:
        try:
            told.put(
                (OUTCOME, _work_of(key, pickled, arrays)(task, lambda *message: told.put(message)))
            )
        except Exception as error:
            told.put((RAISED, error))

    _working.submit(work)
    while True:
        kind, value = told.get()
        if kind == RAISED:
            raise value
        yield kind, value
        if kind == OUTCOME:
            return


def _work_of(key: str, pickled: list[Any], arrays: list[Any]) -> Work:
    """The work of a setup, made once."""
    if key not in _made:
        import ray

        while len(_made) >= _KEPT:
            _made.popitem(last=False)
        [setup] = ray.get(pickled)
        _made[key] = pickle.loads(setup, buffers=ray.get(arrays))()
    _made.move_to_end(key)
    return _made[key]
