"""The sparsity of each tensor by an allocation, and how many weights it keeps at least.

Everything is float32 `keras.ops` on static shapes, so it works alike on a number and on the scalar
tensor of a compiled step. The numbers that survive follow from a sparsity by
`tfinit.pruning.in_training.selection.keep_count`.

Keras is imported where it is used: what registers classes with it imports this.
"""

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from tfinit.arguments import number
from tfinit.errors import InputError
from tfinit.pruning.scoring.allocation import (
    Allocation,
    Shapes,
    check_allocation,
    is_global,
)


def floor_counts(sizes: Sequence[int], keep: Any, min_density: float) -> list[Any]:
    """How many weights each tensor keeps at least where all compete for ``keep`` places::

        floor_i = max(1, round(d·n_i)),     d = min(min_density, keep / N)

    so that the floors fit into ``keep``, but for their rounding: then they win, and less than one
    weight a tensor is kept more.

    Args:
        sizes: The n_i, together N.
        keep: An integer or an int32 scalar tensor.
        min_density: 0 to 1.

    Example:
        >>> [int(n) for n in floor_counts([100, 1000, 3], 500, 0.05)]
        [5, 50, 1]
    """
    from keras import ops

    share = ops.cast(ops.convert_to_tensor(keep), "float32") / np.float32(sum(sizes))
    density = ops.minimum(share, np.float32(min_density))
    floors = [ops.cast(ops.round(np.float32(n) * density), "int32") for n in sizes]
    return [ops.clip(floor, min(1, n), n) for floor, n in zip(floors, sizes, strict=True)]


def sparsities(
    allocation: Allocation, sparsity: Any, shapes: Shapes, final: float | None = None
) -> dict[str, Any]:
    """The sparsity of each tensor; the formulas are told in `tfinit.pruning.scoring.allocation`.

    Args:
        allocation: ``"uniform"``, ``"erk"``, a mapping or a callable, as `check_allocation` takes
            them. A callable gets the key, the shape and the overall sparsity, a float32 scalar
            tensor, and returns a number or such a tensor, which is cut to 0..1.
        sparsity: The overall sparsity: a number in 0..1, or a scalar tensor, traced or not.
        shapes: Key → the static shape of the tensor.
        final: The overall sparsity at which a mapping is reached. On the way there, each tensor
            has its share; beyond, nothing changes. None or 0: it is reached.

    Returns:
        Key → sparsity, a float32 scalar tensor; in the order of ``shapes``.

    Raises:
        InputError: ``allocation`` is ``"global"``, which has no answer here, or is wrong, or names
            an unknown key; a number outside of 0..1.

    Example:
        >>> shapes = {"a": (10, 10), "b": (100, 100)}
        >>> {key: round(float(s), 4) for key, s in sparsities("erk", 0.9, shapes).items()}
        {'a': 0.0818, 'b': 0.9082}

    References:
        Mocanu et al., *Scalable training of artificial neural networks with adaptive sparse
        connectivity*, 2018, https://arxiv.org/abs/1707.04780. Evci et al., *Rigging the lottery*,
        2020, https://arxiv.org/abs/1911.11134, section 3 and appendix: the kernel's axes count too.
    """
    from keras import ops

    allocation = check_allocation(allocation, shapes)
    if is_global(allocation):
        raise InputError(
            "`allocation` is 'global': which tensor gives how many survivors follows from the "
            "scores. Select from all tensors together."
        )
    if isinstance(sparsity, Real):
        number("sparsity", sparsity, least=0, most=1)
    overall = ops.cast(ops.convert_to_tensor(sparsity), "float32")
    if allocation == "erk":
        return _erk(overall, shapes)
    if isinstance(allocation, str):  # "uniform"
        return dict.fromkeys(shapes, overall)
    if isinstance(allocation, Mapping):
        # Divided in float32 like the sparsity itself, so that the end is exactly 1.
        share = ops.clip(overall / np.float32(final), 0.0, 1.0) if final else ops.ones_like(overall)
        return {key: share * np.float32(allocation.get(key, 0.0)) for key in shapes}
    return {key: _called(allocation, key, tuple(shape), overall) for key, shape in shapes.items()}


def _called(function: Callable, key: str, shape: tuple[int, ...], overall: Any) -> Any:
    from keras import ops

    value = function(key, shape, overall)
    if value is None or isinstance(value, Real | str):
        value = number(f"allocation({key!r}, {shape}, sparsity)", value, least=0, most=1)
    value = ops.cast(ops.convert_to_tensor(value), "float32")
    if tuple(value.shape) != ():
        raise InputError(
            f"`allocation({key!r}, {shape}, sparsity)` must return one number, received a tensor "
            f"of shape {tuple(value.shape)}."
        )
    return ops.clip(value, 0.0, 1.0)


def _erk(sparsity: Any, shapes: Shapes) -> dict[str, Any]:
    """ε is piecewise linear in the density, with a knot wherever one more tensor becomes dense.

    With the tensors by falling raw_i, of which the first j are dense::

        ε = ((1 - s)·N - (n_1 + … + n_j)) / (d_{j+1} + … + d_L),     d_i = n_i·raw_i

    and tensor j+1 becomes dense where ε·raw_{j+1} = 1. The knots are known beforehand, in float64.
    """
    from keras import ops

    if not shapes:
        return {}
    size = np.array([np.prod(shape, dtype=np.float64) for shape in shapes.values()])
    # A scalar has no axes; it counts as one of length 1.
    raw = np.array([max(sum(shape), 1) for shape in shapes.values()]) / size
    order = np.argsort(-raw, kind="stable")
    n, r = size[order], raw[order]
    filled = np.concatenate([[0.0], np.cumsum(n)])  # weights in the first j tensors
    open_ = np.concatenate([np.cumsum((n * r)[::-1])[::-1], [0.0]])  # Σ d of the others
    knot = (filled[:-1] + open_[:-1] / r) / n.sum()  # the density where tensor j+1 becomes dense
    knot[-1] = 1.0  # which it is, up to rounding
    # Segment j goes from the sparsity of knot j-1 down, where ε = 1 / raw_j. Its start is a sum of
    # two float32: else the difference to ``sparsity`` loses a few weights in a hundred million.
    start = 1 - np.concatenate([[0.0], knot])
    coarse = start.astype(np.float32)
    way = (_tensor(coarse) - sparsity) + _tensor(start - coarse)
    height = _tensor([0.0, *(1 / r)])
    slope = _tensor([*(n.sum() / open_[:-1]), 0.0])
    j = ops.sum(ops.cast(way[1:] >= 0, "int32"))
    epsilon = ops.take(height, j) + ops.take(way, j) * ops.take(slope, j)
    found = {}
    for place, (key, index) in enumerate(zip(shapes, np.argsort(order), strict=True)):
        open_density = ops.clip(epsilon * np.float32(raw[place]), 0.0, 1.0)
        found[key] = ops.where(j > int(index), 0.0, 1.0 - open_density)
    return found


def _tensor(values: Any) -> Any:
    from keras import ops

    return ops.convert_to_tensor(np.asarray(values, np.float32))
