"""Statistics of a layer's output by channel, and what they are to the kernel that made it."""

from typing import Any, NamedTuple, Protocol

import numpy as np

from tfinit.graph.einsum import places, read
from tfinit.graph.layer_kinds import letters_of


class OfLayer(Protocol):
    """A kernel, as what of it is asked here."""

    @property
    def layer(self) -> Any:
        """The layer that owns it."""

    @property
    def name(self) -> str:
        """What its layer calls it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weight."""


class ChannelStatistics(NamedTuple):
    """Mean and variance of each output channel, shaped as the axes of the output are."""

    mean: np.ndarray
    variance: np.ndarray


def channel_axes(kernel: OfLayer, rank: int) -> tuple[int, ...]:
    """The axes of a layer's output, which has `rank` of them, that are its channels."""
    layer = kernel.layer
    if hasattr(layer, "equation"):
        _, weights, output = read(layer.equation)
        return tuple(axis for letter, axis in places(output, rank).items() if letter in weights)
    first = getattr(layer, "data_format", None) == "channels_first"
    return (1,) if first else (rank - 1,)


def over_channels(kernel: OfLayer, output: Any) -> tuple[Any, tuple[int, ...]]:
    """An output in float32 or wider, and its axes that are not its channels."""
    rank = len(output.shape)
    channels = channel_axes(kernel, rank)
    return _wide(output), tuple(axis for axis in range(rank) if axis not in channels)


def _wide(tensor: Any) -> Any:
    import keras

    if keras.backend.standardize_dtype(tensor.dtype) == "float64":
        return tensor
    return keras.ops.cast(tensor, "float32")


def channel_statistics(kernel: OfLayer, output: Any) -> ChannelStatistics:
    """Mean and variance of each channel of an output, over everything else."""
    return _statistics(*over_channels(kernel, output))


def entering_statistics(normalization: Any, tensor: Any) -> ChannelStatistics:
    """Mean and variance of each channel of what enters a BatchNormalization."""
    axis = normalization.axis % len(tensor.shape)
    others = tuple(other for other in range(len(tensor.shape)) if other != axis)
    return _statistics(_wide(tensor), others)


def _statistics(output: Any, others: tuple[int, ...]) -> ChannelStatistics:
    import keras

    # Not Keras's `moments`, which on PyTorch is a difference of squares.
    mean = keras.ops.mean(output, axis=others, keepdims=True)
    variance = keras.ops.mean(keras.ops.square(output - mean), axis=others)
    means = keras.ops.reshape(mean, variance.shape)
    return ChannelStatistics(*map(keras.ops.convert_to_numpy, (means, variance)))


def against_output(kernel: OfLayer, values: np.ndarray, rank: int) -> np.ndarray:
    """Values of the channels, shaped to broadcast against the output."""
    shape = [1] * rank
    for axis, size in zip(channel_axes(kernel, rank), values.shape, strict=True):
        shape[axis] = size
    return values.reshape(shape)


def any_of_kernel(kernel: OfLayer, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Where any of a channel's entries of the kernel is true, in the `shape` of the channels."""
    letters = letters_of(kernel.layer, kernel.name, len(kernel.shape))
    made = [axis for axis, letter in enumerate(letters) if letter in "ocme"]
    others = tuple(axis for axis in range(values.ndim) if axis not in made)
    found = np.asarray(values.any(axis=others))
    if hasattr(kernel.layer, "equation"):
        _, weights, output = read(kernel.layer.equation)
        order = [weights[axis] for axis in made]
        found = found.transpose([order.index(a) for a in output if a in weights])
    return found.reshape(shape)


def against_kernel(kernel: OfLayer, values: np.ndarray) -> np.ndarray:
    """Values of the channels, shaped to broadcast against the kernel."""
    shape, letters = kernel.shape, letters_of(kernel.layer, kernel.name, len(kernel.shape))
    made = [axis for axis, letter in enumerate(letters) if letter in "ocme"]
    if not made:
        return values
    if hasattr(kernel.layer, "equation"):
        _, weights, output = read(kernel.layer.equation)
        order = [letter for letter in output if letter in weights]
        values = values.transpose([order.index(weights[axis]) for axis in made])
    return values.reshape([n if axis in made else 1 for axis, n in enumerate(shape)])
