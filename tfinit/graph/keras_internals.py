"""All that tfinit uses of Keras without a public name, one function for each use. Both Kerases.

Keras may rename any of it: this is the file to mend then, and ``tests/graph/test_keras_internals``
says which function. No Keras is imported here before a function needs it.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

Put = Callable[[Any, str, Any], None]
"""Gives an object an attribute in this thread alone, see `tfinit.graph.overlay.overlaid`."""


def functional_of(model: Any) -> Any:
    """The functional model in a built Sequential; any other layer or model itself."""
    return getattr(model, "_functional", None) or model


def has_graph(model: Any) -> bool:
    """True if Keras keeps the calls in a model: functional, or a Sequential of known inputs."""
    return hasattr(functional_of(model), "_nodes_by_depth")


def calls_in(model: Any, inputs: bool = False) -> list[Any]:
    """Keras's records of the calls in a model that `has_graph`, in data-flow order.

    With ``inputs`` also those that make its inputs.
    """
    by_depth = functional_of(model)._nodes_by_depth
    calls = (node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth])
    return [node for node in calls if inputs or (node.operation and not node.is_input)]


def tells_axes_of_einsums() -> bool:
    """Whether layers with an equation tell initializers its axes; older Kerases go by the shape."""
    import keras

    return "input_axes" in inspect.signature(keras.initializers.VarianceScaling).parameters


def is_symbolic(tensor: Any) -> bool:
    """True for a tensor of a graph that Keras recorded."""
    return hasattr(tensor, "_keras_history")


def make_dense(tensor: Any) -> None:
    """Let a symbolic tensor stand for a dense one."""
    tensor._sparse = False


def producer_of(tensor: Any) -> Any:
    """The layer or operation that made a symbolic tensor; None if nothing did."""
    return tensor._keras_history[0] if is_symbolic(tensor) else None


def call_of(tensor: Any) -> Any:
    """Keras's record of the call that made a symbolic tensor; None if nothing did."""
    made_by = producer_of(tensor)
    return None if made_by is None else made_by._inbound_nodes[tensor._keras_history[1]]


def operation_of(call: Any) -> Any:
    """The layer or operation that was called."""
    return call.operation if hasattr(call, "operation") else call.layer


def arguments_of(call: Any) -> tuple[list[Any], dict[str, Any]] | None:
    """The arguments of a call; None in tf_keras."""
    given = getattr(call, "arguments", None)
    return None if given is None else (list(given.args), dict(given.kwargs))


def inputs_of(call: Any) -> list[Any]:
    """The symbolic tensors that a call reads."""
    return call.keras_inputs if hasattr(call, "keras_inputs") else call.input_tensors


def input_structure(model: Any) -> Any:
    """How a functional model takes its inputs: one tensor, a list or a dictionary; else None."""
    return getattr(functional_of(model), "_inputs_struct", None)


def output_structure(model: Any) -> Any:
    """How a functional model gives its outputs: one tensor, a list or a dictionary."""
    return functional_of(model)._outputs_struct


def cast_inputs(put: Put, model: Any, dtype: str, which: Callable[[Any], bool]) -> None:
    """Let a functional model cast those of its inputs to a dtype that ``which`` is true for."""
    for symbol in getattr(functional_of(model), "_inputs", None) or ():
        if which(symbol):
            put(symbol, "_dtype", dtype)


def forget_calls(put: Put, layer: Any) -> None:
    """Keep a layer's calls that are recorded from now on to this thread."""
    put(layer, "_inbound_nodes", list(layer._inbound_nodes))
    put(layer, "_outbound_nodes", list(layer._outbound_nodes))


def forget_losses(put: Put, layer: Any) -> None:
    """Keep the losses that a layer adds from now on to this thread."""
    put(layer, "_losses", [])
    put(layer, "_loss_ids", set())


def keep_called(put: Put, layer: Any) -> None:
    """Keep to this thread that a layer was called."""
    put(layer, "_called", layer._called)


def layers_in(layer: Any, recursive: bool = False) -> Iterator[Any]:
    """The layers that a layer holds; with ``recursive`` those inside them too."""
    return layer._flatten_layers(include_self=False, recursive=recursive)


