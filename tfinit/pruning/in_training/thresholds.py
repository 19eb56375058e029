"""Thresholds by counting: how many keys reach an integer, until as many do as are to survive.

Nothing is sorted. Floats are read as integers of the same order; the threshold is an integer that
as many keys reach as are to survive, and is searched by counting, a pass over the keys for each
guess. Interpolation between the counts gives the next guess; bisection bounds the worst case. What
is counted may lie anywhere: in one tensor, in rows of several, in parts on several devices.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

# The integer that has a float's bits; and those bits for +infinity.
INTEGER = {"float16": "int16", "bfloat16": "int16", "float32": "int32", "float64": "int64"}
INFINITY = {
    "float16": 0x7C00,
    "bfloat16": 0x7F80,
    "float32": 0x7F800000,
    "float64": 0x7FF0000000000000,
}
# After so many guesses by interpolation only bisection: it ends, whatever the values are.
_INTERPOLATIONS = 12


def threshold_and_cut(
    reached: Callable[[Any, Any], Any],
    tied_from: Callable[[Any, Any, Any], Any],
    sizes: Any,
    keep: Any,
    dtype: str,
    guesses: list[Any],
) -> tuple[Any, Any]:
    """The key from which on all survive, and the place before which those that equal it do.

    Args:
        reached: Of an integer of the keys' type and a zero (see `_search`): how many keys are at
            least as large.
        tied_from: Of such an integer, a place and a zero: how many keys equal it and lie there or
            later. Places count from 0 in C-order.
        sizes: How many keys there are; a scalar, or a vector as ``keep``: as many searches in step.
        keep: How many survive.
        dtype: Of the floats that the keys are of.
        guesses: Thresholds to try first.
    """
    narrow, wide = INTEGER[dtype], wide_integer(dtype)
    none = ops.zeros_like(keep)
    # The largest integer that at least `keep` keys reach, or one that exactly `keep` do.
    everything = ops.cast(none, wide) + scalar(_lowest(dtype), wide), sizes
    nothing = ops.cast(none, wide) + scalar(INFINITY[dtype] + 1, wide), none
    low = _select(keep == 0, nothing, everything)
    (threshold, found), (_, above) = _search(
        lambda at, zero: reached(ops.cast(at, narrow), zero), low, nothing, keep, guesses
    )
    threshold = ops.cast(threshold, narrow)
    # More keys at the threshold than may stay? Then those before a place do.
    surplus = found - keep
    end = sizes, none
    start = _select(surplus == 0, end, (none, found - above))
    (cut, _), _ = _search(
        lambda place, zero: tied_from(threshold, place, zero), start, end, surplus, []
    )
    return threshold, cut


def wide_integer(dtype: str) -> str:
    """The type in which thresholds are searched, for the keys of some floats; counts are int32."""
    return "int64" if dtype == "float64" else "int32"


def ordered(scores: Any, absolute: bool) -> Any:
    """Integers in the order of the scores; -0.0 as 0.0, NaN as the lowest integer.

    The bits of floats of one sign are ordered as the floats are, those of negative ones backwards.
    """
    return in_order(bits_of(scores), keras.backend.standardize_dtype(scores.dtype), absolute)


def bits_of(scores: Any) -> Any:
    """The bits of floats as integers. They are taken first: to choose between bfloat16 numbers, XLA
    goes by float32, and on some processors what is subnormal comes back as zero."""
    dtype = keras.backend.standardize_dtype(scores.dtype)
    return ops.view(ops.stop_gradient(scores), INTEGER[dtype])


def in_order(bits: Any, dtype: str, absolute: bool) -> Any:
    """`ordered`, of the bits of floats."""
    lowest = scalar(_lowest(dtype), INTEGER[dtype])  # which are the bits of -0.0, too
    if absolute:
        key = magnitude = ops.bitwise_and(bits, ops.bitwise_not(lowest))
    else:
        key = ops.where(bits < 0, lowest - bits, bits)
        magnitude = ops.abs(key)
    infinity = scalar(INFINITY[dtype], INTEGER[dtype])
    return ops.where(magnitude > infinity, lowest, key)


def _lowest(dtype: str) -> int:
    return -(2 ** (8 * np.dtype(INTEGER[dtype]).itemsize - 1))


def _search(
    count: Callable[[Any, Any], Any],
    low: tuple[Any, Any],
    high: tuple[Any, Any],
    wanted: Any,
    guesses: list[Any],
) -> tuple[Any, Any]:
    """Narrow a bracket until ``count(low) == wanted``, or its ends are neighbours.

    Args:
        count: Of an integer and a zero; never increases with the integer. The zero changes at
            every call as far as XLA can see, so what is computed with it stays in the loop: XLA
            would move it out and keep its result, of the size of the tensor.
        low: The lower end and its count, ``wanted`` or more.
        high: The upper end and its count, less than ``wanted`` (or the bracket is closed).
        wanted: The count to find. All may be vectors: as many searches in step.
        guesses: Integers to try first.

    Returns:
        ``low`` and ``high`` as narrowed.
    """

    def are_open(low: Any, count_low: Any, high: Any) -> Any:
        return ops.logical_and(count_low != wanted, high - 1 > low)

    def is_open(_: Any, low: Any, count_low: Any, high: Any, count_high: Any) -> Any:
        return ops.any(are_open(low, count_low, high))

    def narrow(i: Any, low: Any, count_low: Any, high: Any, count_high: Any) -> Any:
        part = ops.cast(count_low - wanted, "float32") / ops.cast(count_low - count_high, "float32")
        part = ops.where(i < _INTERPOLATIONS, ops.clip(part, 0.0, 0.99), 0.5)
        # By halves, as the whole width may not fit the integer.
        half = ops.right_shift(high, 1) - ops.right_shift(low, 1)
        move = ops.cast(ops.cast(half, "float32") * part, half.dtype)
        middle = low + move + move
        for turn, guess in enumerate(guesses):
            middle = ops.where(i == turn, guess, middle)
        middle = ops.clip(middle, low + 1, high - 1)
        found = middle, count(middle, ops.right_shift(i, 31))
        # Of several brackets, one may be closed already.
        going = are_open(low, count_low, high)
        enough = found[1] >= wanted
        up, down = (ops.logical_and(going, x) for x in (enough, ops.logical_not(enough)))
        return (
            i + 1,
            *_select(up, found, (low, count_low)),
            *_select(down, found, (high, count_high)),
        )

    found = ops.while_loop(is_open, narrow, (scalar(0, "int32"), *low, *high))
    return (found[1], found[2]), (found[3], found[4])


def _select(condition: Any, yes: tuple[Any, ...], no: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(ops.where(condition, a, b) for a, b in zip(yes, no, strict=True))


def scalar(value: int, dtype: str) -> Any:
    """A tensor of one integer."""
    return ops.convert_to_tensor(value, dtype)
