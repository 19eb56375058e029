"""Meng et al.: LoRA's adapters begin with the greatest singular values of their kernel."""

from typing import Any, NamedTuple

import numpy as np

from tfinit.arguments import whole
from tfinit.errors import InputError
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Record, Report
from tfinit.schemes.engine.task import Task, in_threads
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
    places = [
        _place(key, layer)
        for key, layer in walk_layers(task.model)
        if getattr(layer, "lora_enabled", False)
    ]
    free = [place for place in places if not place.hindrance]
    if not free:
        told = "; ".join(f"{place.name}: {place.hindrance}" for place in places)
        raise InputError(
            f"Scheme 'pissa' is for layers with LoRA, and `model` {task.model.name!r} has "
            f"{told or 'none'}. Call layer.enable_lora(rank) on Dense, EinsumDense, Embedding or "
            "convolution layers first."
        )
    found = in_threads(lambda place: place.greatest(iterations, task.seed), free)
    shares = {
        place.name: place.split(task, *parts) for place, parts in zip(free, found, strict=True)
    }
    records = [
        Record(
            place.name,
            type(place.layer).__name__,
            tuple(place.kernel.shape),
            "kept" if place.hindrance else "set",
            note=place.hindrance
            or f"rank {place.layer.lora_rank} holds {shares[place.name]:.1%} of it",
        )
        for place in places
    ]
    return task.report("pissa", records)


class _Place(NamedTuple):
    """A layer with its frozen weight, its adapters, and what forbids to set them, if anything."""

    name: str
    layer: Any
    kernel: Any
    a: Any
    b: Any
    scale: float
    hindrance: str

    def matrix(self) -> np.ndarray:
        """What the layer computes with: the kernel, with adapters by which it began to learn."""
        dtype = np.float64 if self.kernel.dtype == "float64" else np.float32
        before, b = _values(self.kernel, dtype), _values(self.b, dtype)
        if b.any():
            before = before + dtype(self.scale) * (_values(self.a, dtype) @ b)
        return before

    def greatest(self, iterations: int | None, seed: int) -> tuple[np.ndarray, ...]:
        """U, S and Vᵀ of the greatest singular values of that matrix."""
        matrix = self.matrix()
        rank, random = self.b.shape[0], stream(seed, self.name)
        return _greatest(matrix.reshape(-1, matrix.shape[-1]), rank, iterations, random)

    def split(self, task: Task, u: np.ndarray, s: np.ndarray, v: np.ndarray) -> float:
        """Give the greatest part to the adapters; the share of the squared norm that is that."""
        before = self.matrix()  # again, so that no second model is held meanwhile
        roots = np.sqrt(s / self.scale)
        task.write(self.a, (u * roots).reshape(self.a.shape))
        task.write(self.b, roots[:, None] * v)
        held = np.sum(s**2, dtype=np.float64) / max(np.vdot(before, before), 1e-30)
        # Of the adapters as they are stored, so that their rounding is not the network's.
        a, b = (_values(weight, before.dtype) for weight in (self.a, self.b))
        part = (before.dtype.type(self.scale) * a) @ b
        task.write(self.kernel, np.subtract(before, part, out=part))
        return float(held)


def _place(key: str, layer: Any) -> _Place:
    # The layer itself calls its weight and the adapters by one name.
    own = {weight_name(variable): variable for variable in own_weights(layer)}
    target = "embeddings" if "lora_embeddings_a" in own else "kernel"
    kernel, a, b = own[target], own[f"lora_{target}_a"], own[f"lora_{target}_b"]
    scale = float(layer.lora_alpha) / layer.lora_rank
    hindrance = ""
    if getattr(layer, "quantization_mode", None):
        hindrance = "quantized"
    elif not (layer.trainable and a.trainable and b.trainable):
        hindrance = "frozen"
    elif scale <= 0:
        hindrance = f"lora_alpha is {layer.lora_alpha}, not positive"
    name = f"{key}/{weight_name(kernel)}".lstrip("/")
    return _Place(name, layer, kernel, a, b, scale, hindrance)


def _values(weight: Any, dtype: Any) -> np.ndarray:
    return np.asarray(weight.numpy()).astype(dtype, copy=False)


def _greatest(
    matrix: np.ndarray, rank: int, iterations: int | None, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U, S and Vᵀ of the greatest singular values; zeros where the matrix has not so many."""
    from scipy.linalg import qr  # in float32, while NumPy's computes in float64

    most = min(matrix.shape)
    if iterations is None or rank + _MORE >= most:
        u, s, v = np.linalg.svd(matrix, full_matrices=False)
    else:
        matrix = matrix.astype(np.float32, copy=False)  # the residual makes up for its rounding
        start = random.standard_normal((matrix.shape[1], rank + _MORE), np.float32)

        def orthonormal(columns: np.ndarray) -> np.ndarray:
            return qr(columns, overwrite_a=True, mode="economic", check_finite=False)[0]

        q = orthonormal(matrix @ start)
        for _ in range(iterations):
            q = orthonormal(matrix @ (matrix.T @ q))
        u, s, v = np.linalg.svd(q.T @ matrix, full_matrices=False)
        u = q @ u
    missing = max(0, rank - most)
    return (
        np.pad(u[:, :rank], ((0, 0), (0, missing))),
        np.pad(s[:rank], (0, missing)),
        np.pad(v[:rank], ((0, missing), (0, 0))),
    )
