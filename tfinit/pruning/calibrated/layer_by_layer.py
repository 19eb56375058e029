"""What enters each kernel, layer by layer in the order in which data come there."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tfinit.graph.calling import call
from tfinit.probes import Point, probing
from tfinit.pruning.calibrated.kernels import Linear

UNSEEN = "no data reach its layer, or only in a compiled loop, in which nothing is seen"


class LayerByLayer:
    """Passes of data over a model that stop where they reach a kernel.

    Args:
        model: A model whose variables are copies: `tfinit.graph.snapshot.apart`.
        data: Checked data, which go through it at once.
        kernels: Where to stop.
    """

    def __init__(self, model: Any, data: Any, kernels: list[Linear]) -> None:
        self._model, self._data = model, data
        self._of_layer: dict[int, list[Linear]] = {}
        for kernel in kernels:
            self._of_layer.setdefault(id(kernel.layer), []).append(kernel)
        self._layers = {id(k.layer): (k.path, k.layer) for k in kernels}
        self._calls: dict[int, int] = {}

    def reached(self) -> list[Linear]:
        """The kernels whose layers the data reach, in that order; it counts their calls."""
        order: dict[int, None] = {}

        def see(point: Point, tensor: Any) -> None:
            order[id(point.layer)] = None
            self._calls[id(point.layer)] = self._calls.get(id(point.layer), 0) + 1

        self._pass(see)
        return [kernel for layer in order for kernel in self._of_layer[layer]]

    def moments(self, kernel: Linear) -> tuple[np.ndarray, int]:
        """XᵀX of all that enters one of the kernels that are reached, and how many rows X has."""
        found: list[tuple[np.ndarray, int]] = []
        alone = LayerByLayer(self._model, self._data, [kernel])
        alone._calls = self._calls
        alone.through(lambda kernel, moments, count: found.append((moments, count)))
        return found[0]

    def through(self, work: Callable[[Linear, np.ndarray, int], None]) -> None:
        """Do something with each kernel at its layer's first call, given all that enters it."""
        done: set[int] = set()
        of_all_calls: list[tuple[Linear, list[tuple[np.ndarray, int]]]] = []

        def see(point: Point, tensor: Any) -> None:
            if of_all_calls:
                # The run for a shared layer, whose other calls are further on.
                kernel, found = of_all_calls[0]
                if point.layer is kernel.layer:
                    moments, count = kernel.moments(tensor)
                    if found:
                        before, seen = found.pop()
                        moments, count = moments + before, count + seen
                    found.append((moments, count))
                return
            if id(point.layer) in done:
                return
            done.add(id(point.layer))
            for kernel in self._of_layer[id(point.layer)]:
                if self._calls[id(point.layer)] == 1:
                    work(kernel, *kernel.moments(tensor))
                    continue
                of_all_calls.append((kernel, []))
                call(self._model, self._data)
                _, [found] = of_all_calls.pop()
                work(kernel, *found)

        self._pass(see)

    def _pass(self, see: Any) -> None:
        layers = list(self._layers.values())

        def value(point: Point, tensor: Any) -> None:
            if point.what == "input":
                see(point, tensor)

        with probing(self._model, value, layers=layers, entering=[layer for _, layer in layers]):
            call(self._model, self._data)
