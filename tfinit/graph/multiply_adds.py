"""How often a model uses each entry of its kernels for one sample, from one symbolic call.

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

The model runs once on placeholders, on any backend, with every layer's ``call`` watched. So shared
layers count at each call, and nested, subclassed and wrapped layers need no rule of their own. Of a
functional model of Keras's layers only those run that hold others: the shapes of all calls are
recorded in it. A loop of the backend (`ops.scan`, `ops.while_loop`) counts as one turn outside of
recurrent layers.
"""

import inspect
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras

from tfinit.errors import InputError
from tfinit.graph.einsum import places, read
from tfinit.graph.keras_internals import has_graph
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.overlay import overlaid
from tfinit.graph.recorded_shapes import recorded_calls
from tfinit.graph.tracing import symbolic_arguments
from tfinit.variables import children, own_weights, walk_layers, weight_name

Shape = tuple[int, ...]

# The quantization modes of Keras in which a kernel keeps its name.
_KNOWN_MODES = (None, "int8", "int4", "float8")


class UnknownShapes(InputError):
    """The model does not say on which shapes it is called."""


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


def count_uses(model: Any, input_shape: Any = None) -> Uses:
    """Run a built Keras 3 model once on placeholders and count what it does for one sample.

    Args:
        model: A built layer or model of Keras 3. It is left as it was.
        input_shape: The shape of the input with its batch axis, as for ``model.build``; for
            several inputs a list or dict of shapes. Or data, as the model takes them. None: the
            shape that the model knows.

    Raises:
        UnknownShapes: ``input_shape`` is None, and the model does not know its input shape, has
            an unknown axis in it, or cannot run on placeholders.
        InputError: ``input_shape`` is no shape, has an unknown axis, does not fit the model, or
            the model cannot run on it.
    """
    refused = UnknownShapes if input_shape is None else InputError
    shapes, pack = _signature(model, _without_data(input_shape))
    for shape in _leaves(shapes):
        if not all(isinstance(n, int) and n > 0 for n in shape[1:]):
            raise refused(
                f"`input_shape` must be known but for the batch axis, `model` {model.name!r} has "
                f"{shape}. Pass sparsity_report(model, input_shape=(None, ...))."
            )
    sizes = [tuple(n for n in shape[1:] if n) for shape in _leaves(shapes)]
    found = _read(model) if input_shape is None else None
    if found is not None:
        found.shapes = sizes
        return found
    uses = Uses()
    failure: Exception | None = None
    batches = {shape[0] for shape in _leaves(shapes) if shape}
    fixed = next(iter(batches)) if len(batches) == 1 else None
    # A model may insist on the batch size that it was built with. With a batch of one, what has
    # no batch axis (a table of relative positions, say) is counted once, as it should.
    for batch in (1, fixed) if fixed not in (None, 1) else (1,):
        args, kwargs = pack(lambda shape, n=batch: (n, *shape[1:]) if shape else ())
        try:
            with _watched(model, uses):
                _Run(model, uses).compute_output_spec(*args, **kwargs)
        except Exception as error:  # the user's code, and the backend's, may raise anything
            failure = failure or error
            continue
        uses.divide(batch)
        uses.shapes = sizes
        return uses
    raise refused(
        f"`model` {model.name!r} cannot run on placeholders of `input_shape` "
        f"{', '.join(map(str, _leaves(shapes)))}: {_reason(failure)}. "
        "Pass an `input_shape` that fits, with a dict by argument where `call` has several."
    ) from failure


def _reason(failure: Exception | None) -> str:
    """The first line of an error, out of what Keras puts around it; Keras prints it bold."""
    said = str(failure)
    bold = re.search(r"\x1b\[1m(.*?)\x1b\[0m", said, re.DOTALL)
    said = (bold.group(1) if bold else said.split("Error encountered:")[-1]).strip()
    return said.splitlines()[0].rstrip(".") if said else type(failure).__name__


class _Run(keras.Operation):
    """The model as one operation: its symbolic run goes through the `call` of every layer."""

    def __init__(self, model: Any, uses: Uses) -> None:
        super().__init__()
        self._model = model
        self._uses = uses

    def call(self, *args: Any, **kwargs: Any) -> Any:
        self._uses.clear()  # PyTorch runs it again if its meta device cannot
        return self._model(*args, **kwargs)


