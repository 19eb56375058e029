"""Which initializer a layer holds for a kernel, and whether it counted the fans of the layer."""

import math
from typing import Any

from tfinit.fans import fans
from tfinit.graph.kernels import Kernel

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
    std = getattr(found, "stddev", None)
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
