"""From the weights of a rule to its new masks: score → allocation → selection, in one place.

Pure functions of tensors in `keras.ops`, so that they run inside a compiled step.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from tfinit.pruning.in_training.binding import Group
from tfinit.pruning.in_training.patterns import block_mask, n_m_mask
from tfinit.pruning.in_training.selection import keep_count, top_masks, top_masks_of_each
from tfinit.pruning.in_training.shards import top_masks_of_each_in_shards, top_masks_of_shards
from tfinit.pruning.in_training.whole_channels import Channels, by_group, kept_channels
from tfinit.pruning.scoring.allocation import is_global
from tfinit.pruning.scoring.masks import top_mask
from tfinit.pruning.scoring.scores import check_values
from tfinit.pruning.scoring.sparsities import floor_counts, sparsities
from tfinit.streams import number


class State(NamedTuple):
    """What a rule decides from: one list entry for each of its weights.

    Attributes:
        weights: The weights, zero where pruned.
        masks: Their present masks.
        gradients: Their gradients before masking; None where there was none, or before the first.
        states: What the rule's score remembers of them; None for a score that remembers nothing.
    """

    weights: list[Any]
    masks: list[Any]
    gradients: list[Any]
    states: list[Any]


class Selection(NamedTuple):
    """How the largest scores are found.

    Attributes:
        of_all: As `top_masks`: scores, how many of all together, whether by magnitude → masks.
        of_each: As `top_masks_of_each`: scores, how many of each, whether by magnitude → masks.
    """

    of_all: Callable[..., list[Any]]
    of_each: Callable[..., list[Any]]


def first_masks(group: Group, sparsity: Any, weights: list[Any]) -> list[Any]:
    """The masks before the first step: as `start` says for a rule that regrows, else `new_masks`.

    The weights are here, not in a traced function, so NumPy selects: `top_masks` would be compiled
    for every size of tensor, and be called once. But weights that are spread over devices may be
    more than one place has room for.
    """
    select = _IN_SHARDS if group.sharded else _IN_NUMPY
    if group.rule.regrow:
        scores = [_random(group, i, 0) for i in range(len(weights))]
        if group.rule.start == "magnitude":
            scores = [ops.abs(w) for w in weights]
        return _layerwise(group, scores, sparsity, select)
    ones = [ops.ones(shape, "bool") for shape in group.shapes]
    nothing: list[Any] = [None] * len(ones)
    state = State(weights, ones, nothing, nothing)
    return new_masks(group, 1, sparsity, state, select)


def _top_masks_in_numpy(scores: list[Any], keep: Any, absolute: bool = False) -> list[Any]:
    arrays = [ops.convert_to_numpy(ops.cast(s, "float32")) for s in scores]
    pool = np.concatenate([a.ravel() for a in arrays])
    mask = top_mask(np.abs(pool) if absolute else pool, int(ops.convert_to_numpy(keep)))
    ends = np.cumsum([a.size for a in arrays])[:-1]
    return [m.reshape(a.shape) for m, a in zip(np.split(mask, ends), arrays, strict=True)]


def _of_each_in_numpy(scores: list[Any], keeps: list[Any], absolute: bool) -> list[Any]:
    pairs = zip(scores, keeps, strict=True)
    return [mask for score, keep in pairs for mask in _top_masks_in_numpy([score], keep, absolute)]


_IN_ONE_PLACE = Selection(top_masks, top_masks_of_each)
_IN_SHARDS = Selection(top_masks_of_shards, top_masks_of_each_in_shards)
_IN_NUMPY = Selection(_top_masks_in_numpy, _of_each_in_numpy)


def new_masks(
    group: Group, step: Any, sparsity: Any, state: State, select: Selection | None = None
) -> list[Any]:
    """The masks that a rule takes before training step ``step``, at ``sparsity``.

    Args:
        group: The rule and its weights.
        step: The step, counted from 1: an integer or a scalar tensor.
        sparsity: What the schedule says, a float or a float32 scalar tensor.
        state: What it decides from.
        select: What selects; None: what suits where the weights lie.

    Returns:
        One boolean tensor for each weight, with the exact count of survivors.
    """
    rule = group.rule
    if select is None:
        select = _IN_SHARDS if group.sharded else _IN_ONE_PLACE
    if rule.regrow:
        return _regrown(group, step, sparsity, state, select)
    if rule.channels:
        return _of_channels(group, sparsity, state, _IN_ONE_PLACE if group.sharded else select)
    plain = rule.block_size == (1, 1) and not rule.sparsity_m_by_n and not rule.monotone
    # Ranked by |w| without writing |w| to memory.
    absolute = rule.scoring.absolute and plain
    scores = state.weights if absolute else _scores(group, state)
    if rule.monotone:
        lowest = [ops.cast(-math.inf, s.dtype) for s in scores]
        scores = [
            ops.where(m, s, low) for s, m, low in zip(scores, state.masks, lowest, strict=True)
        ]
    if rule.sparsity_m_by_n:
        masks = [
            n_m_mask(s, *rule.sparsity_m_by_n, axis)
            for s, axis in zip(scores, group.input_axes, strict=True)
        ]
    elif is_global(rule.allocation):
        keep = sum(keep_count(math.prod(shape), sparsity) for shape in group.shapes)
        of_all = functools.partial(select.of_all, absolute=absolute)
        if rule.min_density > 0:
            scores, keep = _with_floors(scores, keep, rule.min_density, of_all)
        masks = of_all(scores, keep)
    else:
        masks = _layerwise(group, scores, sparsity, select, absolute)
    if rule.monotone:
        masks = [ops.logical_and(new, old) for new, old in zip(masks, state.masks, strict=True)]
    return masks


def _of_channels(group: Group, sparsity: Any, state: State, select: Selection) -> list[Any]:
    """The masks of whole channels, of which the best of each group stay, or of all."""
    rule, channels = group.rule, Channels(group.channels, group.shapes)
    scores = channels.scores({i: _score(group, state, i) for i in sorted(channels.counted)})
    if rule.monotone:
        lowest = ops.cast(-math.inf, "float32")
        living = channels.living(state.masks)
        scores = [ops.where(alive, s, lowest) for alive, s in zip(living, scores, strict=True)]
    parts = [sparsity] * len(scores)
    if isinstance(rule.allocation, Mapping):
        own = by_group(rule.allocation, group.channels)
        shapes = {str(n): score.shape for n, score in enumerate(scores)}
        of_all = dict(zip(shapes, own, strict=True))
        parts = list(sparsities(of_all, sparsity, shapes, group.final).values())
    together = is_global(rule.allocation)
    masks = channels.masks(kept_channels(scores, parts, together, rule.min_density, select))
    if rule.monotone:
        masks = [ops.logical_and(new, old) for new, old in zip(masks, state.masks, strict=True)]
    return masks


def _with_floors(
    scores: list[Any], keep: Any, min_density: float, of_all: Callable[..., list[Any]]
) -> tuple[list[Any], Any]:
    """The scores with the best of each tensor before all others, and how many survive in all."""
    floors = floor_counts([math.prod(s.shape) for s in scores], keep, min_density)
    raised = []
    for score, floor in zip(scores, floors, strict=True):
        (best,) = of_all([score], floor)
        low, high = (ops.cast(x, score.dtype) for x in (-math.inf, math.inf))
        # Not what `monotone` has ruled out: its place would be lost.
        raised.append(ops.where(ops.logical_and(best, score > low), high, score))
    return raised, ops.maximum(keep, sum(floors))


def _scores(group: Group, state: State) -> list[Any]:
    """The scores of a rule's weights."""
    return [_score(group, state, i) for i in range(len(state.weights))]


