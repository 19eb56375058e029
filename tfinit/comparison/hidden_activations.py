"""The same model with another activation in its hidden layers."""

from typing import Any

from tfinit.deserializing import filled_afterwards
from tfinit.errors import InputError, first_line
from tfinit.graph.activations import activation_of
from tfinit.graph.keras_internals import has_graph, producer_of
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.tracing import operations_in
from tfinit.variables import all_weights

# Layers that are an activation and nothing else; PReLU has weights, and a softmax between layers
# is attention, not a nonlinearity to choose.
_PURE = ("given", "relu", "leaky_relu", "elu")
_NOT_HIDDEN = ("linear", "softmax")


def with_activation(model: Any, activation: Any) -> Any:
    """A copy of a compiled model whose hidden activations are replaced, compiled as it was.

    Every layer with an ``activation`` other than linear or softmax gets the new one, and so does
    every layer that is an activation itself (Activation, ReLU, LeakyReLU, ELU; a Lambda or a layer
    of one's own that computes one), at any depth. The
    layers that give the model's output keep theirs. Weights other than kernels are copied; kernels
    are for the initializer that follows.

    Args:
        model: A Functional or Sequential model of Keras 3, built and compiled.
        activation: Name of an activation, or a function.

    Raises:
        InputError: the model is of another kind, has nothing to replace, or what it was compiled
            with cannot be made again.

    Example:
        >>> layers = [keras.Input((4,)), keras.layers.Dense(3, "relu"), keras.layers.Dense(2)]
        >>> model = keras.Sequential(layers)
        >>> model.compile("sgd", "mse")
        >>> [layer.activation.__name__ for layer in with_activation(model, "tanh").layers]
        ['tanh', 'linear']
    """
    import keras

    cure = "Give `build_model` a parameter named `activation` instead: it gets the activation."
    if not has_graph(model):
        raise InputError(
            "An (initializer, activation) pair needs a Functional or Sequential model, received "
            f"{type(model).__name__}. {cure}"
        )
    last = _output_layers(model)
    for _, op in operations_in(model):
        if id(op) not in last and (found := activation_of(op)) and str(found) not in _NOT_HIDDEN:
            raise InputError(
                f"`build_model`: {model.name!r} computes {found} by the operation {op.name!r}, not "
                f"a layer, and that cannot be replaced. Use a layer for it. {cure}"
            )
    replaced = []

    def cloned(layer: Any) -> Any:
        config = layer.get_config()
        if id(layer) not in last:
            if _is_pure(layer) and _hidden(config):
                replaced.append(layer.name)
                return keras.layers.Activation(activation, name=layer.name)
            if "activation" in config and _hidden(config):
                replaced.append(layer.name)
                config["activation"] = keras.activations.get(activation)
        return type(layer).from_config(config)

    try:
        with filled_afterwards():
            copy = keras.models.clone_model(model, clone_function=cloned, recursive=True)
        copy.compile_from_config(model.get_compile_config())
    except (TypeError, ValueError) as error:
        told = first_line(error)
        raise InputError(f"The model cannot be copied by its config: {told}. {cure}") from error
    if not replaced or copy.optimizer is None:
        what = "has no hidden activation to replace" if not replaced else "cannot be compiled again"
        raise InputError(f"`build_model`: {model.name!r} {what}. {cure}")
    old = all_weights(model)
    for key, weight in all_weights(copy).items():
        if key in old:
            weight.assign(old[key])
    return copy


def _is_pure(layer: Any) -> bool:
    """True for a layer that is an activation: one of Keras's, or by what it computes."""
    if kind_of(layer, exactly=True).activation in _PURE:
        return True
    found = None if layer.weights else activation_of(layer)
    return found is not None and str(found) not in _NOT_HIDDEN


def _hidden(config: dict[str, Any]) -> bool:
    return config.get("activation", "relu") not in (None, *_NOT_HIDDEN)


def _output_layers(model: Any) -> set[int]:
    """The layers that give the outputs; of a nested model, those inside it."""
    import keras

    found: set[int] = set()
    for output in keras.tree.flatten(model.outputs):
        layer = producer_of(output)
        found.add(id(layer))
        if has_graph(layer):
            found |= _output_layers(layer)
    return found
