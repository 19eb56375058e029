"""Which weights of a model can be pruned, and under which stable key. Both Kerases.

A **key** is the path of the layer inside the model, then the name of the weight:
``fc1/kernel``, ``backbone/conv2d_1/kernel``, ``lstm/lstm_cell/recurrent_kernel``. Names that a
user gave are kept. Names that Keras made up (``dense_7``: they count all layers of the process)
are renumbered within their parent, in the order of the layers, so that the same code gives the
same keys however many models were built before, in Keras 3 and in tf_keras.

No Keras is imported here: the functions read what both Kerases' layers share.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from tfinit.arguments import array, function, mapping, refused
from tfinit.errors import InputError
from tfinit.graph.keras_internals import layers_in, own_variables
from tfinit.graph.layer_kinds import axes_of, keras_of
from tfinit.moved import former_names

__all__ = [
    "all_weights",
    "automatic_stem",
    "check_built",
    "check_same_keys",
    "children",
    "find_prunable",
    "keras_of",
    "own_weights",
    "prunable_weights",
    "put_back",
    "read_weights",
    "unique_name",
    "walk_layers",
    "weight_name",
    "write_weights",
]


def children(layer: Any) -> list[Any]:
    """The layers that a layer or model holds directly."""
    # `layers` is public but only models have it. Both Kerases name the other one alike.
    own = getattr(layer, "layers", None)
    if isinstance(own, list):
        return [child for child in own if keras_of(child)]
    return [child for child in layers_in(layer) if keras_of(child)]


def automatic_stem(name: str, kind: str) -> str | None:
    """The part of an automatic name before its number, or None if a user chose the name.

    Args:
        name: The name of a layer or operation.
        kind: The name of its class.
    """
    stem = re.sub(r"_\d+$", "", name)
    own = re.sub(r"^(forward|backward)_", "", stem)  # Bidirectional's names for its two halves
    kind = kind.lower()
    # tf_keras's names for what Keras 3 calls so; and for operations, "tf.math.tanh_1".
    if (kind, stem) in {("functional", "model"), ("inputlayer", "input")}:
        return kind
    if kind == "tfoplambda" and stem.startswith("tf."):
        return stem
    return stem if own.replace("_", "") == kind else None


def unique_name(name: str, taken: set[str]) -> str:
    """The name, with a number after it if it is taken; it is taken then."""
    candidate, n = name, 0
    while candidate in taken:
        n += 1
        candidate = f"{name}_{n}"
    taken.add(candidate)
    return candidate


def walk_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield (key, layer) for every layer below ``model``, parents first, shared layers once.

    Args:
        model: A layer or model of Keras 3 or tf_keras.

    Yields:
        The path of each layer inside ``model`` and the layer. ``model`` itself comes first, with
        the empty key.

    Raises:
        InputError: ``model`` is neither.
    """
    if keras_of(model) is None:
        raise refused("model", "a Keras layer or model", model)
    seen: set[int] = set()

    def visit(prefix: str, layer: Any) -> Iterator[tuple[str, Any]]:
        seen.add(id(layer))
        yield prefix, layer
        taken: set[str] = set()
        for child in children(layer):
            if id(child) in seen:
                continue
            name = unique_name(
                automatic_stem(child.name, type(child).__name__) or child.name, taken
            )
            yield from visit(f"{prefix}/{name}" if prefix else name, child)

    yield from visit("", model)


def weight_name(variable: Any) -> str:
    """What its layer calls a variable: the last part of its path.

    Where it has no name Keras makes one up, ``variable_7``, which counts all variables of the
    process: that is without its number here.
    """
    name = variable.name.split("/")[-1].split(":")[0]
    return "variable" if re.fullmatch(r"variable_\d+", name) else name


def own_weights(layer: Any) -> list[Any]:
    """The weights of a layer that are not those of a layer below it."""
    return own_variables(layer)


def check_built(model: Any, name: str = "model") -> None:
    """Raise InputError unless this is a built layer or model of either Keras.

    ``name`` is the argument that it was passed as.
    """
    if keras_of(model) is None:
        cure = "Pass the layer or model itself, not its output."
        raise refused(name, "a Keras layer or model", model, cure)
    if not model.built:
        raise InputError(
            f"`{name}` {model.name!r} has no weights yet: it is not built. "
            "Call it on a batch, call `model.build(input_shape)`, or give it an Input."
        )