def _score(group: Group, state: State, i: int) -> Any:
    """The score of one of a rule's weights, of what it needs."""
    score, weights, gradient = group.rule.scoring, state.weights[i], state.gradients[i]
    values = score.evaluate(
        {
            "weights": lambda: weights,
            "gradients": lambda: (
                ops.zeros_like(weights) if gradient is None else ops.cast(gradient, weights.dtype)
            ),
            "state": lambda: ops.convert_to_tensor(state.states[i]),
            # The same numbers at each update: as the sparsity grows, the masks are nested.
            "random": lambda: _random(group, i, 0),
        }
    )
    values = ops.convert_to_tensor(check_values(score, values, group.shapes[i]))
    is_float = keras.backend.is_float_dtype(keras.backend.standardize_dtype(values.dtype))
    return values if is_float else ops.cast(values, weights.dtype)


def _layerwise(
    group: Group, scores: list[Any], sparsity: Any, select: Selection, absolute: bool = False
) -> list[Any]:
    rule = group.rule
    by_key = _sparsities(group, sparsity)
    if rule.block_size != (1, 1):
        blocks = rule.block_size, rule.block_pooling_type
        return [
            block_mask(s, part, *blocks, select.of_all)
            for s, part in zip(scores, by_key, strict=True)
        ]
    keeps = [keep_count(math.prod(s), part) for s, part in zip(group.shapes, by_key, strict=True)]
    return select.of_each(scores, keeps, absolute)


