"""Kernels whose linear maps keep lengths."""

import numpy as np

from tfinit.graph.kernels import Kernel, matrices
from tfinit.haar import haar_matrices


def orthogonal_kernel(
    kernel: Kernel, gains: list[float], random: np.random.Generator
) -> np.ndarray:
    """A kernel whose maps are orthogonal, each gate's times its gain."""
    layout = matrices(kernel)
    maps, window, inputs, outputs = layout.sizes()
    if kernel.name == "embeddings":
        scale = np.sqrt(max(inputs, outputs))
        return (gains[0] * scale * haar_matrices(random, 1, inputs, outputs)).reshape(kernel.shape)
    if layout.window_of_inputs:
        q = haar_matrices(random, maps, window * inputs, outputs)
    else:
        q = haar_matrices(random, maps, inputs, window * outputs)
        q = q.reshape(maps, inputs, window, outputs).swapaxes(1, 2)
    q = q.reshape(maps, window, inputs, outputs) * by_map(gains, maps)
    return layout.kernel(q, kernel.shape)


def by_map(gains: list[float], maps: int) -> np.ndarray:
    """One gain for each map: a cell's maps are its gates, those of another layer share one."""
    return np.resize(np.asarray(gains, np.float32), maps)[:, None, None, None]
