"""How many inputs feed one output of a weight, and how many outputs one input feeds.

For a weight w with independent entries of variance σ², inputs x and output gradients δ::

    E[y²]     = fan_in  · σ² · E[x²]      forward
    E[(∂x)²]  = fan_out · σ² · E[δ²]      backward

so a fan is the number of products that are summed, averaged over positions away from the borders.
Keras's initializers see a shape only; these fans know the layer that owns the weight:

====================== ============================ ===================== =====================
layer                  weight                       fan_in                fan_out
====================== ============================ ===================== =====================
Dense                  (in, out)                    in                    out
Conv, g groups         (k…, in/g, out)              K·in/g                K·out/g / S
DepthwiseConv          (k…, in, m)                  K                     K·m / S
SeparableConv          depthwise, pointwise         K; in·m               K·m / S; out
ConvTranspose          (k…, out, in)                K·in / S              K·out
EinsumDense, attention by its equation              summed axes           new axes
Embedding              (vocabulary, dim)            1                     dim
its way back           (dim, vocabulary)            dim                   vocabulary
experts                (experts, in, out)           in                    out
LSTM, GRU, SimpleRNN   (in, gates·units)            in                    units (one gate)
ConvLSTM               (k…, in, 4·filters)          K·in                  K·filters / S
====================== ============================ ===================== =====================

K is the product of the kernel sizes and S of the strides: a stride of 2 leaves out half of the
products on the input side of a convolution and on the output side of a transposed one. Dilation
moves products and does not change their number.
"""

import math
from collections.abc import Sequence
from typing import Any

from tfinit.arguments import refused, wholes
from tfinit.errors import InputError
from tfinit.graph.layer_kinds import axes_of, kind_of, letters_of
from tfinit.moved import former_names
from tfinit.variables import children, own_weights, weight_name

__all__ = ["Fans", "check_shape", "fans"]

Fans = tuple[float, float]


def fans(layer_or_shape: Any, weight: Any = None) -> Fans:
    """``(fan_in, fan_out)`` of one weight of a layer, or of a plain shape.

    Args:
        layer_or_shape: A built layer of Keras 3 or tf_keras (subclasses count as their parent), or
            a shape. A shape, and a weight of a layer that is not in the table of this module, get
            Keras's rule: ``(n,)`` is (n, n), ``(..., in, out)`` is in and out times the rest.
        weight: Which weight: its name (``"depthwise_kernel"``), the variable itself, or the name
            of a sublayer (``"query"`` of an attention layer). None: the layer's only weight of
            two or more axes, biases aside.

    Returns:
        Two floats. They are fractions where strides do not divide the kernel size.

    Raises:
        InputError: a shape that is empty or not of positive integers, a layer that is not built,
            a weight that the layer does not have, or None where there is a choice.

    Example:
        >>> fans((3, 3, 16, 32))
        (144.0, 288.0)
        >>> layer = keras.layers.DepthwiseConv2D(3)
        >>> layer.build((None, 8, 8, 16))
        >>> fans(layer)
        (9.0, 9.0)
    """
    if not hasattr(layer_or_shape, "weights"):
        shape = check_shape(layer_or_shape, "layer_or_shape")
        if weight is not None:
            raise InputError(
                f"`weight` is only for a layer, received weight={weight!r} with a shape. "
                "Leave it out, or pass the layer."
            )
        return _by_shape(shape)
    layer = layer_or_shape
    if not layer.built:
        raise InputError(
            f"Layer {layer.name!r} has no weights yet: it is not built. "
            "Call it on a batch or call `layer.build(input_shape)` first."
        )
    kind = kind_of(layer)
    if kind.recurrent:
        return fans(layer.cell, weight)
    if kind.wrapper:
        return fans(layer.layer, weight)
    named = {weight_name(w): w for w in own_weights(layer)}
    if weight is None:
        # The bias of an EinsumDense may have two axes.
        matrices = [n for n, w in named.items() if len(w.shape) >= 2 and n != "bias"]
        if len(matrices) != 1:
            raise InputError(
                f"Layer {layer.name!r} has {len(matrices)} weights to choose from: "
                f"{matrices}. Say which with `weight=`."
            )
        weight = matrices[0]
    if not isinstance(weight, str) and not any(weight is w for w in named.values()):
        raise refused("weight", f"one of {list(named)}, or the variable itself", weight)
    name = weight if isinstance(weight, str) else weight_name(weight)
    if isinstance(weight, str) and weight not in named:
        for child in children(layer):
            if child.name == weight:
                return fans(child)
        raise InputError(
            f"`weight` must be one of {list(named)} or a sublayer of layer {layer.name!r} "
            f"({[child.name for child in children(layer)]}), received {weight!r}."
        )
    shape = tuple(int(n) for n in (named[name] if isinstance(weight, str) else weight).shape)
    return _by_axes(layer, name, check_shape(shape))


def check_shape(shape: Any, name: str = "shape") -> tuple[int, ...]:
    """The shape as a tuple of ints; InputError unless it has an axis and all are positive."""
    cure = "A weight without axes or without entries has no fan."
    if hasattr(shape, "as_list"):  # of TensorFlow
        shape = tuple(shape)
    return wholes(name, shape, 1, cure=cure)


def _by_shape(shape: Sequence[int]) -> Fans:
    if len(shape) == 1:
        return float(shape[0]), float(shape[0])
    window = math.prod(shape[:-2])
    return float(window * shape[-2]), float(window * shape[-1])


def _by_axes(layer: Any, name: str, shape: tuple[int, ...]) -> Fans:
    """The fans of a weight by what its axes are, without those of no kernel by its shape."""
    axes, letters = axes_of(layer, name), letters_of(layer, name, len(shape))
    if axes is None or not letters:
        return _by_shape(shape)

    def size(which: str) -> float:
        pairs = zip(letters, shape, strict=True)
        return float(math.prod(n for letter, n in pairs if letter in which))

    # The kernel of groups already holds inputs/groups, but all outputs; that of gates all gates.
    parts = len(kind_of(layer).gates) or (getattr(layer, "groups", 1) if axes.strided else 1)
    fan_in, fan_out = size("*i"), size("*om") / parts
    strides = math.prod(layer.strides) if axes.strided else 1
    if axes.strided == "i":
        return fan_in / strides, fan_out
    return fan_in, fan_out / strides


__getattr__ = former_names(__name__, {"summed_axes": "tfinit.graph.einsum.summed_axes"})
