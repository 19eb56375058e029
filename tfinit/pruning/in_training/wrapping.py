"""Optimizers around optimizers: which is the innermost, and what it keeps of each weight."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras

from tfinit.graph.keras_internals import moving_averages, states_of


def chain(optimizer: Any) -> Iterator[Any]:
    """An optimizer and those in it, the outermost first; none for None."""
    while optimizer is not None:
        yield optimizer
        optimizer = getattr(optimizer, "inner_optimizer", None)


def innermost(optimizer: Any) -> Any:
    """The optimizer that moves the weights; a LossScaleOptimizer may be around it."""
    return list(chain(optimizer))[-1]


def averages(optimizer: Any) -> list[Any]:
    """The average of each weight that an optimizer keeps, or none at all."""
    inner = innermost(optimizer)
    return moving_averages(inner) if inner.use_ema else []


def slots(optimizer: Any, weights: list[Any], places: Iterable[int]) -> dict[int, list[Any]]:
    """Place of a weight → what an optimizer keeps of each entry of it, with its value at the start.

    By Keras's convention these are lists with a variable for each weight: momenta, second moments.
    The rows and columns of Adafactor are of no single entry.
    """
    inner = innermost(optimizer)
    found: dict[int, list[Any]] = {i: [] for i in places}
    for name, kept in states_of(inner).items():
        if len(kept) != len(weights):
            continue
        at_first = getattr(inner, "initial_accumulator_value", 0.0)
        for i, of_weight in found.items():
            if isinstance(kept[i], keras.Variable) and kept[i].shape == weights[i].shape:
                of_weight.append((kept[i], at_first if name == "_accumulators" else 0.0))
    return found


def writes_nothing_but_rows(optimizer: Any, variable: Any) -> bool:
    """Whether a step with a sparse gradient leaves all other rows of the variable as they were.

    Plain SGD does. Momentum, Adam, weight decay and averages move every row, in every step.
    """
    return (
        type(optimizer) is keras.optimizers.SGD
        and not optimizer.momentum
        and not optimizer.weight_decay
        and not optimizer.use_ema
        and not optimizer.gradient_accumulation_steps
        and variable.constraint is None
    )
