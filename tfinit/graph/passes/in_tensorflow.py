"""Passes on TensorFlow: eagerly, on a tape."""

from collections.abc import Callable
from typing import Any

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
