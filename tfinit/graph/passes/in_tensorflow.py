"""Passes on TensorFlow: eagerly, on a tape."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfinit.graph.keras_internals import carry_logits
from tfinit.graph.passes import Passed, Programs, See, Work
from tfinit.graph.snapshot import Snapshot


def forward_and_backward(
    snapshot: Snapshot, work: Work, value: See, gradient: See, kept: Programs | None = None
) -> Passed:
    """`tfinit.graph.passes.forward_and_backward`."""
    with work.probe(value, gradient):
        with snapshot.recorded() as tape:
            outputs, number = work.compute(work.x, work.y)
            lifted = number * tf.cast(work.scale, number.dtype)
        return Passed(outputs, number, snapshot.gradients(tape, lifted, work.asked))


def compiled(
    pairs: list[tuple[Any, Any]], work: Work, then: Callable[[list[Any]], None]
) -> Callable[[], tuple[Any, Any]]:
    """Passes in which nothing is seen as one ``tf.function``, traced at once.

    Args:
        pairs: All variables that the model reads, each with what stands for it: of those that are
            asked for a ``tf.Variable``, else a tensor.
        work: What to run.
        then: What is done with the gradients of the scalar, None where there is none.

    Returns:
        A function that gives the scalar, and for each that is asked for the largest entry of its
        gradient, without sign.
    """
    scope = keras.StatelessScope(collect_losses=True, initialize_variables=False)
    scope.state_mapping.update((id(variable), held) for variable, held in pairs)
    sources = [scope.state_mapping[id(variable)] for variable in work.asked]

    def traced() -> tuple[Any, Any]:
        with scope, tf.GradientTape() as tape:
            _, number = work.compute(work.x, work.y)
            lifted = number * tf.cast(work.scale, number.dtype)
        gradients = [
            g if g is None else tf.convert_to_tensor(g) / work.scale
            for g in tape.gradient(lifted, sources)
        ]
        then(gradients)
        largest = [
            0.0 if g is None else tf.cast(tf.reduce_max(tf.abs(g)), "float32") for g in gradients
        ]
        return number, tf.stack(largest)

    program = tf.function(traced, autograph=False)
    program.get_concrete_function()
    return program


def here() -> Any:
    """Of a probe that is opened here: eager tensors are the same everywhere."""
    return None


def shown(tensor: Any, level: Any) -> Any:
    """The tensor, unless it is a graph's, which outlives the probe."""
    return tensor if isinstance(tensor, tf.Tensor) and not tf.is_symbolic_tensor(tensor) else None


def tapped(tensor: Any, level: Any, gradient: Callable[[Any], None]) -> Any:
    """The same tensor, which hands over its gradient on the way back."""

    @tf.custom_gradient
    def tap(value: Any) -> Any:
        def back(upstream: Any) -> Any:
            if shown(upstream, level) is not None:
                gradient(upstream)
            return upstream

        return tf.identity(value), back

    seen = tap(tensor)
    carry_logits(tensor, seen)
    return seen


def array(tensor: Any) -> np.ndarray:
    """Its numbers, which are not to be written: Keras would copy them."""
    return np.asarray(tensor)
