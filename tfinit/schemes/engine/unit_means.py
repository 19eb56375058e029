"""How much of what a layer makes tells examples apart; the rest are constants of its units."""

import math
from typing import Any

import numpy as np

from tfinit.graph.activations import own_activation
from tfinit.graph.kernels import Kernel
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.output_channels import ChannelStatistics, over_channels
from tfinit.schemes.engine.task import Task

# Below this share of the whole, the units' means are what a statistic of all entries measures: at
# 0.1 (inputs of 100 ± 10) networks learn more slowly, at 0.03 hardly. ReLU networks of 300 layers
# are above it.
LEAST = 0.05
INPUTS = (
    "standardize the inputs, (x - mean) / std, or let the model begin with an adapted "
    "keras.layers.Normalization"
)


def share_of_examples(kernel: Kernel, linear: Any) -> float:
    """√(mean over units of a unit's variance over examples and positions) / rms of all entries.

    1 for a lookup, whose rows read no signal, and where all is zero.
    """
    import keras

    if kernel.name == "embeddings":
        return 1.0
    linear, others = over_channels(kernel, linear)
    # Not Keras's `moments`, which on PyTorch is a difference of squares.
    mean = keras.ops.mean(linear, axis=others, keepdims=True)
    variance = keras.ops.mean(keras.ops.square(linear - mean))
    return _share(float(variance), float(keras.ops.mean(keras.ops.square(mean))))


def share_in(statistics: ChannelStatistics) -> float:
    """The same from the mean and variance of each unit."""
    mean, variance = statistics
    return _share(float(np.mean(variance)), float(np.mean(np.square(mean))))


def _share(variance: float, mean_square: float) -> float:
    total = variance + mean_square
    return math.sqrt(variance / total) if total > 0 and math.isfinite(total) else 1.0


def reads_inputs(task: Task, kernel: Kernel) -> bool:
    """True if no other layer with a kernel stands between the model's inputs and a kernel."""
    if kernel.step is None:
        return False
    beside = (k.layer for k in task.kernels if k.step == kernel.step)
    if kernel.ends_step and any(layer is not kernel.layer for layer in beside):
        return False  # the end of an attention layer
    return kernel.key in task.structure.first


def is_centred_after(task: Task, kernel: Kernel) -> bool:
    """True if BatchNormalization alone reads the layer, so that a unit's mean is taken out."""
    if kernel.step is None or not kernel.ends_step or own_activation(kernel.layer) is not None:
        return False
    readers = [task.graph.steps[index].op for index in task.structure.users(kernel.step)]
    return bool(readers) and all(kind_of(op).normalization == "batch" for op in readers)
