"""How often a model uses each entry of its kernels for one sample, from one symbolic call.

What a call of each kind of layer uses is in `tfinit.graph.weight_uses`.

The model runs once on placeholders, on any backend, with every layer's ``call`` watched. So shared
layers count at each call, and nested, subclassed and wrapped layers need no rule of their own. Of a
functional model of Keras's layers only those run that hold others: the shapes of all calls are
recorded in it. A loop of the backend (`ops.scan`, `ops.while_loop`) counts as one turn outside of
recurrent layers.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras

from tfinit.errors import InputError
from tfinit.graph.keras_internals import has_graph
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.overlay import overlaid
from tfinit.graph.recorded_shapes import recorded_calls
from tfinit.graph.tracing import symbolic_arguments
from tfinit.graph.weight_uses import RULES, Uses, is_shape, shape_of
from tfinit.variables import children, own_weights, walk_layers

# The quantization modes of Keras in which a kernel keeps its name.
_KNOWN_MODES = (None, "int8", "int4", "float8")


class UnknownShapes(InputError):
    """The model does not say on which shapes it is called."""


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
        whole = kind.recurrent or kind.multiply_adds == "bidirectional"

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
        uses.made[id(layer)] = shape_of(outputs)
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


def _without_data(given: Any) -> Any:
    """Shapes in place of arrays, in any nest of them."""
    if hasattr(given, "shape"):
        return (None, *given.shape[1:])
    if isinstance(given, dict):
        return {name: _without_data(part) for name, part in given.items()}
    if isinstance(given, list | tuple) and not is_shape(given):
        return [_without_data(part) for part in given]
    return given


def _leaves(shapes: Any) -> list[tuple[int | None, ...]]:
    """The shapes in a nest of lists, tuples and dicts, in the order of `keras.tree`."""
    if is_shape(shapes):
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
        if is_shape(shapes):
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