@contextmanager
def _watched(model: Any, uses: Uses) -> Iterator[None]:
    """Watch this thread's calls of every layer that multiplies or has weights, in the block."""
    inside: list[Any] = []  # recurrent layers, which count for what is below them

    def watch(layer: Any) -> None:
        kind = kind_of(layer)
        rule = RULES.get(kind.multiply_adds)
        # Keras calls this one in place of `call` for a quantized layer.
        name = "quantized_call" if _mode_of(layer) else "call"
        call = getattr(layer, name)
        # A tf.function that was traced before would not call the layers below it.
        traced = hasattr(call, "python_function")
        call = getattr(call, "python_function", call)
        if rule is None and not own_weights(layer) and not traced:
            return
        signature = inspect.signature(call)
        whole = kind.recurrent or rule is _bidirectional

        def watching(*args: Any, **kwargs: Any) -> Any:
            if inside:
                return call(*args, **kwargs)
            if whole:
                inside.append(layer)
            try:
                outputs = call(*args, **kwargs)
            finally:
                if whole:
                    inside.pop()
            _count(layer, signature, args, kwargs, outputs, uses)
            return outputs

        put(layer, name, watching)

    with overlaid() as put:
        for _, layer in walk_layers(model):
            watch(layer)
        yield


def _mode_of(layer: Any) -> str | None:
    return getattr(layer, "quantization_mode", None)


def _count(
    layer: Any, signature: inspect.Signature, args: Any, kwargs: Any, outputs: Any, uses: Uses
) -> None:
    """Count one call of a layer; ``signature`` is that of its ``call``."""
    kind, mode = kind_of(layer), _mode_of(layer)
    rule = RULES.get(kind.multiply_adds)
    uses.called.add(id(layer))
    if kind.linear:
        uses.made[id(layer)] = _shape(outputs)
    try:
        if mode not in _KNOWN_MODES:
            uses.unknown[id(layer)] = f"its weights are packed ({mode})"
        elif rule is not None:
            rule(layer, signature.bind(*args, **kwargs).arguments, outputs, uses)
        elif any(len(w.shape) >= 2 for w in own_weights(layer)):
            uses.unruled.add(id(layer))
    except TypeError:  # a product with None: an axis that depends on the data
        uses.unknown[id(layer)] = "an axis of its input or output is unknown"
    except LookupError:  # a subclass whose call takes other arguments
        uses.unruled.add(id(layer))


def _read(model: Any) -> Uses | None:
    """Count by the shapes that a functional model has of its calls; None where it has not all."""
    calls = recorded_calls(model)
    if calls is None:
        return None
    uses = Uses()
    for layer, args, kwargs, outputs in calls:
        if not children(layer):
            _count(layer, inspect.signature(layer.call), args, kwargs, outputs, uses)
            continue
        inside = Uses()
        try:
            with _watched(layer, inside):
                _Run(layer, inside).compute_output_spec(*args, **kwargs)
        except Exception:  # as in a run of the whole, which says what is wrong
            return None
        uses.join(inside)
    return uses


# Shapes ---------------------------------------------------------------------------------------


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list | tuple) and all(n is None or isinstance(n, int) for n in shape)


def _without_data(given: Any) -> Any:
    """Shapes in place of arrays, in any nest of them."""
    if hasattr(given, "shape"):
        return (None, *given.shape[1:])
    if isinstance(given, dict):
        return {name: _without_data(part) for name, part in given.items()}
    if isinstance(given, list | tuple) and not _is_shape(given):
        return [_without_data(part) for part in given]
    return given


def _leaves(shapes: Any) -> list[tuple[int | None, ...]]:
    """The shapes in a nest of lists, tuples and dicts, in the order of `keras.tree`."""
    if _is_shape(shapes):
        return [tuple(shapes)]
    if isinstance(shapes, dict):
        shapes = [shapes[name] for name in sorted(shapes)]
    if not isinstance(shapes, list | tuple):
        raise InputError(
            "`input_shape` must be a shape with its batch axis, such as (None, 224, 224, 3), or a "
            f"list or dict of such shapes, received {shapes!r}."
        )
    return [leaf for shape in shapes for leaf in _leaves(shape)]


