"""How important each channel of a group is: a score of each weight, summed over the channel's.

A channel is made, normalized and read by several weights; its score is the sum of the scores of all
of their entries that are the channel's, over all layers that it runs through::

    l1         Σ |w|          over kernels and the scales γ of normalizations
    l2         Σ w²           over the same
    taylor     Σ |w · g|      over kernels; g = ∂L/∂w of the mean loss over `x` and `y`
    batchnorm  Σ |γ|          over the scales of BatchNormalization
    random     U(0, 1)        a stream for each group
    others     Σ score(w)     over kernels

Others are those of `prune_at_initialization`, as synflow and grasp, and own ones. Kernels are those
that make the channel and those that read it, with every entry of theirs: the window of a
convolution, each place of a flattened map, both axes where the channel is on both. Biases do not
count, nor does β. SNIP is taylor; GraSP is of both signs, and its sum is what the whole channel
means to ‖g‖², to first order.

`l1`, `l2`, `taylor` and `batchnorm` are, but for a factor that is the same for all channels of a
group, what Torch-Pruning's GroupMagnitudeImportance, GroupTaylorImportance and BNScaleImportance
are as they are by default (version 1.6.1), so that the same channels of a group go. It does not
count depthwise kernels, which count here, and its Taylor counts the scales of LayerNormalization.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras  # noqa: F401  (first: it lets tfinit register with Keras before what follows)
import numpy as np

from tfinit.arguments import one_of
from tfinit.errors import InputError
from tfinit.graph.channel_values import Channels
from tfinit.graph.layer_kinds import kind_of
from tfinit.pruning.channels.groups import Group, Weight
from tfinit.pruning.scoring.scorer import scorer, scores_one_by_one
from tfinit.pruning.scoring.scores import BEFORE, AnyScore, Formula, Score, check_score, names
from tfinit.streams import stream_for
from tfinit.variables import all_weights

_SCALES = ("gamma", "scale")  # what Keras and KerasHub call a normalization's factor


def _is_kernel(weight: Weight) -> bool:
    return bool(weight.letters)


def _is_scale(weight: Weight) -> bool:
    return bool(kind_of(weight.owner).normalization) and weight.name in _SCALES


def _is_batch_scale(weight: Weight) -> bool:
    return kind_of(weight.owner).normalization == "batch" and weight.name in _SCALES


def _is_either(weight: Weight) -> bool:
    return _is_kernel(weight) or _is_scale(weight)


_Named = tuple[Score, Callable[[Weight], bool]]
_RANDOM = Formula(lambda random: random, "random")
SCORES: dict[str, _Named] = {
    "l1": (Formula(lambda weights: abs(weights), "l1"), _is_either),
    "l2": (Formula(lambda weights: weights**2, "l2"), _is_either),
    "batchnorm": (Formula(lambda weights: abs(weights), "batchnorm"), _is_batch_scale),
    "taylor": (
        Formula(lambda weights, gradients: abs(weights * gradients), "taylor"),
        _is_kernel,
    ),
    "random": (_RANDOM, _is_either),
}


def check_channel_score(score: AnyScore) -> Score:
    """The score of a name, a `Score` or a function; or what is wrong with it.

    Raises:
        InputError: it is none, or needs what there is not before a training.
    """
    if isinstance(score, str):
        cure = "Or pass a tfinit.pruning.Score, or a function of `weights` or `gradients`."
        one_of("score", score, dict.fromkeys((*SCORES, *names(BEFORE))), cure)
        if score in SCORES:
            return SCORES[score][0]
    return check_score(score, BEFORE)


def weights_that_count(score: Score) -> Callable[[Weight], bool]:
    """Which weights of a channel count for a score: kernels, unless one of `SCORES` says more."""
    return next((which for named, which in SCORES.values() if named is score), _is_kernel)


def channel_scores(
    score: Score,
    model: Any,
    channels: Channels,
    weights: Sequence[Weight],
    groups: Sequence[Group],
    data: Mapping[str, Any],
    seed: int,
) -> dict[str, np.ndarray]:
    """The score of each channel: name of group → an array, in float64.

    Args:
        score: What `check_channel_score` found.
        model: The model.
        channels: What `tfinit.graph.channels.follow` found in it.
        weights: Its weights with channels.
        groups: The groups that are to be ranked.
        data: ``x``, ``y``, ``sample_weight``, ``loss`` and ``batch_size``, for gradients.
        seed: Of what is random.

    Returns:
        Only groups that have a weight that counts.

    Raises:
        InputError: data are missing or do not fit, or a score is not finite.
    """
    if score is _RANDOM:
        return {
            group.name: stream_for("random channels", seed, group.name).random(group.size)
            for group in groups
        }
    speaks = channels.representatives()
    totals, counted = np.zeros(len(speaks)), np.zeros(len(speaks), dtype=bool)
    counts = weights_that_count(score)
    for weight, values in _of_weights(score, model, weights, counts, data, seed):
        for axis, value in enumerate(weight.axes):
            if value is not None:
                others = tuple(other for other in range(values.ndim) if other != axis)
                owners = speaks[value.classes]
                np.add.at(totals, owners, values.sum(axis=others, dtype="float64"))
                counted[owners] = True
    found = {}
    for group in groups:
        if counted[group.classes].any():
            found[group.name] = totals[group.classes]
            if not np.isfinite(found[group.name]).all():
                raise InputError(
                    f"The {score!r} score of the channels of {group.name!r} is not finite. Look "
                    "at the weights of `model` and at its loss: something in them overflows, or "
                    "is not a number."
                )
    return found


def _of_weights(
    score: Score,
    model: Any,
    weights: Sequence[Weight],
    counts: Callable[[Weight], bool],
    data: Mapping[str, Any],
    seed: int,
) -> Iterator[tuple[Weight, np.ndarray]]:
    """Each weight that counts, and the scores of its entries."""
    counting = {id(weight.variable): weight for weight in weights if counts(weight)}
    chosen = {key: v for key, v in all_weights(model).items() if id(v) in counting}
    if {"gradients", "curvature", "model"}.isdisjoint(score.needs):
        scores = scores_one_by_one(score, chosen, seed=seed)
    else:
        scores = iter(scorer(score, model, seed=seed, weights=chosen, **data)(None).items())
    for key, values in scores:
        if key in chosen:
            yield counting[id(chosen[key])], values
