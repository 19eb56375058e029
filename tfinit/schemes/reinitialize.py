"""Every layer back to its own initializers, with a new seed."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from tfinit.errors import InputError
from tfinit.graph.overlay import overlaid
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Record, Report
from tfinit.schemes.engine.task import Task
from tfinit.streams import seed_of_weight
from tfinit.variables import all_weights, keras_of, own_weights, walk_layers, weight_name

# Where the initializer of a weight is not called after the weight.
_ATTRIBUTES = {
    "recurrent_kernel": "recurrent_initializer",
    "depthwise_kernel": "depthwise_initializer",
    "pointwise_kernel": "pointwise_initializer",
}


@scheme("As built", as_built=True)
def reinitialize(task: Task) -> Report:
    """w ← the layer's own initializer(shape), as when it was built, from a stream of its own.

    Kernels, biases, normalization with its moving statistics, recurrent layers, nested models and
    layers of the user's own: all but what is frozen. Where a layer does not keep a weight's
    initializer, it is built once more aside, to ask it.

    Args:
        task: The model.

    Returns:
        A record for each weight; those whose initializer cannot be found are kept and named.

    Raises:
        InputError: a `Pretrained` that only a model file has named, or whose file has changed.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
        >>> _ = model.layers[0].bias.assign([3.0, 4.0])  # as after training
        >>> report = initialize(model, "reinitialize", seed=1)
        >>> model.layers[0].bias.numpy()
        array([0., 0.], dtype=float32)
    """
    weights = all_weights(task.model)
    keys = {id(variable): key for key, variable in weights.items()}
    records: dict[str, Record] = {}
    values: dict[str, Any] = {}
    seeds: set[int] = set()
    for _, layer in walk_layers(task.model):
        own = [w for w in own_weights(layer) if keys.get(id(w), "") not in {"", *records}]
        found = initializers_of(layer, own) if own and layer.trainable else {}
        for variable in own:
            key = keys[id(variable)]
            initializer = found.get(weight_name(variable))
            note = type(initializer).__name__
            if initializer is not None:
                initializer = reseeded(initializer, _new_seed(task.seed, key, seeds))
                values[key] = initializer(tuple(variable.shape), dtype=variable.dtype)
            elif layer.trainable:
                note = "its layer does not say how it was initialized"
            else:
                note = "frozen"
            action = "kept" if initializer is None else "set"
            shape = tuple(variable.shape)
            records[key] = Record(key, type(layer).__name__, shape, action, note=note)
    for key, value in values.items():
        task.write(weights[key], value)
    return task.report("reinitialize", [records[key] for key in weights])


def initializers_of(layer: Any, variables: list[Any]) -> dict[str, Any]:
    """The initializers of a layer's own weights, under the weights' names; what is known of them.

    Args:
        layer: A built layer.
        variables: Its own weights.
    """
    found: dict[str, Any] = {}
    for variable in variables:
        name = weight_name(variable)
        attribute = _ATTRIBUTES.get(name, f"{name}_initializer")
        if name == "kernel" and hasattr(layer, "depthwise_initializer"):
            attribute = "depthwise_initializer"
        initializer = getattr(layer, attribute, None)
        # An LSTM makes an initializer of its own from its bias initializer.
        if callable(initializer) and not (name == "bias" and hasattr(layer, "unit_forget_bias")):
            found[name] = initializer
    of_equation = hasattr(layer, "equation") and hasattr(found.get("kernel"), "input_axes")
    if len(found) < len(variables) or of_equation:
        asked = _asked(layer)
        if of_equation and hasattr(asked.get("kernel"), "input_axes"):
            # Which axes are inputs the layer alone knows: it tells a copy, when it is built.
            axes = {name: getattr(asked["kernel"], name) for name in ("input_axes", "output_axes")}
            found["kernel"] = _copy(found["kernel"], seed=found["kernel"].seed, **axes)
        found = {**asked, **found}
    return found


def _asked(layer: Any) -> dict[str, Any]:
    """What a fresh copy of the layer asks its weights to be initialized with, by their names."""
    found: dict[str, Any] = {}
    try:
        fresh = type(layer).from_config(layer.get_config())
        plain = fresh.add_weight
        parameters = inspect.signature(plain)

        def add_weight(*args: Any, **kwargs: Any) -> Any:
            given = parameters.bind(*args, **kwargs).arguments
            variable = plain(*args, **kwargs)
            found[weight_name(variable)] = _known(layer, given.get("initializer"))
            return variable

        with overlaid() as put:
            put(fresh, "add_weight", add_weight)
            fresh.build_from_config(layer.get_build_config())
    except InputError:
        raise  # an initializer of tfinit's that was found and cannot be asked, and says why
    except Exception:
        # The layer is the user's code; what it does not tell is reported as kept.
        return found
    return found


def _known(layer: Any, initializer: Any) -> Any:
    """An initializer as an object, from what `add_weight` was given."""
    keras = importlib.import_module(keras_of(layer) or "keras")
    # Keras's own default for floats.
    initializer = "glorot_uniform" if initializer is None else initializer
    return initializer if callable(initializer) else keras.initializers.get(initializer)


def _new_seed(seed: int, key: str, taken: set[int]) -> int:
    """31 bits of the weight's digest, as Keras's initializers take them; never the same twice."""
    new = seed_of_weight(seed, key)
    while new in taken:
        new = (new + 1) % 2**31
    taken.add(new)
    return new


def reseeded(initializer: Any, seed: int) -> Callable[..., Any]:
    """A copy of the initializer with another seed; itself if it has none."""
    if not hasattr(initializer, "get_config") or "seed" not in initializer.get_config():
        return initializer
    return _copy(initializer, seed=seed)


def _copy(initializer: Any, **changes: Any) -> Any:
    return type(initializer).from_config({**initializer.get_config(), **changes})
