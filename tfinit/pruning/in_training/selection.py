"""Mask selection in compiled training steps: `keras.ops` on every backend, exact in count.

What `masks.py` does for arrays, with the same tie rule, this does for tensors inside
``tf.function``, XLA and ``jax.jit``: no shape and no Python branch depends on a value.

**How a threshold is found** is told in `thresholds.py`: by counting. A small sorted sample gives
the first bracket, so some eight passes do for millions of weights. Under XLA no pass writes
anything of the tensor's size.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfinit.errors import InputError
from tfinit.pruning.in_training.thresholds import (
    INFINITY,
    INTEGER,
    bits_of,
    in_order,
    ordered,
    scalar,
    threshold_and_cut,
    wide_integer,
)

_SAMPLED = 2**18  # the size from which on the search begins with guesses from a sample
_SAMPLE = 4096
# Smaller tensors are searched together, in rows of this length, so many entries at a time.
_ROW = 1024
_POOLED = 2**21


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
    total = checked_total(scores)
    dtypes = {keras.backend.standardize_dtype(s.dtype) for s in scores}
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
    wide = wide_integer(dtype)
    bits = bits_of(scores)

    def keys(zero: Any) -> Any:
        return in_order(ops.where(zero == 0, bits, ops.zeros_like(bits[:1])), dtype, absolute)

    def positions(zero: Any) -> Any:
        return _positions(size, zero)

    def number(mask: Any, zero: Any) -> Any:
        return count(mask) if count else _count(mask, zero)

    zero = scalar(0, "int32")
    of: tuple[Callable[[Any], Any], Callable[[Any], Any]] = keys, positions
    if count:
        all_keys, all_positions = keys(zero), positions(zero)
        of = (lambda _: all_keys), (lambda _: all_positions)
    # A sort takes long to compile, and some more passes over a small tensor cost nothing.
    guesses = _first_guesses(scores, keep, absolute, wide) if size >= _SAMPLED else []
    sizes = scalar(size, "int32")
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
        keys: Of a zero (see `thresholds.py`): the integers to rank by.
        positions: Of a zero: the place of each in its tensor.
        number: Of a mask and a zero: how many are true in each tensor.
        spread: From a number of each tensor to one that broadcasts to its keys.
        sizes: How many entries each tensor has; a scalar, or a vector as ``keep``.
        keep: How many survive of each.
        dtype: Of the scores.
        guesses: Thresholds to try first.
    """
    zero = scalar(0, "int32")

    def reached(threshold: Any, zero: Any) -> Any:
        return number(keys(zero) >= spread(threshold), zero)

    def tied_from(threshold: Any, position: Any, zero: Any) -> Any:
        place = positions(zero)
        late = ops.logical_and(place >= spread(position), place < spread(sizes))
        return number(ops.logical_and(keys(zero) == spread(threshold), late), zero)

    threshold, cut = threshold_and_cut(reached, tied_from, sizes, keep, dtype, guesses)
    at = spread(threshold)
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
        ops.pad(bits_of(s), [(0, n * _ROW - size)], constant_values=INFINITY[dtype] + 1)
        for s, n, size in zip(scores, rows, sizes, strict=True)
    ]
    matrix = ops.reshape(ops.concatenate(parts), (-1, _ROW))
    owner = np.repeat(np.arange(len(sizes), dtype="int32"), rows)
    first = np.concatenate([np.arange(n, dtype="int32") * _ROW for n in rows])[:, None]

    def keys(zero: Any) -> Any:
        return in_order(ops.where(zero == 0, matrix, ops.zeros_like(matrix[:1])), dtype, absolute)

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


def size_of(x: Any) -> int:
    """How many entries a tensor has."""
    return int(np.prod(x.shape, dtype=np.int64))


def checked_total(scores: Sequence[Any]) -> int:
    """How many entries tensors have; InputError where they cannot be ranked together."""
    if not scores:
        raise InputError("`scores` is empty. Pass a list of at least one tensor.")
    for score in scores:
        check_scores("scores", score)
    total = sum(size_of(s) for s in scores)
    if total >= 2**31:
        raise InputError(f"`scores` has {total} entries; at most 2**31 - 1 can be ranked together.")
    return total


def check_scores(name: str, scores: Any) -> None:
    """Raise InputError unless scores are floats of a known shape."""
    dtype = keras.backend.standardize_dtype(scores.dtype)
    if dtype not in INTEGER:
        raise InputError(f"`{name}` must be of {sorted(INTEGER)}, received {dtype}.")
    if any(not isinstance(length, int) for length in scores.shape):
        raise InputError(f"`{name}` must have a known shape, received {tuple(scores.shape)}.")
