"""Experiments with workers beside the same without, and what the driver itself costs.

    python benchmarks/scale.py                   # all parts
    python benchmarks/scale.py driver            # seconds
    python benchmarks/scale.py store             # half an hour; --most 10000: minutes
    python benchmarks/scale.py loops             # PyTorch, minutes
    python benchmarks/scale.py whole --turns 3   # MNIST: TFINIT_DATA_DIR, minutes

whole   `tfinit lottery` on MNIST: 4 seeds, 4 levels, two controls, 2,000 steps. One process with
        all cores, one with a thread, and 2 workers with a thread each, start of Ray included, in
        turns. And whether the last two left the same bytes.
driver  Trainings of no length on 64 workers that are none: milliseconds of the driver for each, and
        its memory, from 100 to 100,000 trainings.
store   The same with a directory, from 100 to 100,000 results of a small network: milliseconds for
        each to be planned and stored (the disk not waited for), found there by a run that goes on,
        and loaded.
loops   A training of LeNet-300-100 without evaluations, one thread: by a worker, with all that goes
        to it and back, against the same alone in a process pinned to a core; and two workers
        against PyTorch eager with fused Adam in one process with all cores. In turns; medians.
"""

import hashlib
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from unittest import mock

import numpy as np
import tyro

from tfinit.executors.job import Ended, Executor, Job, Serial
from tfinit.executors.scheduling import work_off
from tfinit.lottery.structures import SingleWeights

WORKERS = 64
SIZES = (100, 1000, 10_000, 100_000)
LEVELS = 24  # of each chain of results in a directory, with a control beside
EPOCHS = 5  # of 916 steps: what a training of `loops` has
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


def whole(turns: int, most: int) -> None:
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


def driver(turns: int, most: int) -> None:
    print(f"{'trainings':>10}{'ms each':>10}{'memory, MiB':>14}")
    for wanted in [size for size in SIZES if size <= most]:
        times, count = [], 0
        for _ in range(turns):
            began = time.perf_counter()
            count = sum(1 for _ in work_off([Chains(wanted)], Idle()))
            times.append((time.perf_counter() - began) / count * 1000)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{count:>10,}{statistics.median(times):>10.3f}{memory:>14.0f}", flush=True)


class Unmoved:
    """Trains networks of 1,000 weights in no time; they are pruned and stored as any others."""

    def __init__(self, config: Any):
        self._config, rng = config, np.random.default_rng(0)
        self._weights = {"kernel": rng.standard_normal((100, 10)).astype("float32")}
        self.structure = SingleWeights(self.full_mask())

    def initial(self, seed: int) -> dict:
        return self._weights

    def full_mask(self) -> dict:
        return {"kernel": np.ones((100, 10), bool)}

    def fits(self, partial: Any) -> bool:
        return True

    def final(self) -> dict:
        return self._weights

    def prune(self, trained: Any, counts: Any) -> dict:
        return self.structure.choose(self._config, trained, counts)

    def train(self, training: Any, progress: Callable, checkpoint: Callable) -> Any:
        from tfinit.training.metrics import Metrics

        names = ("validation_loss", "test_loss", "validation_accuracy", "test_accuracy")
        values = {name: np.array([0.2, 0.1]) for name in names}
        return Metrics(np.array([0, 1]), values, np.zeros(1, np.float32))


