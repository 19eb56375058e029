"""Running exported files in a subprocess: what they compute, how long it takes, how they fail."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tfinit
from tfinit.array_files import open_arrays
from tfinit.errors import WorkError, reason
from tfinit.exporting import worker
from tfinit.exporting.formats import FORMATS
from tfinit.exporting.inputs import whole_batches
from tfinit.native_output import native_stderr_closed

# Of the spread of Keras's outputs. In float32 only the order of sums differs, 1e-6 or so; int8 is
# a rounding of each activation, and says what it is in `FileReport.difference`.
TOLERANCE = {None: 1e-3, "int8": 0.3}
# Characters of what a runtime complains of.
_LONGEST = 300
# Of the size of the outputs: where they are nearly constant their spread is all rounding.
_LEAST_SPREAD = 0.005


@dataclass(frozen=True)
class Job:
    """A file to run.

    Attributes:
        path: Where it is.
        format: A word of `FORMATS`.
        names: Of the inputs, in their order; None if they are not known.
        batch: How many examples it takes at once; None if that is free.
        here: Whether only this process can run it, which knows the classes that it names.
    """

    path: Path
    format: str
    names: list[str] | None = None
    batch: int | None = None
    here: bool = False


def run_outputs(
    job: Job, inputs: list[np.ndarray], timeout: float, data: Sequence[np.ndarray] = ()
) -> dict[str, list[np.ndarray]]:
    """What a file computes.

    Args:
        job: The file.
        inputs: An array for each input, few examples; whole batches where the job has a batch.
        timeout: Seconds that it may take.
        data: The same, many examples; any number of them.

    Returns:
        ``"single"`` (run one by one, or by the job's batch), ``"batch"`` (all at once) and
        ``"data"`` → one array for each output. A file that takes a fixed batch has no ``"batch"``.

    Raises:
        WorkError: it crashes, fails or takes too long.
    """
    with (
        _answer([job], inputs, timeout, data, task="outputs") as answer,
        open_arrays(answer) as stored,
    ):
        found = {name: array.read() for name, array in stored.items()}
    result: dict[str, list[np.ndarray]] = {}
    for name in sorted(found, key=lambda n: (n.split("_")[0], int(n.split("_")[1]))):
        result.setdefault(name.split("_")[0], []).append(found[name])
    return result


def run_latency(
    jobs: Sequence[Job],
    inputs: list[np.ndarray],
    timeout: float,
    seconds: float,
    rounds: int = 10,
) -> list[list[float]]:
    """Seconds of each run at batch 1, or the job's, for each file; all take turns in one process.

    Args:
        jobs: The files.
        inputs: The first example is used, or the first batch.
        timeout: Seconds that all of it may take.
        seconds: To spend on each file.
        rounds: Turns.

    Raises:
        WorkError: a file crashes, fails or takes too long.
    """
    most = max(job.batch or 1 for job in jobs)
    first = whole_batches([array[:most] for array in inputs], most)
    extra = {"task": "latency", "seconds": seconds, "rounds": rounds}
    with _answer(jobs, first, timeout, (), **extra) as answer:
        return json.loads(answer.read_text(encoding="utf-8"))


@contextmanager
def _answer(
    jobs: Sequence[Job],
    inputs: list[np.ndarray],
    timeout: float,
    data: Sequence[np.ndarray],
    **extra: Any,
) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tfinit-export-") as folder:
        home = Path(folder)
        answer = home / ("answer.npz" if extra["task"] == "outputs" else "answer.json")
        fed: dict[str, Any] = {f"input_{n}": _storable(one) for n, one in enumerate(inputs)}
        fed |= {f"data_{n}": _storable(one) for n, one in enumerate(data)}
        np.savez(home / "inputs.npz", **fed)
        files = [
            {
                "path": str(job.path.resolve()),
                "format": job.format,
                "names": job.names,
                "batch": job.batch,
            }
            for job in jobs
        ]
        told = {"files": files, "inputs": str(home / "inputs.npz")}
        told |= {"answer": str(answer), **extra}
        (home / "job.json").write_text(json.dumps(told), encoding="utf-8")
        _run(home / "job.json", jobs, timeout)
        yield answer


def _storable(array: np.ndarray) -> np.ndarray:
    """bfloat16 and the like, which NumPy's files do not know, in a type that holds them."""
    return array if array.dtype.kind in "biufcU" else array.astype(np.float32)


def _run(job: Path, jobs: Sequence[Job], timeout: float) -> None:
    runtime = " and ".join(dict.fromkeys(FORMATS[j.format].runtime for j in jobs))
    if any(each.here for each in jobs):
        try:
            with native_stderr_closed():
                worker.main(str(job))
        except Exception as error:  # of any kind: the code is the user's
            raise WorkError(f"{runtime} cannot run it: {reason(error)}") from error
        return
    root = str(Path(tfinit.__file__).resolve().parents[1])
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tfinit.exporting.worker", str(job)],
            env=environment,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise WorkError(
            f"{runtime} did not finish running it within {timeout:g} seconds. Give it more "
            "`timeout`, or a smaller model."
        ) from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise WorkError(f"it crashes {runtime} (signal {-done.returncode}, {name})")
    if done.returncode:
        raise WorkError(f"{runtime} cannot run it: {_last_line(done.stderr)}")


def _last_line(stderr: bytes) -> str:
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines()]
    # Python's traceback ends with the error; what is indented is where.
    told = [line for line in lines if line] or ["no reason given"]
    errors = [line for line in told if "Error" in line or "Exception" in line]
    # Without the names of classes and files that say nothing to who exports.
    plain = re.sub(r"\S*onnxruntime_pybind11_state\.", "", (errors or told)[-1])
    plain = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from \S+ failed:)?", "", plain)
    return plain[:_LONGEST]


