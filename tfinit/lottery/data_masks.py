"""Masks by what enters each kernel of a trained network: Wanda's and SparseGPT's."""

from typing import Any

import numpy as np

from tfinit.array_trees import each
from tfinit.datasets import Dataset
from tfinit.lottery.counts import Counts
from tfinit.pruning.calibrated.kernels import find_linear
from tfinit.pruning.calibrated.pruning import prune_after_training
from tfinit.pruning.scoring.loss_gradients import values_of
from tfinit.pruning.scoring.masks import Masks, keep_globally, keep_layerwise
from tfinit.streams import stream_for
from tfinit.variables import prunable_weights

_EXAMPLES = 256


def mask_by_data(model: Any, data: Dataset, score: str, counts: Counts, seed: int) -> Masks:
    """The mask with so many survivors of what `prune_after_training` makes of a model, in place.

    That counts in each output (Wanda) or in each 128 inputs (SparseGPT), so a few weights more or
    less survive there: what is too many goes, and what is too few comes back, by magnitude. So do
    all of a weight that it skips, as an embedding.

    Args:
        model: A trained model of Keras 3.
        data: Of its training examples, 256 are looked at.
        score: ``"sparsegpt"`` or ``"wanda"``.
        counts: Survivors of each weight, or of all together.
        seed: Of the choice of the examples.
    """
    weights = prunable_weights(model)
    dense = {key: values_of(weight) for key, weight in weights.items()}
    sizes = {key: value.size for key, value in dense.items()}
    given: dict[str, Any]
    if isinstance(counts, int):
        given = {"sparsity": 1 - counts / sum(sizes.values()), "allocation": "global"}
    else:
        pruned = {kernel.key for kernel in find_linear(model, None)[0]} & sizes.keys()
        parts = {key: 1 - counts[key] / sizes[key] for key in sizes if key in pruned}
        given = {"sparsity": 0.0, "allocation": parts}
    prune_after_training(model, _examples(data, seed), score=score, seed=seed, **given)
    largest = max(float(np.abs(value).max(initial=0)) for value in dense.values())
    ranks = {
        key: np.abs(dense[key]) + np.where(values_of(weight) != 0, 1 + largest, 0)
        for key, weight in weights.items()
    }
    full = {key: np.ones(value.shape, bool) for key, value in dense.items()}
    if isinstance(counts, int):
        return keep_globally(ranks, full, counts)
    return keep_layerwise(ranks, full, counts)


def _examples(data: Dataset, seed: int) -> Any:
    if data.rows is None:
        return data.first(_EXAMPLES)[0]
    chosen = stream_for("calibration", seed, "").permutation(data.rows)[:_EXAMPLES]
    return each(lambda part: part[chosen], data.train[0])
