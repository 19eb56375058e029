"""How often one call of a layer uses each entry of its kernels, by its shapes.

A kernel costs (entries) × (uses) multiply-adds, and what is left of it costs (nonzero entries) ×
(uses), where the uses of one call are::

    Dense                          positions of the input (batch and sequence axes)
    Conv, DepthwiseConv            positions of the output (strides, dilation and padding are in it)
    SeparableConv                  positions of the output, for both kernels
    ConvTranspose                  positions of the input
    EinsumDense                    the sizes of the input's axes that the kernel does not have
    LSTM, GRU, SimpleRNN           timesteps, for the kernel and the recurrent kernel
    ConvLSTM                       timesteps × positions of the state
    Embedding                      0: a lookup; in reverse, the positions of the input
    Mixtral's experts              positions of the input: each expert computes all of them

Attention also multiplies two inputs, (queries) × (keys) × (key size + value size) per head; this
has no weights and is counted apart. Biases, normalization, activations and pooling count 0.
"""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import keras

from tfinit.graph.einsum import places, read
from tfinit.graph.layer_kinds import kind_of
from tfinit.variables import own_weights, walk_layers, weight_name

Shape = tuple[int, ...]


class Uses:
    """What one sample makes a model do.

    Attributes:
        kernels: (id of layer, id of kernel) → how often the layer uses each entry of it.
        products: Id of layer → multiply-adds between two inputs.
        called: Ids of the layers that were called.
        unruled: Ids of layers with matrices of a kind that is not in the list above.
        unknown: Id of layer → why its multiply-adds could not be counted.
        made: Id of a Dense layer and the like → the shape that its last call made, for a batch.
        shapes: The shapes of the model's inputs for one sample, without the batch axis.
    """

    def __init__(self) -> None:
        self.kernels: Counter[tuple[int, int]] = Counter()
        self.products: Counter[int] = Counter()
        self.called: set[int] = set()
        self.unruled: set[int] = set()
        self.unknown: dict[int, str] = {}
        self.made: dict[int, Shape] = {}
        self.shapes: list[Shape] = []

    def clear(self) -> None:
        """Forget all, for another run."""
        self.__init__()

    def add(self, layer: Any, times: int, *names: str) -> None:
        """Count uses of those of a layer's own weights that have one of the names."""
        self.called.add(id(layer))
        found = [weight for weight in own_weights(layer) if weight_name(weight) in names]
        for weight in found:
            self.kernels[id(layer), id(weight)] += times
        if not found:  # a subclass with other weights
            self.unruled.add(id(layer))

    def join(self, other: "Uses") -> None:
        """Add what a part of the model does."""
        self.kernels.update(other.kernels)
        self.products.update(other.products)
        self.called |= other.called
        self.unruled |= other.unruled
        self.unknown |= other.unknown
        self.made |= other.made

    def divide(self, batch: int) -> None:
        """From a batch to one sample."""

        def of_one(layer: int, count: int) -> int:
            if count % batch:
                self.unknown[layer] = f"not the same for each of {batch} samples"
            return count // batch

        self.kernels = Counter({key: of_one(key[0], n) for key, n in self.kernels.items()})
        self.products = Counter({layer: of_one(layer, n) for layer, n in self.products.items()})


def is_shape(shape: Any) -> bool:
    """Whether it is a tuple or list of sizes, some of them unknown."""
    return isinstance(shape, list | tuple) and all(n is None or isinstance(n, int) for n in shape)


def shape_of(tensors: Any) -> Shape:
    """The shape of a tensor, or of the first in a list."""
    return tuple(keras.tree.flatten(tensors)[0].shape)


def _first(arguments: dict[str, Any]) -> Shape:
    return shape_of(next(iter(arguments.values())))


# Rules: (layer, arguments of its call by name, outputs, uses) ------------------------------------


def _kernel_shape(layer: Any) -> Shape:
    return next(tuple(w.shape) for w in own_weights(layer) if weight_name(w) == "kernel")


def _dense(layer: Any, arguments: dict[str, Any], outputs: Any, uses: Uses) -> None:
    uses.add(layer, math.prod(_first(arguments)[:-1]), "kernel")


def _conv(layer: Any, arguments: dict[str, Any], outputs: Any, uses: Uses) -> None:
    # The size of the output without its channels, wherever the data format has them.
    positions = math.prod(shape_of(outputs)) // layer.filters
    uses.add(layer, positions, "kernel", "depthwise_kernel", "pointwise_kernel")