def _sparsities(group: Group, sparsity: Any) -> list[Any]:
    """One sparsity for each weight, whatever name the allocation calls it by."""
    allocation = group.rule.allocation
    names = [keys[0] for keys in group.keys]
    if isinstance(allocation, dict):
        names = [next((k for k in keys if k in allocation), keys[0]) for keys in group.keys]
    shapes = dict(zip(names, group.shapes, strict=True))
    found = sparsities(allocation, sparsity, shapes, group.final)
    return [found[name] for name in names]


def _regrown(group: Group, step: Any, sparsity: Any, state: State, select: Selection) -> list[Any]:
    rule = group.rule
    fraction = rule.drop_fraction
    end = getattr(rule.schedule, "end_step", -1)
    if end > 0:
        progress = ops.minimum(ops.cast(step, "float32") / end, 1.0)
        fraction = fraction / 2 * (1 + ops.cos(math.pi * progress))
    masks = []
    for i, part in enumerate(_sparsities(group, sparsity)):
        weight, mask = state.weights[i], state.masks[i]
        count = keep_count(math.prod(group.shapes[i]), part)
        dropped = ops.cast(ops.round(fraction * ops.cast(count, "float32")), "int32")
        lowest, highest = (ops.cast(x, weight.dtype) for x in (-math.inf, math.inf))
        (kept,) = select.of_all([ops.where(mask, ops.abs(weight), lowest)], count - dropped)
        kept = ops.logical_and(kept, mask)
        gradient = state.gradients[i]
        if rule.regrow == "set" or gradient is None:
            growth = ops.cast(_random(group, i, step), weight.dtype)
        else:
            growth = ops.abs(ops.cast(gradient, weight.dtype))
        masks += select.of_all([ops.where(kept, highest, growth)], count)
    return masks


class _Seed(keras.random.SeedGenerator):
    # Keras draws from a fixed integer or from a generator's own variable. A step of training is a
    # tensor, and keeping no variable leaves the optimizer without one more state to save.
    def __init__(self, value: Any) -> None:
        self.value = value

    def next(self, ordered: bool = True) -> Any:
        return self.value


def _random(group: Group, i: int, step: Any) -> Any:
    """Uniform numbers: a function of the seed, which weight it is, its shape and the step."""
    text = f"{group.rule.seed}/{group.indices[i]}/{group.shapes[i]}"
    own = number(text, 3)
    # PyTorch takes the first of the two only.
    counter = own * 64 + ops.cast(step, "int32")
    seed = ops.cast(ops.stack([counter, ops.cast(step, "int32")]), _seed_dtype())
    return keras.random.uniform(group.shapes[i], seed=_Seed(seed))


def _seed_dtype() -> str:
    return "int32" if keras.backend.backend() == "tensorflow" else "uint32"
