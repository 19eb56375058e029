"""Meng et al.: LoRA's adapters begin with the greatest singular values of their kernel."""

from typing import Any

import numpy as np

from tfinit.arguments import whole
from tfinit.errors import InputError
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Record, Report
from tfinit.schemes.engine.task import Task
from tfinit.streams import stream
from tfinit.variables import own_weights, walk_layers, weight_name

_MORE = 8  # directions beside those that are asked for, which a search from random ones needs


@scheme("PiSSA", fits="layers with LoRA")
def pissa(task: Task, *, iterations: int | None = 4) -> Report:
    """A = U_r·S_r^½ / √s, B = S_r^½·V_rᵀ / √s, W ← W − s·A·B of W = U·S·Vᵀ, s = alpha / rank.

    For layers after ``enable_lora(rank)``, which compute with W + s·A·B: what they compute stays as
    it was, up to rounding, while the part of W with the greatest singular values can be trained
    from the first step. LoRA itself begins with B = 0, and A random. Where adapters were trained
    already, W is the kernel with them.

    It helps fine-tuning in few steps or at a low rank; with many steps, or where what is to be
    learned is foreign to W, it is no better. A pruned kernel is dense after it, as the residual
    has no zeros. To take the adapters off again, merge them: W alone is no longer the network.

    Args:
        task: The model.
        iterations: Of the search for the greatest singular values (a subspace of rank + 8, from
            random directions): the more, the nearer. None: all singular values, which takes minutes
            for kernels of thousands of rows and columns. Outputs stay the same with any number.

    Returns:
        A record for each adapted weight, with the share of ‖W‖² that its adapters hold.

    Raises:
        InputError: no layer has LoRA that trains, or it is quantized, or alpha is not positive.

    Example:
        >>> layer = keras.layers.Dense(6, name="fc")
        >>> model = keras.Sequential([keras.Input((8,)), layer])
        >>> layer.enable_lora(2)
        >>> x = numpy.ones((1, 8), "float32")
        >>> before = model.predict(x, verbose=0)
        >>> report = initialize(model, "pissa", seed=1)
        >>> bool(numpy.allclose(model.predict(x, verbose=0), before, atol=1e-5))
        True
        >>> bool(numpy.any(layer.lora_kernel_b.numpy()))  # LoRA's own is zero
        True

    Meng, Wang & Zhang, PiSSA: principal singular values and singular vectors adaptation of large
    language models, NeurIPS 2024, https://arxiv.org/abs/2404.02948; the search is of Halko,
    Martinsson & Tropp, Finding structure with randomness, 2011.
    """
    iterations = whole("iterations", iterations, 0, none=True)
    records = []
    for key, layer in walk_layers(task.model):
        if not getattr(layer, "lora_enabled", False):
            continue
        kernel, a, b = _adapted(layer)
        name = f"{key}/{weight_name(kernel)}".lstrip("/")
        scale = float(layer.lora_alpha) / layer.lora_rank
        note = ""
        if getattr(layer, "quantization_mode", None):
            note = "quantized"
        elif not (layer.trainable and a.trainable and b.trainable):
            note = "frozen"
        elif scale <= 0:
            note = f"lora_alpha is {layer.lora_alpha}, not positive"
        else:
            held = _split(task, name, (kernel, a, b), scale, iterations)
            note = f"rank {layer.lora_rank} holds {held:.1%} of it"
        action = "set" if "holds" in note else "kept"
        shape = tuple(kernel.shape)
        records.append(Record(name, type(layer).__name__, shape, action, note=note))
    if all(record.action == "kept" for record in records):
        told = "; ".join(f"{record.key}: {record.note}" for record in records)
        raise InputError(
            f"Scheme 'pissa' is for layers with LoRA, and `model` {task.model.name!r} has "
            f"{told or 'none'}. Call layer.enable_lora(rank) on Dense, EinsumDense, Embedding or "
            "convolution layers first."
        )
    return task.report("pissa", records)


def _adapted(layer: Any) -> tuple[Any, Any, Any]:
    """The frozen weight of a layer and its adapters; the layer itself calls them by one name."""
    own = {weight_name(variable): variable for variable in own_weights(layer)}
    target = "embeddings" if "lora_embeddings_a" in own else "kernel"
    return own[target], own[f"lora_{target}_a"], own[f"lora_{target}_b"]


def _split(
    task: Task, name: str, weights: tuple[Any, Any, Any], scale: float, iterations: int | None
) -> float:
    """Give a kernel's greatest part to its adapters; the share of its squared norm that is that."""
    kernel, a, b = weights
    dtype = np.float64 if kernel.dtype == "float64" else np.float32

    def values(weight: Any) -> np.ndarray:
        return np.asarray(weight.numpy()).astype(dtype, copy=False)

    before, old_b = values(kernel), values(b)
    if old_b.any():  # by which they began to learn
        before = before + dtype(scale) * (values(a) @ old_b)
    matrix = before.reshape(-1, before.shape[-1])
    u, s, v = _greatest(matrix, len(old_b), iterations, stream(task.seed, name))
    roots = np.sqrt(s / scale)
    task.write(a, (u * roots).reshape(a.shape))
    task.write(b, roots[:, None] * v)
    held = np.sum(s**2, dtype=np.float64) / max(np.vdot(matrix, matrix), 1e-30)
    # Of the adapters as they are stored, so that their rounding is not the network's.
    part = (dtype(scale) * values(a)) @ values(b)
    task.write(kernel, np.subtract(before, part, out=part))
    return float(held)


def _greatest(
    matrix: np.ndarray, rank: int, iterations: int | None, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U, S and Vᵀ of the greatest singular values; zeros where the matrix has not so many."""
    most = min(matrix.shape)
    if iterations is None or rank + _MORE >= most:
        u, s, v = np.linalg.svd(matrix, full_matrices=False)
    else:
        matrix = matrix.astype(np.float32, copy=False)  # the residual makes up for its rounding
        start = random.standard_normal((matrix.shape[1], rank + _MORE), np.float32)
        q = np.linalg.qr(matrix @ start)[0]
        for _ in range(iterations):
            q = np.linalg.qr(matrix @ (matrix.T @ q))[0]
        u, s, v = np.linalg.svd(q.T @ matrix, full_matrices=False)
        u = q @ u
    missing = max(0, rank - most)
    return (
        np.pad(u[:, :rank], ((0, 0), (0, missing))),
        np.pad(s[:rank], (0, missing)),
        np.pad(v[:rank], ((0, missing), (0, 0))),
    )
