"""Which initializer a layer holds for a kernel, and whether it counted the fans of the layer."""

import math
from typing import Any

from tfinit.fans import fans
from tfinit.graph.kernels import Kernel

# σ of drawn weights differs from the formula by so much at most, by chance and cutting.
_LIKE, _FEW = 0.2, 64
# Fans that are off by less than this change little.
_WRONG = 1.9


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
