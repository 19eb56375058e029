"""Trockman & Kolter: self-attention that starts as it looks like after training."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tfinit.arguments import number
from tfinit.errors import InputError
from tfinit.graph.attention import SelfAttention, by_head, from_heads, self_attentions
from tfinit.graph.kernels import Kernel
from tfinit.haar import haar_matrices
from tfinit.schemes.engine.registry import scheme, start_from
from tfinit.schemes.engine.report import Report, frozen, record_of
from tfinit.schemes.engine.task import Task, in_threads
from tfinit.streams import stream

# Of larger matrices few singular vectors are found without all of them.
_LARGE = 512
# The turns of such a search, and how many times more vectors it has than are wanted.
_TURNS, _VECTORS = 4, 2.5


@scheme("Mimetic", fits="transformers")
def mimetic(
    task: Task,
    *,
    query_key_alpha: float = 0.7,
    query_key_beta: float = 0.7,
    value_output_alpha: float = 0.4,
    value_output_beta: float = 0.4,
    start: str | None = None,
) -> Report:
    """QKᵀ ≈ α₁Z + β₁I for each head and VO ≈ α₂Z - β₂I for all heads together, Z ~ N(0, 1/d).

    Z is another matrix (d, d) for each, d being the width. The kernels are the parts of the
    singular value decomposition UΣWᵀ: Q = UΣ^½, K = WΣ^½, cut off at the size of a head (k), so
    QKᵀ is the best approximation of rank k; V = UΣ^½ and O = Σ^½Wᵀ have the rank of all heads
    together and, where that is d, the product exactly. Where heads share keys and values, Q is the
    best for those keys, and the heads of a group share O's part equally.

    Tokens so attend to those that are like them from the first step, and what they gather takes
    their own part out. Vision transformers on small data gain most, with sinusoidal positions,
    as in the paper, more than with learned ones; of language models the paper reports less. Large
    data make up for any start. It is about self-attention: other kernels, a decoder's attention to
    an encoder, and layers whose heads do not show in their kernels keep what they have, or what
    ``start`` gives them.

    Args:
        task: A transformer.
        query_key_alpha: α₁, 0 or more.
        query_key_beta: β₁.
        value_output_alpha: α₂, 0 or more.
        value_output_beta: β₂; a negative one adds the identity.
        start: The scheme that all other kernels are drawn with; None leaves them.

    Raises:
        InputError: no layer of the model attends to its own input, one of those is frozen in part
            or changes the width, or an option is not a number as above.

    Example:
        >>> i = keras.Input((6, 32))
        >>> a = keras.layers.MultiHeadAttention(4, 8)
        >>> model = keras.Model(i, a(i, i))
        >>> report = initialize(model, "mimetic", seed=1, value_output_alpha=0)
        >>> product = numpy.einsum("dhk,hke->de", a.value_dense.kernel, a.output_dense.kernel)
        >>> bool(abs(product + 0.4 * numpy.eye(32)).max() < 1e-5)
        True

    Trockman & Kolter, Mimetic initialization of self-attention layers, ICML 2023.
    """
    alphas = (
        number("query_key_alpha", query_key_alpha, least=0),
        number("value_output_alpha", value_output_alpha, least=0),
    )
    betas = (
        number("query_key_beta", query_key_beta),
        -number("value_output_beta", value_output_beta),
    )
    attentions = [
        found
        for found in self_attentions(task.model, task.graph, task.kernels)
        if all(kernel.trainable for kernel in found) and _keeps_the_width(found)
    ]
    if not attentions:
        raise InputError(
            'Scheme "mimetic" needs layers as MultiHeadAttention that attend to their own input, '
            'keep its width and are not frozen, and the model has none. Use "he" or '
            '"depth_scaled".'
        )
    start_from(task, start)
    pairs = [
        pair
        for found in attentions
        for pair in (
            _Pair((found.query, found.key), _queries_and_keys, alphas[0], betas[0]),
            _Pair((found.value, found.output), _values_and_outputs, alphas[1], betas[1]),
        )
    ]
    made = in_threads(lambda pair: pair.values(task.seed), pairs)
    notes: dict[str, str] = {}
    for pair, both in zip(pairs, made, strict=True):
        for kernel, values in zip(pair.kernels, both, strict=True):
            task.write(kernel.variable, values)
            notes[kernel.key] = f"{pair.alpha:g} Z {pair.beta:+g} I"
    records = []
    for kernel in task.kernels:
        if not kernel.trainable:
            records.append(frozen(kernel))
        elif kernel.key in notes:
            std = float(np.std(kernel.variable.numpy()))
            records.append(record_of(kernel, "set", std=std, note=notes[kernel.key]))
        else:
            records.append(record_of(kernel, "kept" if start is None else "set", note=start or ""))
    return task.report("mimetic", records, f"{len(attentions)} layers of self-attention")


Shape = tuple[int, ...]


class _Pair(NamedTuple):
    """Two kernels whose product is αZ + βI."""

    kernels: tuple[Kernel, Kernel]
    make: Callable[..., tuple[np.ndarray, np.ndarray]]
    alpha: float
    beta: float

    def values(self, seed: int) -> list[np.ndarray]:
        random = stream(seed, self.kernels[0].key)
        made = self.make(*map(_shape, self.kernels), self.alpha, self.beta, random)
        return [from_heads(*both) for both in zip(self.kernels, made, strict=True)]


def _shape(kernel: Kernel) -> Shape:
    """Heads, inputs and outputs."""
    return by_head(kernel, np.empty(kernel.shape, np.bool_)).shape


def _keeps_the_width(attention: SelfAttention) -> bool:
    inputs = {_shape(kernel)[1] for kernel in attention[:3]}
    return inputs == {attention.output.fan_out}


def _queries_and_keys(
    queries: Shape, keys: Shape, alpha: float, beta: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Q (heads, d, k) and K (groups, d, k): QKᵀ ≈ αZ + βI for each head."""
    heads, width, size = queries
    made = np.empty(queries, np.float32), np.empty(keys, np.float32)
    shared = heads // keys[0]
    for head in range(heads):
        group, member = divmod(head, shared)
        if not member:
            made[0][head], right = _factors(width, size, alpha, beta, random)
            made[1][group] = right.T
        else:
            key = made[1][group]
            wanted = _near_identity(width, alpha, beta, random) @ key
            made[0][head] = np.linalg.solve(key.T @ key, wanted.T).T
    return made


