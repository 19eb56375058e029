"""Leaving a model and the random streams as they were before a step in training mode."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


@contextmanager
def left_as_it_was(model: Any) -> Iterator[None]:
    """Put back what a step in training mode changes: statistics, seeds, metrics, global streams."""
    import tensorflow as tf
    from keras.src.backend.common import global_state

    metrics = [v for metric in getattr(model, "metrics", ()) for v in metric.variables]
    # Weights too: SpectralNormalization sets its layer's kernel as it is called.
    changing = [*model.variables, *metrics]
    # Of layers that draw without a seed of their own. Keras makes it when it is first needed.
    shared = global_state.get_global_attribute("global_seed_generator")
    if shared is not None:
        changing.append(shared.state)
    # What is read shares the variable's memory; TensorFlow copies when somebody assigns.
    before = [(v, tf.convert_to_tensor(v.value)) for v in changing]
    streams = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(streams[0])
        np.random.set_state(streams[1])
        for variable, value in before:
            variable.assign(value)
        if shared is None:
            global_state.set_global_attribute("global_seed_generator", None)
