"""The scores of trained weights: of what a mask leaves, where it began and where it is now."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfinit.errors import InputError
from tfinit.pruning.scoring.masks import Masks, check_mask
from tfinit.pruning.scoring.scores import AFTER, Score, check_score, check_values
from tfinit.streams import stream_for

Scores = dict[str, np.ndarray]


def _survivors_of(
    name: str, weights: Mapping[str, np.ndarray], key: str, mask: np.ndarray
) -> np.ndarray:
    if key not in weights:
        raise InputError(f"`{name}` has no {key!r}, which `mask` has. It has {list(weights)}.")
    weight = np.asarray(weights[key])
    survivors = weight[check_mask(key, mask, weight.shape)]
    # Narrow types lose the difference of two weights, and NumPy does not order all of them.
    survivors = survivors.astype(np.result_type(weight.dtype, np.float32), copy=False)
    if not np.isfinite(survivors).all():
        raise InputError(
            f"`{name}[{key!r}]` has a surviving weight that is NaN or infinite and cannot be "
            "ranked. "
            + (
                "Look at the initialization."
                if name == "initial"
                else "The network diverged: lower the learning rate."
            )
        )
    return survivors


def score_trained(
    score: Any,
    initial: Mapping[str, np.ndarray],
    final: Mapping[str, np.ndarray],
    mask: Masks,
    seed: int = 0,
) -> Scores:
    """How important each surviving weight is, by a score; -inf for those pruned.

    Args:
        score: One of ``names(AFTER)``, a `Score` or a function, as `tfinit.pruning.scoring.scores`
            says.
        initial: Key → weights at initialization. May have more keys than ``mask``.
        final: Key → trained weights. May have more keys than ``mask``.
        mask: Key → the present mask.
        seed: Of what a score draws, with a stream for each key. With the same seed at each level,
            "random" prunes in one random order.

    Returns:
        Key → scores of the weight's shape, float32 or wider, for the keys of ``mask``.

    Raises:
        InputError: there is no such score, or none after training; a key is missing, a shape
            differs, or a surviving weight is not finite.

    Example:
        >>> initial = {"fc": np.array([1.0, -2.0, 3.0])}
        >>> final = {"fc": np.array([2.0, -1.0, 9.0])}
        >>> mask = {"fc": np.array([True, True, False])}
        >>> score_trained("magnitude-increase", initial, final, mask)
        {'fc': array([  1.,  -1., -inf])}
        >>> score_trained(lambda weights, initial: weights / initial, initial, final, mask)
        {'fc': array([ 2. ,  0.5, -inf])}
    """
    chosen = check_score(score, AFTER)
    scores = {}
    for key, alive in mask.items():
        begun = _survivors_of("initial", initial, key, alive)
        ended = _survivors_of("final", final, key, alive)
        generator = stream_for(f"criterion {chosen.name}", seed, key)
        found = chosen.evaluate(
            {
                "weights": lambda ended=ended: ended,
                "initial": lambda begun=begun: begun,
                "generator": lambda generator=generator: generator,
                "random": lambda generator=generator, n=ended.size: generator.random(n),
            }
        )
        found = rankable(chosen, key, array_of(chosen, found, ended.shape))
        scores[key] = np.full(np.shape(alive), -np.inf, found.dtype)
        scores[key][np.asarray(alive, bool)] = found
    return scores


def array_of(score: Score, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """What a score returned, as an array of floats of the weight's shape."""
    values = check_values(score, values, shape)
    if not isinstance(values, np.ndarray):
        from keras import ops

        values = ops.convert_to_numpy(values)
    return values if values.dtype.kind == "f" else values.astype(np.float32)


def rankable(score: Score, key: str, values: np.ndarray) -> np.ndarray:
    """The same, if none of it is NaN."""
    if np.isnan(values).any():
        raise InputError(
            f"`score` {score!r} has NaN for {key!r}, which cannot be ranked. Look at its "
            "formula: 0 / 0, a difference of infinities, the root of a negative number."
        )
    return values
