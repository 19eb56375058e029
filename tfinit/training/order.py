"""Which examples each step sees, and when to evaluate: pure functions of numbers."""

import numpy as np

from tfinit import arguments
from tfinit.arguments import is_whole, refused, whole


def check_batch_size(batch_size: int, rows: int) -> None:
    """Raise InputError unless a batch of ``batch_size`` fits into ``rows`` examples."""
    if not is_whole(batch_size) or not 1 <= batch_size <= rows:
        wanted = f"in 1..{rows}, the number of training examples"
        raise refused("batch_size", wanted, batch_size)


def epoch_order(rows: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the examples in an epoch: a function of the three numbers.

    Example:
        >>> sorted(epoch_order(4, seed=0, epoch=7).tolist())
        [0, 1, 2, 3]
    """
    return np.random.default_rng([seed, epoch]).permutation(rows)


def batch_indices(rows: int, batch_size: int, steps: int, seed: int, start: int = 0) -> np.ndarray:
    """Which rows each step trains on.

    Every epoch is a new permutation of all rows, drawn from (seed, epoch) alone, cut into whole
    batches; the rest of the permutation is left out.

    Args:
        rows: Number of training examples.
        batch_size: Rows a step.
        steps: The step to end with.
        seed: Any non-negative integer.
        start: Steps that were done before.

    Returns:
        int32 array of shape (steps - start, batch_size).

    Raises:
        InputError: ``batch_size`` is not in 1..rows, or a number is not whole or too small.

    Example:
        >>> batch_indices(rows=4, batch_size=2, steps=2, seed=0).shape
        (2, 2)
    """
    rows = whole("rows", rows, 1)
    check_batch_size(batch_size, rows)
    steps, start = whole("steps", steps, 1), whole("start", start, 0)
    seed = arguments.seed("seed", seed, 0)
    if start >= steps:
        return np.zeros((0, batch_size), np.int32)
    per_epoch = rows // batch_size
    first, end = start // per_epoch, -(-steps // per_epoch)
    order = [epoch_order(rows, seed, n)[: per_epoch * batch_size] for n in range(first, end)]
    flat = np.concatenate(order).astype(np.int32).reshape(-1, batch_size)
    return flat[start - first * per_epoch : steps - first * per_epoch]


def evaluation_steps(steps: int, every: int, start: int = 0) -> np.ndarray:
    """The steps at which to evaluate: ``start``, the multiples of ``every``, and the last one.

    Raises:
        InputError: a number is not whole or too small.
    """
    steps, start = whole("steps", steps, 1), whole("start", start, 0)
    every = whole("evaluate_every", every, 1)
    return np.unique([start, *range(start + every - start % every, steps, every), steps])