def _conv_transpose(layer: Any, arguments: dict[str, Any], outputs: Any, uses: Uses) -> None:
    uses.add(layer, math.prod(_first(arguments)) // _kernel_shape(layer)[-1], "kernel")


def _depthwise(layer: Any, arguments: dict[str, Any], outputs: Any, uses: Uses) -> None:
    channels = math.prod(_kernel_shape(layer)[-2:])
    uses.add(layer, math.prod(shape_of(outputs)) // channels, "kernel")


def _einsum(layer: Any, arguments: dict[str, Any], outputs: Any, uses: Uses) -> None:
    given, kernel, _ = read(layer.equation)
    shape = _first(arguments)
    summed = {axis for letter, axis in places(given, len(shape)).items() if letter in kernel}
    times = math.prod(n for axis, n in enumerate(shape) if axis not in summed)
    uses.add(layer, times, "kernel")


def _embedding(layer: Any, arguments: dict[str, Any], outputs: Any, uses: Uses) -> None:
    if not arguments.get("reverse"):
        return
    name = "embeddings" if layer.tie_weights else "reverse_embeddings"
    uses.add(layer, math.prod(_first(arguments)[:-1]), name)


def _recurrent(layer: Any, arguments: dict[str, Any], outputs: Any, uses: Uses) -> None:
    _recurrent_on(layer, _first(arguments), uses)


def _recurrent_on(layer: Any, shape: Shape, uses: Uses) -> None:
    uses.called.add(id(layer))
    steps = shape[0] * shape[1]
    if kind_of(layer.cell).convolution:
        state = layer.compute_output_shape(shape)
        state = state if is_shape(state) else state[0]
        # The output of one step; the sequence's has the axis of time too.
        state = state[2:] if layer.return_sequences else state[1:]
        steps *= math.prod(state) // layer.filters
    for cell in getattr(layer.cell, "cells", [layer.cell]):  # of stacked ones
        if kind_of(cell).gates:
            uses.add(cell, steps, "kernel", "recurrent_kernel")
        else:
            _unruled(cell, uses)


def _bidirectional(layer: Any, arguments: dict[str, Any], outputs: Any, uses: Uses) -> None:
    for half in (layer.forward_layer, layer.backward_layer):
        if kind_of(half).recurrent:
            _recurrent_on(half, _first(arguments), uses)
        else:
            _unruled(half, uses)


def _cell(layer: Any, arguments: dict[str, Any], outputs: Any, uses: Uses) -> None:
    # Called by the user's own loop.
    uses.add(layer, _first(arguments)[0], "kernel", "recurrent_kernel")


def _unruled(layer: Any, uses: Uses) -> None:
    """Note that a recurrent layer of the user's own, and what is below it, has no rule."""
    for _, below in walk_layers(layer):
        uses.called.add(id(below))
        if own_weights(below):
            uses.unruled.add(id(below))


def _free(layer: Any, arguments: dict[str, Any], outputs: Any, uses: Uses) -> None:
    # Elementwise: counts 0, whatever the shape of its weights.
    uses.called.add(id(layer))


def _experts(layer: Any, arguments: dict[str, Any], outputs: Any, uses: Uses) -> None:
    uses.add(layer, math.prod(_first(arguments)[:-1]), *kind_of(layer).kernels)


def _products(layer: Any, arguments: dict[str, Any], outputs: Any, uses: Uses) -> None:
    """Queries with keys, and what comes of it with values, as their projections made them."""
    projections = (getattr(layer, name) for name in kind_of(layer).projections)
    queries, keys, values = (uses.made[id(each)] for each in projections)
    attended = getattr(layer, "attention_axes", (1,))
    attended = range(1, len(keys) - 2) if attended is None else attended
    scores = math.prod(queries) * math.prod(keys[axis] for axis in attended)
    # Heads that share keys and values are as many products as if they had their own.
    uses.products[id(layer)] += scores + scores * math.prod(values) // math.prod(keys)


def multiplies_queries(layer: Any) -> bool:
    """Whether attention without projections multiplies each query with each key.

    A sum of tanh has no product but that with a scale.
    """
    if kind_of(layer).multiply_adds == "additive":
        return bool(layer.use_scale)
    return getattr(layer, "score_mode", "dot") != "concat"


def _attended(layer: Any, arguments: dict[str, Any], outputs: Any, uses: Uses) -> None:
    query, value = (tuple(tensor.shape) for tensor in arguments["inputs"][:2])
    sizes = value[-1] + (query[-1] if multiplies_queries(layer) else 0)
    uses.products[id(layer)] += math.prod(query[:-1]) * value[-2] * sizes


# By the names in `tfinit.graph.layer_kinds`.
RULES: dict[str, Callable[[Any, dict[str, Any], Any, Uses], None]] = {
    "additive": _attended,
    "attention": _attended,
    "bidirectional": _bidirectional,
    "cell": _cell,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "dense": _dense,
    "depthwise": _depthwise,
    "einsum": _einsum,
    "embedding": _embedding,
    "experts": _experts,
    "free": _free,
    "products": _products,
    "recurrent": _recurrent,
}