def layer_and_all_in_it(layer: Any) -> Iterator[Any]:
    """A layer, and every layer in it at any depth."""
    return layer._flatten_layers()


def own_variables(layer: Any) -> list[Any]:
    """The weights of a layer itself, without those of the layers in it."""
    # Much faster than subtracting the weights of the layers in it, which are read anew each time.
    if hasattr(layer, "_trainable_variables"):  # Keras 3
        return [*layer._trainable_variables, *layer._non_trainable_variables]
    return [*layer._trainable_weights, *layer._non_trainable_weights]


def weights_that_train(layer: Any) -> list[Any]:
    """The variables of a layer of Keras 3 itself that training moves where it is not frozen."""
    return list(layer._trainable_variables)


def attention_output(layer: Any) -> Any:
    """The layer inside an attention layer that makes its output; None of other layers."""
    return getattr(layer, "_output_dense", None)


def arguments_with(call: Any, tensors: dict[int, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call of Keras 3, with other tensors for its own: by their ids."""
    return call.arguments.fill_in(tensors)


def constructor_arguments(operation: Any) -> dict[str, Any] | None:
    """What a layer or operation of Keras 3 was made with, but for its name; None if not kept."""
    kept = getattr(operation, "_auto_config", None)
    return None if kept is None else dict(kept.config)


def lambda_output_shape(layer: Any) -> Any:
    """The ``output_shape`` that a Lambda layer was given."""
    return layer._output_shape


def seed_generators_of(layer: Any) -> list[Any]:
    """The streams of random numbers that a layer draws from."""
    return getattr(layer, "_seed_generators", [])


def set_dtype_policy(layer: Any, policy: Any, put: Put = setattr) -> None:
    """Set a layer's policy for dtypes, and of nothing that it shares them with."""
    # Not by `layer.dtype_policy`: that would enter it in a map that is there.
    put(layer, "_dtype_policy", policy)


def losses_of(model: Any) -> Any:
    """What `compile` made of the losses of a model; None without."""
    return getattr(model, "_compile_loss", None)


def given_losses(model: Any) -> tuple[Any, Any]:
    """The losses that a model was compiled with, and their weights; None for what it was not."""
    losses = losses_of(model)
    return getattr(losses, "_user_loss", None), getattr(losses, "_user_loss_weights", None)


def carry_logits(tensor: Any, to: Any) -> None:
    """Let a tensor be known for what it was made of, as the output of a softmax or sigmoid.

    On TensorFlow a cross-entropy takes these numbers, and not the probabilities.
    """
    if has_logits(tensor):
        to._keras_logits = tensor._keras_logits


def has_logits(tensor: Any) -> bool:
    """True of a softmax's or sigmoid's output that is known for what it was made of."""
    return hasattr(tensor, "_keras_logits")


def given_metrics(model: Any) -> tuple[Any, Any]:
    """The metrics that a model was compiled with, and the weighted ones."""
    metrics = getattr(model, "_compile_metrics", None)
    return getattr(metrics, "_user_metrics", None), getattr(metrics, "_user_weighted_metrics", None)


def compiled_with(model: Any) -> dict[str, Any]:
    """The arguments that a model was compiled with, by name, of either Keras; empty if unknown."""
    kept = getattr(model, "_compile_config", None)
    return dict(getattr(kept, "config", None) or {})


def schedule_of(optimizer: Any) -> Any:
    """The learning-rate schedule of an optimizer; None where the rate is a number."""
    rate = getattr(optimizer, "_learning_rate", None)
    return rate if hasattr(rate, "get_config") and callable(rate) else None


def set_schedule(optimizer: Any, schedule: Any) -> None:
    """Give an optimizer another learning-rate schedule in place of the one that it has."""
    optimizer._learning_rate = schedule


def compiled_metrics(model: Any) -> dict[str, Any]:
    """The metrics that a model was compiled with, under the names that `fit` logs them with.

    Keras makes them when a model is first trained or evaluated: before that there are none.
    """
    metrics = getattr(model, "_compile_metrics", None)
    if metrics is None:  # tf_keras puts the name of an output before that of a metric
        every = getattr(getattr(model, "compiled_metrics", None), "metrics", None)
        return {metric.name: metric for metric in every or ()}
    if not metrics.built:
        return {}
    found: dict[str, Any] = {}
    for weighted, lists in (
        ("", metrics._flat_metrics),
        ("weighted_", metrics._flat_weighted_metrics),
    ):
        for of_output in filter(None, lists):
            start = f"{of_output.output_name}_" if of_output.output_name else ""
            for metric in of_output.metrics:
                name = f"{start}{metric.name}"
                if name in found and weighted:
                    name = f"{start}{weighted}{metric.name}"
                number, first = 0, name
                while name in found:
                    number += 1
                    name = f"{first}_{number}"
                found[name] = metric
    return found


def weighted_metrics(model: Any) -> list[Any]:
    """Those of the metrics of a Keras 3 model that sample weights count for."""
    metrics = getattr(model, "_compile_metrics", None)
    if metrics is None or not metrics.built:
        return []
    return [one for lists in filter(None, metrics._flat_weighted_metrics) for one in lists.metrics]


def direction_of(metric: Any) -> str | None:
    """Whether a metric of Keras 3 is better when it goes "up" or "down"; None if it is not said."""
    return getattr(metric, "_direction", None)


def renew_losses(put: Put, model: Any) -> None:
    """Let this thread build the losses of `compile` anew, with metrics, at their first call."""
    losses = losses_of(model)
    if losses is not None:
        new = type(losses)(*given_losses(model), losses.reduction, losses.output_names)
        put(model, "_compile_loss", new)


def save_with(model: Any, optimizer: Any) -> None:
    """Let a compiled model be saved with another optimizer."""
    model._compile_config.config["optimizer"] = optimizer


def steps_per_execution(model: Any) -> Any:
    """The variable in which a compiled tf_keras model counts the steps of one execution."""
    return model._steps_per_execution


def moving_averages(optimizer: Any) -> list[Any]:
    """The average of each weight in an optimizer with ``use_ema``."""
    return optimizer._model_variables_moving_average


def trained_by(optimizer: Any) -> list[Any]:
    """The variables that an optimizer of Keras 3 was built for."""
    return optimizer._trainable_variables


def states_of(optimizer: Any) -> dict[str, list[Any]]:
    """The lists in which an optimizer keeps states, by Keras's convention one for each weight."""
    # These are no state of an update: averages of weights are masked as the weights are.
    others = ("_variables", "_trainable_variables", "_model_variables_moving_average")
    return {
        name: kept
        for name, kept in vars(optimizer).items()
        if isinstance(kept, list) and name not in others
    }


def assign_at_once(variable: Any, value: Any) -> None:
    """Assign to a variable whatever scope is open."""
    variable._direct_assign(value)


def holds_a_value(variable: Any) -> bool:
    """False for a variable whose value Keras holds elsewhere: in `fit` on JAX."""
    return variable._value is not None


def layout_of(variable: Any) -> Any:
    """How a variable is spread over devices; None where it is not."""
    return getattr(variable, "_layout", None)


def is_sharded(variable: Any) -> bool:
    """Whether a variable lies in parts on several devices, and not as a whole on each."""
    layout = layout_of(variable)
    layout = getattr(layout, "backend_layout", layout)  # of a TensorLayout
    return not getattr(layout, "is_fully_replicated", True)


def thread_attribute(name: str) -> Any:
    """What Keras 3 keeps for this thread under a name; None of nothing."""
    return _global_state().get_global_attribute(name)


def set_thread_attribute(name: str, value: Any) -> None:
    """Set what Keras 3 keeps for this thread under a name."""
    _global_state().set_global_attribute(name, value)


def _global_state() -> Any:
    return importlib.import_module("keras.src.backend.common.global_state")


def legacy_initializers() -> dict[str, Any]:
    """The initializers that tf_keras knows by name, to be added to."""
    return importlib.import_module("tf_keras.src.initializers").LOCAL.ALL_OBJECTS


def is_from_keras_3(cls: type) -> bool:
    """True for a class of Keras 3 itself; its subclasses elsewhere are not."""
    return cls.__module__.startswith("keras.src.")
