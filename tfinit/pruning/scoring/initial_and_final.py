"""Scores of trained weights by where they began and where they are now.

With initial weight wᵢ and trained weight w_f, larger scores survive::

    small-final                     -|w_f|
    large-init                      |wᵢ|
    small-init                      -|wᵢ|
    large-init-large-final          min(α|w_f|, |wᵢ|)
    small-init-small-final          -max(α|w_f|, |wᵢ|)
    magnitude-increase              |w_f| - |wᵢ|
    distance                        |w_f - wᵢ|      ("movement" in the paper)
    large-final-same-sign           max(0, w_f · wᵢ/|wᵢ|)
    magnitude-increase-same-sign    |w_f| - |wᵢ| where w_f has the sign of wᵢ, else 0

"magnitude" is the paper's "large final", "random" its control.

**α** aligns the percentiles of the two magnitudes, as in the paper: α|w_f| is the quantile of the
tensor's surviving |wᵢ| at the rank that |w_f| has among its surviving |w_f|. So the weights kept
are those above the same percentile of both.

**Zeros in random order.** The "same sign" scores give many weights the score 0, which the paper
puts in random order. Here such a score is a random number too small to pass a weight with a score
of its own. Other ties are as `tfinit.pruning.scoring.masks` says.

"magnitude-increase-same-sign" is as in the authors' code: a weight that changed its sign comes
after those that grew, before those that shrank.

References:
    Zhou, Lan, Liu & Yosinski, *Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask*,
    NeurIPS 2019, https://arxiv.org/abs/1905.01067, figure 2.
"""

from collections.abc import Callable

import numpy as np

# Below the smallest positive float32, far above the smallest float64.
_NEXT_TO_NOTHING = 2.0**-160


def _aligned(initial: np.ndarray, final: np.ndarray) -> np.ndarray:
    """α|w_f|: the quantile of |wᵢ| at the rank of |w_f|; equal |w_f| have equal ranks."""
    final = np.abs(final)
    rank = np.searchsorted(np.sort(final), final, side="right") - 1
    return np.sort(np.abs(initial))[rank]


def _if_same_sign(
    scores: np.ndarray, initial: np.ndarray, final: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """The scores of the weights that kept their sign, 0 for the others, zeros in random order."""
    scores = np.where(np.sign(initial) == np.sign(final), scores, 0).astype(np.float64)
    zeros = scores == 0
    scores[zeros] = generator.random(np.count_nonzero(zeros)) * _NEXT_TO_NOTHING
    return scores


FORMULAS: dict[str, Callable[..., np.ndarray]] = {
    "small-final": lambda weights: -abs(weights),
    "large-init": lambda initial: abs(initial),
    "small-init": lambda initial: -abs(initial),
    "large-init-large-final": lambda weights, initial: np.minimum(
        _aligned(initial, weights), abs(initial)
    ),
    "small-init-small-final": lambda weights, initial: (
        -np.maximum(_aligned(initial, weights), abs(initial))
    ),
    "magnitude-increase": lambda weights, initial: abs(weights) - abs(initial),
    "distance": lambda weights, initial: abs(weights - initial),
    "large-final-same-sign": lambda weights, initial, generator: _if_same_sign(
        abs(weights), initial, weights, generator
    ),
    "magnitude-increase-same-sign": lambda weights, initial, generator: _if_same_sign(
        abs(weights) - abs(initial), initial, weights, generator
    ),
}
"""Name → formula of one tensor's survivors: see `tfinit.pruning.scoring.scores`."""
