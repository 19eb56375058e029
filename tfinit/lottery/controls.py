"""What a ticket is compared with: pure functions that take one of its parts away.

A control keeps what it is not about. Where it does as well as the ticket, that part was not what
made the ticket win::

    shuffled            the mask's count in each tensor stays, the places are random
    with_signs_of       the signs stay, the magnitudes are another network's
    signed_constant     the signs stay, the magnitudes are one number for each tensor

References:
    Zhou, Lan, Liu & Yosinski, *Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask*,
    NeurIPS 2019, https://arxiv.org/abs/1905.01067, for the signs.
    Su et al., *Sanity-Checking Pruning Methods: Random Tickets can Win the Jackpot*, NeurIPS 2020,
    https://arxiv.org/abs/2009.11094, and Frankle, Dziugaite, Roy & Carbin, *Pruning Neural
    Networks at Initialization: Why Are We Missing the Mark?*, ICLR 2021,
    https://arxiv.org/abs/2009.08576, for the shuffled mask.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from tfinit.errors import InputError
from tfinit.lottery.result import Weights
from tfinit.pruning.scoring.masks import Masks
from tfinit.streams import stream_for


def shuffled(mask: Masks, seed: int) -> Masks:
    """The mask with the entries of each tensor in random order.

    Args:
        mask: Key → mask.
        seed: Each key has its own stream. The order depends on the seed, the key and the size, not
            on the mask: masks that lie inside each other still do when they are shuffled.

    Returns:
        Key → mask with as many entries True.

    Example:
        >>> mask = {"fc": np.array([True, False, False, False])}
        >>> int(shuffled(mask, seed=0)["fc"].sum())
        1
    """
    return {
        key: stream_for("shuffled mask", seed, key).permutation(np.ravel(m)).reshape(np.shape(m))
        for key, m in mask.items()
    }


def _known(name: str, weights: Mapping[str, np.ndarray], keys: Iterable[str]) -> None:
    missing = sorted(set(keys) - weights.keys())
    if missing:
        raise InputError(f"`keys` names {missing}, which `{name}` lacks; it has {list(weights)}.")


def with_signs_of(weights: Weights, signs: Weights, keys: Iterable[str]) -> Weights:
    """|weights| · sign(signs) for the given keys, the others as they are.

    The paper's "reinitialized, sign kept": ``weights`` are another initialization, ``signs`` the
    ticket's. Where ``signs`` is 0 the result is 0.

    Args:
        weights: Key → weights.
        signs: Key → weights whose signs to take.
        keys: Which weights to change: those of the mask.

    Returns:
        A new dictionary with the keys and types of ``weights``.

    Raises:
        InputError: a key is missing, or a shape differs.

    Example:
        >>> with_signs_of({"fc": np.array([1.0, -2.0])}, {"fc": np.array([-3.0, 4.0])}, ["fc"])
        {'fc': array([-1.,  2.])}
    """
    keys = set(keys)
    _known("weights", weights, keys)
    _known("signs", signs, keys)
    for key in keys:
        if np.shape(signs[key]) != np.shape(weights[key]):
            raise InputError(
                f"`signs[{key!r}]` has shape {np.shape(signs[key])}, "
                f"the weights have {np.shape(weights[key])}."
            )
    return {
        key: (np.abs(w) * np.sign(signs[key])).astype(w.dtype) if key in keys else w
        for key, w in weights.items()
    }


def signed_constant(weights: Weights, keys: Iterable[str]) -> Weights:
    """sign(w) · std(w) for the given keys, the others as they are.

    The standard deviation is that of the whole tensor, as in the authors' code: pass the dense
    initial weights, not masked ones.

    Args:
        weights: Key → initial weights.
        keys: Which weights to change: those of the mask.

    Returns:
        A new dictionary with the keys and types of ``weights``.

    Raises:
        InputError: a key is missing.

    Example:
        >>> signed_constant({"fc": np.array([1.0, -1.0, 3.0, -3.0]) / 5**0.5}, ["fc"])
        {'fc': array([ 1., -1.,  1., -1.])}
    """
    keys = set(keys)
    _known("weights", weights, keys)
    return {
        # Summed in float64: a constant of a narrow type would depend on the order of the sum.
        key: (np.sign(w) * w.astype(np.float64).std()).astype(w.dtype) if key in keys else w
        for key, w in weights.items()
    }
