"""Mask criteria: which trained weights survive, by where they began and where they are now.

With initial weight wᵢ and trained weight w_f, larger scores survive::

    magnitude                       |w_f|                     ("large final", the default)
    small-final                     -|w_f|
    large-init                      |wᵢ|
    small-init                      -|wᵢ|
    large-init-large-final          min(α|w_f|, |wᵢ|)
    small-init-small-final          -max(α|w_f|, |wᵢ|)
    magnitude-increase              |w_f| - |wᵢ|
    movement                        |w_f - wᵢ|
    large-final-same-sign           max(0, w_f · wᵢ/|wᵢ|)
    magnitude-increase-same-sign    |w_f| - |wᵢ| where w_f has the sign of wᵢ, else 0
    random                          U(0, 1)

**α** aligns the percentiles of the two magnitudes, as in the paper: α|w_f| is the quantile of the
tensor's surviving |wᵢ| at the rank that |w_f| has among its surviving |w_f|. So the weights kept
are those above the same percentile of both.

**Zeros in random order.** The "same sign" criteria give many weights the score 0, which the paper
puts in random order. Here such a score is a random number too small to pass a weight with a score
of its own. Other ties are as `tfinit.pruning.scoring.masks` says.

"magnitude-increase-same-sign" is as in the authors' code: a weight that changed its sign comes
after those that grew, before those that shrank.

References:
    Zhou, Lan, Liu & Yosinski, *Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask*,
    NeurIPS 2019, https://arxiv.org/abs/1905.01067, figure 2.
"""

from collections.abc import Callable, Mapping

import numpy as np

from tfinit.errors import InputError
from tfinit.pruning.scoring.masks import Masks, check_mask, top_mask
from tfinit.streams import stream_for

Criterion = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
Scores = dict[str, np.ndarray]

# Below the smallest positive float32, far above the smallest float64.
_NEXT_TO_NOTHING = 2.0**-160


def _aligned(initial: np.ndarray, final: np.ndarray) -> np.ndarray:
    """α|w_f|: the quantile of |wᵢ| at the rank of |w_f|; equal |w_f| have equal ranks."""
    final = np.abs(final)
    rank = np.searchsorted(np.sort(final), final, side="right") - 1
    return np.sort(np.abs(initial))[rank]


