"""All that a training changes, by names that are the same in every process."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfinit.graph.keras_internals import trained_by
from tfinit.variables import keras_of, unique_name, walk_layers, weight_name


def state_of(model: Any) -> dict[str, Any]:
    """Every variable of a compiled model and its optimizers, under a name of its own.

    Those of the model have the keys of `tfinit.variables.all_weights`; to these come the states of
    the generators of noise. Those of the optimizer begin with ``optimizer/``; where Keras names
    them after a variable of the model, they are named after its key here: Keras's own names of
    layers count all layers of the process. In tf_keras all are numbered. Other optimizers, which a
    model with a ``train_step`` of its own may have as attributes, begin with the attribute's name.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="fc")])
        >>> model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
        >>> model.optimizer.build(model.trainable_variables)
        >>> list(state_of(model))[:4]
        ['fc/kernel', 'fc/bias', 'optimizer/iteration', 'optimizer/learning_rate']
        >>> list(state_of(model))[4:]
        ['optimizer/fc_kernel_momentum', 'optimizer/fc_bias_momentum']
    """
    if keras_of(model) == "tf_keras":
        groups = {"model": model.weights, "optimizer": model.optimizer.variables()}
        return {f"{group}/{n}": v for group, found in groups.items() for n, v in enumerate(found)}
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
    seen: set[int] = set()
    for prefix, optimizer in optimizers_of(model).items():
        for variable in optimizer.variables:
            if id(variable) in seen:  # of an optimizer inside another
                continue
            seen.add(id(variable))
            name = variable.name
            after = next((path for path in longest_first if name.startswith(path)), None)
            if after is not None:
                name = paths[after] + name[len(after) :]
            state[unique_name(f"{prefix}/{name}", taken)] = variable
    return state


def optimizers_of(model: Any) -> dict[str, Any]:
    """A Keras 3 model's optimizer, and those that it has as attributes, by their names."""
    import keras

    others = {
        name: value
        for name, value in vars(model).items()
        if isinstance(value, keras.optimizers.Optimizer) and name != "optimizer"
    }
    return {"optimizer": model.optimizer} | others


def begin_anew(optimizer: Any) -> None:
    """Give an optimizer of Keras 3 the variables of a new one of its configuration."""
    if not optimizer.built:
        return
    new = type(optimizer).from_config(optimizer.get_config())
    new.build(trained_by(optimizer))
    for variable, value in zip(optimizer.variables, new.variables, strict=True):
        variable.assign(value)


def values_of(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Copies of the values of variables."""
    # A variable of tf_keras that is on several devices is no array.
    numbers = {n: v.numpy() if hasattr(v, "numpy") else v for n, v in variables.items()}
    return {name: np.array(value) for name, value in numbers.items()}


def assign_all(variables: Mapping[str, Any], values: Mapping[str, np.ndarray]) -> None:
    """Give variables the values of their names."""
    for name, variable in variables.items():
        variable.assign(values[name])


def fits(state: Mapping[str, np.ndarray], variables: Mapping[str, Any]) -> bool:
    """Whether there is an array for each variable, of its shape, and none besides."""
    return state.keys() == variables.keys() and all(
        tuple(np.shape(state[name])) == tuple(variable.shape)
        for name, variable in variables.items()
    )
