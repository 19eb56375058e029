"""How far the optimizer's first step would move the weights, tried on copies."""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from tfinit.diagnostics.measuring.optimizer import inner_optimizer, largest_rate
from tfinit.diagnostics.measuring.parameters import largest, norm
from tfinit.graph.keras_internals import is_from_keras_3

# Keras's optimizers that move each entry of a weight by what its own gradients were.
_ENTRYWISE = frozenset(
    ["SGD", "Adam", "AdamW", "Adamax", "Nadam", "RMSprop", "Adagrad", "Adadelta", "Ftrl", "Lion"]
)
_ENTRIES = 2**16  # of a weight of such an optimizer are tried, where it has more


class Updates(NamedTuple):
    """The first update of a fresh optimizer, at the largest rate of its schedule.

    Attributes:
        ratios: rms(Δw) / rms(w) of each weight by its key. Left out are weights of zeros, and those
            whose gradient is missing or not finite; all, if the model is not compiled or its
            optimizer cannot be copied.
        decrease: -Σ g·Δw over the weights that training moves: how much lower the loss would be if
            it were linear; None where there are no ratios.
    """

    ratios: dict[str, float]
    decrease: float | None


def first_updates(
    model: Any, weights: dict[str, np.ndarray], gradients: dict[str, np.ndarray], trained: set[str]
) -> Updates:
    """How far a fresh optimizer's first step would move each weight.

    A ratio of about 10⁻³ is usual (10⁻² is fast, 10⁻⁴ slow). Where the optimizer moves each entry
    by itself, as Adam and SGD do, 65,536 entries stand for a larger weight, within about 1%.

    Args:
        model: A compiled model; its optimizer is copied, not used.
        weights: Key → a weight.
        gradients: Key → its gradient, for those that have one.
        trained: The keys of those that training moves.
    """
    optimizer = inner_optimizer(model)
    keys = [key for key in gradients if math.isfinite(largest(gradients[key]))]
    if optimizer is None or not keys:
        return Updates({}, None)
    try:
        fresh = fresh_optimizer(optimizer, largest_rate(optimizer))
        tried = _entrywise_moves if _is_entrywise(optimizer) else _moves
        moves = tried(fresh, [weights[key] for key in keys], [gradients[key] for key in keys])
    except Exception:
        # An optimizer of the user's own may need more than its config and variables.
        return Updates({}, None)
    ratios, decrease = {}, 0.0
    for key, move in zip(keys, moves, strict=True):
        size, slope = _rms(weights[key]), gradients[key]
        if size > 0:
            ratios[key] = _rms(move) / size
        if key in trained:
            along = slope if move.size == slope.size else _some(slope)
            summed = np.einsum("i,i->", along.ravel(), move.ravel(), dtype=np.float64)
            decrease -= float(summed) * slope.size / max(move.size, 1)
    return Updates(ratios, decrease)


def fresh_optimizer(optimizer: Any, rate: float) -> Any:
    """A copy of an optimizer that has made no step, with a rate that stays as it is."""
    return type(optimizer).from_config({**optimizer.get_config(), "learning_rate": rate})


def first_moves(
    weights: dict[str, np.ndarray],
    gradients: dict[str, np.ndarray],
    ratios: dict[str, float],
    by_sign: bool,
) -> dict[str, np.ndarray]:
    """Δw itself of those weights that have a ratio, near enough to look some steps ahead.

    Args:
        weights: Key → a weight.
        gradients: Key → its gradient.
        ratios: What `first_updates` gave.
        by_sign: Whether the optimizer goes by the signs of the gradient, as Adam's first step.
    """
    moves = {}
    for key in gradients.keys() & ratios.keys():
        way = np.sign(gradients[key]) if by_sign else gradients[key]
        if (size := _rms(way)) > 0:
            moves[key] = way * (-ratios[key] * _rms(weights[key]) / size)
    return moves


def _moves(
    optimizer: Any, weights: list[np.ndarray], gradients: list[np.ndarray]
) -> list[np.ndarray]:
    """What an optimizer adds to weights in a step."""
    import keras

    copies = [keras.Variable(w, dtype="float32", name="kernel") for w in weights]
    optimizer.build(copies)
    optimizer.apply([keras.ops.convert_to_tensor(g, "float32") for g in gradients], copies)
    return [copy.numpy() - w for copy, w in zip(copies, weights, strict=True)]


def _entrywise_moves(
    optimizer: Any, weights: list[np.ndarray], gradients: list[np.ndarray]
) -> list[np.ndarray]:
    """The same of some entries of each weight, all as one: Keras's steps per weight take longer."""
    entries, slopes = ([_some(array) for array in arrays] for arrays in (weights, gradients))
    (moves,) = _moves(optimizer, [np.concatenate(entries)], [np.concatenate(slopes)])
    return np.split(moves, np.cumsum([len(part) for part in entries])[:-1])


def _is_entrywise(optimizer: Any) -> bool:
    kind = type(optimizer)
    clips = optimizer.clipnorm is not None or optimizer.global_clipnorm is not None
    return is_from_keras_3(kind) and kind.__name__ in _ENTRYWISE and not clips


def _some(array: np.ndarray) -> np.ndarray:
    """Entries at places that depend on the size alone."""
    if array.size <= _ENTRIES:
        return array.ravel()
    return array.ravel()[_places(array.size)]


@functools.lru_cache(8)
def _places(size: int) -> np.ndarray:
    """Of which entries: networks repeat a few sizes."""
    return np.random.default_rng(0).integers(size, size=_ENTRIES)


def _rms(array: np.ndarray) -> float:
    return norm(array) / math.sqrt(array.size)
