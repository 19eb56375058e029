"""A model with its loss and its metrics, and what they are on test data."""

from typing import Any

import numpy as np

from tfinit.array_trees import flat
from tfinit.datasets import digest
from tfinit.errors import InputError, reason
from tfinit.graph.keras_internals import is_from_keras_3, losses_of
from tfinit.saved_data import Examples
from tfinit.training.checks import overridden, told

_MEASURED = ("compute_loss", "test_step")  # what a model's own loss is seen in


def digest_of(train: Examples, test: Examples | None) -> str:
    """Of the arrays in the model's order; of one input and one output, as it always was."""
    x_test, y_test, test_weights = test or (None, None, None)
    weights = [one for one in (train[2], test_weights) if one is not None]
    parts = (*train[:2], x_test, y_test, *weights)
    return digest(*(array for part in parts for array in flat(part)))


def compile_with(model: Any, optimizer: Any, loss: Any, settings: dict[str, Any]) -> None:
    """Compile a model; InputError if Keras does not know the loss or a metric."""
    # Of a class that may take anything, what it was given stays.
    if any("compile" in vars(c) and not is_from_keras_3(c) for c in type(model).__mro__):
        if optimizer is not None:
            model.optimizer, model.train_function = optimizer, None
        return
    eager = {"run_eagerly": True} if getattr(model, "run_eagerly", False) else {}
    try:
        model.compile(*([] if optimizer is None else [optimizer]), loss=loss, **settings, **eager)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"`loss` {told(loss)} cannot be compiled: {reason(error)} Name another with --loss."
        ) from error


def has_loss(model: Any) -> bool:
    """Whether there is a loss to evaluate. Of a model that was called: layers add theirs then."""
    told = model.losses or losses_of(model) is not None
    return bool(told or any(overridden(model, method) for method in _MEASURED))


def evaluated(model: Any, test: Examples | None) -> dict[str, float]:
    """Loss and metrics by their names; nothing without test data."""
    if test is None:
        return {}
    x, y, weights = test
    found = model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    metrics = {}
    for name, value in found.items():
        values = np.asarray(value, "float64")  # of some metrics one a class
        metrics |= {
            name if not values.ndim else f"{name}[{n}]": float(one)
            for n, one in enumerate(values.reshape(-1))
        }
    return metrics
