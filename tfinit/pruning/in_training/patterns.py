"""Masks of a pattern in compiled training steps: whole blocks, and m zeros in every n weights."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from tfinit.errors import InputError
from tfinit.pruning.in_training.selection import check_scores, keep_count, size_of, top_masks
from tfinit.pruning.in_training.thresholds import ordered


def block_mask(
    scores: Any,
    sparsity: Any,
    block_size: tuple[int, int],
    pooling: str = "AVG",
    select: Callable[[list[Any], Any], list[Any]] = top_masks,
) -> Any:
    """A mask of whole blocks of ``block_size`` on the last two axes, chosen by their pooled score.

    ::

        pooled = pool(scores, block_size); mask = expand(the keep_count largest of pooled)

    For a matrix this is TFMOT's block sparsity. The blocks begin at index 0, and the last ones are
    cut where an axis ends. As in TFMOT, the pooled score of a cut axis comes from windows that
    are centred (TensorFlow's ``SAME`` padding), so they may lie up to half a block before the
    block that they decide on; the average is over the entries that a window really has.

    A tensor of higher rank is a stack of matrices (of a convolution: one for each position of the
    window) with one selection over the blocks of all of them.

    Args:
        scores: Tensor of rank 2 or more, magnitudes as a rule; larger survives.
        sparsity: Fraction of blocks to prune, a scalar number or tensor. One block survives always.
        block_size: Height and width of a block, along the last axis but one and the last.
        pooling: ``"AVG"`` or ``"MAX"``.
        select: `top_masks`, or what selects alike.

    Returns:
        Boolean tensor of the shape of ``scores``. Ties are those of `top_masks`, between blocks.

    Raises:
        InputError: The rank is below 2, the block size is not two integers from 1 on, or the
            pooling is neither.

    Example:
        >>> scores = ops.array([[9.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
        >>> ops.convert_to_numpy(block_mask(scores, 0.5, (2, 2)))
        array([[ True,  True, False, False],
               [ True,  True, False, False]])
    """
    scores = ops.convert_to_tensor(scores)
    check_scores("scores", scores)
    if len(scores.shape) < 2:
        raise InputError(
            f"`scores` must have two axes or more to be cut into blocks, received the shape "
            f"{tuple(scores.shape)}."
        )
    sizes = _pair("block_size", block_size)
    if min(sizes) < 1:
        raise InputError(f"`block_size` must be 1 or more each way, received {block_size}.")
    if pooling not in ("AVG", "MAX"):
        raise InputError(f'`pooling` must be "AVG" or "MAX", received {pooling!r}.')
    pooled = scores
    for axis, size in zip((-2, -1), sizes, strict=True):
        pooled = _pooled(pooled, axis, size, pooling)
    [mask] = select([pooled], keep_count(size_of(pooled), sparsity))
    rows, columns = scores.shape[-2:]
    mask = ops.repeat(ops.repeat(mask, sizes[0], axis=-2), sizes[1], axis=-1)
    return mask[..., :rows, :columns]


def _pooled(x: Any, axis: int, size: int, pooling: str) -> Any:
    """Windows of ``size`` along an axis, side by side, centred where they do not fit."""
    length = x.shape[axis]
    windows = -(-length // size)
    before = (windows * size - length) // 2
    filler = 0.0 if pooling == "AVG" else -float("inf")
    groups = _grouped(x, axis, size, before, filler)  # (outer, windows, size, inner)
    if pooling == "MAX":
        pooled = ops.max(groups, axis=2)
    else:
        starts = np.arange(windows) * size - before
        entries = np.minimum(starts + size, length) - np.maximum(starts, 0)
        # One after the other, as TensorFlow adds them: a sum of floats depends on the order.
        total = functools.reduce(ops.add, [groups[:, :, i] for i in range(size)])
        pooled = total / ops.cast(entries.reshape(1, windows, 1), x.dtype)
    shape = list(x.shape)
    shape[axis] = windows
    return ops.reshape(pooled, shape)


def n_m_mask(scores: Any, m: int, n: int, axis: int | None = None) -> Any:
    """A mask with ``m`` zeros in every ``n`` consecutive entries along an axis.

    Each group of n keeps its n - m largest; of equal ones the first. A last, shorter group is
    treated as if it went on with entries that lose, so it keeps up to n - m. On matrices and
    convolution kernels the default axis makes this TFMOT's ``sparsity_m_by_n``.

    Args:
        scores: Tensor of rank 1 or more, magnitudes as a rule; larger survives.
        m: Zeros in each group, 0 to n - 1.
        n: Length of a group.
        axis: Where the groups lie. By default the last axis but one, the input channels of Dense
            and Conv kernels, which is where hardware wants them; on a vector its only axis.

    Returns:
        Boolean tensor of the shape of ``scores``.

    Raises:
        InputError: ``m`` is not in 0..n - 1, or the axis is not one of ``scores``.

    Example:
        >>> ops.convert_to_numpy(n_m_mask(ops.array([3.0, 1.0, 2.0, 4.0]), m=2, n=4))
        array([ True, False, False,  True])

    References:
        Mishra et al., *Accelerating Sparse Deep Neural Networks*, 2021.
    """
    scores = ops.convert_to_tensor(scores)
    check_scores("scores", scores)
    m, n = _pair("(m, n)", (m, n))
    if not 0 <= m < n:
        raise InputError(f"`m` zeros in every `n` entries: m must be in 0..n - 1, received {m, n}.")
    rank = len(scores.shape)
    if axis is None:
        axis = max(-2, -rank)
    if rank == 0 or not -rank <= axis < rank:
        raise InputError(f"`axis` must be one of the {rank} axes of `scores`, received {axis}.")
    # An axis of 1 before, so that a group has a place for its outer part and one for its inner.
    groups = _grouped(scores, axis % rank - rank, n, 0, -float("inf"))
    outer, count, _, inner = groups.shape
    keys = ordered(groups, absolute=False)
    # An entry's rank: how many of its group go before it.
    place = ops.reshape(ops.arange(n, dtype="int32"), (1, 1, n, 1))
    order = ops.zeros(groups.shape, "int32")
    for i in range(n):
        other = keys[:, :, i : i + 1]
        before = ops.logical_or(other > keys, ops.logical_and(other == keys, place > i))
        order = order + ops.cast(before, "int32")
    mask = ops.reshape(order < n - m, (outer, count * n, inner))
    return ops.reshape(mask[:, : scores.shape[axis]], scores.shape)


def _grouped(x: Any, axis: int, size: int, before: int, filler: float) -> Any:
    """(outer, groups, size, inner): an axis, counted from the end, cut in groups and filled up."""
    length = x.shape[axis]
    groups = -(-length // size)
    outer = int(np.prod(x.shape[:axis]))
    inner = int(np.prod(x.shape[axis:])) // max(length, 1)
    x = ops.reshape(x, (outer, length, inner))
    missing = groups * size - length
    if missing:
        x = ops.pad(x, [(0, 0), (before, missing - before), (0, 0)], constant_values=filler)
    return ops.reshape(x, (outer, groups, size, inner))


def _pair(name: str, value: Any) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, Sequence) else ()
    if len(pair) != 2 or any(isinstance(v, bool) or not isinstance(v, int) for v in pair):
        raise InputError(f"`{name}` must be two integers, received {value!r}.")
    return pair
