"""The scores of a model before it is trained: key → array of the weight's shape.

The formulas are told in `tfinit.pruning.scoring.scores`. The functions look at a model as it would
predict: dropout off, BatchNormalization with its moving statistics. Whatever they change on the way
is put back, bit for bit, also after an error. With ``masks``, the scores are those of the model
with the pruned weights at zero.
"""

import math
from collections.abc import Mapping
from typing import Any

import keras  # noqa: F401  (first: it lets tfinit register with Keras before what follows)
import numpy as np

from tfinit.errors import InputError
from tfinit.graph.gradients import require_gradients
from tfinit.pruning.scoring.loss_gradients import (
    Loss,
    Scores,
    checked_masks,
    finite_scores,
    values_of,
    weights_of,
)
from tfinit.pruning.scoring.scorer import scorer
from tfinit.pruning.scoring.synaptic_flow import ones_like_input, synaptic_flow

__all__ = ["grasp", "magnitude", "random", "score_model", "snip", "synflow"]


def score_model(
    score: Any,
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    masks: Mapping[str, np.ndarray] | None = None,
    loss: Loss | None = None,
    batch_size: int = 128,
    seed: int = 0,
    sample_weight: Any = None,
) -> Scores:
    """The scores of a model's weights before training, by any score that can do that.

    Args:
        score: One of ``names(BEFORE)``, a `Score` or a function, as `tfinit.pruning.scoring.scores`
            says.
        model: A built Keras 3 model.
        x: For a score that needs gradients: as for `snip`.
        y: As for `snip`.
        masks: Key → mask; what it prunes counts as zero.
        loss: As for `snip`.
        batch_size: As for `snip`.
        seed: Of what is random.
        sample_weight: As for `snip`.

    Returns:
        Key → score, for the keys of `tfinit.variables.prunable_weights(model)`.

    Raises:
        InputError: as for `snip`, or there is no such score before training.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="fc")])
        >>> model.layers[0].kernel.assign([[-3.0], [2.0]])
        >>> score_model(lambda weights: weights**2, model)["fc/kernel"].tolist()
        [[9.0], [4.0]]
    """
    scored = scorer(
        score, model, x, y, loss=loss, batch_size=batch_size, seed=seed, sample_weight=sample_weight
    )
    return scored(masks)


def magnitude(model: Any, *, masks: Mapping[str, np.ndarray] | None = None) -> Scores:
    """|w|.

    Args:
        model: A built Keras 3 model.
        masks: Key → mask; what it prunes counts as zero.

    Returns:
        Key → |w|, float32 or wider, for the keys of `tfinit.variables.prunable_weights(model)`.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="fc")])
        >>> model.layers[0].kernel.assign([[-3.0], [2.0]])
        >>> magnitude(model)["fc/kernel"].tolist()
        [[3.0], [2.0]]
    """
    return score_model("magnitude", model, masks=masks)


def random(model: Any, *, seed: int = 0) -> Scores:
    """Uniform random numbers: a function of the seed, the key and the shape, in any process.

    Args:
        model: A built Keras 3 model.
        seed: Any integer.

    Returns:
        Key → float64 in [0, 1).
    """
    return score_model("random", model, seed=seed)


def snip(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    masks: Mapping[str, np.ndarray] | None = None,
    loss: Loss | None = None,
    batch_size: int = 128,
    sample_weight: Any = None,
) -> Scores:
    """|g · w|, g = ∂L/∂w: to first order, how much the loss changes when the weight goes.

    Args:
        model: A built Keras 3 model.
        x: Inputs as ``model(x)`` takes them, arrays with the examples along the first axis (or
            lists or dicts of them), all used; or batches (x, y) or (x, y, sample_weight) of a
            finite ``tf.data.Dataset``, ``keras.utils.PyDataset`` or PyTorch ``DataLoader``.
        y: Targets, as the loss takes them. None with a dataset, and for a model that was compiled
            without a loss, and adds its own.
        masks: Key → mask; what it prunes counts as zero.
        loss: A Keras loss, its name, or ``(y, output) -> tensor``, whose mean is taken. None: what
            the model was compiled with, with its regularizers and what layers add.
        batch_size: Rows of one gradient. Bounds memory: the gradients are averaged.
        sample_weight: How much each example counts, as for Keras's ``fit``.

    Returns:
        Key → float32 score.

    Raises:
        InputError: a backend without gradients, no loss, data that is missing, not finite or does
            not fit, or a score that is not finite.

    References:
        Lee et al., *SNIP: single-shot network pruning based on connection sensitivity*, 2019,
        https://arxiv.org/abs/1810.02340.
    """
    return score_model(
        "snip",
        model,
        x,
        y,
        masks=masks,
        loss=loss,
        batch_size=batch_size,
        sample_weight=sample_weight,
    )