def difference(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """The largest difference, relative to the spread of the outputs.

    For each output: max|found − expected| / max|expected − mean|, with the mean of each unit over
    the examples (0 for a single one). The divisor is at least 0.005·max|expected|: what varies
    less than that is rounding. Infinite where one is finite and the other not, shapes differ, or
    a word does.

    Example:
        >>> round(difference([np.array([[0.0], [1.1]])], [np.array([[0.0], [1.0]])]), 3)
        0.2
    """
    if len(found) != len(expected):
        return float("inf")
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        if np.asarray(b).dtype.kind == "U":
            worst = worst if np.array_equal(a, b) else float("inf")
            continue
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return float("inf")
        finite = np.isfinite(b)
        if not finite.any():
            continue
        a, b = np.where(finite, a, 0), np.where(finite, b, 0)
        spread = np.abs(b - (b.mean(axis=0) if len(b) > 1 else 0)).max()
        unit = max(spread, _LEAST_SPREAD * np.abs(b).max())
        apart = np.abs(a - b).max()
        if apart:
            worst = max(worst, apart / unit if unit else float("inf"))
    return float(worst)


def check(
    job: Job,
    inputs: list[np.ndarray],
    expected: list[np.ndarray],
    tolerance: float,
    timeout: float,
    data: Sequence[np.ndarray] = (),
) -> tuple[float, np.ndarray | None]:
    """Run a file and compare it with Keras, one by one and in a batch.

    Args:
        job: The file.
        inputs: Few examples, an array for each input.
        expected: Keras's outputs for them.
        tolerance: Of the `difference`.
        timeout: Seconds that it may take.
        data: Many examples.

    Returns:
        The difference, and the first output for the data if there are any.

    Raises:
        WorkError: it crashes, fails, takes too long or computes something else.
    """
    found = run_outputs(job, inputs, timeout, data)
    worst = 0.0
    for how in ("single", "batch"):
        if how not in found:
            continue
        apart = difference(found[how], expected)
        if not apart <= tolerance:
            size = len(inputs[0]) if how == "batch" else job.batch or 1
            at = "at batch 1" if size == 1 else f"in a batch of {size}"
            what = "NaN, or other shapes" if np.isinf(apart) else f"up to {apart:.2g}"
            raise WorkError(
                f"{FORMATS[job.format].runtime} computes something else from it than Keras does "
                f"{at}: {what} off, in units of the outputs' spread; {tolerance:g} is allowed"
            )
        worst = max(worst, apart)
    return worst, found["data"][0] if "data" in found else None
