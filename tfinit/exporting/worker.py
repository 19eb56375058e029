"""Runs exported files in a process of its own: a crash here is not a crash of the caller.

    python -m tfinit.exporting.worker JOB.json

The job names the files, the inputs (.npz) and what to do; the answer is a .npz or a .json. Only
the runtime that a file needs is imported, and it gets one thread.
"""

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tfinit.array_files import open_arrays
from tfinit.exporting.formats import FORMATS, Runtime

_BATCH = 256
_SIGNAL_AT_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG, prctl(2)


def outputs(job: dict[str, Any], arrays: list[np.ndarray], data: list[np.ndarray]) -> None:
    """What a file computes: example by example, or by the batch that it takes; in batches where it
    takes any; of the data in the quicker way."""
    file = job["files"][0]
    size, runtime, found = file["batch"] or 1, _open(file), {}
    any_batch = runtime.any_batch and not file["batch"]
    for name, fed, step in (
        ("single", arrays, size),
        ("batch", arrays if any_batch else [], _BATCH),
        ("data", data, _BATCH if any_batch else size),
    ):
        if not fed:
            continue
        if name == "data" and file["batch"]:
            runtime = _open(file)  # without what it keeps of the batches before
        count = len(fed[0])
        rows = np.arange(count if any_batch else -(-count // step) * step) % count
        parts = [
            _run(runtime, [array[rows[start : start + step]] for array in fed])
            for start in range(0, count, step)
        ]
        joined = (np.concatenate(outputs)[:count] for outputs in zip(*parts, strict=True))
        found |= {f"{name}_{k}": output for k, output in enumerate(joined)}
    np.savez(job["answer"], **found)


def latency(job: dict[str, Any], arrays: list[np.ndarray], data: list[np.ndarray]) -> None:
    """Seconds of single runs at batch 1, or the file's, warm. Several files take turns, so that
    all meet the same machine."""
    runtimes = [_open(file) for file in job["files"]]
    for file, runtime in zip(job["files"], runtimes, strict=True):
        runtime.set([array[: file["batch"] or 1] for array in arrays])
    # The first calls plan and compile.
    costs = [_seconds(runtime, 3)[-1] for runtime in runtimes]
    share = job["seconds"] / job["rounds"]
    counts = [int(min(200, max(2, share / max(cost, 1e-7)))) for cost in costs]
    times: list[list[float]] = [[] for _ in runtimes]
    for _ in range(job["rounds"]):
        for runtime, count, kept in zip(runtimes, counts, times, strict=True):
            _seconds(runtime, max(1, count // 4))  # caches are the other file's
            kept += _seconds(runtime, count)
    with open(job["answer"], "w", encoding="utf-8") as answer:
        json.dump(times, answer)


def _open(file: dict[str, Any]) -> Runtime:
    return FORMATS[file["format"]].open(file["path"], file["names"], __name__ == "__main__")


def _run(runtime: Runtime, arrays: list[np.ndarray]) -> list[np.ndarray]:
    runtime.set(arrays)
    runtime.invoke()
    return [_storable(np.asarray(output)) for output in runtime.get()]


def _storable(output: np.ndarray) -> np.ndarray:
    """Text as NumPy's files know it, and numbers in float32."""
    if output.dtype.kind not in "OSU":
        return output.astype(np.float32)
    words = [w.decode(errors="replace") if isinstance(w, bytes) else w for w in output.flat]
    return np.array(words, str).reshape(output.shape)


def _seconds(runtime: Runtime, count: int) -> list[float]:
    times = []
    for _ in range(count):
        start = time.perf_counter()
        runtime.invoke()
        times.append(time.perf_counter() - start)
    return times


_TASKS: dict[str, Callable[[dict[str, Any], list[np.ndarray], list[np.ndarray]], None]] = {
    "outputs": outputs,
    "latency": latency,
}


def main(path: str) -> None:
    """Do the job that a file describes."""
    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    with open_arrays(job["inputs"]) as stored:
        arrays, data = (
            [stored[f"{name}_{n}"].read() for n in range(len(stored)) if f"{name}_{n}" in stored]
            for name in ("input", "data")
        )
    _TASKS[job["task"]](job, arrays, data)


def _end_with_parent() -> None:
    """Signals to a whole group of processes are the parent's to hear; at its death this one ends.

    It would say that the file crashes its runtime, where Ctrl-C or Slurm has ended this process.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL)


if __name__ == "__main__":
    _end_with_parent()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main(sys.argv[1])
    sys.stdout.flush()
    os._exit(0)  # the answer is written; unloading a runtime has nothing to add but its crashes
