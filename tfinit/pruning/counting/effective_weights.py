"""The weights that a layer computes with, where it stores others: with LoRA, and quantized.

With LoRA a layer stores a kernel and two adapters, and computes with their sum, which is also what
Keras saves::

    kernel + lora_alpha / lora_rank · A·B

Quantized it stores codes, of 4 bits two in a byte, and computes with ``(code - zero point) ·
scale``, or ``code · scale`` where it has no zero point: a weight is zero where its code is that
point, or 0.
"""

import inspect
from typing import Any

import keras
import numpy as np
from keras import ops

from tfinit.variables import own_weights, weight_name

# Modes of Keras in which a kernel is codes. In float8 it stays a kernel.
CODED = ("int8", "int4", "gptq", "awq")
_ADAPTERS = ("lora_kernel_a", "lora_kernel_b", "lora_embeddings_a", "lora_embeddings_b")
_OF_CODES = ("_scale", "_scales", "_zero", "g_idx")


def has_lora(layer: Any) -> bool:
    """Whether a layer computes with its kernel and LoRA's adapters."""
    return bool(getattr(layer, "lora_enabled", False))


def is_coded(layer: Any) -> bool:
    """Whether a layer's kernel is stored as codes."""
    return getattr(layer, "quantization_mode", None) in CODED


def lora_target(layer: Any) -> str:
    """What a layer calls the weight that LoRA adapts."""
    return "embeddings" if hasattr(layer, "lora_embeddings_a") else "kernel"


def adapters(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """LoRA's A and B of a layer."""
    a, b = (_array(v) for v in own_weights(layer) if weight_name(v) in _ADAPTERS)
    return a, b


def lora_delta(layer: Any) -> Any:
    """What LoRA adds to the weight: ``lora_alpha / lora_rank · A·B``, a tensor."""
    return (layer.lora_alpha / layer.lora_rank) * ops.matmul(*adapters(layer))


def counted_weights(layer: Any) -> list[Any]:
    """A layer's own weights without LoRA's adapters and what codes are read with."""
    coded = is_coded(layer)
    # Before it is calibrated, such a layer has its kernel, and a place for the codes.
    waiting = None if not coded or _calibrated(layer) else layer.quantized_kernel
    return [
        weight
        for weight in own_weights(layer)
        if weight_name(weight) not in _ADAPTERS
        and not (coded and weight_name(weight).endswith(_OF_CODES))
        and weight is not waiting
    ]


def nonzero(layer: Any, weight: Any, with_lora: bool = True) -> np.ndarray:
    """Where a weight of a layer, as the layer computes with it, is not zero.

    Args:
        layer: A built layer, of Keras 3 or tf_keras.
        weight: One of its `counted_weights`.
        with_lora: False: the weight as it was before LoRA's adapters.

    Returns:
        A boolean array of the shape of the weight once unpacked.
    """
    name = weight_name(weight)
    adapted = with_lora and has_lora(layer) and name == lora_target(layer)
    if is_coded(layer) and _calibrated(layer):
        here = _nonzero_codes(layer, weight, name)
        return here | (_array(lora_delta(layer)).reshape(here.shape) != 0) if adapted else here
    return (_array(getattr(layer, name)) if adapted else np.asarray(weight.numpy())) != 0


def zeros_before_lora(layer: Any) -> int:
    """How many zeros the weight has that LoRA adapts."""
    target = lora_target(layer)
    [weight] = [weight for weight in own_weights(layer) if weight_name(weight) == target]
    return int(np.count_nonzero(~nonzero(layer, weight, with_lora=False)))


def _nonzero_codes(layer: Any, weight: Any, name: str) -> np.ndarray:
    codes, zero, axis = np.asarray(weight.numpy()), None, 0
    if layer.quantization_mode in ("gptq", "awq"):
        if name == "kernel":  # (columns, rows), zero points (columns, groups)
            codes, zero, axis = _unpacked(layer, "kernel"), layer.kernel_zero, -1
    elif layer.quantization_mode == "int4":
        zero = getattr(layer, f"{name}_zero", None)
        if name == "reverse_embeddings":
            unpacked = keras.quantizers.unpack_int4(weight, layer.output_dim, axis=0)
            codes = _array(unpacked)
        elif name in ("kernel", "embeddings"):
            codes, axis = _unpacked(layer, name), 0 if name == "kernel" else -1
    if zero is None:
        return codes != 0
    groups = _array(layer.g_idx).astype(int)
    # The axes of an einsum's kernel are those that are summed, then the others.
    matrix = codes.reshape(-1, len(groups)) if axis else codes.reshape(len(groups), -1)
    return (matrix != np.take(_array(zero), groups, axis=axis)).reshape(codes.shape)


def _unpacked(layer: Any, name: str) -> np.ndarray:
    """The codes of a layer as Keras unpacks them."""
    return _array(inspect.getattr_static(type(layer), name).fget(_WithoutLora(layer)))


class _WithoutLora:
    """A layer as its properties see it, but for LoRA, which they would add to the codes."""

    lora_enabled = False

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


def _calibrated(layer: Any) -> bool:
    mode = layer.quantization_mode
    return mode not in ("gptq", "awq") or bool(getattr(layer, f"is_{mode}_calibrated", False))


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor))
