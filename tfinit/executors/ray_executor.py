"""Jobs by Ray: its queue, its processes, its object store.

What is kept of a job is kept here, in the driver's process. So a worker that dies costs what came
after the last checkpoint that reached the driver: Ray would begin the job anew, the driver goes on.
"""

import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from tfinit.errors import InputError, WorkError, first_line
from tfinit.executors import ray_worker
from tfinit.executors.job import Ended, Job, told
from tfinit.executors.sending import pack
from tfinit.executors.versions import versions
from tfinit.executors.workers import Workers
from tfinit.progress import Follower

# What a worker's process sees of this one's environment.
_PASSED = ("KERAS_", "JAX_", "XLA_", "TF_", "TFINIT_")
_REACHED = 10.0  # seconds until a cluster must answer
_LOOK = 1.0  # seconds between looks at jobs that tell nothing


@dataclass(eq=False)
class _Running:
    job: Job
    messages: Any
    attempt: int
    heard: float = math.inf  # since when it tells nothing; it has not begun
    where: str | None = None


class RayExecutor:
    """Jobs on workers of Ray, on this machine or in a cluster.

    Args:
        workers: How many, and where.
        follower: Is told which jobs go, and where.

    Raises:
        InputError: there is no such cluster.
    """

    def __init__(self, workers: Workers, follower: Follower | None = None):
        import ray
        import ray.exceptions

        self._ray, self._workers, self._follower = ray, workers, follower
        self._running: dict[Any, _Running] = {}
        self._setups: dict[Any, tuple[str, list[Any], list[Any]]] = {}
        self._sent: dict[str, Any] = {}  # what is in Ray's object store
        self._versions = versions()
        self._ours = False
        self._stream: Any = None

    def __enter__(self) -> "RayExecutor":
        if self._workers.address is not None:
            self._start()
        return self

    def _start(self) -> None:
        """Start Ray, or connect to it. On this machine only when there is something to do."""
        ray, wanted = self._ray, self._workers
        self._ours = not ray.is_initialized()
        if self._ours:
            quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
            if wanted.address is None:
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
                cpus = math.ceil(wanted.workers * wanted.cpus)
                with _nothing_else_changed():
                    ray.init(num_cpus=cpus, include_dashboard=False, **quiet)
            else:
                try:
                    _reach(wanted.address)
                    with _nothing_else_changed():
                        ray.init(address=wanted.address, **quiet)
                except (OSError, ValueError) as error:
                    raise InputError(
                        f"`address` {wanted.address!r}: {first_line(error)} Start a cluster with "
                        "`ray start --head`, or leave the address out."
                    ) from error
        gpus: dict[str, Any] = (
            {"num_gpus": wanted.gpus_per_training} if wanted.gpus_per_training else {}
        )
        self._stream = ray.remote(ray_worker.stream).options(
            num_cpus=wanted.cpus,
            num_returns="streaming",
            max_retries=0,
            runtime_env={"env_vars": _environment(wanted)},
            **gpus,
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for messages in self._running:
            self._ray.cancel(messages, force=True)
        self._running.clear()
        if self._ours:
            self._ray.shutdown()

    @property
    def slots(self) -> int:
        """How many jobs go at once."""
        wanted = self._workers
        if wanted.workers:
            return wanted.workers
        there = self._ray.cluster_resources()
        room = [there.get("CPU", 0) / wanted.cpus]
        if wanted.gpus_per_training:
            room.append(there.get("GPU", 0) / wanted.gpus_per_training)
        return max(1, int(min(room)))

    def submit(self, job: Job) -> None:
        """Give a job to Ray."""
        self._submit(job, 0)

    def _submit(self, job: Job, attempt: int) -> None:
        if self._stream is None:
            self._start()
        messages = self._stream.remote(self._versions, *self._setup(job.setup), job.task())
        self._running[messages] = _Running(job, messages, attempt)
        self._tell()

    def _setup(self, setup: Any) -> tuple[str, list[Any], list[Any]]:
        """What `ray_worker.stream` takes of a setup: nothing of it is sent twice."""
        if setup not in self._setups:
            packed = pack(setup)
            arrays = [
                self._put(sha, lambda view=view: np.frombuffer(view, np.uint8))
                for sha, view in packed.arrays
            ]
            pickled = self._put(packed.key, lambda: packed.pickled)
            self._setups[setup] = packed.key, [pickled], arrays
        return self._setups[setup]

    def _put(self, key: str, value: Callable[[], Any]) -> Any:
        """Where Ray keeps a value."""
        if key not in self._sent:
            self._sent[key] = self._ray.put(value())
        return self._sent[key]

    def ended(self) -> Ended:
        """Wait for the next job that ends; meanwhile what jobs tell is heard.

        Raises:
            WorkError: a job failed, and that is to stop the rest.
        """
        while True:
            ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=_LOOK)
            for messages in ready:
                ended = self._heard(self._running[messages])
                if ended is not None:
                    return ended
            limit, now = self._workers.time_limit, time.monotonic()
            for one in list(self._running.values()):
                if limit and now - one.heard > limit:
                    self._ray.cancel(one.messages, force=True)
                    return self._failed(one, TimeoutError(f"it told nothing for {limit:g} s."))

    def _heard(self, one: _Running) -> Ended | None:
        """Take what a job tells; its end, if that is it."""
        errors = self._ray.exceptions
        try:
            kind, value = self._ray.get(next(one.messages))
        except errors.RayTaskError as error:
            cause = error.cause
            return self._failed(one, cause if isinstance(cause, Exception) else error)
        except (errors.RayError, StopIteration) as error:  # its process was lost, or the machine
            if one.attempt >= self._workers.retries:
                return self._failed(one, WorkError(f"its process was lost: {first_line(error)}"))
            del self._running[one.messages]
            self._submit(one.job, one.attempt + 1)
            return None
        one.heard = time.monotonic()
        if kind == ray_worker.OUTCOME:
            self._over(one)
            return Ended(one.job, value)
        if kind == ray_worker.BEGUN:
            one.where = value
            self._tell()
        else:
            one.job.heard(kind, value)
        return None

    def _tell(self) -> None:
        """Tell who follows it what goes on where."""
        if self._follower is not None:
            self._follower.at_work({one.job.name: one.where for one in self._running.values()})

    def _over(self, one: _Running) -> None:
        del self._running[one.messages]
        self._tell()

    def _failed(self, one: _Running, error: Exception) -> Ended:
        self._over(one)
        if self._workers.on_failure == "stop":
            raise WorkError(f"{one.job.name}: {told(error)}") from error
        return Ended(one.job, error=error)


@contextmanager
def _nothing_else_changed() -> Iterator[None]:
    """Ray says nothing in the block, and afterwards signals are heard by what heard them before.

    It listens to SIGTERM itself, in Python and in C++, and aborts the process.
    """
    log = logging.getLogger("ray")
    level = log.level
    log.setLevel(logging.ERROR)
    heard = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        log.setLevel(level)
        if threading.current_thread() is threading.main_thread():
            for number, handler in heard.items():
                if handler is not None:  # one that is none of Python's
                    signal.signal(number, handler)


def _reach(address: str) -> None:
    """See that somebody listens at an address: Ray itself tries for minutes.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), _REACHED).close()


def _environment(workers: Workers) -> dict[str, str]:
    """The part of the environment that decides what a training computes, and on what."""
    found = {name: value for name, value in os.environ.items() if name.startswith(_PASSED)}
    if not workers.gpus_per_training:
        found["CUDA_VISIBLE_DEVICES"] = "-1"
    return {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"} | found