def all_weights(model: Any) -> dict[str, Any]:
    """Every weight of a built model, trainable or not, under its key, in the model's order.

    Args:
        model: A built layer or model of Keras 3 or tf_keras.

    Returns:
        Keys to variables. A variable that several layers share appears once.

    Raises:
        InputError: ``model`` is not a Keras model, or is not built.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="fc")])
        >>> list(all_weights(model))
        ['fc/kernel', 'fc/bias']
    """
    check_built(model)
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for key, layer in walk_layers(model):
        for variable in own_weights(layer):
            if id(variable) not in seen:
                seen.add(id(variable))
                own = weight_name(variable)
                found[unique_name(f"{key}/{own}" if key else own, set(found))] = variable
    return found


def _prunable_of(layer: Any) -> list[Any]:
    if hasattr(layer, "get_prunable_weights"):
        return list(layer.get_prunable_weights())
    return [
        weight
        for weight in own_weights(layer)
        if (axes := axes_of(layer, weight_name(weight)))
        and axes.prunable
        and len(weight.shape) >= 2
    ]


def prunable_weights(model: Any, allow: Callable[[Any], bool] | None = None) -> dict[str, Any]:
    """The weights of a built model that pruning may set to zero, under their keys.

    These are the trainable kernels, recurrent and pointwise kernels, banks of experts and
    embeddings of every layer at any depth; for a layer with a ``get_prunable_weights()`` method,
    what it returns. Biases, normalization, depthwise kernels and frozen layers are left alone.

    Args:
        model: A built layer or model of Keras 3 or tf_keras.
        allow: Which layers may be pruned, with all that is inside them. By default, all.

    Returns:
        Keys to variables, in the model's order; a shared variable once.

    Raises:
        InputError: ``model`` is not a Keras model, is not built, or has nothing to prune.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="fc")])
        >>> list(prunable_weights(model))
        ['fc/kernel']
    """
    found = find_prunable(model, allow)
    if not found:
        raise InputError(
            f"`model` {model.name!r} has nothing to prune: no trainable kernel or embedding"
            f"{'' if allow is None else ' in a layer that is allowed'}. "
            "Unfreeze a layer, or give a custom layer a `get_prunable_weights()` method."
        )
    return found


def find_prunable(
    model: Any, allow: Callable[[Any], bool] | None = None, frozen: bool = False
) -> dict[str, Any]:
    """As `prunable_weights`, but for a layer that has nothing to prune the empty dictionary.

    With ``frozen`` also those that are not trainable.
    """
    check_built(model)
    function("allow", allow, "a layer", none=True)
    allowed = [
        layer
        for _, layer in walk_layers(model)
        if allow is None or (layer is not model and allow(layer))
    ]
    inside = allowed if allow is None else [part for a in allowed for _, part in walk_layers(a)]
    chosen = {id(w) for layer in inside for w in _prunable_of(layer)}
    if not frozen:
        chosen &= {id(w) for w in model.trainable_weights}
    return {k: v for k, v in all_weights(model).items() if id(v) in chosen}


def read_weights(variables: dict[str, Any]) -> dict[str, np.ndarray]:
    """Copy variables into NumPy arrays, under the same keys."""
    variables = mapping("variables", variables, "keys to variables")
    for key, variable in variables.items():
        if not hasattr(variable, "numpy"):
            raise refused(f"variables[{key!r}]", "a variable of a model", variable)
    return {key: np.array(variable.numpy()) for key, variable in variables.items()}


def write_weights(variables: dict[str, Any], values: dict[str, np.ndarray]) -> None:
    """Assign arrays to variables; check every key and shape before the first is written.

    Raises:
        InputError: a key is missing or unknown, or a shape differs. Nothing was written.
    """
    check_same_keys("values", values, variables)
    for key, variable in variables.items():
        variable.assign(values[key])


@contextmanager
def put_back(variables: Iterable[Any]) -> Iterator[None]:
    """Variables of Keras have after the block, however it ends, what they had before it."""
    import keras

    before = [(v, np.array(keras.ops.convert_to_numpy(v))) for v in variables]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


def check_same_keys(name: str, given: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
    """Raise InputError unless ``given`` has an array of the right shape for every variable."""
    given = mapping(name, given, "keys to arrays")
    variables = mapping("variables", variables, "keys to variables")
    missing, unknown = sorted(variables.keys() - given.keys()), sorted(given.keys() - variables)
    if missing or unknown:
        raise InputError(
            f"`{name}` does not fit the model: missing {missing}, unknown {unknown}. "
            f"The model's keys are {list(variables)}."
        )
    for key, variable in variables.items():
        shape = array(f"{name}[{key!r}]", given[key], "biufc").shape
        if shape != tuple(variable.shape):
            raise InputError(
                f"`{name}[{key!r}]` has shape {shape}, the model's weight has "
                f"{tuple(variable.shape)}."
            )


__getattr__ = former_names(__name__, {"PRUNABLE_NAMES": "tfinit.graph.layer_kinds.PRUNABLE_NAMES"})
