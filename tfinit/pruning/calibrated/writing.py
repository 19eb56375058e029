"""What a model must be for its weights to be changed here, and how all of them are, or none."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfinit.errors import InputError
from tfinit.graph.exclusive import alone
from tfinit.pruning.scoring.loss_gradients import values_of
from tfinit.variables import check_built, keras_of


def check_keras_3(name: str, model: Any) -> None:
    """InputError unless this is a built model or layer of Keras 3; `name` is the argument."""
    if keras_of(model) == "tf_keras":
        raise InputError(f"`{name}` is of tf_keras, this is for Keras 3. Build it with `keras`.")
    check_built(model, name)


def write_all(model: Any, values: Sequence[tuple[Any, np.ndarray]]) -> None:
    """Assign values to variables of a model; all as they were, if one cannot be assigned."""
    with alone(model):
        before = [(variable, values_of(variable)) for variable, _ in values]
        try:
            for variable, value in values:
                variable.assign(value)
        except BaseException:
            for variable, value in before:
                variable.assign(value)
            raise
