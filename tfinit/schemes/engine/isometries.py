"""Random matrices that keep lengths, and kernels whose linear maps are such matrices."""

import numpy as np

from tfinit.graph.kernels import Kernel, matrices


def orthogonal_kernel(
    kernel: Kernel, gains: list[float], random: np.random.Generator
) -> np.ndarray:
    """A kernel whose maps are orthogonal, each gate's times its gain."""
    layout = matrices(kernel)
    maps, window, inputs, outputs = layout.sizes()
    if kernel.name == "embeddings":
        scale = np.sqrt(max(inputs, outputs))
        return (gains[0] * scale * haar(random, 1, inputs, outputs)).reshape(kernel.shape)
    if layout.window_of_inputs:
        q = haar(random, maps, window * inputs, outputs)
    else:
        q = haar(random, maps, inputs, window * outputs)
        q = q.reshape(maps, inputs, window, outputs).swapaxes(1, 2)
    q = q.reshape(maps, window, inputs, outputs) * by_map(gains, maps)
    return layout.kernel(q, kernel.shape)


def by_map(gains: list[float], maps: int) -> np.ndarray:
    """One gain for each map: a cell's maps are its gates, those of another layer share one."""
    return np.resize(np.asarray(gains, np.float32), maps)[:, None, None, None]


def haar(random: np.random.Generator, maps: int, rows: int, columns: int) -> np.ndarray:
    """Matrices (maps, rows, columns) with orthonormal columns, or rows if those are fewer.

    They are uniform over all such matrices: the signs that QR chooses are taken out again
    (Mezzadri, How to generate random matrices from the classical compact groups, 2007).
    """
    tall = random.standard_normal((maps, max(rows, columns), min(rows, columns)), np.float32)
    # The triangle of a Cholesky factor has a positive diagonal, so its Q needs no sign, and its
    # few multiplications are many times faster than Householder's reflections. Rounding grows with
    # the square of the condition number, which for a normal matrix twice as tall as wide stays
    # near 10; one that is nearer to square takes two turns in float64.
    if tall.shape[1] >= 2 * tall.shape[2]:
        q = _whitened(tall)
    else:
        q = _orthogonalized(tall).astype(np.float32)
    return q if rows >= columns else q.swapaxes(1, 2)


def _orthogonalized(matrices: np.ndarray) -> np.ndarray:
    """The Q of matrices that may be near to singular."""
    wide = matrices.astype(np.float64)
    try:
        return _whitened(_whitened(wide))
    except np.linalg.LinAlgError:  # a condition number near 1e8
        q, r = np.linalg.qr(wide)
        return q * np.where(np.einsum("mii->mi", r) < 0, -1, 1)[:, None, :]


def _whitened(tall: np.ndarray) -> np.ndarray:
    """A·R⁻¹ with AᵀA = RᵀR: columns that are orthonormal but for rounding."""
    return tall @ _inverse(np.linalg.cholesky(tall.swapaxes(1, 2) @ tall)).swapaxes(1, 2)


def _inverse(lower: np.ndarray) -> np.ndarray:
    """The inverse of lower triangular matrices by halves: NumPy's own ignores the triangle."""
    n = lower.shape[-1] // 2
    if n < 64:
        return np.linalg.inv(lower)
    inverse = np.zeros_like(lower)
    upper, below = _inverse(lower[:, :n, :n]), _inverse(lower[:, n:, n:])
    inverse[:, :n, :n], inverse[:, n:, n:] = upper, below
    inverse[:, n:, :n] = -below @ (lower[:, n:, :n] @ upper)
    return inverse