def grasp(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    masks: Mapping[str, np.ndarray] | None = None,
    loss: Loss | None = None,
    batch_size: int = 128,
    sample_weight: Any = None,
) -> Scores:
    """w · (H g): to first order, half of what ‖g‖² loses when the weight goes.

    Wang et al. write S = -w · (H g) and prune the largest S; this is -S, so that larger survives.
    g and H are of the mean loss over all data, by the weights that can be pruned.

    Their code divides the logits by 200 before the softmax; here the loss is taken as it is given.
    With ``cce = keras.losses.SparseCategoricalCrossentropy(from_logits=True)`` and a model of
    logits, ``loss=lambda y, z: cce(y, z / 200)`` is theirs.

    Args:
        model: A built Keras 3 model, whose layers have gradients twice.
        x: As for `snip`. A dataset is read twice and must give the same examples.
        y: As for `snip`.
        masks: As for `snip`.
        loss: As for `snip`.
        batch_size: As for `snip`.
        sample_weight: As for `snip`.

    Returns:
        Key → float32 score, of both signs.

    Raises:
        InputError: as for `snip`.

    References:
        Wang et al., *Picking winning tickets before training by preserving gradient flow*, 2020,
        https://arxiv.org/abs/2002.07376.
    """
    return score_model(
        "grasp",
        model,
        x,
        y,
        masks=masks,
        loss=loss,
        batch_size=batch_size,
        sample_weight=sample_weight,
    )


def synflow(model: Any, x: Any = None, *, masks: Mapping[str, np.ndarray] | None = None) -> Scores:
    """∂R/∂|w| · |w|, R the sum of the outputs for an input of ones through absolute weights.

    The network is made linear for that: biases (and BatchNormalization's ``beta``) are 0, all
    other weights absolute, moving means 0 and variances 1, Rescaling and Normalization without
    their offsets, and activations the identity, which is what a ReLU does to positive numbers:
    those that a layer holds, as ``Dense(activation=...)``, and layers such as `ReLU` and `Softmax`.
    Then the scores of each layer that all paths cross sum up to R. Operations in a subclassed
    ``call``, recurrent cells, attention and LayerNormalization are taken as they are, and there
    this sum need not hold.

    It is computed in float64, or in the model's own dtypes where it has operations of a fixed one;
    on PyTorch Keras multiplies matrices of float64 in float32. Where R leaves that range, each
    kernel is divided by fan_in · mean |w|. This multiplies all scores by one number, unless paths
    of different length meet, as in residual networks: there it weighs short paths more.

    Args:
        model: A built Keras 3 model with inputs of floats.
        x: Not needed, and its values are ignored. Where the model leaves the shape of its input
            open, as a subclassed one may, the shape of ``x`` is taken.
        masks: Key → mask; what it prunes counts as zero.

    Returns:
        Key → float64 score, 0 or larger, of which only the ratios mean something.

    Raises:
        InputError: a backend without gradients, inputs of integers or of unknown shape, or scores
            that are all zero without a mask, or not finite.

    References:
        Tanaka et al., *Pruning neural networks without any data by iteratively conserving synaptic
        flow*, 2020, https://arxiv.org/abs/2006.05467, which prunes in 100 rounds.
    """
    require_gradients("'synflow'", '"magnitude" or "random"')
    weights = weights_of(model)
    checked = checked_masks(masks, weights)
    ones = ones_like_input(model, x)
    kernels = [np.abs(values_of(w), dtype="float64") * checked[key] for key, w in weights.items()]
    try:
        total, scores = _flow(model, ones, weights, kernels, wide=True)
        wide, least, most = True, 1e-200, 1e250
    except InputError:
        total, scores = _flow(model, ones, weights, kernels, wide=False)
        wide, least, most = False, 1e-20, 1e30
    # A score is about R / n for n weights: it must not sink below the smallest float either.
    if not _finite(scores) or not least < total < most:
        sums = [(k.mean() or 1.0) * math.prod(k.shape[:-1]) for k in kernels]
        # A few strong paths may still grow from layer to layer: then all a little smaller.
        for power in range(11):
            scaled = [k / (sum_ * 2**power) for k, sum_ in zip(kernels, sums, strict=True)]
            total, scores = _flow(model, ones, weights, scaled, wide)
            if _finite(scores):
                break
    if masks is None and not any(score.any() for score in scores):
        raise InputError(
            f"`model` {model.name!r} has a SynFlow score of zero everywhere: its output does not "
            "depend on the size of its weights, as behind a LayerNormalization or a layer of "
            "zeros. Use 'snip'."
        )
    return finite_scores("synflow", dict(zip(weights, scores, strict=True)))


def _flow(
    model: Any, ones: Any, weights: dict[str, Any], kernels: list[np.ndarray], wide: bool
) -> tuple[float, list[np.ndarray]]:
    pairs = list(zip(weights.values(), kernels, strict=True))
    total, gradients = synaptic_flow(model, ones, pairs, wide)
    return total, [g * k for g, k in zip(gradients, kernels, strict=True)]


def _finite(arrays: list[np.ndarray]) -> bool:
    return all(np.isfinite(array).all() for array in arrays)
