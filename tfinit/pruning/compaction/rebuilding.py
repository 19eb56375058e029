"""The smaller model: every layer made anew from its configuration, with what is left of it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from inspect import isfunction
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from keras import layers

from tfinit.errors import InputError
from tfinit.graph.channel_mixing import constants_in
from tfinit.graph.channel_values import Channels, Value, Weighted, array_of
from tfinit.graph.keras_internals import (
    arguments_with,
    calls_in,
    constructor_arguments,
    functional_of,
    is_from_keras_3,
    lambda_output_shape,
    producer_of,
)
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.tracing import own_graph, trace
from tfinit.pruning.compaction.liveness import Liveness
from tfinit.variables import all_weights, children, walk_layers


class Rebuilder:
    """Makes the layers of the smaller model and fills them.

    Args:
        channels: The channels of the given model.
        liveness: Which of them stay; or how often each is there, if some are to be several times.
        inserted: Id of layer → new layers that are called behind it, one after the other.

    Attributes:
        notes: The layers that were given a bias, the models that became of another class.
    """

    def __init__(
        self,
        channels: Channels,
        liveness: Liveness,
        inserted: Mapping[int, Sequence[Any]] = MappingProxyType({}),
    ) -> None:
        self._channels = channels
        self._liveness = liveness
        self._inserted = inserted
        self._made: dict[int, Any] = {}  # id of old layer → the new one
        self._fills: list[Callable[[], None]] = []
        self.notes: list[str] = []

    def model(self, model: Any) -> Any:
        """The smaller model, with its weights, uncompiled."""
        new = self._model(model, self._channels.values)
        for fill in self._fills:
            fill()
        _train_alike(model, new)
        for _, old in walk_layers(model):
            if id(old) in self._made:
                _train_alike(old, self._made[id(old)])
        return new

    def _model(self, model: Any, inside: list[Value]) -> Any:
        """The new model for a model or one inside it, not filled yet.

        Args:
            model: The model.
            inside: What is known of the tensors in it.
        """
        if _is_own_class(model) and all((self._liveness.of(value) == 1).all() for value in inside):
            new = self._copy_of_class(model)
            if new is not None:
                return new
        given = functional_of(model).inputs
        values = self._channels.entries.get(id(model), [None] * len(given))
        inputs = [
            self._input(producer_of(tensor), value)
            for tensor, value in zip(given, values, strict=True)
        ]
        if isinstance(model, keras.Sequential):
            self._note_class(model, keras.Sequential)
            made = [
                layer for old in model.layers for layer in (self.layer(old), *self._behind(old))
            ]
            return keras.Sequential([*inputs, *made], name=model.name)
        tensors = {id(old): new.output for old, new in zip(given, inputs, strict=True)}
        for call in calls_in(model):
            args, kwargs = arguments_with(call, tensors)
            made = self.layer(call.operation)(*args, **kwargs)
            for layer in self._behind(call.operation):
                made = layer(made)
            for old, tensor in zip(call.outputs, keras.tree.flatten(made), strict=True):
                tensors[id(old)] = tensor
        ends = [
            keras.tree.map_structure(lambda tensor: tensors[id(tensor)], end)
            for end in (model.input, model.output)
        ]
        # Classes that only train in another way, say.
        kind = type(model) if type(model).__init__.__module__.startswith("keras.") else keras.Model
        self._note_class(model, kind)
        return kind(*ends, name=model.name)

    def _behind(self, old: Any) -> Sequence[Any]:
        """The new layers behind an old one."""
        return self._inserted.get(id(old), ())

    def _copy_of_class(self, model: Any) -> Any:
        """A copy that its class makes from its configuration; None if it cannot."""
        below = [layer for key, layer in walk_layers(model) if key]
        if any(id(layer) in self._made for layer in below):
            return None  # the model inside shares a layer with the model around it
        try:
            new = copy_of(model)
            _copy_variables(model, new)
        except InputError:
            return None
        if not _alike(model, new):
            return None
        copies = [layer for key, layer in walk_layers(new) if key]
        self._made.update(zip(map(id, below), copies, strict=True))
        return new

    def _note_class(self, model: Any, kind: type) -> None:
        if _is_own_class(model) and type(model) is not kind:
            self.notes.append(
                f"{model.name} is a plain keras.{kind.__name__} now: its class "
                f"{type(model).__name__} makes its layers itself, with all their units"
            )

    def _input(self, old: Any, value: Value | None) -> Any:
        """The new input of a model, of a model inside with what is left of its channels."""
        config = old.get_config()
        if value is not None:
            config["batch_shape"] = self._resized(config["batch_shape"], value)
        return type(old).from_config(config)

    def _resized(self, shape: Sequence[int | None], value: Value) -> tuple[int | None, ...]:
        left = int(self._liveness.of(value).sum())
        sizes = list(shape)
        if sizes[value.axis] not in (None, -1):  # which find themselves
            sizes[value.axis] = left
        return tuple(sizes)

    def layer(self, old: Any) -> Any:
        """The new layer for an old one, not built and not filled yet."""
        if id(old) not in self._made:
            channels = self._channels
            if own_graph(old) is not None:
                new = self._model(old, channels.inside.get(id(old), []))
            elif kind_of(old, exactly=True).channels == "each_step":
                new = self._wrapper(old)
            elif id(old) in channels.weighted:
                new = self._weighted(channels.weighted[id(old)])
            elif id(old) in channels.resized:
                new = self._reshape(old, channels.resized[id(old)])
            else:
                new = copy_of(old)
                if isinstance(old, layers.Layer):
                    self._fills.append(lambda: _copy_variables(old, new))
            self._made[id(old)] = new
        return self._made[id(old)]

    def _weighted(self, weighted: Weighted) -> Any:
        """A layer with what is left of the axes that channels are on."""
        old, live = weighted.layer, self._liveness.of
        bias = self._taken_in(old)
        changes: dict[str, Any] = {
            argument: int(live(value).sum()) for argument, value in weighted.sizes.items()
        }
        if bias.any() and not old.use_bias:
            changes["use_bias"] = True
            self.notes.append(f"{weighted.name} was given a bias, to take in constants")
        new = copy_of(old, **changes)

        def fill() -> None:
            sources = all_weights(old)
            for key, variable in all_weights(new).items():
                if key in sources:
                    array = keras.ops.convert_to_numpy(sources[key])
                    for axis, value in enumerate(weighted.weights.get(key, ())):
                        if value is not None:
                            array = np.repeat(array, live(value), axis)
                    variable.assign(array)
            if bias.any():
                before = array_of(new.bias) if old.use_bias else 0.0
                new.bias.assign(before + bias)

        self._fills.append(fill)
        return new

    def _wrapper(self, old: Any) -> Any:
        """A layer that calls the one in it at each step."""
        config = {key: value for key, value in old.get_config().items() if key != "layer"}
        return type(old)(self.layer(old.layer), **config)

    def _taken_in(self, layer: Any) -> np.ndarray:
        """What constants that go add to the bias of a layer, for each channel that it makes."""
        mixing = self._channels.mixings.get((id(layer), ""))
        if mixing is None or not self._liveness.folds:
            return np.zeros(0)
        folded = ~self._liveness.of(mixing.taken) & mixing.foldable
        if not mixing.taken.constants[folded].any():
            return np.zeros(0)
        sums = constants_in(layer, np.where(folded, mixing.taken.constants, 0.0))
        return sums[self._liveness.of(mixing.made)]

    def _reshape(self, old: Any, made: Value) -> Any:
        config = old.get_config()
        if "target_shape" in config:  # the layer's, without the batch
            config["target_shape"] = self._resized((None, *config["target_shape"]), made)[1:]
        else:
            config["newshape"] = self._resized(config["newshape"], made)
        return type(old).from_config(config)


def _train_alike(old: Any, new: Any) -> None:
    """Freeze what is frozen: a layer with all in it; of a model itself, whose layers follow."""
    if own_graph(old) is None:
        for (_, part), (_, copy) in zip(walk_layers(old), walk_layers(new), strict=False):
            if part.trainable != copy.trainable:
                copy.trainable = part.trainable
    elif old.trainable != new.trainable:
        new.trainable = old.trainable


def _is_own_class(model: Any) -> bool:
    return not is_from_keras_3(type(model))


def _alike(model: Any, copy: Any) -> bool:
    """Whether a copy calls the same layers, whatever its class made of its configuration."""
    wiring = [
        [(type(step.op), step.inputs, step.outputs) for step in trace(m, composites=False).steps]
        for m in (model, copy)
    ]
    below = [[layer for _, layer in walk_layers(m)] for m in (model, copy)]
    return (
        wiring[0] == wiring[1]
        and len(below[0]) == len(below[1])
        and not any(
            not children(old) and _differ(old, new) for old, new in zip(*below, strict=True)
        )
    )


def _differ(old: Any, new: Any) -> bool:
    """Whether two layers are known to be of different configurations."""
    try:
        return {**old.get_config(), "name": ""} != {**new.get_config(), "name": ""}
    except Exception:  # KerasHub has layers that cannot say theirs
        return type(old) is not type(new)


def copy_of(operation: Any, **changes: Any) -> Any:
    """A new layer or operation of the same configuration, but for the changes.

    Raises:
        InputError: It cannot be made from its configuration.
    """
    kind = type(operation)
    try:
        if kind is layers.Lambda:
            # Its configuration holds the bytes of the function, which has lost its module.
            return layers.Lambda(
                operation.function,
                output_shape=lambda_output_shape(operation),
                mask=operation.mask,
                arguments=operation.arguments,
                name=operation.name,
                dtype=operation.dtype_policy,
            )
        config = operation.get_config()
        for path, size in changes.items():
            config = _changed(config, path.split("."), size)
        activation = getattr(operation, "activation", None)
        if is_from_keras_3(kind) and "activation" in config and isfunction(activation):
            # By its name, a function of the user's would not be found again.
            config["activation"] = activation
        return kind.from_config(config)
    except Exception as error:  # the user's own code
        # KerasHub has layers whose configuration is not what they were made with.
        arguments = constructor_arguments(operation)
        if arguments is not None:
            with suppress(Exception):
                return kind(**{**arguments, "name": operation.name, **changes})
        raise InputError(
            f"`model`: its layer {operation.name!r} ({kind.__name__}) cannot be made "
            f"again from its get_config(): {error} Give the class a get_config() and from_config() "
            "that do it."
        ) from error


def _changed(config: Any, path: list[str], value: Any) -> Any:
    """A configuration, a dictionary or a list or tuple in one, with another value at a path."""
    if not path:
        return value
    key, *rest = path
    if isinstance(config, dict):
        # Of a layer in a layer: it would be built for the shapes that it had.
        kept = {name: part for name, part in config.items() if name != "build_config"}
        return {**kept, key: _changed(config.get(key), rest, value)}
    changed = list(config)
    changed[int(key)] = _changed(changed[int(key)], rest, value)
    return tuple(changed)


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
