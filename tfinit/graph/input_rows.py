"""What enters a kernel, as rows of a matrix: each layer as the linear maps y = x W that it is.

`tfinit.graph.kernels.Matrices` says how a kernel is an array (maps, inputs, outputs); here is what
is multiplied with it. A row is an example of a Dense layer, a position of a convolution with all
that its window sees there, and for an einsum one choice of all axes that are not summed over.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from tfinit.graph.einsum import kernel_letters, places, read
from tfinit.graph.kernels import Matrices
from tfinit.graph.layer_kinds import kind_of, letters_of

# Entries of what is copied at a time.
_ENTRIES = 2**24


def why_no_rows(layer: Any, name: str, rank: int) -> str:
    """Why a layer's weight is no matrix that rows are multiplied with; "" where it is one.

    Example:
        >>> why_no_rows(keras.layers.Embedding(8, 2), "embeddings", 2)
        'an embedding, of which rows are looked up'
    """
    kind, letters = kind_of(layer), letters_of(layer, name, rank)
    if "v" in letters or kind.looks_up or "embeddings" in name:
        return "an embedding, of which rows are looked up"
    if kind.gates or name == "recurrent_kernel":
        return "of a recurrent layer, which computes its inputs in a loop"
    if not kind.linear or not letters:
        return "its layer computes with it in code of its own"
    home = getattr(type(layer).call, "__module__", "") or ""
    if home.split(".")[0] != "keras":
        return f"the `call` of its layer is not Keras's own: {type(layer).__name__}"
    if hasattr(layer, "equation"):
        inputs, kernel, output = read(layer.equation)
        parts = (inputs.replace("...", ""), kernel, output.replace("...", ""))
        if "*" in kernel_letters(layer.equation) or any(len(set(p)) < len(p) for p in parts):
            return f"no matrix product: {layer.equation}"
        return ""
    return "a transposed convolution" if letters.endswith("oi") and "*" in letters else ""


def entering(layer: Any, name: str, tensor: Any) -> np.ndarray:
    """What a weight is multiplied with, of the tensor that enters its layer; float32 or wider.

    It is that tensor but for the pointwise kernel of a separable convolution, which gets what the
    depthwise one makes of it.
    """
    import keras

    if name == "pointwise_kernel":
        tensor = keras.ops.depthwise_conv(
            tensor,
            layer.depthwise_kernel,
            strides=layer.strides,
            padding=layer.padding,
            dilation_rate=layer.dilation_rate,
            data_format=layer.data_format,
        )
    values = np.asarray(keras.ops.convert_to_numpy(tensor))
    return values if values.dtype == np.float64 else values.astype(np.float32, copy=False)


def rows(layer: Any, name: str, matrices: Matrices, x: np.ndarray) -> Iterator[np.ndarray]:
    """All rows that a kernel is multiplied with, some at a time: arrays (maps, rows, inputs).

    Args:
        layer: A layer of Keras's own.
        name: The weight, of which `why_no_rows` says nothing.
        matrices: How its kernel is a set of maps.
        x: What `entering` found.

    Example:
        >>> layer = keras.layers.Conv1D(1, 2)
        >>> layer.build((None, 4, 1))
        >>> matrices = matrices_of(layer, "kernel", (2, 1, 1))
        >>> [part.tolist() for part in rows(layer, "kernel", matrices, np.array([[[1], [2], [3]]]))]
        [[[[1, 2], [2, 3]]]]
    """
    if hasattr(layer, "equation"):
        yield from _in_parts(_of_einsum(layer.equation, x))
        return
    if kind_of(layer).convolution and getattr(layer, "data_format", "") == "channels_first":
        x = np.moveaxis(x, 1, -1)
    if not kind_of(layer).convolution or name == "pointwise_kernel":
        yield from _in_parts(x.reshape(1, -1, x.shape[-1]))
        return
    maps = matrices.sizes()[0]
    for patches in _patches(layer, x):
        # (examples, positions, window, channels); of each group of channels its own rows.
        count, channels = math.prod(patches.shape[:2]), patches.shape[-1]
        split = patches.reshape(count, -1, maps, channels // maps)
        yield np.moveaxis(split, 2, 0).reshape(maps, count, -1)


def _in_parts(found: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, _ENTRIES // max(1, found.shape[0] * found.shape[2]))
    for start in range(0, found.shape[1], step):
        yield found[:, start : start + step]


def _of_einsum(equation: str, x: np.ndarray) -> np.ndarray:
    """(maps, rows, inputs), with the axes of the maps and the inputs in the kernel's order."""
    inputs, kernel, output = read(equation)
    axis_of = places(inputs, x.ndim)
    alone = [a for letter, a in axis_of.items() if letter not in kernel and letter not in output]
    if alone:
        x = x.sum(axis=tuple(alone), keepdims=True)
    maps = [axis_of[letter] for letter in kernel if letter in inputs and letter in output]
    summed = [axis_of[letter] for letter in kernel if letter in inputs and letter not in output]
    free = [axis for axis in range(x.ndim) if axis not in maps and axis not in summed]
    count, width = (math.prod(x.shape[axis] for axis in part) for part in (maps, summed))
    return x.transpose(*maps, *free, *summed).reshape(count, -1, width)


