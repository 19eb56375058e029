"""The flags of commands that train several networks: how many at once, and where."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tfinit.cli.console import checked
from tfinit.cli.device import OnDevice
from tfinit.errors import InputError
from tfinit.executors.workers import ON_FAILURE, Workers, threaded, workers_of


@dataclass(frozen=True)
class WithWorkers(OnDevice):
    """A command whose trainings can go beside each other: see `tfinit.executors.Workers`."""

    workers: int = field(default=0, kw_only=True)
    """Train so many networks at once, each on its share of the cores, by Ray: tfinit[scale]. 0:
    one after the other, in this process."""
    address: str | None = field(default=None, kw_only=True)
    """A Ray cluster that runs: auto, or ray://host:port. Default: Ray is started here."""
    cpus_per_training: float = field(default=0.0, kw_only=True)
    """CPUs of each training. 0: the cores of this machine / --workers; in a cluster 1."""
    gpus_per_training: float = field(default=0.0, kw_only=True)
    """GPUs of each training: 0.25 puts four on one."""
    time_limit: float = field(default=0.0, kw_only=True)
    """Seconds in which a training of a worker must tell of itself once, or has failed. 0: none."""
    on_failure: str = field(default="finish", kw_only=True)
    """When a training of a worker fails. finish: the rest goes on, and the command ends with 1;
    stop: at once."""

    choices: ClassVar[Mapping[str, Iterable[str | None]]] = {
        **OnDevice.choices,
        "on_failure": ON_FAILURE,
    }
    groups: ClassVar[Mapping[str, Sequence[str]]] = {
        "where it runs": (
            *("device", "threads", "workers", "address", "cpus_per_training", "gpus_per_training"),
            *("time_limit", "on_failure"),
        )
    }

    def chosen_workers(self) -> Workers | None:
        """The workers that were asked for; None: none were."""
        if not self.workers and self.address is None:
            for name in ("cpus_per_training", "gpus_per_training", "time_limit", "on_failure"):
                if name in self.typed:
                    raise InputError(
                        f"`{name}` is of trainings beside each other: say how many, with "
                        "`workers`, or on which cluster, with `address`."
                    )
            return None
        return workers_of(
            Workers(
                self.workers,
                self.address,
                self.cpus_per_training,
                self.gpus_per_training,
                self.time_limit,
                on_failure=self.on_failure,
            )
        )

    def threaded(self, cls: Any) -> Any:
        """The configuration that was typed, with the threads of each worker."""
        return threaded(checked(self, cls), self.chosen_workers())