def _if_same_sign(
    scores: np.ndarray, initial: np.ndarray, final: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The scores of the weights that kept their sign, 0 for the others, zeros in random order."""
    scores = np.where(np.sign(initial) == np.sign(final), scores, 0).astype(np.float64)
    zeros = scores == 0
    scores[zeros] = rng.random(np.count_nonzero(zeros)) * _NEXT_TO_NOTHING
    return scores


CRITERIA: dict[str, Criterion] = {
    "magnitude": lambda initial, final, rng: np.abs(final),
    "small-final": lambda initial, final, rng: -np.abs(final),
    "large-init": lambda initial, final, rng: np.abs(initial),
    "small-init": lambda initial, final, rng: -np.abs(initial),
    "large-init-large-final": lambda initial, final, rng: np.minimum(
        _aligned(initial, final), np.abs(initial)
    ),
    "small-init-small-final": lambda initial, final, rng: (
        -np.maximum(_aligned(initial, final), np.abs(initial))
    ),
    "magnitude-increase": lambda initial, final, rng: np.abs(final) - np.abs(initial),
    "movement": lambda initial, final, rng: np.abs(final - initial),
    "large-final-same-sign": lambda initial, final, rng: _if_same_sign(
        np.abs(final), initial, final, rng
    ),
    "magnitude-increase-same-sign": lambda initial, final, rng: _if_same_sign(
        np.abs(final) - np.abs(initial), initial, final, rng
    ),
    "random": lambda initial, final, rng: rng.random(final.shape),
}
"""Name → function (initial, final, rng) → scores; all arrays of shape (survivors of a tensor,)."""


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


def score(
    name: str,
    initial: Mapping[str, np.ndarray],
    final: Mapping[str, np.ndarray],
    mask: Masks,
    seed: int = 0,
) -> Scores:
    """How important each surviving weight is, by one of the `CRITERIA`; -inf for those pruned.

    Args:
        name: Of the criterion.
        initial: Key → weights at initialization. May have more keys than ``mask``.
        final: Key → trained weights. May have more keys than ``mask``.
        mask: Key → the present mask.
        seed: Of what a criterion draws, with a stream for each key. With the same seed at each
            level, "random" prunes in one random order.

    Returns:
        Key → scores of the weight's shape, float32 or wider, for the keys of ``mask``.

    Raises:
        InputError: there is no such criterion, a key is missing, a shape differs, or a surviving
            weight is not finite.

    Example:
        >>> initial = {"fc": np.array([1.0, -2.0, 3.0])}
        >>> final = {"fc": np.array([2.0, -1.0, 9.0])}
        >>> score("magnitude-increase", initial, final, {"fc": np.array([True, True, False])})
        {'fc': array([  1.,  -1., -inf])}
    """
    if name not in CRITERIA:
        raise InputError(f"There is no criterion {name!r}; there are {', '.join(CRITERIA)}.")
    scores = {}
    for key, alive in mask.items():
        begun = _survivors_of("initial", initial, key, alive)
        ended = _survivors_of("final", final, key, alive)
        found = CRITERIA[name](begun, ended, stream_for(f"criterion {name}", seed, key))
        scores[key] = np.full(np.shape(alive), -np.inf, found.dtype)
        scores[key][np.asarray(alive, bool)] = found
    return scores


def _alive(scores: Mapping[str, np.ndarray], key: str, mask: np.ndarray) -> np.ndarray:
    if key not in scores:
        raise InputError(f"`scores` has no {key!r}, which `masks` has. It has {list(scores)}.")
    return np.asarray(scores[key])[check_mask(key, mask, np.shape(scores[key]))]


def _within(mask: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The mask of the survivors of ``mask`` that are kept."""
    new = np.zeros(np.shape(mask), bool)
    new[np.asarray(mask, bool)] = kept
    return new


def keep_layerwise(
    scores: Mapping[str, np.ndarray], masks: Masks, counts: Mapping[str, int]
) -> Masks:
    """Keep in each tensor the given number of survivors, those of the largest scores.

    Args:
        scores: Key → scores of the weight's shape. Those of pruned weights are not looked at.
        masks: Key → the present mask. The new mask lies inside it.
        counts: Key → how many survive, as `tfinit.pruning.scoring.masks.survivors` counts.

    Returns:
        Key → new mask with exactly ``counts[key]`` entries True; ties as
        `tfinit.pruning.scoring.masks` says. With the scores of "magnitude", what
        `prune_layerwise` returns.

    Raises:
        InputError: a key is missing, a shape differs, a count is not in 0..survivors, or a score
            is NaN.

    Example:
        >>> masks = {"fc": np.array([True, True, False])}
        >>> keep_layerwise({"fc": np.array([1.0, 2.0, 3.0])}, masks, {"fc": 1})
        {'fc': array([False,  True, False])}
    """
    kept = {}
    for key, mask in masks.items():
        alive = _alive(scores, key, mask)
        if key not in counts or not 0 <= counts[key] <= alive.size:
            raise InputError(
                f"`counts[{key!r}]` must be in 0..{alive.size}, the survivors of its mask, "
                f"received {counts.get(key, 'none')}."
            )
        kept[key] = _within(mask, top_mask(alive, counts[key]))
    return kept


def keep_globally(scores: Mapping[str, np.ndarray], masks: Masks, count: int) -> Masks:
    """Keep the given number of all survivors, those of the largest scores of all tensors.

    Args:
        scores: Key → scores of the weight's shape. Those of pruned weights are not looked at.
        masks: Key → the present mask. The new masks lie inside them.
        count: How many survive in all.

    Returns:
        Key → new mask, together with exactly ``count`` entries True; ties as
        `tfinit.pruning.scoring.masks` says. With the scores of "magnitude", what
        `prune_globally` returns.

    Raises:
        InputError: a key is missing, a shape differs, ``count`` is not in 0..survivors, or a score
            is NaN.

    Example:
        >>> masks = {"a": np.array([True, True]), "b": np.array([True])}
        >>> keep_globally({"a": np.array([1.0, 2.0]), "b": np.array([3.0])}, masks, 1)
        {'a': array([False, False]), 'b': array([ True])}
    """
    alive = [_alive(scores, key, mask) for key, mask in masks.items()]
    total = sum(a.size for a in alive)
    if not 0 <= count <= total:
        raise InputError(
            f"`count` must be in 0..{total}, the survivors of all masks, received {count}."
        )
    pooled = top_mask(np.concatenate(alive), count)
    parts = np.split(pooled, np.cumsum([a.size for a in alive])[:-1])
    return {
        key: _within(mask, part) for (key, mask), part in zip(masks.items(), parts, strict=True)
    }
