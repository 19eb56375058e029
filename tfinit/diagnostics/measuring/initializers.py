"""Which initializer a layer holds for a kernel, and whether it counted the fans of the layer."""

import math
from typing import Any

import numpy as np

from tfinit.fans import fans
from tfinit.graph.kernels import Kernel
from tfinit.graph.structure import Structure

# σ of drawn weights differs from the formula by so much at most, by chance and cutting.
_LIKE, _FEW = 0.2, 64
# Fans that are off by less than this change little.
_WRONG = 1.9
# Keras cuts a normal distribution off at so many σ; what is left has this deviation.
_CUT, _OF_CUT = 2.0, 0.87962566


def initializer_of(kernel: Kernel) -> str:
    """The class of the initializer that a layer holds for a kernel; "" if it holds none."""
    found = _initializer(kernel)
    return "" if found is None else type(found).__name__


def wrong_fans(kernel: Kernel, std: float) -> float | None:
    """σ of the weights / σ by the layer's true fans, if the initializer used other fans.

    None where the fans are right, where the weights do not look like the initializer's (they
    were trained, or set), or where it has no fans.
    """
    found = _initializer(kernel)
    scale, mode = getattr(found, "scale", None), getattr(found, "mode", None)
    if not isinstance(scale, int | float) or math.prod(kernel.shape) < _FEW:
        return None
    true = _fan(mode, kernel.fan_in, kernel.fan_out)
    used = _fan(mode, *fans(kernel.shape))
    if true is None or used is None:
        return None
    off = math.sqrt(true / used)
    like = std / math.sqrt(scale / used)
    if not abs(like - 1) < _LIKE or 1 / _WRONG < off < _WRONG:
        return None
    return off


def drawn(kernel: Kernel) -> tuple[float, float] | None:
    """σ of what a kernel's initializer draws, and the largest entry that it can draw.

    None where the layer holds no initializer that says so.
    """
    found = _initializer(kernel)
    scale, mode = getattr(found, "scale", None), getattr(found, "mode", None)
    std, gain = getattr(found, "stddev", None), getattr(found, "gain", None)
    low, high = getattr(found, "minval", None), getattr(found, "maxval", None)
    if isinstance(scale, int | float):
        fan = _fan(mode, *fans(kernel.shape))
        if fan is None:
            return None
        sigma = math.sqrt(scale / max(fan, 1.0))
        normal = "normal" in str(getattr(found, "distribution", ""))
        return sigma, (_CUT / _OF_CUT if normal else math.sqrt(3)) * sigma
    if isinstance(low, int | float) and isinstance(high, int | float) and -low == high:
        return high / math.sqrt(3), float(high)
    if isinstance(std, int | float) and getattr(found, "mean", 0.0) == 0.0:
        cut = "Truncated" in type(found).__name__
        return (_OF_CUT * std, _CUT * std) if cut else (float(std), math.inf)
    if isinstance(gain, int | float) and "Orthogonal" in type(found).__name__:
        longer = max(math.prod(kernel.shape[:-1]), kernel.shape[-1])
        return gain / math.sqrt(longer), float(gain)
    return None


def _initializer(kernel: Kernel) -> Any:
    # depthwise_kernel → depthwise_initializer, and that is where DepthwiseConv keeps its kernel's.
    name = kernel.name.removesuffix("_kernel")
    found = getattr(kernel.layer, f"{name}_initializer", None)
    if found is None and name == "kernel":
        found = getattr(kernel.layer, "depthwise_initializer", None)
    return found


def _fan(mode: Any, fan_in: float, fan_out: float) -> float | None:
    known = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    return known.get(mode)


def looks_drawn(structure: Structure, weights: dict[str, np.ndarray]) -> bool:
    """True if the weights look as they were drawn: nothing is frozen, and all biases are constant.

    Training moves biases, scales and shifts first of all. A bias of the last layer may have been
    set. Of kernels without any such weight, those count whose deviation is the initializer's.

    Args:
        structure: The model's graph, read.
        weights: The weights that training moves, by key.
    """
    if not all(kernel.trainable for kernel in structure.kernels):
        return False
    heads = {k.key.rsplit("/", 1)[0] for k in structure.kernels if structure.is_head(k.layer)}
    vectors = [
        values
        for key, values in weights.items()
        if values.ndim == 1 and key.rsplit("/", 1)[0] not in heads
    ]
    if vectors:
        return all(map(_is_constant, vectors))
    known = [kernel for kernel in structure.kernels if kernel.key in weights]
    likes = [_likeness(kernel, float(np.std(weights[kernel.key]))) for kernel in known]
    return all(like is None or abs(like - 1) < _LIKE for like in likes)


def _is_constant(values: np.ndarray) -> bool:
    """True of what initializers of biases and scales give: one number, or zeros and ones."""
    # A recurrent layer's bias is 0 but for the forget gate's 1.
    zeros_and_ones = bool(np.all((values == 0) | (values == 1)))
    return zeros_and_ones or (values.size > 1 and bool(np.all(values == values[0])))


def _likeness(kernel: Kernel, std: float) -> float | None:
    """σ of the weights / σ by the initializer's formula; None of one without."""
    found = _initializer(kernel)
    scale = getattr(found, "scale", None)
    used = _fan(getattr(found, "mode", None), *fans(kernel.shape))
    if not isinstance(scale, int | float) or used is None or math.prod(kernel.shape) < _FEW:
        return None
    return std / math.sqrt(scale / used)
