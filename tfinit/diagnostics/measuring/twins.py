"""Twins: units that have the same incoming weights and get the same updates."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tfinit.diagnostics.measuring.parameters import largest
from tfinit.graph.kernels import Kernel, matrices
from tfinit.graph.structure import Structure

# Two units' weights are equal up to this share of the layer's largest; so are their gradients,
# which are sums in another order.
_EQUAL, _EQUAL_GRADIENT = 1e-6, 1e-4
# Entries that are looked at first, and that a kernel has at least: few may be equal by chance.
_FEW = 16


@dataclass(frozen=True)
class Twins:
    """Units of one kernel that are alike.

    Attributes:
        units: Number of units.
        tied: Units that have a twin: same weights in, and the same updates. Training cannot part
            them.
        copies: Units that share their incoming weights with another, but get other updates.
        largest: The size of the largest group of tied units.
    """

    units: int
    tied: int
    copies: int
    largest: int


class Alike(NamedTuple):
    """Kernels of several layers that hold the same numbers.

    Attributes:
        keys: Their keys.
        tied: Whether they get the same updates too.
    """

    keys: tuple[str, ...]
    tied: bool


def find_alike(
    values: dict[str, np.ndarray], gradients: dict[str, np.ndarray]
) -> tuple[Alike, ...]:
    """Kernels with the same numbers, but for those of a single number, as of zeros.

    Args:
        values: Key → a weight, of those with two axes or more.
        gradients: Key → its gradient, of those that have one.
    """
    groups: dict[tuple[Any, ...], list[str]] = {}
    for key, array in values.items():
        if array.ndim > 1 and array.size >= _FEW:
            some = array.ravel()[:: max(1, array.size // _FEW)]
            groups.setdefault((array.shape, some.tobytes()), []).append(key)
    found = []
    for keys in groups.values():
        first = values[keys[0]]
        if len(keys) < 2 or first.min() == first.max():
            continue
        same = tuple(key for key in keys if np.array_equal(values[key], first))
        if len(same) > 1:
            moves = [gradients[key] for key in same if key in gradients]
            found.append(Alike(same, len(moves) == len(same) and _is_one(moves)))
    return tuple(found)


def _is_one(arrays: list[np.ndarray]) -> bool:
    """True if arrays are equal up to a share of the largest entry, and not zeros."""
    largest = float(np.abs(arrays[0]).max())
    if not largest > 0:
        return False
    return all(np.abs(a - arrays[0]).max() <= _EQUAL_GRADIENT * largest for a in arrays[1:])


def find_twins(
    structure: Structure, kernel: Kernel, values: np.ndarray, gradients: dict[int, np.ndarray]
) -> Twins | None:
    """The twins of a kernel; None where there can be none (last layers, embeddings, one unit).

    A unit is a column of the kernel with its bias; of a recurrent layer, the columns of all gates
    in both kernels. Where the gradient is all zero, it cannot tell: then units are twins if the
    kernels that read them weight them alike.
    """
    # Targets tell the units of the last layer apart.
    if structure.is_head(kernel.layer) or len(kernel.shape) < 2:
        return None
    if kernel.name in ("embeddings", "recurrent_kernel"):
        return None
    weights = _columns(structure, kernel, lambda k: k.variable.numpy(), values)
    if len(weights) < 2 or not math.isfinite(largest(weights)):
        return None
    groups = _groups(weights, _EQUAL)
    if not groups:
        return Twins(len(weights), 0, 0, 0)
    gradient = gradients.get(id(kernel.variable))
    updates = None
    if gradient is not None and math.isfinite(largest(gradient)):
        updates = _columns(structure, kernel, lambda k: gradients.get(id(k.variable)), gradient)
        bias = None if kernel.bias is None else gradients.get(id(kernel.bias))
        if bias is not None and bias.size == len(updates):
            updates = np.concatenate([updates, bias.reshape(-1, 1)], axis=1)
    tied = [part for group in groups for part in _tied(structure, kernel, group, updates)]
    alike = sum(len(group) for group in groups)
    together = sum(len(group) for group in tied)
    return Twins(len(weights), together, alike - together, max(map(len, tied), default=0))


def _tied(
    structure: Structure, kernel: Kernel, group: np.ndarray, updates: np.ndarray | None
) -> list[np.ndarray]:
    """The parts of a group of equal units that get equal updates."""
    if updates is not None and np.any(updates):
        return [group[part] for part in _groups(updates[group], _EQUAL_GRADIENT)]
    # Nothing reaches the layer yet (zeros behind it). What reads it will tell its units apart, or
    # not.
    rows = _rows_that_read(structure, kernel)
    if rows is None:
        return []
    return [group[part] for part in _groups(rows[group], _EQUAL)]


def _rows_that_read(structure: Structure, kernel: Kernel) -> np.ndarray | None:
    """How the kernels that read a kernel's units weight them, a row for each unit.

    None where it cannot be told: through sums of branches, or with another shape.
    """
    readers = structure.readers_of(kernel)
    if not readers:
        return None
    maps, _, _, units = matrices(kernel).sizes()
    units *= maps if len(kernel.activations) == 1 else 1  # a unit has all its gates
    parts = []
    for reader in readers:
        how = matrices(reader)
        maps, _, inputs, _ = how.sizes()
        # The maps of gates read all units, those of groups some.
        if (maps > 1 and len(reader.activations) == 1) or inputs % units:
            return None
        order = (*how.inputs, *how.batch, *how.window, *how.outputs)
        rows = reader.variable.numpy().reshape(how.shape).transpose(order)
        # Flattened positions of an image: the channel changes fastest.
        rows = rows.reshape(inputs // units, units, -1).transpose(1, 0, 2)
        parts.append(rows.reshape(units, -1))
    return np.concatenate(parts, axis=1)


def _columns(structure: Structure, kernel: Kernel, of: Any, values: np.ndarray) -> np.ndarray:
    """One row for each unit: all that goes into it."""
    gates = len(kernel.activations)
    if gates > 1 or (kernel.name == "kernel" and structure.recurrent_of(kernel) is not None):
        parts = [values]
        recurrent = structure.recurrent_of(kernel)
        other = None if recurrent is None else of(recurrent)
        if other is not None:
            parts.append(other)
        return np.concatenate([_by_gate(part, gates) for part in parts], axis=1)
    how = matrices(kernel)
    maps, _, _, outputs = how.sizes()
    order = (*how.batch, *how.outputs, *how.window, *how.inputs)
    units = values.reshape(how.shape).transpose(order).reshape(maps * outputs, -1)
    if maps > 1:
        # Units of different groups read different inputs: never twins.
        number = np.repeat(np.arange(maps, dtype=np.float32), outputs)[:, None]
        units = np.concatenate([units, number * max(largest(units), 1.0)], axis=1)
    return units


def _by_gate(values: np.ndarray, gates: int) -> np.ndarray:
    units = values.shape[-1] // gates
    return values.reshape(-1, gates, units).transpose(2, 0, 1).reshape(units, -1)


def _groups(rows: np.ndarray, tolerance: float) -> list[np.ndarray]:
    """The sets of two or more rows that are equal up to a share of the largest entry."""
    most = largest(rows)
    # A random projection brings equal rows together; the rows themselves then decide.
    direction = np.random.default_rng(0).standard_normal(rows.shape[1])
    places = rows @ direction.astype(rows.dtype)
    order = np.argsort(places, kind="stable")
    # Twice as far as equal rows can be: float32 rounds.
    close = np.diff(places[order]) <= 2 * tolerance * most * np.abs(direction).sum()
    found = []
    for run in _runs(close):
        members = order[run]
        while len(members) > 1:
            same = np.abs(rows[members] - rows[members[0]]).max(axis=1) <= tolerance * most
            if same.sum() > 1:
                found.append(np.sort(members[same]))
            members = members[~same]
    return found


def _runs(close: np.ndarray) -> list[slice]:
    """Slices of neighbours that are all close."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], close, [False]]).astype(int)))
    return [slice(int(a), int(b) + 1) for a, b in edges.reshape(-1, 2)]
