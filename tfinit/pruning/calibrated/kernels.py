"""The kernels of a model that can be pruned by what enters them, and why others cannot."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tfinit.errors import InputError
from tfinit.graph.input_rows import entering, rows, why_no_rows
from tfinit.graph.kernels import Matrices, matrices_of
from tfinit.graph.layer_kinds import letters_of
from tfinit.pruning.calibrated.result import SkippedWeight
from tfinit.variables import all_weights, find_prunable, own_weights, walk_layers, weight_name


@dataclass(frozen=True)
class Linear:
    """A kernel as matrices, one or several side by side, that rows are multiplied with.

    Attributes:
        key: The weight's stable key.
        path: That of its layer.
        layer: The layer.
        variable: The weight.
        name: What its layer calls it.
        matrices: How it is an array (maps, places of a window, channels, outputs).
    """

    key: str
    path: str
    layer: Any
    variable: Any
    name: str
    matrices: Matrices

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weight."""
        return tuple(self.variable.shape)

    @property
    def places(self) -> int:
        """How many places its window has; 1 of what has none."""
        return self.matrices.sizes()[1]

    def maps(self, values: np.ndarray) -> np.ndarray:
        """Values of the weight's shape as (maps, inputs, outputs)."""
        maps, places, channels, outputs = self.matrices.sizes()
        return self.matrices.maps(values).reshape(maps, places * channels, outputs)

    def kernel(self, maps: np.ndarray) -> np.ndarray:
        """The other way round."""
        return self.matrices.kernel(maps, self.shape)

    def moments(self, tensor: Any) -> tuple[np.ndarray, int]:
        """XᵀX of what enters the layer, (maps, inputs, inputs), and how many rows X has.

        It is in float32, of inputs in float64 in that.

        Raises:
            InputError: something in it is not finite.
        """
        maps, places, channels, _ = self.matrices.sizes()
        x = entering(self.layer, self.name, tensor)
        count, found = 0, np.zeros((maps, places * channels, places * channels), x.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for part in rows(self.layer, self.name, self.matrices, x):
                count += part.shape[1]
                # A product with itself, which BLAS halves, where it is one of two axes.
                for total, some in zip(found, part, strict=True):
                    total += some.T @ some
        if not np.isfinite(found).all():
            raise InputError(
                f"What enters {self.path!r} is not finite, or its squares are beyond "
                f"{found.dtype}. Look at `x` and at the weights of the layers before it."
            )
        return found, count


def find_linear(
    model: Any, patterns: Sequence[re.Pattern[str]] | None, frozen: bool = False
) -> tuple[list[Linear], list[SkippedWeight]]:
    """The kernels that can be pruned, and of the other prunable weights why they cannot.

    Args:
        model: A built model of Keras 3.
        patterns: What the path or the name of a layer must match; None: all. A depthwise kernel is
            pruned only where they are given.
        frozen: Whether frozen ones are among them.

    Raises:
        InputError: a pattern matches no layer with a kernel.
    """
    owners: dict[int, list[tuple[str, Any]]] = {}
    for path, layer in walk_layers(model):
        for variable in own_weights(layer):
            owners.setdefault(id(variable), []).append((path or layer.name, layer))
    prunable = {id(v) for v in find_prunable(model, frozen=True).values()}
    trainable = {id(v) for v in model.trainable_weights}
    found, skipped, names = [], [], {}
    matched = set()
    for key, variable in all_weights(model).items():
        path, layer = owners[id(variable)][0]
        name, rank = weight_name(variable), len(variable.shape)
        depthwise = "c" in letters_of(layer, name, rank)
        if id(variable) not in prunable and not depthwise:
            continue
        names[path] = None
        fits = [p for p in patterns or () if _fits(p, path) or _fits(p, layer.name)]
        matched |= set(fits)
        reason = _reason(owners[id(variable)], variable, name, frozen or id(variable) in trainable)
        if patterns is not None and not fits:
            reason = "left out by `filters`"
        elif depthwise and patterns is None:
            reason = "depthwise: few weights, each for a channel of its own; `filters` can name it"
        if reason:
            skipped.append(SkippedWeight(key, reason))
        else:
            matrices = matrices_of(layer, name, tuple(variable.shape))
            found.append(Linear(key, path, layer, variable, name, matrices))
    for pattern in patterns or ():
        if pattern not in matched:
            raise InputError(
                f"`filters` has {pattern.pattern!r}, which matches no layer with a kernel. These "
                f"are {list(names)}. An expression must match the whole name, as 'block1_.*'."
            )
    return found, skipped


def _fits(pattern: re.Pattern[str], name: str) -> bool:
    return name == pattern.pattern or pattern.fullmatch(name) is not None


def _reason(owners: Sequence[tuple[str, Any]], variable: Any, name: str, trainable: bool) -> str:
    """Why a weight cannot be pruned; "" if it can."""
    if not trainable:
        return "frozen"
    if len(owners) > 1:
        return f"a weight of several layers: {', '.join(path for path, _ in owners)}"
    if 0 in variable.shape:
        return "it has no entries"
    if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(variable.dtype)):
        return f"its values are codes of type {variable.dtype}"
    return why_no_rows(owners[0][1], name, len(variable.shape))
