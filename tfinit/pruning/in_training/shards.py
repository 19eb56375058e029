"""Mask selection among tensors that are spread over devices, as `keras.distribution` spreads them.

`selection.py` lays its tensors side by side, for which every device would get all of them. Here
they stay where they are: each device counts in its own part, and only sums of counts go round.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from tfinit.pruning.in_training.selection import checked_total, size_of
from tfinit.pruning.in_training.thresholds import (
    INTEGER,
    bits_of,
    in_order,
    scalar,
    threshold_and_cut,
)


def top_masks_of_shards(scores: Sequence[Any], keep: Any, absolute: bool = False) -> list[Any]:
    """`selection.top_masks` of tensors on several devices: the same masks, spread as the scores."""
    scores = [ops.convert_to_tensor(s) for s in scores]
    keep = ops.clip(ops.cast(keep, "int32"), 0, checked_total(scores))
    return _selecting(True, absolute)(scores, keep)


def top_masks_of_each_in_shards(
    scores: Sequence[Any], keeps: Sequence[Any], absolute: bool
) -> list[Any]:
    """`selection.top_masks_of_each` of tensors on several devices, all in one search."""
    scores = [ops.convert_to_tensor(s) for s in scores]
    sizes = ops.convert_to_tensor([checked_total([s]) for s in scores], "int32")
    keep = ops.clip(ops.stack([ops.cast(k, "int32") for k in keeps]), 0, sizes)
    return _selecting(False, absolute)(scores, keep)


@functools.cache
def _selecting(together: bool, absolute: bool) -> Callable[[list[Any], Any], list[Any]]:
    import jax  # the only backend on which Keras puts parts of a weight on devices

    return jax.jit(functools.partial(_selected, together=together, absolute=absolute))


def _selected(scores: list[Any], keep: Any, together: bool, absolute: bool) -> list[Any]:
    """The masks of the ``keep`` largest of all scores; of each tensor's, by a vector of counts."""
    sizes = [size_of(s) for s in scores]
    dtype = keras.backend.result_type(*(keras.backend.standardize_dtype(s.dtype) for s in scores))
    bits = [bits_of(ops.cast(s, dtype)) for s in scores]
    firsts = [sum(sizes[:i]) if together else 0 for i in range(len(sizes))]
    nothing = scalar(0, INTEGER[dtype])

    def keys(zero: Any) -> list[Any]:
        return [in_order(ops.where(zero == 0, b, nothing), dtype, absolute) for b in bits]

    def places(zero: Any) -> list[Any]:
        return [
            _places(tuple(s.shape), first + zero) for s, first in zip(scores, firsts, strict=True)
        ]

    def of_each(value: Any) -> list[Any]:
        return [value if together else value[i] for i in range(len(scores))]

    def number(masks: list[Any]) -> Any:
        counts = [ops.sum(ops.cast(mask, "int32")) for mask in masks]
        return sum(counts) if together else ops.stack(counts)

    def reached(threshold: Any, zero: Any) -> Any:
        return number([k >= at for k, at in zip(keys(zero), of_each(threshold), strict=True)])

    def tied_from(threshold: Any, place: Any, zero: Any) -> Any:
        rows = zip(keys(zero), of_each(threshold), places(zero), of_each(place), strict=True)
        return number([ops.logical_and(k == at, p >= first) for k, at, p, first in rows])

    size = ops.convert_to_tensor(sum(sizes) if together else sizes, "int32")
    threshold, cut = threshold_and_cut(reached, tied_from, size, keep, dtype, [])
    zero = scalar(0, "int32")
    rows = zip(keys(zero), of_each(threshold), places(zero), of_each(cut), strict=True)
    return [ops.logical_or(k > at, ops.logical_and(k == at, p < end)) for k, at, p, end in rows]


def _places(shape: tuple[int, ...], first: Any) -> Any:
    """Of each entry its place in C-order, counted from ``first`` on."""
    places = first
    for axis, length in enumerate(shape):
        behind = shape[axis + 1 :]
        along = ops.arange(length, dtype="int32") * math.prod(behind)
        places = places + ops.reshape(along, (-1, *(1 for _ in behind)))
    return places