def _values_and_outputs(
    values: Shape, outputs: Shape, alpha: float, beta: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """V (groups, d, k) and O (heads, k, d): the sum of VO over all heads is αZ + βI."""
    groups, width, size = values
    shared = outputs[0] // groups
    left, right = _factors(width, groups * size, alpha, beta, random)
    value = left.reshape(width, groups, size).swapaxes(0, 1)
    output = np.repeat(right.reshape(groups, size, width) / shared, shared, axis=0)
    return value, output


def _near_identity(
    width: int, alpha: float, beta: float, random: np.random.Generator
) -> np.ndarray:
    """αZ + βI with entries of Z of variance 1/width."""
    made = random.standard_normal((width, width), np.float32)
    made *= np.float32(alpha / width**0.5)
    made.flat[:: width + 1] += np.float32(beta)
    return made


def _factors(
    width: int, rank: int, alpha: float, beta: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """UΣ^½ (d, rank) and Σ^½Wᵀ (rank, d) of the largest singular values of αZ + βI.

    Of more than d columns the product is the same, turned by orthonormal rows.
    """
    from scipy.linalg import eigh  # takes half the time of NumPy's

    most = min(rank, width)
    if most * 4 < width >= _LARGE:
        basis, image = _leading(width, most, alpha, beta, random)
    else:
        basis, image = None, _near_identity(width, alpha, beta, random)
    # Σ² from the smallest on
    squares, turn = eigh(image.T @ image, driver="evd", overwrite_a=True, check_finite=False)
    squares, turn = squares[: -most - 1 : -1], turn[:, : -most - 1 : -1]
    # What rounding leaves of a singular value of 0 must not be divided by.
    roots = np.maximum(squares, 1e-12 * max(squares[0], 1e-30)) ** 0.25
    left, right = image @ turn / roots, ((turn if basis is None else basis @ turn) * roots).T
    if rank > width:
        rows = np.linalg.qr(random.standard_normal((rank, width)))[0].T
        left, right = left @ rows, rows.T @ right
    return left.astype(np.float32), right.astype(np.float32)


def _leading(
    width: int, rank: int, alpha: float, beta: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal columns P that nearly span the largest right singular vectors; (αZ + βI)P.

    By a block Krylov space (Musco & Musco, Randomized block Krylov methods for stronger and faster
    approximate singular value decomposition, 2015). Z is drawn only where it is looked at: where
    ZP and ZᵀQ are known, both with orthonormal columns, Zp of another column p, orthogonal to P, is
    Q(ZᵀQ)ᵀp + (I - QQᵀ)g with a normal g of its own.
    """
    # Of a matrix that is nearly βI no columns are much better than others.
    turns = _TURNS if alpha > 0.1 * abs(beta) else 1
    size = math.ceil(rank * _VECTORS / turns)
    p, q, zp, zq = np.zeros((4, width, turns * size), np.float32)
    scale, shift = np.float32(alpha / width**0.5), np.float32(beta)
    columns = haar_matrices(random, 1, width, size)[0]

    def drawn(columns: np.ndarray, known: np.ndarray, images: np.ndarray) -> np.ndarray:
        normal = random.standard_normal(columns.shape, np.float32)
        return normal + known @ (images.T @ columns - known.T @ normal)

    for start in range(0, turns * size, size):
        old, new, both = slice(start), slice(start, start + size), slice(start + size)
        p[:, new] = columns
        zp[:, new] = drawn(columns, q[:, old], zq[:, old])
        if both.stop < turns * size:
            q[:, new] = _orthonormal(scale * zp[:, new] + shift * columns, q[:, old])
            zq[:, new] = drawn(q[:, new], p[:, both], zp[:, both])
            columns = _orthonormal(scale * zq[:, new] + shift * q[:, new], p[:, both])
    return p, scale * zp + shift * p


def _orthonormal(columns: np.ndarray, known: np.ndarray) -> np.ndarray:
    """What the columns have that is orthogonal to the known ones, as orthonormal ones."""
    columns = columns - known @ (known.T @ columns)
    return columns @ np.linalg.inv(np.linalg.cholesky(columns.T @ columns)).T
