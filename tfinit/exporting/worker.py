"""Runs exported files in a process of its own: a crash here is not a crash of the caller.

    python -m tfinit.exporting.worker JOB.json

The job names the files, the inputs (.npz) and what to do; the answer is a .npz or a .json. Only
the runtime that a file needs is imported, and it gets one thread.
"""

import ctypes
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tfinit.array_files import open_arrays

_BATCH = 256
_SIGNAL_AT_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG, prctl(2)


class _LiteRT:
    """A .tflite file in LiteRT's interpreter, as it comes: XNNPACK is on."""

    def __init__(self, path: str, names: list[str] | None):
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(model_path=path, num_threads=1)
        key = next(iter(self.interpreter.get_signature_list()))
        runner = self.interpreter.get_signature_runner(key)
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        self.inputs = [inputs[name] for name in _ordered(names, inputs)]
        self.outputs = [outputs[name]["index"] for name in _natural(outputs)]
        self.any_batch = all(
            len(d["shape_signature"]) and d["shape_signature"][0] == -1 for d in self.inputs
        )
        self.shapes: list[tuple[int, ...]] = []

    def set(self, arrays: list[np.ndarray]) -> None:
        shapes = [array.shape for array in arrays]
        if shapes != self.shapes:
            for detail, array in zip(self.inputs, arrays, strict=True):
                if tuple(detail["shape"]) != array.shape or self.shapes:
                    self.interpreter.resize_tensor_input(detail["index"], array.shape)
            self.interpreter.allocate_tensors()
            self.shapes = shapes
        for detail, array in zip(self.inputs, arrays, strict=True):
            self.interpreter.set_tensor(detail["index"], array.astype(detail["dtype"]))

    def invoke(self) -> None:
        self.interpreter.invoke()

    def get(self) -> list[np.ndarray]:
        return [self.interpreter.get_tensor(index) for index in self.outputs]


class _Onnx:
    """A .onnx file in ONNX Runtime on the CPU."""

    any_batch = True

    def __init__(self, path: str, names: list[str] | None):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        inputs = {node.name: node for node in self.session.get_inputs()}
        known = names is not None and set(names) == set(inputs)
        self.names = names if known else list(inputs)
        self.types = {name: node.type for name, node in inputs.items()}
        self.any_batch = not any(isinstance(n.shape[0], int) for n in inputs.values() if n.shape)

    def set(self, arrays: list[np.ndarray]) -> None:
        cast = (
            _for_onnx(array, self.types[n]) for n, array in zip(self.names, arrays, strict=True)
        )
        self.feed = dict(zip(self.names, cast, strict=True))

    def invoke(self) -> None:
        self.found = self.session.run(None, self.feed)

    def get(self) -> list[np.ndarray]:
        return self.found


def _for_onnx(array: np.ndarray, kind: str) -> np.ndarray:
    """An array in the type of an input such as ``tensor(float16)``."""
    if array.dtype.kind == "U":
        return array.astype(object)
    kinds = {"tensor(float16)": np.float16, "tensor(float)": np.float32}
    return array.astype(kinds.get(kind, array.dtype))


class _TensorFlow:
    any_batch = True
    dtypes: list[Any]  # of the inputs

    def set(self, arrays: list[np.ndarray]) -> None:
        made = [self.tf.constant(array) for array in arrays]
        self.feed = [
            self.tf.cast(one, dtype) if dtype is not None and dtype != self.tf.string else one
            for one, dtype in zip(made, self.dtypes or [None] * len(made), strict=True)
        ]

    def invoke(self) -> None:
        self.found = self.call(*self.feed)

    def get(self) -> list[np.ndarray]:
        return [np.asarray(output) for output in self.found]


class _SavedModel(_TensorFlow):
    """A SavedModel in TensorFlow: its default signature."""

    def __init__(self, path: str, names: list[str] | None):
        self.tf = _tensorflow()
        self.loaded = self.tf.saved_model.load(path)
        signature = self.loaded.signatures["serving_default"]
        specs = signature.structured_input_signature[1]
        order = _ordered(names, specs)
        self.dtypes = [specs[name].dtype for name in order]

        def call(*flat: Any) -> list[Any]:
            found = signature(**dict(zip(order, flat, strict=True)))
            return [found[name] for name in _natural(found)]

        self.call = call


class _KerasFile(_TensorFlow):
    """A .keras file in Keras, its call compiled."""

    def __init__(self, path: str, names: list[str] | None):
        self.tf = _tensorflow()
        import keras

        from tfinit.exporting.inputs import packed

        model = keras.saving.load_model(path, compile=False)
        self.dtypes = [
            self.tf.as_dtype(spec.dtype) for spec in getattr(model, "inputs", None) or []
        ]
        self.call = self.tf.function(
            lambda *flat: keras.tree.flatten(model(packed(model, list(flat)), training=False))
        )


def _tensorflow() -> Any:
    import tensorflow as tf

    if __name__ == "__main__":  # else in a program of somebody's, with its own threads
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf


_RUNTIMES = {"litert": _LiteRT, "onnx": _Onnx, "saved_model": _SavedModel, "keras": _KerasFile}


def _natural(names: Any) -> list[str]:
    """output_2 before output_10."""
    return sorted(
        names, key=lambda n: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", n)]
    )


def _ordered(names: list[str] | None, there: Any) -> list[str]:
    """The inputs of a file in the model's order, if they are called alike."""
    if names is not None and set(names) == set(there):
        return names
    return _natural(there)


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


def latency(job: dict[str, Any], arrays: list[np.ndarray], _: list[np.ndarray]) -> None:
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
    with open(job["answer"], "w", encoding="utf-8") as file:
        json.dump(times, file)


def _open(file: dict[str, Any]) -> Any:
    return _RUNTIMES[file["format"]](file["path"], file["names"])


def _run(runtime: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
    runtime.set(arrays)
    runtime.invoke()
    return [_plain(np.asarray(output)) for output in runtime.get()]


def _plain(output: np.ndarray) -> np.ndarray:
    """Text as NumPy's files know it, and numbers in float32."""
    if output.dtype.kind not in "OSU":
        return output.astype(np.float32)
    words = [w.decode(errors="replace") if isinstance(w, bytes) else w for w in output.flat]
    return np.array(words, str).reshape(output.shape)


def _seconds(runtime: Any, count: int) -> list[float]:
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