def _signature(model: Any, input_shape: Any) -> tuple[Any, Callable[..., tuple[Any, Any]]]:
    """The input shapes, and a function from (shape → shape) to the arguments for the model."""
    if input_shape is None or has_graph(model):
        return _own_signature(model, input_shape)
    # Otherwise the one argument is a dict.
    by_name = isinstance(input_shape, dict) and input_shape.keys() <= _parameters(model)

    def tensors(shapes: Any, change: Callable[[Any], Any]) -> Any:
        if isinstance(shapes, dict):
            return {name: tensors(shape, change) for name, shape in shapes.items()}
        if _is_shape(shapes):
            return keras.KerasTensor(change(tuple(shapes)), dtype=model.compute_dtype)
        return [tensors(shape, change) for shape in shapes]

    def pack(change: Callable[[Any], Any]) -> tuple[Any, Any]:
        made = tensors(input_shape, change)
        return ((), made) if by_name else ((made,), {})

    return input_shape, pack


def _parameters(model: Any) -> set[str]:
    return set(inspect.signature(model.call).parameters)


def _own_signature(model: Any, input_shape: Any) -> tuple[Any, Callable[..., tuple[Any, Any]]]:
    """`_signature` of a model that knows its arguments, if not the sizes of all their axes."""
    arguments = symbolic_arguments(model)
    if arguments[0] is None:
        raise UnknownShapes(
            f"`model` {model.name!r} does not say on which shape it is called. "
            "Pass sparsity_report(model, input_shape=(None, ...))."
        )
    flat = keras.tree.flatten(arguments)
    known = [tuple(tensor.shape) for tensor in flat]
    shapes = known if input_shape is None else _leaves(input_shape)
    if [len(shape) for shape in shapes] != [len(shape) for shape in known]:
        raise InputError(
            f"`input_shape` must have the axes of the inputs of `model` {model.name!r}, {known}, "
            f"received {input_shape}. The first one is the batch axis; it may be None."
        )

    def pack(change: Callable[[Any], Any]) -> tuple[Any, Any]:
        tensors = [
            keras.KerasTensor(change(shape), dtype=tensor.dtype, sparse=tensor.sparse)
            for shape, tensor in zip(shapes, flat, strict=True)
        ]
        return keras.tree.pack_sequence_as(arguments, tensors)

    return shapes, pack


def _shape(tensors: Any) -> Shape:
    """The shape of a tensor, or of the first in a list."""
    return tuple(keras.tree.flatten(tensors)[0].shape)


def _first(arguments: dict[str, Any]) -> Shape:
    return _shape(next(iter(arguments.values())))


# Rules: (layer, arguments of its call by name, outputs, uses) ------------------------------------


def _kernel_shape(layer: Any) -> Shape:
    return next(tuple(w.shape) for w in own_weights(layer) if weight_name(w) == "kernel")


def _dense(layer: Any, arguments: dict[str, Any], outputs: Any, uses: Uses) -> None:
    uses.add(layer, math.prod(_first(arguments)[:-1]), "kernel")


def _conv(layer: Any, arguments: dict[str, Any], outputs: Any, uses: Uses) -> None:
    # The size of the output without its channels, wherever the data format has them.
    positions = math.prod(_shape(outputs)) // layer.filters
    uses.add(layer, positions, "kernel", "depthwise_kernel", "pointwise_kernel")


def _conv_transpose(layer: Any, arguments: dict[str, Any], outputs: Any, uses: Uses) -> None:
    uses.add(layer, math.prod(_first(arguments)) // _kernel_shape(layer)[-1], "kernel")


def _depthwise(layer: Any, arguments: dict[str, Any], outputs: Any, uses: Uses) -> None:
    channels = math.prod(_kernel_shape(layer)[-2:])
    uses.add(layer, math.prod(_shape(outputs)) // channels, "kernel")


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
        state = state if _is_shape(state) else state[0]
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