def store(turns: int, most: int) -> None:
    from tfinit.lottery import LotteryConfig, load
    from tfinit.lottery.replicate import Replicate
    from tfinit.lottery.store import Store
    from tfinit.lottery.stored_training import Trainings

    def planned(config: LotteryConfig) -> int:
        trainings = Trainings(Unmoved(config), Store(config), lambda done: None)
        with trainings.store.locked():
            plans = (Replicate(trainings, config, seed) for seed in config.seeds)
            return sum(1 for _ in work_off(plans, Serial()))

    print(f"{'results':>10}{'ms: stored':>14}{'found there':>14}{'loaded':>10}{'memory, MiB':>14}")
    for wanted in [size for size in SIZES if size <= most]:
        with TemporaryDirectory() as folder:
            seeds = tuple(range(max(1, wanted // (1 + 2 * LEVELS))))
            config = LotteryConfig(
                levels=LEVELS, steps=1, seeds=seeds, evaluate_every=1, run_dir=Path(folder) / "run"
            )
            ways = (planned, planned, lambda config: len(load(config.run_dir).results))
            times = []
            for way in ways:
                began = time.perf_counter()
                with mock.patch("os.fsync", lambda file: None):  # the disk is not what is measured
                    count = way(config)
                times.append((time.perf_counter() - began) / count * 1000)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        stored, found, loaded = times
        print(
            f"{count:>10,}{stored:>14.2f}{found:>14.2f}{loaded:>10.2f}{memory:>14.0f}", flush=True
        )


def training() -> tuple[Any, Any]:
    """What makes a training of LeNet-300-100 on numbers, in any process, and what it is given."""
    from lottery import BATCH, STEPS, numbers

    from tfinit.datasets import from_arrays
    from tfinit.lottery import LotteryConfig
    from tfinit.lottery.frameworks import TrainingPlan, framework_of
    from tfinit.lottery.training_work import TrainingTask, trainer_setup

    x, y = numbers()
    few = x[:BATCH], y[:BATCH]
    data = from_arrays((x, y), few, validation=few, name="numbers")
    steps = EPOCHS * STEPS
    config = LotteryConfig(steps=steps, evaluate_every=steps, batch_size=BATCH, threads=1)
    framework = framework_of(config, data, None)
    plan = TrainingPlan(framework.initial(0), framework.full_mask(), 0)
    return trainer_setup(config, data, None), TrainingTask(plan)


def _serve(name: str, pipe: Connection) -> None:
    """A process that does its work each time that it is asked, and tells the seconds."""
    if name == "pinned":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        from tfinit.threads import use_threads

        use_threads(1)
        setup, task = training()
        work = setup()
        run = lambda: work(task, lambda *told: None)  # noqa: E731
    else:
        from lottery import pytorch

        epoch = pytorch()
        run = lambda: [epoch() for _ in range(EPOCHS)]  # noqa: E731
    run()
    pipe.send(None)
    while pipe.recv():
        began = time.perf_counter()
        run()
        pipe.send(time.perf_counter() - began)


def _together(executor: Executor, setup: Any, task: Any, count: int) -> float:
    """Seconds in which workers do so many trainings beside each other."""
    began = time.perf_counter()
    for number in range(count):
        executor.submit(Job(str(number), lambda: task, None, setup, lambda *told: None))
    for _ in range(count):
        ended = executor.ended()
        assert ended.error is None, ended.error
    return time.perf_counter() - began


def loops(turns: int, most: int) -> None:
    from lottery import STEPS

    from tfinit.executors.workers import Workers, executing

    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for name in ("pinned", "PyTorch"):
        pipes[name], theirs = context.Pipe()
        context.Process(target=_serve, args=(name, theirs), daemon=True).start()
        theirs.close()  # so that the other side's death is the end of the file, not a wait
        pipes[name].recv()

    def alone(name: str) -> float:
        pipes[name].send(True)
        return pipes[name].recv()

    setup, task = training()
    with executing(Workers(2, cpus_per_training=1)) as executor:
        for _ in range(3):  # each process loads and compiles
            _together(executor, setup, task, 2)
        ways = {
            "alone, pinned to a core": (1, lambda: alone("pinned")),
            "a worker": (1, lambda: _together(executor, setup, task, 1)),
            "2 workers": (2, lambda: _together(executor, setup, task, 2)),
            "PyTorch, all cores": (1, lambda: alone("PyTorch")),
        }
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(turns):
            for way, (count, seconds) in ways.items():
                rates[way].append(count * EPOCHS * STEPS / seconds())
    for pipe in pipes.values():
        pipe.send(False)
    for way, of in rates.items():
        print(f"{way:26}{statistics.median(of):8.0f} steps/s")
    for way, other, asked in (
        ("a worker", "alone, pinned to a core", 0.95),
        ("2 workers", "PyTorch, all cores", 2.4),
    ):
        ratio = statistics.median(a / b for a, b in zip(rates[way], rates[other], strict=True))
        print(f"{way} / {other}: {ratio:.2f} (asked ≥ {asked})", flush=True)


PARTS = {"driver": driver, "store": store, "loops": loops, "whole": whole}


def main(
    parts: tyro.conf.Positional[tuple[Literal["driver", "store", "loops", "whole"], ...]] = (
        "driver",
        "store",
        "loops",
        "whole",
    ),
    turns: int = 3,
    most: int = SIZES[-1],
) -> None:
    """Experiments with workers beside the same without, and what the driver itself costs.

    Args:
        parts: Which parts.
        turns: Turns of each kind; medians are taken over them.
        most: Of trainings and results: no more than so many.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for part in parts:
        print(f"== {part}", flush=True)
        PARTS[part](turns, most)


if __name__ == "__main__":
    tyro.cli(main)
