"""The smaller model: every layer made anew from its configuration, with what is left of it."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from tfinit.errors import InputError
from tfinit.graph.channel_rules import array_of, weighted
from tfinit.graph.channels import Channels, Mixing, nodes_of
from tfinit.graph.keras_internals import lambda_output_shape, producer_of
from tfinit.pruning.compaction.liveness import Liveness

_UNITS = {layers.Dense: "units"}  # the others call them filters


class Rebuilder:
    """Makes the layers of the smaller model and fills them.

    Args:
        channels: The channels of the given model.
        liveness: Which of them stay.

    Attributes:
        notes: The layers that were given a bias.
    """

    def __init__(self, channels: Channels, liveness: Liveness) -> None:
        self._liveness = liveness
        self._mixings = {id(mixing.layer): mixing for mixing in channels.mixings}
        self._carriers = {
            id(layer): (taken, made) for layer, taken, made in channels.carriers
        }  # fmt: skip
        self._made: dict[int, Any] = {}  # id of old layer → the new one
        self._fills: list[Callable[[], None]] = []
        self.notes: list[str] = []

    def model(self, model: Any, functional: Any) -> Any:
        """The smaller model, with its weights, uncompiled.

        Args:
            model: The given model.
            functional: It, or for a Sequential the functional model inside.
        """
        inputs = [self.layer(producer_of(tensor)) for tensor in functional.inputs]
        if isinstance(model, keras.Sequential):
            chain = [self.layer(layer) for layer in model.layers]
            new = keras.Sequential([*inputs, *chain], name=model.name)
        else:
            tensors = {
                id(old): new.output for old, new in zip(functional.inputs, inputs, strict=True)
            }
            for node in nodes_of(functional):
                args, kwargs = node.arguments.fill_in(tensors)
                made = self.layer(node.operation)(*args, **kwargs)
                for old, tensor in zip(node.outputs, keras.tree.flatten(made), strict=True):
                    tensors[id(old)] = tensor
            new = keras.Model(
                keras.tree.map_structure(lambda tensor: tensors[id(tensor)], model.input),
                keras.tree.map_structure(lambda tensor: tensors[id(tensor)], model.output),
                name=model.name,
            )
        for fill in self._fills:
            fill()
        return new

    def layer(self, old: Any) -> Any:
        """The new layer for an old one, not built and not filled yet."""
        if id(old) not in self._made:
            if id(old) in self._mixings:
                new = self._mixing(self._mixings[id(old)])
            elif id(old) in self._carriers:
                new = self._carrier(old, *map(self._liveness.of, self._carriers[id(old)]))
            else:
                new = copy_of(old)
                if isinstance(old, layers.Layer):
                    self._fills.append(lambda: _copy_variables(old, new))
            self._made[id(old)] = new
        return self._made[id(old)]

    def _mixing(self, mixing: Mixing) -> Any:
        old = mixing.layer
        rows, columns = self._liveness.of(mixing.taken), self._liveness.of(mixing.made)
        folded = ~rows & mixing.foldable
        extra = weighted(old, np.where(folded, mixing.taken.constants, 0.0))[columns]
        config = old.get_config()
        config[_UNITS.get(type(old), "filters")] = int(columns.sum())
        if extra.any() and not old.use_bias:
            config["use_bias"] = True
            self.notes.append(f"{old.name} was given a bias, to take in constants")
        new = type(old).from_config(config)

        def fill() -> None:
            kernel = keras.ops.convert_to_numpy(old.kernel)
            new.kernel.assign(kernel[..., rows, :][..., columns])
            if new.use_bias:
                bias = array_of(old.bias)[columns] if old.use_bias else 0.0
                new.bias.assign(bias + extra)

        self._fills.append(fill)
        return new

    def _carrier(self, old: Any, taken: np.ndarray, made: np.ndarray) -> Any:
        new = copy_of(old)

        def fill() -> None:
            for variable, source in zip(new.variables, old.variables, strict=True):
                array = keras.ops.convert_to_numpy(source)
                # A depthwise kernel is (*window, inputs, multiplier); all else is one for each.
                variable.assign(array[made] if array.ndim == 1 else array[..., taken, :])

        self._fills.append(fill)
        return new


def copy_of(operation: Any) -> Any:
    """A new layer or operation of the same configuration.

    Raises:
        InputError: It cannot be made from its configuration.
    """
    try:
        if type(operation) is layers.Lambda:
            # Its configuration holds the bytes of the function, which has lost its module.
            return layers.Lambda(
                operation.function,
                output_shape=lambda_output_shape(operation),
                mask=operation.mask,
                arguments=operation.arguments,
                name=operation.name,
                dtype=operation.dtype_policy,
            )
        return type(operation).from_config(operation.get_config())
    except Exception as error:  # the user's own code
        raise InputError(
            f"`model`: its layer {operation.name!r} ({type(operation).__name__}) cannot be made "
            f"again from its get_config(): {error} Give the class a get_config() and from_config() "
            "that do it."
        ) from error


def _copy_variables(old: Any, new: Any) -> None:
    shapes = [[tuple(variable.shape) for variable in layer.variables] for layer in (old, new)]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"`model`: its layer {old.name!r} ({type(old).__name__}), made again from its "
            f"get_config(), has variables of shapes {shapes[1]} instead of {shapes[0]}. Let its "
            "get_config() give all arguments."
        )
    for variable, source in zip(new.variables, old.variables, strict=True):
        variable.assign(source)
