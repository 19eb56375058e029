"""Seeing what passes through a model, forward and backward, and leaving the model as it was.

While a probe is open, the `call` of each layer is wrapped (and its activation function, where it
has one), so it works on any model that calls its layers: functional, nested, subclassed, shared,
several inputs. Nothing is kept: each tensor is handed over as it appears, and gradients as
backpropagation reaches them, so a probe costs no memory.

Threads: the wrapping is seen by the thread that opened the probe, and by no other
(`tfinit.graph.overlay`). The layers themselves have nothing in them at any time, so the model may
be called, trained, traced, saved or probed in other threads meanwhile, and neither notices the
other.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from tfinit.arguments import function, listed, refused
from tfinit.errors import InputError
from tfinit.graph.activations import activation_of
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.overlay import overlaid
from tfinit.graph.tracing import operations_in
from tfinit.variables import children, keras_of, walk_layers

__all__ = ["Point", "Seen", "probing", "require_tensorflow", "seen_layers"]


class Point(NamedTuple):
    """Where a tensor was seen.

    Attributes:
        key: The stable key of the layer (`tfinit.variables`).
        call: 0 for the layer's first call in the pass, 1 for the second, …
        layer: The layer or operation.
        what: ``"preactivation"`` for what goes into a layer's own activation function,
            ``"output"`` for what leaves the layer; ``"input"`` for what enters it, where that was
            asked for.
    """

    key: str
    call: int
    layer: Any
    what: str


Seen = Callable[[Point, Any], None]


@contextmanager
def probing(
    model: Any,
    value: Seen,
    gradient: Seen | None = None,
    layers: list[tuple[str, Any]] | None = None,
    entering: Sequence[Any] = (),
) -> Iterator[None]:
    """Hand over the tensors of every layer that this thread calls while the block runs.

    Args:
        model: A built layer or model of Keras 3. Run it eagerly in the block: what is traced into
            a ``tf.function`` or `jax.jit` is not seen, and has nothing of the probe in it.
        value: Called with a point and a tensor as the pass reaches it. Of a layer with several
            outputs it is the first.
        gradient: Called with the point and the gradient by that tensor, when backpropagation
            reaches it: of what a ``tf.GradientTape`` is asked for, `jax.grad` differentiates or
            ``backward`` of PyTorch begins at.
        layers: Which to see: some of `seen_layers`, by default all.
        entering: Those of which the first tensor that enters is handed over too, as ``"input"``,
            without its gradient.

    Raises:
        InputError: not a layer or model of Keras 3, or a backend without gradients.

    Example:
        >>> layers = [keras.layers.Dense(3, "tanh", name="fc")]
        >>> model = keras.Sequential([keras.Input((2,)), *layers])
        >>> with probing(model, lambda point, tensor: print(point.key, point.what, tensor.shape)):
        ...     _ = model(keras.ops.ones((5, 2)))
        fc preactivation (5, 3)
        fc output (5, 3)
    """
    if keras_of(model) != "keras":
        raise InputError(
            f"`model` must be a layer or model of Keras 3, received {type(model).__name__}."
        )
    function("value", value, "a point and a tensor")
    function("gradient", gradient, "a point and a gradient", none=True)
    if layers is not None and not all(
        isinstance(pair, tuple) and len(pair) == 2 for pair in listed("layers", layers, object)
    ):
        raise refused("layers", "some of `seen_layers`", layers)
    from tfinit.graph import passes  # it imports Keras

    on, calls = passes.backend(), {}
    asked = {id(layer) for layer in entering}
    level = on.here()

    def see(point: Point, tensor: Any) -> Any:
        # Not into a graph, which outlives the probe.
        shown = on.shown(tensor, level)
        if shown is None:
            return tensor
        value(point, shown)
        if gradient is None:
            return tensor
        return on.tapped(tensor, level, functools.partial(gradient, point))

    def enter(point: Point, tensor: Any) -> None:
        shown = on.shown(tensor, level) if _is_float(tensor) else None
        if shown is not None:
            value(point, shown)

    with overlaid() as put:
        for key, layer in seen_layers(model) if layers is None else layers:
            activation = getattr(layer, "activation", None)
            if "activation" in vars(layer) and _is_function(activation):
                put(layer, "activation", _activation(key, layer, activation, calls, see))
            enters = enter if id(layer) in asked else None
            put(layer, "call", _call(key, layer, layer.call, calls, see, enters))
        yield


def seen_layers(model: Any) -> list[tuple[str, Any]]:
    """The layers of a model that a probe sees, under their keys: the innermost ones.

    Recurrent layers and wrappers are seen whole, for what they hold is called in loops. Of a
    functional model these are also the operations that are activations.
    """
    hidden: set[int] = set()
    found: list[tuple[str, Any]] = []
    taken: set[int] = set()
    for key, layer in walk_layers(model):
        if id(layer) in hidden:
            continue
        opaque = kind_of(layer).opaque
        if opaque:
            hidden |= {id(part) for _, part in walk_layers(layer)} - {id(layer)}
        if opaque or not _layers_below(layer):
            found.append((key or layer.name, layer))
            taken.add(id(layer))
    return [*found, *_operations(model, taken)]


def require_tensorflow(what: str, instead: str = "") -> None:
    """InputError unless Keras runs on TensorFlow.

    Args:
        what: How the error begins: ``"Gradients are taken"``.
        instead: What else to use.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"{what} with TensorFlow, but Keras runs on {keras.backend.backend()!r}. Set "
            f'KERAS_BACKEND="tensorflow"{instead and f", or use {instead}"}.'
        )


def _layers_below(layer: Any) -> list[Any]:
    """The layers inside one, but for an activation that is a layer: that is seen itself."""
    return [c for c in children(layer) if c is not getattr(layer, "activation", None)]


def _operations(model: Any, taken: set[int]) -> Iterator[tuple[str, Any]]:
    """The operations of a functional model, and of those inside it, that are activations."""
    names: set[str] = set()
    for name, op in operations_in(model):
        if id(op) not in taken and activation_of(op) is not None:
            taken.add(id(op))
            if name not in names:
                names.add(name)
                yield name, op


def _is_function(activation: Any) -> bool:
    if activation is None or keras_of(activation) is not None:
        return False
    return callable(activation) and getattr(activation, "__name__", "") != "linear"


def _activation(key: str, layer: Any, plain: Any, calls: dict[str, int], see: Any) -> Any:
    def activation(z: Any) -> Any:
        # The output of this call is seen, and counted, after its activation.
        return plain(see(Point(key, calls.get(key, 0), layer, "preactivation"), z))

    # What Keras, or a layer, may ask of its activation.
    activation.__name__ = getattr(plain, "__name__", type(plain).__name__)
    return activation


def _call(
    key: str, layer: Any, plain: Any, calls: dict[str, int], see: Any, enter: Any = None
) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        import keras

        if enter is not None:
            entering = [*args, *kwargs.values()]
            enter(Point(key, calls.get(key, 0), layer, "input"), entering[0])
        outputs = plain(*args, **kwargs)
        flat = keras.tree.flatten(outputs)
        for place, tensor in enumerate(flat):
            if _is_float(tensor):
                n = calls.get(key, 0)
                flat[place] = see(Point(key, n, layer, "output"), tensor)
                calls[key] = n + 1
                return keras.tree.pack_sequence_as(outputs, flat)
        return outputs

    return call


def _is_float(tensor: Any) -> bool:
    return hasattr(tensor, "dtype") and "float" in str(getattr(tensor.dtype, "name", tensor.dtype))