def share_inside(layer: Any, shape: tuple[int | None, ...]) -> float:
    """The share of a convolution's window that lies on the map, on average over its positions.

    The rest sees padding, which is zeros: on a map of 4 × 4 a window of 3 × 3 has 6.25 of its 9
    places inside. 1 for a layer without a window, and along an axis of unknown size.

    Args:
        layer: A convolution, depthwise or not.
        shape: The shape of what it reads, with the batch axis.
    """
    if not hasattr(layer, "padding") or not hasattr(layer, "dilation_rate"):
        return 1.0
    sizes = shape[2:] if layer.data_format == "channels_first" else shape[1:-1]
    share = 1.0
    axes = (sizes, layer.kernel_size, layer.strides, layer.dilation_rate)
    for size, window, stride, dilation in zip(*axes, strict=True):
        if size is not None:
            before, after = _padding(
                layer.padding, size, span := (window - 1) * dilation + 1, stride
            )
            first = np.arange(-before, size + after - span + 1, stride)
            places = first[:, None] + dilation * np.arange(window)
            share *= float(np.mean((places >= 0) & (places < size)))
    return share


def _patches(layer: Any, x: np.ndarray) -> Iterator[np.ndarray]:
    """What the window sees at each position: (examples, positions, window, channels)."""
    rank = x.ndim - 2
    window, strides, dilation = (
        tuple(given) if isinstance(given, tuple | list) else (given,) * rank
        for given in (layer.kernel_size, layer.strides, layer.dilation_rate)
    )
    spans = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    padding = [
        _padding(layer.padding, n, span, s)
        for n, span, s in zip(x.shape[1:-1], spans, strides, strict=True)
    ]
    positions = math.prod(
        (n + sum(pad) - span) // s + 1
        for n, pad, span, s in zip(x.shape[1:-1], padding, spans, strides, strict=True)
    )
    size = positions * math.prod(window) * x.shape[-1]
    step = max(1, _ENTRIES // max(1, size))
    for start in range(0, len(x), step):
        part = np.pad(x[start : start + step], [(0, 0), *padding, (0, 0)])
        seen = np.lib.stride_tricks.sliding_window_view(part, spans, axis=tuple(range(1, rank + 1)))
        # (examples, positions, channels, window): some positions, and of the window some places.
        cut = [slice(None, None, s) for s in strides]
        seen = seen[(slice(None), *cut, slice(None), *(slice(None, None, d) for d in dilation))]
        seen = np.moveaxis(seen, rank + 1, -1)
        bounds = [*range(0, seen.shape[1], max(1, _ENTRIES // max(1, size // seen.shape[1])))]
        for first, last in pairwise([*bounds, seen.shape[1]]):
            some = seen[:, first:last]
            yield some.reshape(len(part), -1, math.prod(window), x.shape[-1])


def _padding(kind: str, size: int, span: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis, as Keras pads it."""
    if kind == "causal":
        return span - 1, 0
    if kind == "valid":
        return 0, 0
    total = max((-(-size // stride) - 1) * stride + span - size, 0)
    return total // 2, total - total // 2
