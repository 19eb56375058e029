"""The flow of SynFlow: ones through a model that is made linear, and its gradients."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras
import numpy as np
from keras import ops

from tfinit.errors import InputError
from tfinit.graph.gradients import sum_of, value_and_gradients
from tfinit.graph.keras_internals import cast_inputs, set_dtype_policy
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.overlay import overlaid
from tfinit.graph.tracing import symbolic_arguments
from tfinit.pruning.scoring.loss_gradients import called
from tfinit.variables import own_weights, walk_layers, weight_name


def synaptic_flow(
    model: Any, ones: Any, kernels: list[tuple[Any, np.ndarray]], wide: bool
) -> tuple[float, list[np.ndarray]]:
    """R, the sum of the outputs, and its derivatives with respect to the kernels.

    No variable is written: while it runs, Keras reads other values in their place, those that
    `tfinit.pruning.scoring.before_training.synflow` tells.

    Args:
        model: A built Keras 3 model.
        ones: What `ones_like_input` gives.
        kernels: Variables, and the values to put in their place.
        wide: Whether to compute in float64, whatever the model's dtypes are; it may contain
            operations that this does not fit.

    Returns:
        R, which may be infinite, and float64 arrays in the order of ``kernels``.

    Raises:
        InputError: the model cannot be called so.
    """

    def tensor(values: Any, variable: Any) -> Any:
        return ops.convert_to_tensor(np.asarray(values), "float64" if wide else variable.dtype)

    with _linear_layers(model), _dtypes(model, wide):
        fixed = [
            (variable, tensor(_linear_value(variable), variable))
            for _, layer in walk_layers(model)
            for variable in own_weights(layer)
            if _is_float(variable)
        ]
        variables = [variable for variable, _ in kernels]

        def flow(watched: list[Any]) -> Any:
            with keras.StatelessScope() as scope:
                for pair in (*fixed, *zip(variables, watched, strict=True)):
                    scope.add_update(pair)
                outputs = called(model, ones)
            # A sum in float16 would be the first to overflow.
            at_least = "float64" if wide else "float32"
            parts = [ops.sum(ops.cast(o, at_least)) for o in keras.tree.flatten(outputs)]
            return sum_of(parts)

        watched = [tensor(values, variable) for variable, values in kernels]
        if keras.backend.backend() == "torch":
            watched = [values.requires_grad_() for values in watched]
        total, gradients = value_and_gradients(flow, watched)
    arrays = (ops.convert_to_numpy(g) for g in gradients)
    return float(total), [np.asarray(g).astype("float64") for g in arrays]


def _is_float(variable: Any) -> bool:
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(variable.dtype))


def _linear_value(variable: Any) -> np.ndarray:
    name, values = weight_name(variable), ops.convert_to_numpy(variable)
    if name in ("bias", "beta", "moving_mean"):
        return np.zeros_like(values)
    if name == "moving_variance":
        return np.ones_like(values)
    return np.abs(values)


# What layers before the network add to data.
_OFFSETS = {"rescaling": "offset", "normalization": "mean"}


@contextmanager
def _linear_layers(model: Any) -> Iterator[None]:
    """The identity in place of the activations that layers hold, or are; no offsets of inputs."""
    with overlaid() as put:
        for _, layer in walk_layers(model):
            # The gates of recurrent cells are no activations between layers.
            if vars(layer).get("activation") and not hasattr(layer, "recurrent_activation"):
                put(layer, "activation", keras.activations.linear)
            elif kind_of(layer, exactly=True).activation:
                put(layer, "call", lambda inputs, *args, **kwargs: inputs)
            offset = _OFFSETS.get(kind_of(layer).preprocessing, "")
            if vars(layer).get(offset) is not None:
                put(layer, offset, np.zeros_like(ops.convert_to_numpy(vars(layer)[offset])))
        yield


@contextmanager
def _dtypes(model: Any, wide: bool) -> Iterator[None]:
    """The model's layers computing in float64, if ``wide``."""
    with overlaid() as put, _wide_jax() if wide else nullcontext():
        for _, layer in walk_layers(model) if wide else ():
            set_dtype_policy(layer, keras.DTypePolicy("float64"), put)
            # A functional model casts what it gets to the dtype of its symbolic inputs.
            cast_inputs(put, layer, "float64", _is_float)
        yield


def _wide_jax() -> AbstractContextManager[Any]:
    """JAX has float64 only where it is allowed to."""
    if keras.backend.backend() != "jax":
        return nullcontext()
    import jax

    return jax.enable_x64(True)


def ones_like_input(model: Any, x: Any = None) -> Any:
    """Ones as a batch of one input, as the model takes it.

    Args:
        model: A built Keras 3 model.
        x: An example, whose shapes are taken where the model leaves its own open.

    Raises:
        InputError: the shape is not known, or an input is not of floats.
    """
    like = _own_inputs(model)
    if x is not None and (
        like is None or any(None in symbol.shape[1:] for symbol in keras.tree.flatten(like))
    ):
        like = keras.tree.map_structure(
            lambda a: keras.KerasTensor((1, *np.shape(a)[1:]), np.asarray(a).dtype.name), x
        )
    if like is None:
        raise InputError(
            f"`model` {model.name!r} does not say what its inputs look like. Pass an example "
            "as `x`: its values are ignored."
        )
    for symbol in keras.tree.flatten(like):
        if not _is_float(symbol):
            raise InputError(
                f"'synflow' sends ones through the model, but its input {symbol.name!r} is of "
                f"{symbol.dtype}. Use 'snip' or 'magnitude'."
            )
        if None in symbol.shape[1:]:
            raise InputError(
                f"The input {symbol.name!r} of `model` has the open shape {symbol.shape}. Pass an "
                "example as `x`: its values are ignored."
            )
    return keras.tree.map_structure(lambda s: ops.ones((1, *s.shape[1:]), s.dtype), like)


def _own_inputs(model: Any) -> Any:
    """Symbolic inputs of the model, as it takes them; None where it does not tell."""
    args, kwargs = symbolic_arguments(model)
    return args[0] if args and not kwargs else None
