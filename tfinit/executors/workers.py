"""How many trainings go at once, and where."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from tfinit.arguments import number, one_of, refused, text, whole
from tfinit.errors import InputError, MissingPackage
from tfinit.executors.job import Executor, Serial
from tfinit.progress import Follower
from tfinit.threads import cores

ON_FAILURE = ("finish", "stop")


@dataclass(frozen=True)
class Workers:
    """Processes that train beside each other, by Ray: ``pip install tfinit[scale]``.

    Args:
        workers: So many on this machine. 0 with an ``address``: as many as the cluster has room
            for.
        address: Of a Ray cluster that runs: ``"auto"``, or ``"ray://host:port"``. None: Ray is
            started on this machine, and stopped at the end.
        cpus_per_training: CPUs that Ray counts for each training; also how many threads it uses.
            0: the cores of this machine, divided by ``workers``; in a cluster 1.
        gpus_per_training: GPUs that Ray counts for each: 0.25 puts four on one.
        time_limit: Seconds in which a training must tell of itself once; after them it has failed.
            0: none.
        retries: How often a training whose process was lost is begun again, from its last
            checkpoint.
        on_failure: When a training fails. finish: the rest goes on, and the error comes at the end.
            stop: at once.

    Raises:
        InputError: a value is not allowed.

    Example:
        >>> Workers(2).address is None
        True
    """

    workers: int = 0
    address: str | None = None
    cpus_per_training: float = 0
    gpus_per_training: float = 0
    time_limit: float = 0
    retries: int = 3
    on_failure: str = "finish"

    def __post_init__(self) -> None:
        whole("workers", self.workers, 0)
        text("address", self.address, none=True)
        number("cpus_per_training", self.cpus_per_training, least=0)
        number("gpus_per_training", self.gpus_per_training, least=0)
        number("time_limit", self.time_limit, least=0)
        whole("retries", self.retries, 0)
        one_of("on_failure", self.on_failure, ON_FAILURE)
        if not self.workers and self.address is None:
            raise InputError(
                "`workers` must be 1 or more where no `address` of a cluster is given, received 0."
            )

    @property
    def cpus(self) -> float:
        """CPUs for each training."""
        if self.cpus_per_training:
            return self.cpus_per_training
        return 1 if self.address else max(1, cores() // self.workers)


def threaded(config: Any, workers: Workers | None) -> Any:
    """A configuration of trainings that has the threads of a worker, if it does not say."""
    if workers is None or config.threads:
        return config
    return replace(config, threads=max(1, int(workers.cpus)))


def workers_of(workers: Any) -> Workers | None:
    """What an argument ``workers`` says: a number of them on this machine, or a `Workers`.

    Returns:
        None: no workers, all is done in this process.

    Raises:
        InputError: it is neither.
        MissingPackage: Ray is not installed.
    """
    if workers is None:
        return None
    if isinstance(workers, int) and not isinstance(workers, bool):
        workers = Workers(workers)
    if not isinstance(workers, Workers):
        raise refused("workers", "a number, a tfinit.executors.Workers or None", workers)
    try:
        import ray  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingPackage("`workers`", "Ray", "tfinit[scale]") from error
    return workers


@contextmanager
def executing(workers: Workers | None, follower: Follower | None = None) -> Iterator[Executor]:
    """What does the jobs: this process, or workers, which end with the block.

    Args:
        workers: Which workers; None: this process.
        follower: Is told what they do.
    """
    if workers is None:
        yield Serial()
        return
    from tfinit.executors.ray_executor import RayExecutor

    with RayExecutor(workers, follower) as executor:
        yield executor
