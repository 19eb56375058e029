"""Scores of a model before training, by any score: what `before_training` and pruning call."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import keras  # noqa: F401  (first: it lets tfinit register with Keras before what follows)
import numpy as np
from keras.ops import convert_to_numpy as to_numpy

from tfinit import arguments
from tfinit.arguments import mapping
from tfinit.pruning.scoring.after_training import array_of, rankable
from tfinit.pruning.scoring.loss_gradients import (
    Loss,
    Scores,
    checked_gradients,
    checked_masks,
    finite_scores,
    values_of,
    weights_of,
)
from tfinit.pruning.scoring.scores import BEFORE, Score, check_score
from tfinit.streams import stream_for
from tfinit.variables import check_same_keys


def scorer(
    score: Any,
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    loss: Loss | None = None,
    batch_size: int = 128,
    seed: int = 0,
    sample_weight: Any = None,
    weights: dict[str, Any] | None = None,
) -> Callable[[Mapping[str, np.ndarray] | None], Scores]:
    """`score_model` as a function of the masks, for rounds: what JAX compiles, it compiles once.

    With ``weights``, key → variable, the scores are of these in place of those that can be pruned;
    a score of whole models has its own.

    Raises:
        InputError: as `score_model`, before anything is computed; the function as well.
    """
    chosen = check_score(score, BEFORE)
    seed = arguments.seed("seed", seed)
    if "model" in chosen.needs:
        return lambda masks: _of_model(chosen, model, x, masks)
    weights = weights_of(model) if weights is None else weights
    if {"gradients", "curvature"}.isdisjoint(chosen.needs):

        def of_weights(masks: Mapping[str, np.ndarray] | None) -> Scores:
            return dict(scores_one_by_one(chosen, weights, checked_masks(masks, weights), seed))

        return of_weights
    task = checked_gradients(chosen.name, model, x, y, sample_weight, loss, batch_size, weights)

    def of_gradients(masks: Mapping[str, np.ndarray] | None) -> Scores:
        checked = None if masks is None else checked_masks(masks, weights)
        with task.masked(checked) as values:
            gradients = task.gradients()
            curvature: list[Any] = [None] * len(values)
            if "curvature" in chosen.needs:
                curvature = task.hessian_times(gradients)
            found = {
                key: _evaluated(chosen, seed, key, to_numpy(v), {"gradients": g, "curvature": c})
                for key, v, g, c in zip(weights, values, gradients, curvature, strict=True)
            }
        return finite_scores(chosen.name, found)

    return of_gradients


def scores_one_by_one(
    score: Score,
    weights: Mapping[str, Any],
    masks: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
) -> Iterator[tuple[str, np.ndarray]]:
    """Key and scores of each weight, by a score of weights alone: one after the other, for memory.

    Args:
        score: Which needs neither gradients nor a whole model.
        weights: Key → variable.
        masks: Key → mask; what it prunes counts as zero.
        seed: Of what is random.
    """
    for key, variable in weights.items():
        values = values_of(variable)
        if masks is not None:
            values = values * masks[key]
        yield key, _evaluated(score, seed, key, values, {})


def _evaluated(
    score: Score, seed: int, key: str, weights: np.ndarray, tensors: Mapping[str, Any]
) -> np.ndarray:
    generator = cache(lambda: stream_for(f"{score.name} score", seed, key))
    given: dict[str, Callable[[], Any]] = {
        name: lambda tensor=tensor: to_numpy(tensor) for name, tensor in tensors.items()
    }
    given |= {
        "weights": lambda: weights,
        "generator": generator,
        "random": lambda: generator().random(weights.shape),
    }
    found = array_of(score, score.evaluate(given), weights.shape)
    return found.astype(np.float32) if tensors else rankable(score, key, found)


def _of_model(score: Score, model: Any, x: Any, masks: Mapping[str, np.ndarray] | None) -> Scores:
    weights = weights_of(model)
    found = mapping(f"score {score!r}", score.of_model(model, x, masks), "keys to scores")
    check_same_keys(f"score {score!r}", found, weights)
    return {
        key: rankable(score, key, array_of(score, found[key], tuple(w.shape)))
        for key, w in weights.items()
    }
