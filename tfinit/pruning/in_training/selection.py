"""Mask selection in compiled training steps: `keras.ops` on every backend, exact in count.

What `masks.py` does for arrays, with the same tie rule, this does for tensors inside
``tf.function``, XLA and ``jax.jit``: no shape and no Python branch depends on a value.

**How a threshold is found.** Nothing is sorted. Floats are read as integers of the same order; the
threshold is an integer that ``keep`` of them reach, and is searched by counting, a pass over the
tensor for each guess. A small sorted sample gives the first bracket, interpolation between the
counts the next guesses, so some eight passes do for millions of weights; bisection bounds the worst
case. Under XLA no pass writes anything of the tensor's size.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfinit.errors import InputError

# The integer that has a float's bits; and those bits for +infinity.
_INTEGER = {"float16": "int16", "bfloat16": "int16", "float32": "int32", "float64": "int64"}
_INFINITY = {
    "float16": 0x7C00,
    "bfloat16": 0x7F80,
    "float32": 0x7F800000,
    "float64": 0x7FF0000000000000,
}
_SAMPLED = 2**18  # the size from which on the search begins with guesses from a sample
_SAMPLE = 4096
# Smaller tensors are searched together, in rows of this length, so many entries at a time.
_ROW = 1024
_POOLED = 2**21
# After so many guesses by interpolation only bisection: it ends, whatever the values are.
_INTERPOLATIONS = 12


def keep_count(size: int, sparsity: Any) -> Any:
    """How many of ``size`` weights survive at a sparsity: ``max(1, round(size * (1 - sparsity)))``.

    In float32, halves to the even number, as TFMOT computes it; and at most ``size``, which the
    rounding of a size above 2**24 could exceed.

    Args:
        size: Number of weights.
        sparsity: Fraction of zeros, a scalar number or tensor.

    Returns:
        An int32 scalar tensor.

    Example:
        >>> [int(keep_count(10, sparsity)) for sparsity in (0.0, 0.5, 0.75, 1.0)]
        [10, 5, 2, 1]
    """
    sparsity = ops.cast(ops.convert_to_tensor(sparsity), "float32")
    kept = ops.round(ops.convert_to_tensor(float(size), "float32") * (1.0 - sparsity))
    # Compared as integers: float32 does not hold every size.
    return ops.clip(ops.cast(kept, "int32"), min(1, size), size)


def top_masks(scores: Sequence[Any], keep: Any, absolute: bool = False) -> list[Any]:
    """The masks of the ``keep`` largest scores of all tensors together.

    One tensor makes it layer-wise. The count is always exact; of equal scores the earlier tensor's
    survive first, and in a tensor the first in C-order: `masks.top_mask` for tensors. -0.0 equals
    0.0, and NaN is smaller than everything, -inf included.

    Args:
        scores: Float tensors of any shapes, known statically. Larger survives.
        keep: How many survive, 0 to the number of all scores: an integer or an int32 scalar
            tensor. A tensor out of range is taken as the nearest end of it.
        absolute: Rank by ``|score|``. So magnitudes need not be written to memory first.

    Returns:
        A list of boolean tensors of the shapes of ``scores``.

    Raises:
        InputError: ``scores`` is empty, not floats, of unknown shape or has 2**31 entries or more;
            or the integer ``keep`` is out of range.

    Example:
        >>> [mask] = top_masks([ops.array([1.0, 3.0, 3.0, 3.0])], keep=2)
        >>> ops.convert_to_numpy(mask)
        array([False,  True,  True, False])
    """
    scores = [ops.convert_to_tensor(s) for s in scores]
    if not scores:
        raise InputError("`scores` is empty. Pass a list of at least one tensor.")
    dtypes = {keras.backend.standardize_dtype(s.dtype) for s in scores}
    for score in scores:
        check_scores("scores", score)
    total = sum(size_of(s) for s in scores)
    if total >= 2**31:
        raise InputError(f"`scores` has {total} entries; at most 2**31 - 1 can be ranked together.")
    if isinstance(keep, int | np.integer) and not 0 <= keep <= total:
        raise InputError(f"`keep` must be in 0..{total}, received {keep}.")
    if total == 0:
        return [ops.zeros(s.shape, "bool") for s in scores]
    dtype = keras.backend.result_type(*dtypes)
    pool = [ops.cast(ops.reshape(s, (-1,)), dtype) for s in scores]
    pool = pool[0] if len(pool) == 1 else ops.concatenate(pool)
    keep = ops.clip(ops.cast(keep, "int32"), 0, total)
    mask = _compiled(total, dtype, bool(absolute))(pool, keep)
    ends = np.cumsum([size_of(s) for s in scores])[:-1].tolist()
    parts = ops.split(mask, ends) if ends else [mask]
    return [ops.reshape(part, s.shape) for part, s in zip(parts, scores, strict=True)]


def top_masks_of_each(scores: Sequence[Any], keeps: Sequence[Any], absolute: bool) -> list[Any]:
    """``top_masks([score], keep, absolute)`` of each pair, the small ones in one search.

    A search takes a while to compile, and a network has tensors of dozens of sizes.

    Example:
        >>> masks = top_masks_of_each([ops.array([1.0, 2.0]), ops.array([3.0])], [1, 1], False)
        >>> [ops.convert_to_numpy(mask).tolist() for mask in masks]
        [[False, True], [True]]
    """
    scores = [ops.convert_to_tensor(s) for s in scores]
    together: dict[str, list[int]] = {}
    if keras.backend.backend() in ("tensorflow", "jax"):
        for i, score in enumerate(scores):
            check_scores("scores", score)
            if 0 < size_of(score) < _SAMPLED:
                dtype = keras.backend.standardize_dtype(score.dtype)
                together.setdefault(dtype, []).append(i)
    masks: dict[int, Any] = {}
    for places in together.values():
        for pool in _pools(places, [size_of(s) for s in scores]):
            if len(pool) == 1:
                continue
            flat = [ops.reshape(scores[i], (-1,)) for i in pool]
            sizes = tuple(size_of(s) for s in flat)
            wanted = ops.stack([ops.cast(keeps[i], "int32") for i in pool])
            wanted = ops.clip(wanted, 0, ops.convert_to_tensor(sizes, "int32"))
            found = _compiled_of_each(sizes, bool(absolute))(flat, wanted)
            for i, mask in zip(pool, found, strict=True):
                masks[i] = ops.reshape(mask, scores[i].shape)
    return [
        masks[i] if i in masks else top_masks([score], keeps[i], absolute)[0]
        for i, score in enumerate(scores)
    ]


def _pools(places: list[int], sizes: list[int]) -> list[list[int]]:
    """The places in order, in groups of which each has at most `_POOLED` entries."""
    pools: list[list[int]] = [[]]
    for i in places:
        if pools[-1] and sum(sizes[j] for j in pools[-1]) + sizes[i] > _POOLED:
            pools.append([])
        pools[-1].append(i)
    return pools


@functools.cache
def _compiled_of_each(sizes: tuple[int, ...], absolute: bool) -> Callable[[Any, Any], Any]:
    """`_top_mask_of_each` in XLA, as `_compiled` says."""
    select = functools.partial(_top_mask_of_each, sizes=sizes, absolute=absolute)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(select, jit_compile=True, autograph=False)
    import jax

    return jax.jit(select)


@functools.cache
def _compiled(size: int, dtype: str, absolute: bool) -> Callable[[Any, Any], Any]:
    """`_top_mask` as the backend runs it fastest: in XLA, where there is one.

    On two cores of a CPU the plain graph of TensorFlow took twice as long as XLA, and copies of the
    tensor where XLA takes none. Either nests in a compiled step. One function for each size, as
    TensorFlow warns of one that is traced for many.
    """
    select = functools.partial(_top_mask, absolute=absolute)
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(select, jit_compile=True, autograph=False)
    if backend == "jax":
        import jax

        return jax.jit(select)
    if backend == "torch":
        import torch

        # Without the copy in integers that a sum takes.
        return functools.partial(select, count=lambda mask: torch.count_nonzero(mask).int())
    return functools.partial(select, count=lambda mask: ops.sum(ops.cast(mask, "int32")))


def _top_mask(
    scores: Any, keep: Any, absolute: bool, count: Callable[[Any], Any] | None = None
) -> Any:
    """`top_masks` of one flat tensor.

    By default written for XLA: the integers are computed in every pass, never in memory. With
    ``count``, which tells how many entries of a mask are true, they are computed once.
    """
    dtype = keras.backend.standardize_dtype(scores.dtype)
    size = size_of(scores)
    wide = "int64" if dtype == "float64" else "int32"  # of thresholds; counts are int32
    bits = _bits(scores)

    def keys(zero: Any) -> Any:
        return _in_order(ops.where(zero == 0, bits, ops.zeros_like(bits[:1])), dtype, absolute)

    def positions(zero: Any) -> Any:
        return _positions(size, zero)

    def number(mask: Any, zero: Any) -> Any:
        return count(mask) if count else _count(mask, zero)

    zero = _scalar(0, "int32")
    of: tuple[Callable[[Any], Any], Callable[[Any], Any]] = keys, positions
    if count:
        all_keys, all_positions = keys(zero), positions(zero)
        of = (lambda _: all_keys), (lambda _: all_positions)
    # A sort takes long to compile, and some more passes over a small tensor cost nothing.
    guesses = _first_guesses(scores, keep, absolute, wide) if size >= _SAMPLED else []
    sizes = _scalar(size, "int32")
    return _above(*of, number, lambda value: value, sizes, keep, dtype, guesses)


def _above(
    keys: Callable[[Any], Any],
    positions: Callable[[Any], Any],
    number: Callable[[Any, Any], Any],
    spread: Callable[[Any], Any],
    sizes: Any,
    keep: Any,
    dtype: str,
    guesses: list[Any],
) -> Any:
    """The mask of the ``keep`` largest keys of a tensor, or of each of several that lie together.

    Args:
        keys: Of a zero (see `_search`): the integers to rank by.
        positions: Of a zero: the place of each in its tensor.
        number: Of a mask and a zero: how many are true in each tensor.
        spread: From a number of each tensor to one that broadcasts to its keys.
        sizes: How many entries each tensor has; a scalar, or a vector as ``keep``.
        keep: How many survive of each.
        dtype: Of the scores.
        guesses: Thresholds to try first.
    """
    narrow, wide = _INTEGER[dtype], "int64" if dtype == "float64" else "int32"
    zero, none = _scalar(0, "int32"), ops.zeros_like(keep)

    # The largest integer that at least `keep` keys reach, or one that exactly `keep` do.
    def reached(threshold: Any, zero: Any) -> Any:
        return number(keys(zero) >= spread(ops.cast(threshold, narrow)), zero)

    everything = ops.cast(none, wide) + _scalar(_lowest(dtype), wide), sizes
    nothing = ops.cast(none, wide) + _scalar(_INFINITY[dtype] + 1, wide), none
    low = _select(keep == 0, nothing, everything)
    (threshold, found), (_, above) = _search(reached, low, nothing, keep, guesses)

    # More keys at the threshold than may stay? Then those before a position do.
    surplus = found - keep
    at = spread(ops.cast(threshold, narrow))

    def tied_from(position: Any, zero: Any) -> Any:
        place = positions(zero)
        late = ops.logical_and(place >= spread(position), place < spread(sizes))
        return number(ops.logical_and(keys(zero) == at, late), zero)

    end = sizes, none
    start = _select(surplus == 0, end, (none, found - above))
    (cut, _), _ = _search(tied_from, start, end, surplus, [])
    tied = ops.logical_and(keys(zero) == at, positions(zero) < spread(cut))
    return ops.logical_or(keys(zero) > at, tied)


def _top_mask_of_each(
    scores: list[Any], keeps: Any, sizes: tuple[int, ...], absolute: bool
) -> list[Any]:
    """`_top_mask` of several small flat tensors in one search, each with a threshold of its own.

    They lie in rows of one matrix, each from a new row on, filled up with NaN.
    """
    dtype = keras.backend.standardize_dtype(scores[0].dtype)
    rows = [-(-size // _ROW) for size in sizes]
    parts = [
        ops.pad(_bits(s), [(0, n * _ROW - size)], constant_values=_INFINITY[dtype] + 1)
        for s, n, size in zip(scores, rows, sizes, strict=True)
    ]
    matrix = ops.reshape(ops.concatenate(parts), (-1, _ROW))
    owner = np.repeat(np.arange(len(sizes), dtype="int32"), rows)
    first = np.concatenate([np.arange(n, dtype="int32") * _ROW for n in rows])[:, None]

    def keys(zero: Any) -> Any:
        return _in_order(ops.where(zero == 0, matrix, ops.zeros_like(matrix[:1])), dtype, absolute)

    def positions(zero: Any) -> Any:
        return first + ops.arange(_ROW, dtype="int32") + zero

    def number(mask: Any, zero: Any) -> Any:
        # In two sums, as in `_count`.
        parts = ops.sum(ops.cast(ops.reshape(mask, (-1, 32, _ROW // 32)), "int32"), axis=1)
        counts = ops.sum(ops.maximum(parts, zero), axis=1)
        return ops.segment_sum(counts, owner, num_segments=len(sizes))

    def spread(value: Any) -> Any:
        return ops.take(value, owner)[:, None]

    mask = _above(
        keys, positions, number, spread, ops.convert_to_tensor(sizes, "int32"), keeps, dtype, []
    )
    mask = ops.reshape(mask, (-1,))
    ends = np.cumsum(rows) * _ROW
    return [
        mask[end - n * _ROW : end - n * _ROW + size]
        for end, n, size in zip(ends.tolist(), rows, sizes, strict=True)
    ]


def ordered(scores: Any, absolute: bool) -> Any:
    """Integers in the order of the scores; -0.0 as 0.0, NaN as the lowest integer.

    The bits of floats of one sign are ordered as the floats are, those of negative ones backwards.
    """
    return _in_order(_bits(scores), keras.backend.standardize_dtype(scores.dtype), absolute)


def _bits(scores: Any) -> Any:
    """The bits of floats as integers. They are taken first: to choose between bfloat16 numbers, XLA
    goes by float32, and on some processors what is subnormal comes back as zero."""
    dtype = keras.backend.standardize_dtype(scores.dtype)
    return ops.view(ops.stop_gradient(scores), _INTEGER[dtype])


def _in_order(bits: Any, dtype: str, absolute: bool) -> Any:
    lowest = _scalar(_lowest(dtype), _INTEGER[dtype])  # which are the bits of -0.0, too
    if absolute:
        key = magnitude = ops.bitwise_and(bits, ops.bitwise_not(lowest))
    else:
        key = ops.where(bits < 0, lowest - bits, bits)
        magnitude = ops.abs(key)
    infinity = _scalar(_INFINITY[dtype], _INTEGER[dtype])
    return ops.where(magnitude > infinity, lowest, key)


def _lowest(dtype: str) -> int:
    return -(2 ** (8 * np.dtype(_INTEGER[dtype]).itemsize - 1))


def _positions(size: int, zero: Any) -> Any:
    """0, 1, ..., size - 1. Not `ops.arange`, which TensorFlow puts into the program as numbers."""
    bits = max(1, (size - 1).bit_length() + 1) // 2
    columns = zero + ops.arange(2**bits, dtype="int32")
    rows = ops.left_shift(ops.arange(-(-size // 2**bits), dtype="int32"), bits)
    return ops.reshape(rows[:, None] + columns, (-1,))[:size]


def _count(mask: Any, zero: Any) -> Any:
    """How many are true."""
    # XLA on a CPU sums 32 terms on the fly, but writes those of a longer sum to memory first. The
    # maximum, which changes nothing, keeps it from making one long sum of the two.
    end = size_of(mask) // 32 * 32
    parts = ops.sum(ops.cast(ops.reshape(mask[:end], (32, -1)), "int32"), axis=0)
    return ops.sum(ops.maximum(parts, zero)) + ops.sum(ops.cast(mask[end:], "int32"))


def _first_guesses(scores: Any, keep: Any, absolute: bool, wide: str) -> list[Any]:
    """Two thresholds, lower and higher, that very likely have the one sought between them."""
    below = 1.0 - ops.cast(keep, "float32") / size_of(scores)
    # Odd, so that it does not always meet the same of 2**n channels.
    stride = max(1, size_of(scores) // _SAMPLE) | 1
    sample = ordered(scores[::stride], absolute)
    sample = ops.sort(ops.cast(sample, wide))
    size = size_of(sample)
    # Four standard deviations of the rank that a weight has in the sample.
    slack = 4.0 * ops.sqrt(size * below * (1.0 - below)) + 2.0
    ranks = [ops.clip(ops.cast(size * below + s, "int32"), 0, size - 1) for s in (-slack, slack)]
    return [ops.take(sample, ranks[0]), ops.take(sample, ranks[1]) + 1]


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

    found = ops.while_loop(is_open, narrow, (_scalar(0, "int32"), *low, *high))
    return (found[1], found[2]), (found[3], found[4])


def _select(condition: Any, yes: tuple[Any, ...], no: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(ops.where(condition, a, b) for a, b in zip(yes, no, strict=True))


def _scalar(value: int, dtype: str) -> Any:
    return ops.convert_to_tensor(value, dtype)


def size_of(x: Any) -> int:
    """How many entries a tensor has."""
    return int(np.prod(x.shape, dtype=np.int64))


def check_scores(name: str, scores: Any) -> None:
    """Raise InputError unless scores are floats of a known shape."""
    dtype = keras.backend.standardize_dtype(scores.dtype)
    if dtype not in _INTEGER:
        raise InputError(f"`{name}` must be of {sorted(_INTEGER)}, received {dtype}.")
    if any(not isinstance(length, int) for length in scores.shape):
        raise InputError(f"`{name}` must have a known shape, received {tuple(scores.shape)}.")
