"""Random orthogonal matrices: one on any backend, for initializers; many in NumPy, for schemes."""

from typing import Any

import numpy as np


def haar(rows: int, columns: int, seed: int, dtype: str, factor: float = 1.0) -> Any:
    """``factor`` times a Haar-distributed matrix with orthonormal columns (or rows, if wide).

    On any backend, by QR if it is small and from reflections, without QR, if it is large.

    QR leaves the sign of each column open; a positive diagonal of R makes Q uniform (Mezzadri,
    How to generate random matrices from the classical compact groups, 2007).

    From 512 on the shorter side, Q = H₁ H₂ … H_p D is built without a decomposition: Hᵢ reflects a
    normal vector of n − i + 1 entries to its first axis and Dᵢ is a sign. The first column is then
    uniform on the sphere, and the rest is Haar in the space orthogonal to it (Stewart, The
    efficient generation of random orthogonal matrices with an application to condition estimators,
    1980). It is half the work of QR, and reflections are orthogonal whatever was drawn. Below,
    either takes milliseconds, and QR is the fewest calls.
    """
    import keras

    ops = keras.ops
    n, p = max(rows, columns), min(rows, columns)
    drawn = keras.random.normal((n, p), dtype=dtype, seed=seed)
    if p < 512:
        q, r = ops.qr(drawn)
        signs = _signs(ops.diagonal(r))
    else:
        drawn = ops.tril(drawn)
        signs = -_signs(ops.diagonal(drawn))  # what does not cancel against the vector
        q = _reflected(drawn, signs)
    q = q * (factor * signs)
    return ops.transpose(q) if rows < columns else q


def _signs(x: Any) -> Any:
    import keras

    # Not `sign`, which is 0 at 0.
    return 1 - 2 * keras.ops.cast(x < 0, x.dtype)


def _reflected(x: Any, signs: Any) -> Any:
    """The first columns of H₁ H₂ …, where Hᵢ takes column i of ``x`` to signsᵢ · its norm · eᵢ."""
    import keras

    ops = keras.ops
    norms = ops.sqrt(ops.sum(x * x, axis=0))
    # For a column of zeros, which only the shortest ones can be, any vector will do: the axis.
    zero = ops.cast(norms == 0, x.dtype)
    v = x / (norms + zero) + ops.eye(*x.shape, dtype=x.dtype) * (zero - signs)
    # JAX and PyTorch have LAPACK's product of reflections I − τ v vᵀ with 1 on the diagonal of v.
    # That is also one call: JAX would compile the blocks below for seconds.
    backend = keras.backend.backend()
    if backend in ("jax", "torch"):
        head = ops.diagonal(v)
        v, tau = v / head, ops.abs(head)
        if backend == "jax":
            from jax.lax.linalg import householder_product
        else:
            from torch.linalg import householder_product
        return householder_product(v, tau)
    return ops.cast(_product(ops.cast(v, _product_dtype(x.dtype))), x.dtype)


def _product(v: Any) -> Any:
    """The first columns of ∏ᵢ (I − 2 vᵢvᵢᵀ / |vᵢ|²), where vᵢ is 0 before entry i.

    Some reflections at a time: their product is I − V T Vᵀ, where T⁻¹ has the upper triangle of VᵀV
    and half its diagonal (Puglisi, Modification of the Householder method based on the compact WY
    representation, 1992). From the last to the first, each block meets only what is below and right
    of its corner.
    """
    import keras

    ops = keras.ops
    n, p = v.shape
    # In eighths the triangular part costs little beside the product, and calls are few.
    width = -(-p // 8)
    q = None
    for at in reversed(range(0, p, width)):
        block = v[at:, at : at + width]
        k = block.shape[1]
        turned = ops.transpose(block)
        inverse = ops.triu(ops.matmul(turned, block)) * (1 - ops.eye(k, dtype=v.dtype) / 2)
        before = ops.eye(n - at, k, dtype=v.dtype)
        if q is not None:
            before = ops.concatenate([before, ops.pad(q, [(k, 0), (0, 0)])], axis=1)
        inner = ops.solve_triangular(inverse, ops.matmul(turned, before))
        q = before - ops.matmul(block, inner)
    return q


def _product_dtype(dtype: Any) -> Any:
    """What to multiply in: TensorFlow's GPUs round the factors of float32 products to TF32.

    That would leave 1e-3 of QᵀQ − I. The switch for it is read when a product runs, which for a
    graph is after this call, so here it is float64, except where there is no accelerator.
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if any(device.device_type != "CPU" for device in tf.config.list_logical_devices()):
            return "float64"
    return dtype


def haar_matrices(random: np.random.Generator, maps: int, rows: int, columns: int) -> np.ndarray:
    """Haar-distributed matrices (maps, rows, columns), all at once, in NumPy: what schemes draw.

    As of `haar`, columns are orthonormal, or rows if those are fewer. The algorithm is another: a
    scheme draws from a generator, and a whole kernel of many small maps in few calls.
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
