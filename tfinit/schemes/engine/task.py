"""What every scheme is given: the model, read; and the one way to write its weights."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np

from tfinit.errors import InputError
from tfinit.gains import gain
from tfinit.graph.activations import Activation
from tfinit.graph.calls import Graph
from tfinit.graph.kernels import Kernel, find_kernels
from tfinit.graph.structure import Structure
from tfinit.graph.tracing import trace
from tfinit.schemes.engine.report import Record, Report
from tfinit.streams import stream


def in_threads(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """What a function of linear algebra makes of each item, in a thread for each core.

    The threads of BLAS inside would fight for the same cores, and take four times as long.
    """
    import scipy.linalg  # noqa: F401 - its BLAS is told only once it is there
    import threadpoolctl

    with (
        threadpoolctl.threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        return list(pool.map(function, items))


class Task:
    """One call of `initialize`: a model, a seed, maybe data, and what was overwritten so far.

    Args:
        model: A built model.
        seed: What the streams of all weights derive from.
        data: A batch for the model, or None.
        targets: What the model is to put out, or None.
    """

    def __init__(self, model: Any, seed: int, data: Any = None, targets: Any = None) -> None:
        self.model, self.seed, self.data, self.targets = model, seed, data, targets
        self.warnings: list[str] = []
        self._before: dict[int, tuple[Any, Any]] = {}
        self._gains: dict[tuple[Any, str], float] = {}

    @cached_property
    def graph(self) -> Graph:
        """The model's calls."""
        return trace(self.model, self.data)

    @cached_property
    def kernels(self) -> list[Kernel]:
        """The model's kernels in data-flow order."""
        return find_kernels(self.model, self.graph)

    @cached_property
    def structure(self) -> Structure:
        """What stands before and behind the kernels."""
        return Structure(self.model, self.graph, self.kernels)

    def gain(self, activation: Activation, mode: str = "forward") -> float:
        """`tfinit.gains.gain` of an activation; 1 where it has none, as softmax."""
        source = activation.source
        known = (source if isinstance(source, str) else id(source), mode)
        if known not in self._gains:
            try:
                self._gains[known] = gain(source, mode)
            except InputError:
                self._gains[known] = 1.0
        return self._gains[known]

    def draw(
        self,
        kernels: list[Kernel],
        values_of: Callable[[Kernel, np.random.Generator], np.ndarray],
        threads: int | None = None,
    ) -> None:
        """Compute a value for each kernel from its own stream, then write them all.

        Args:
            kernels: The kernels to set.
            values_of: Called with a kernel and its stream, in threads; returns the new value.
            threads: How many threads; None for one a core. 1 where the work has threads inside.
        """

        def value(kernel: Kernel) -> np.ndarray:
            return values_of(kernel, stream(self.seed, kernel.key))

        # NumPy draws random numbers outside the interpreter's lock.
        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            values = list(pool.map(value, kernels))
        for kernel, new in zip(kernels, values, strict=True):
            self.write(kernel.variable, new)

    def write(self, variable: Any, value: Any) -> None:
        """Assign a value to a weight, and remember what was there."""
        if id(variable) not in self._before:
            self._before[id(variable)] = (variable, variable.numpy())
        variable.assign(value)

    def restore(self, variable: Any) -> None:
        """Put back one weight, if it was written."""
        if id(variable) in self._before:
            variable.assign(self._before[id(variable)][1])

    def undo(self) -> None:
        """Put back every weight that was written."""
        for variable, value in self._before.values():
            variable.assign(value)

    def warn(self, text: str) -> None:
        """Note what the caller must know: it is in the report, and `initialize` warns of it."""
        self.warnings.append(text)

    def report(self, scheme: str, records: list[Record], *more: str) -> Report:
        """The report, with what concerns the whole model."""
        notes = [
            f"layer {key!r} could not be traced, so its layers were taken in the order they were "
            f"made: {why}"
            for key, why in self.graph.reasons.items()
        ]
        return Report(scheme, records, [*more, *self.warnings, *notes])
