"""Mask arithmetic: pure functions of arrays, exact in count.

A mask is a boolean array of the weight's shape: True survives, False is pruned.

**The tie rule.** Weights survive in the order of their score, largest first; of equal scores the
one that comes first in the flattened (C-order) tensor goes first, and in a pool of several tensors
the one of the earlier tensor. So the number of survivors is always exactly what was asked for.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tfinit.arguments import array, mapping, number, text, whole, wholes
from tfinit.errors import InputError

Masks = dict[str, np.ndarray]


def check_mask(name: str, mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return ``mask`` as a boolean array, or say what is wrong with it.

    Raises:
        InputError: the shape is not ``shape``, or an entry is neither 0 nor 1.
    """
    mask = array(f"mask of {text('name', name)}", mask)
    shape = wholes("shape", tuple(shape) if isinstance(shape, Iterable) else shape, 0, empty=True)
    if mask.shape != shape:
        raise InputError(f"The mask of {name!r} has shape {mask.shape}, the weight has {shape}.")
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise InputError(
            f"The mask of {name!r} has entries other than 0 and 1. 1 keeps a weight, 0 prunes it."
        )
    return mask.astype(bool)


def top_mask(scores: np.ndarray, keep: int) -> np.ndarray:
    """The mask of the ``keep`` largest scores; ties as the module says.

    Args:
        scores: Array of any shape; larger survives. ``-inf`` marks what should go first.
        keep: How many survive, 0 to ``scores.size``.

    Returns:
        Boolean array of the shape of ``scores`` with exactly ``keep`` entries True.

    Raises:
        InputError: ``keep`` is out of range, or a score is NaN.

    Example:
        >>> top_mask(np.array([1.0, 3.0, 3.0, 3.0]), keep=2)
        array([False,  True,  True, False])
    """
    scores = array("scores", scores)
    flat = np.ravel(scores)
    keep = whole("keep", keep, 0, flat.size)
    if np.isnan(flat).any():
        raise InputError("`scores` has NaN: a weight that is not a number cannot be ranked.")
    mask = np.zeros(flat.shape, dtype=bool)
    if keep:
        # Partial selection, O(n): above the threshold all survive, at it the first few do.
        threshold = np.partition(flat, flat.size - keep)[flat.size - keep]
        mask[flat > threshold] = True
        ties = np.flatnonzero(flat == threshold)
        mask[ties[: keep - np.count_nonzero(mask)]] = True
    return mask.reshape(np.shape(scores))


def survivors(alive: int, fraction: float) -> int:
    """How many of ``alive`` weights survive when ``fraction`` of them is pruned.

    ``alive - round(fraction * alive)``, halves to the even number, as Python rounds.

    Raises:
        InputError: ``fraction`` is not between 0 and 1.

    Example:
        >>> survivors(1000, 0.2)
        800
    """
    alive = whole("alive", alive, 0)
    fraction = number("fraction", fraction, least=0, most=1)
    return alive - round(fraction * alive)


def magnitude_scores(weights: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """|w| where the mask is true, -inf where it is false: what was pruned stays pruned."""
    weights = array("weights", weights)
    mask = check_mask("weights", mask, weights.shape)
    return np.where(mask, np.abs(weights), -np.inf)


def prune_layerwise(
    weights: Mapping[str, np.ndarray], masks: Masks, fractions: Mapping[str, float]
) -> Masks:
    """Prune in each tensor the given fraction of its survivors, smallest magnitude first.

    Args:
        weights: Key → trained weights.
        masks: Key → the present mask. The new mask lies inside it.
        fractions: Key → fraction of the survivors to prune.

    Returns:
        Key → new mask, each with `survivors(alive, fraction)` entries True.

    Raises:
        InputError: a mask has no weights or no fraction, or they do not fit.
    """
    weights, masks = _of_one_shape(weights, masks)
    fractions = _for_each("fractions", fractions, masks)
    counts = {
        key: survivors(int(np.count_nonzero(mask)), fractions[key]) for key, mask in masks.items()
    }
    return keep_layerwise({key: np.abs(w) for key, w in weights.items()}, masks, counts)


def prune_globally(weights: Mapping[str, np.ndarray], masks: Masks, fraction: float) -> Masks:
    """Prune the given fraction of all survivors, smallest magnitude of all tensors first.

    Args:
        weights: Key → trained weights.
        masks: Key → the present mask. The new masks lie inside them.
        fraction: Fraction of all survivors to prune.

    Returns:
        Key → new mask, together with `survivors(alive, fraction)` entries True.

    Raises:
        InputError: a mask has no weights, or they do not fit.
    """
    weights, masks = _of_one_shape(weights, masks)
    alive = sum(int(np.count_nonzero(mask)) for mask in masks.values())
    scores = {key: np.abs(w) for key, w in weights.items()}
    return keep_globally(scores, masks, survivors(alive, fraction))


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
        counts: Key → how many survive, as `survivors` counts.

    Returns:
        Key → new mask with exactly ``counts[key]`` entries True; ties as
        the module says.

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
        the module says.

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


def density(masks: Masks) -> float:
    """The fraction of weights that survive, over all masks together."""
    masks = mapping("masks", masks, "keys to masks")
    masks = {
        key: check_mask(f"{key} in masks", mask, np.shape(mask)) for key, mask in masks.items()
    }
    if not sum(mask.size for mask in masks.values()):
        raise InputError("`masks` has no entries, of which none is a fraction.")
    return sum(int(np.count_nonzero(m)) for m in masks.values()) / sum(
        m.size for m in masks.values()
    )


def _of_one_shape(weights: Any, masks: Any) -> tuple[Masks, Masks]:
    """Weights and masks as dictionaries of arrays, which fit together."""
    masks = mapping("masks", masks, "keys to masks")
    if not masks:
        raise InputError("`masks` is empty: there is nothing to prune.")
    weights = _for_each("weights", weights, masks)
    weights = {key: array(f"weights[{key!r}]", weights[key]) for key in masks}
    shapes = {key: weight.shape for key, weight in weights.items()}
    return weights, {key: check_mask(f"{key} in masks", masks[key], shapes[key]) for key in masks}


def _for_each(name: str, values: Any, masks: Masks) -> dict[str, Any]:
    values = mapping(name, values, "keys to values")
    missing = sorted(masks.keys() - values.keys())
    if missing:
        raise InputError(f"`{name}` lacks {missing}, which `masks` has; it has {sorted(values)}.")
    return values
