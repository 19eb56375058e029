"""All that a training changes, by names that are the same in every process."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfinit.variables import unique_name, walk_layers, weight_name


def state_of(model: Any) -> dict[str, Any]:
    """Every variable of a compiled Keras 3 model and its optimizer, under a name of its own.

    Those of the model have the keys of `tfinit.variables.all_weights`; to these come the states of
    the generators of noise. Those of the optimizer begin with ``optimizer/``; where Keras names
    them after a variable of the model, they are named after its key here: Keras's own names of
    layers count all layers of the process.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="fc")])
        >>> model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
        >>> model.optimizer.build(model.trainable_variables)
        >>> list(state_of(model))[:4]
        ['fc/kernel', 'fc/bias', 'optimizer/iteration', 'optimizer/learning_rate']
        >>> list(state_of(model))[4:]
        ['optimizer/fc_kernel_momentum', 'optimizer/fc_bias_momentum']
    """
    names: dict[int, str] = {}
    taken: set[str] = set()
    # The deepest layers first: a variable is named after the one that it belongs to.
    for key, layer in reversed(list(walk_layers(model))):
        for variable in layer.variables:
            if id(variable) not in names:
                name = weight_name(variable)
                names[id(variable)] = unique_name(f"{key}/{name}" if key else name, taken)
    state = {names[id(variable)]: variable for variable in model.variables}
    paths = {v.path.replace("/", "_"): names[id(v)].replace("/", "_") for v in model.variables}
    longest_first = sorted(paths, key=len, reverse=True)
    for variable in model.optimizer.variables:
        name = variable.name
        after = next((path for path in longest_first if name.startswith(path)), None)
        if after is not None:
            name = paths[after] + name[len(after) :]
        state[unique_name(f"optimizer/{name}", taken)] = variable
    return state


def fits(state: Mapping[str, np.ndarray], variables: Mapping[str, Any]) -> bool:
    """Whether there is an array for each variable, of its shape, and none besides."""
    return state.keys() == variables.keys() and all(
        tuple(np.shape(state[name])) == tuple(variable.shape)
        for name, variable in variables.items()
    )
