"""SparseGPT: weights that go, and what the others become so that the output changes least.

With the inputs of a linear layer as the rows of X (rows × inputs), its weights W (inputs ×
outputs), and ``H = XᵀX + damping · mean(diag XᵀX) · I`` (the paper's 2XᵀX has the same minimum),
the weights of one output after another are taken from the front. Where w_j goes, the inputs j + 1,
j + 2, … make up for it as well as they can by themselves. With ``H⁻¹ = UᵀU``, U upper triangular::

    what it costs     w_j² / U_jj²
    what the others   w_k ← w_k − w_j / U_jj · U_jk,     k > j
    become

as the row U_j is, up to a factor, that of the inverse of H without its first j inputs. Which ones
go is chosen for 128 inputs at a time, of all outputs together, when what comes before is done.

Frantar & Alistarh, *SparseGPT*, 2023, https://arxiv.org/abs/2301.00774, algorithm 1; *Optimal Brain
Compression*, 2022, https://arxiv.org/abs/2208.11580. All of it is NumPy on the host, on every
backend: the time goes into BLAS's products, which are those that the backends call there.
"""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import LinAlgError, cholesky, lapack

from tfinit.errors import InputError
from tfinit.pruning.calibrated.patterns import Pattern

COLUMNS = 128
"""Of how many inputs the survivors are chosen at a time."""


def inverse_factor(moments: np.ndarray, damping: float, key: str) -> np.ndarray:
    """U with (XᵀX + damping · mean · I)⁻¹ = UᵀU; where X is zero, U is I.

    In the type of the moments, and where those are not positive definite in float32, in float64.

    Raises:
        InputError: nor are they there, so that there is no inverse.
    """
    mean = float(np.trace(moments, dtype=np.float64)) / len(moments)
    if mean == 0:
        return np.eye(len(moments), dtype=moments.dtype)
    for dtype in dict.fromkeys((moments.dtype, np.dtype(np.float64))):
        # H = R Rᵀ with R upper triangular, from the factor of H the other way round: U = R⁻¹.
        turned = moments[::-1, ::-1].astype(dtype, order="F")
        turned[np.diag_indices_from(turned)] += damping * mean
        try:
            lower = cholesky(turned, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError:
            continue
        (invert,) = lapack.get_lapack_funcs(("trtri",), (lower,))
        inverse, failed = invert(lower, lower=1, overwrite_c=1)
        if not failed and np.isfinite(inverse).all():
            return np.ascontiguousarray(inverse[::-1, ::-1]).astype(moments.dtype, copy=False)
    raise InputError(
        f"`damping` {damping:g} is too little for {key!r}: its inputs depend on each other, so the "
        "Hessian has no inverse. Give 0.01, or more examples."
    )


def saliencies(weights: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """w_j² / U_jj²: what the output loses, if all after j make up for it."""
    return (weights / np.diag(factor)[:, None]) ** 2


def prune(
    weights: np.ndarray,
    factor: np.ndarray,
    pattern: Pattern,
    sparsity: float,
    places: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The new weights, and which of them survive.

    Args:
        weights: (inputs, outputs).
        factor: U.
        pattern: How the survivors lie.
        sparsity: The fraction that goes, of each 128 inputs.
        places: Of a window; the inputs are the channels of each.
    """
    w = weights.copy()
    kept = np.ones(w.shape, dtype=bool)
    channels = len(w) // places
    for start, stop in _columns(len(w), pattern, channels):
        part, u = w[start:stop], factor[start:stop, start:stop]
        errors = np.empty_like(part)
        bounds = [0, *(row for row in range(-start % channels, stop - start, channels) if row)]
        if pattern.n_m is None:
            units = {0: stop - start}
        else:
            spans = pattern.spans(places, channels)
            units = {a - start: b - start for a, b in spans if start <= a < stop}
        for j in range(stop - start):
            if j in units:
                unit = slice(j, units[j])
                scores = saliencies(part[unit], u[unit, unit])
                kept[start:stop][unit] = pattern.keep(scores, sparsity, False, bounds)
            stays = kept[start + j]
            errors[j] = np.where(stays, 0, part[j]) / u[j, j]
            part[j] = np.where(stays, part[j], 0)
            part[j + 1 :] -= np.outer(u[j, j + 1 :], errors[j])
        w[stop:] -= factor[start:stop, stop:].T @ errors
    return w, kept


def _columns(size: int, pattern: Pattern, channels: int) -> Sequence[tuple[int, int]]:
    """Some `COLUMNS` inputs at a time, which no group or block goes across."""
    height = pattern.block[0] if pattern.n_m is None else pattern.n_m[1]
    ends = [
        min(start + first + height, start + channels)
        for start in range(0, size, channels)
        for first in range(0, channels, height)
    ]
    found, begin, last = [], 0, 0
    for end in ends:
        if end - begin > COLUMNS and last > begin:
            found.append((begin, last))
            begin = last
        last = end
    return [*found, (begin, size)]
