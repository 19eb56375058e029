"""Experiments with workers beside the same without, and what the driver itself costs.

    python benchmarks/scale.py                   # both parts
    python benchmarks/scale.py driver            # seconds
    python benchmarks/scale.py whole --turns 3   # MNIST: TFINIT_DATA_DIR, minutes

whole   `tfinit lottery` on MNIST: 4 seeds, 4 levels, two controls, 2,000 steps. One process with
        all cores, one with a thread, and 2 workers with a thread each, start of Ray included, in
        turns. And whether the last two left the same bytes.
driver  Trainings of no length on 64 workers that are none: milliseconds of the driver for each, and
        its memory, from 100 to 100,000 trainings.
"""

import hashlib
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import tyro

from tfinit.executors.job import Ended, Job
from tfinit.executors.scheduling import work_off

WORKERS = 64
EXPERIMENT = (
    *("--dataset", "mnist", "--seeds", "0", "1", "2", "3", "--levels", "4", "--steps", "2000"),
    *("--controls", "reinit", "one-shot", "--evaluate-every", "100"),
)
WAYS = {
    "one process": (),
    "one process, one thread": ("--threads", "1"),
    "2 workers": ("--workers", "2", "--threads", "1"),
}


def bytes_of(directory: Path) -> str:
    """A digest of all files."""
    found = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path.name != ".lock":
            found.update(str(path.relative_to(directory)).encode() + path.read_bytes())
    return found.hexdigest()


def whole(turns: int) -> None:
    command = Path(sys.executable).with_name("tfinit")
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(turns):
        with TemporaryDirectory() as folder:
            for way, flags in WAYS.items():
                run = Path(folder) / way.replace(" ", "-")
                began = time.perf_counter()
                subprocess.run(
                    [command, "lottery", *EXPERIMENT, *flags, "--run-dir", run],
                    check=True,
                    capture_output=True,
                )
                seconds[way].append(time.perf_counter() - began)
            one, two = (
                bytes_of(Path(folder) / name) for name in ("one-process,-one-thread", "2-workers")
            )
            print(f"the same bytes with workers and without: {one == two}", flush=True)
    median = {way: statistics.median(of) for way, of in seconds.items()}
    for way, of in median.items():
        print(f"{way:26}{of:8.1f} s   {median['one process'] / of:.2f} × one process")


class Chains:
    """A plan of chains, as the tickets of seeds are, with two controls beside each link."""

    def __init__(self, trainings: int):
        chains = max(1, trainings // 48)
        self._graph = {
            (chain, level, branch): [(chain, level - 1, 0)] if level else []
            for chain in range(chains)
            for level in range(16)
            for branch in range(3)
        }

    def __enter__(self) -> "Chains":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def graph(self) -> dict:
        return self._graph

    def begin(self, node: object) -> Job:
        return Job("nothing", lambda: node, lambda task, tell: task, None, lambda *told: None)

    def end(self, node: object, outcome: object) -> object:
        return outcome


class Idle:
    """So many workers, each done at once."""

    slots = WORKERS

    def __init__(self):
        self._jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def ended(self) -> Ended:
        job = self._jobs.pop(0)
        return Ended(job, job.task())


def driver(turns: int) -> None:
    print(f"{'trainings':>10}{'ms each':>10}{'memory, MiB':>14}")
    for wanted in (100, 1000, 10_000, 100_000):
        times, count = [], 0
        for _ in range(turns):
            began = time.perf_counter()
            count = sum(1 for _ in work_off([Chains(wanted)], Idle()))
            times.append((time.perf_counter() - began) / count * 1000)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{count:>10,}{statistics.median(times):>10.3f}{memory:>14.0f}", flush=True)


PARTS = {"driver": driver, "whole": whole}


def main(
    parts: tyro.conf.Positional[tuple[Literal["driver", "whole"], ...]] = ("driver", "whole"),
    turns: int = 3,
) -> None:
    """Experiments with workers beside the same without, and what the driver itself costs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for part in parts:
        print(f"== {part}", flush=True)
        PARTS[part](turns)


if __name__ == "__main__":
    tyro.cli(main)
