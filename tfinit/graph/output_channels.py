"""Statistics of a layer's output by channel, and what they are to the kernel that made it."""

from typing import Any, NamedTuple

import numpy as np

from tfinit.graph.kernels import Kernel


class ChannelStatistics(NamedTuple):
    """Mean and variance of each output channel, shaped as the axes of the output are."""

    mean: np.ndarray
    variance: np.ndarray


def channel_axes(kernel: Kernel, rank: int) -> tuple[int, ...]:
    """The axes of a layer's output, which has `rank` of them, that are its channels."""
    layer = kernel.layer
    if hasattr(layer, "equation"):
        weights, output = _letters(layer.equation)
        # From the right, as an ellipsis stands on the left or spans the batch.
        return tuple(rank - len(output) + i for i, c in enumerate(output) if c in weights)
    first = getattr(layer, "data_format", None) == "channels_first"
    return (1,) if first else (rank - 1,)


def channel_statistics(kernel: Kernel, output: Any) -> ChannelStatistics:
    """Mean and variance of each channel of an output, over everything else."""
    import keras

    if keras.backend.standardize_dtype(output.dtype) != "float64":
        output = keras.ops.cast(output, "float32")
    rank = len(output.shape)
    channels = channel_axes(kernel, rank)
    others = tuple(axis for axis in range(rank) if axis not in channels)
    mean, variance = keras.ops.moments(output, axes=others)
    return ChannelStatistics(*map(keras.ops.convert_to_numpy, (mean, variance)))


def against_output(kernel: Kernel, values: np.ndarray, rank: int) -> np.ndarray:
    """Values of the channels, shaped to broadcast against the output."""
    shape = [1] * rank
    for axis, size in zip(channel_axes(kernel, rank), values.shape, strict=True):
        shape[axis] = size
    return values.reshape(shape)


def against_kernel(kernel: Kernel, values: np.ndarray) -> np.ndarray:
    """Values of the channels, shaped to broadcast against the kernel."""
    layer = kernel.layer
    kinds = {cls.__name__ for cls in type(layer).__mro__}
    if hasattr(layer, "equation"):
        weights, output = _letters(layer.equation)
        made = [c for c in output if c in weights]
        values = values.transpose([made.index(c) for c in weights if c in made])
        sizes = iter(values.shape)
        return values.reshape([next(sizes) if c in made else 1 for c in weights])
    if "BaseDepthwiseConv" in kinds:
        return values.reshape(kernel.shape[-2:])
    return values[:, None] if "BaseConvTranspose" in kinds else values


def _letters(equation: str) -> tuple[str, str]:
    """The letters of an EinsumDense's kernel and of its output, an ellipsis left out."""
    left, output = equation.replace(" ", "").replace("...", "").split("->")
    return left.split(",")[1], output
