"""The graph of a model: read from what Keras recorded, or recorded by calling the model.

Functional and Sequential models carry their graph. A model with composite layers of a user's own is
called once on symbolic tensors of known sizes, and the graph that Keras records is read, then
forgotten. Where that cannot be done (a `call` uses raw TensorFlow, say) the layers of a composite
are taken in the order they were made, and `Graph.reasons` says why.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from inspect import signature
from typing import Any

from tfinit.errors import reason
from tfinit.graph.calls import Graph, Nested, Step, bears_kernel
from tfinit.graph.einsum import made_shape
from tfinit.graph.keras_internals import (
    arguments_of,
    arguments_with,
    call_of,
    forget_calls,
    forget_losses,
    functional_of,
    input_structure,
    inputs_of,
    is_from_keras_3,
    make_dense,
    operation_of,
    output_structure,
)
from tfinit.graph.layer_kinds import keras_of, kind_of
from tfinit.graph.overlay import overlaid
from tfinit.variables import walk_layers

# Of open axes where a model is called on symbolic tensors: the batch, and lengths to try. Memory is
# needed for masks only.
_BATCH = 32
_LENGTHS = ((8, 12, 16), (8, 8, 8), (32, 32, 32), (224, 224, 224), (2, 2, 2))


def trace(model: Any, x: Any = None, *, composites: bool = True) -> Graph:
    """The graph of a built model of Keras 3, or of a functional model of tf_keras.

    Args:
        model: A built layer or model. It is left as it was.
        x: A batch for it, whose shapes and dtypes are taken where the model leaves its own open.
        composites: Open the layers of a user's own that hold layers, too.

    Returns:
        Its calls in data-flow order, nested models opened, Keras's own layers left whole.
    """
    tracer = _Tracer(model, composites)
    graph = own_graph(model)
    if graph and (not composites or keras_of(model) != "keras" or not _composites(model)):
        return tracer.read(*graph)
    if not graph and _is_whole(model):
        (given,), (made,) = tracer.fresh(1), tracer.fresh(1)
        tracer.graph.inputs, tracer.graph.outputs = [given], [made]
        tracer.add(Step("", model, (given,), (made,)))
        return tracer.graph
    found: Graph | None = None
    for args, kwargs in _arguments_to_try(model, x):
        graph = _Tracer(model).call(model, args, kwargs)
        if found is None or len(graph.guessed) < len(found.guessed):
            found = graph
        elif graph.reasons == found.reasons:
            break  # other sizes do not help
        if not graph.guessed:
            break
    return found or tracer.guess(model, "it does not say the shapes of its inputs")


def operations_in(model: Any) -> Iterator[tuple[str, Any]]:
    """What a model and the functional ones in it compute between their layers, under its keys."""
    for prefix, part in walk_layers(model):
        for op in getattr(functional_of(part), "operations", None) or ():
            if keras_of(op) is None:
                yield f"{prefix}/{op.name}" if prefix else op.name, op


def own_graph(model: Any) -> tuple[list[Any], list[Any]] | None:
    """The symbolic inputs and outputs of a functional or sequential model, else None.

    Of a class whose `call` is a user's own, the graph need not be what is computed: None too.
    """
    for method in "call", "__call__":
        home = getattr(getattr(model, method, None), "__module__", None) or ""
        if home.split(".")[0] not in ("keras", "tf_keras"):
            return None
    functional = functional_of(model)
    # The Sequential of tf_keras is a functional model itself; that of Keras 3 has one.
    if not kind_of(functional).model or not getattr(functional, "inputs", None):
        return None
    return list(functional.inputs), list(functional.outputs)


def _is_whole(op: Any) -> bool:
    """True for an operation that is one step: no layers with kernels below, or Keras's own."""
    if keras_of(op) is None or type(op).__module__.split(".")[0] in ("keras", "tf_keras"):
        return True
    return not any(bears_kernel(layer) for _, layer in walk_layers(op) if layer is not op)


def _composites(model: Any) -> list[Any]:
    """The layers in a model, itself among them, that are opened by calling them."""
    layers = [layer for _, layer in walk_layers(model)]
    return [layer for layer in layers if not own_graph(layer) and not _is_whole(layer)]


def symbolic_arguments(model: Any) -> tuple[list[Any], dict[str, Any]] | tuple[None, None]:
    """Symbolic tensors of the shapes that a model was built with, as its `call` takes them."""
    if keras_of(model) != "keras":
        return None, None
    import keras

    def tensor(shape: Any) -> Any:
        if isinstance(shape, dict):
            return {name: tensor(part) for name, part in shape.items()}
        if shape and isinstance(shape[0], list | tuple | dict):
            return [tensor(part) for part in shape]
        return keras.KerasTensor(tuple(shape), dtype=model.compute_dtype)

    if getattr(functional_of(model), "inputs", None):
        return [functional_of(model).input], {}
    config = model.get_build_config() or {}
    if config.get("input_shape") is not None:
        return [tensor(config["input_shape"])], {}
    if "shapes_dict" in config:
        shapes = config["shapes_dict"].items()
        return [], {name.removesuffix("_shape"): tensor(shape) for name, shape in shapes}
    return None, None


def _arguments_to_try(model: Any, x: Any) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """Symbolic arguments without open axes: of the data's shapes, then of chosen ones.

    Code of layers asks for lengths and batches: masks, positions, reshapes. Lengths of one axis
    are equal in all inputs, of several axes distinct, if the model takes that.
    """
    import keras

    if keras_of(model) != "keras":
        return
    if x is not None:
        # What is no batch of tensors is refused elsewhere.
        with suppress(AttributeError, TypeError, ValueError):
            yield [keras.tree.map_structure(_like, x)], {}
    args, kwargs = symbolic_arguments(model)
    if args is None:
        return
    for lengths in _LENGTHS:

        def sized(tensor: Any, lengths: tuple[int, ...] = lengths) -> Any:
            sizes = (_BATCH, *lengths * len(tensor.shape))
            shape = [sizes[axis] if n is None else n for axis, n in enumerate(tensor.shape)]
            return keras.KerasTensor(shape, tensor.dtype, sparse=tensor.sparse)

        yield keras.tree.map_structure(sized, (args, kwargs))


def _like(part: Any) -> Any:
    import keras

    shape = tuple(part.shape)
    # Masks are computed at once, for each example.
    shape = (min(shape[0], _BATCH), *shape[1:]) if shape else shape
    return keras.KerasTensor(shape, keras.backend.standardize_dtype(part.dtype))


@contextmanager
def _forget_new_calls(model: Any) -> Iterator[Any]:
    """Drop what Keras records while the block runs: calls, and losses that are added.

    It is recorded on lists that only this thread sees.

    Yields:
        What gives a layer an attribute meanwhile.
    """
    with overlaid() as put:
        for _, layer in walk_layers(model):
            forget_calls(put, layer)
            forget_losses(put, layer)
            for op in getattr(functional_of(layer), "operations", ()):
                forget_calls(put, op)
        yield put


class _Tracer:
    def __init__(self, model: Any, composites: bool = True) -> None:
        self.graph = Graph()
        self._composites = composites
        self._keys = {id(layer): key for key, layer in walk_layers(model)}
        self._count = 0
        # A composite that could not be called on symbolic tensors → why.
        self._failed: dict[int, str] = {}
        self._graphs: set[int] = set()
        self._sparse = False

    def fresh(self, n: int) -> list[int]:
        self._count += n
        return list(range(self._count - n, self._count))

    def add(self, step: Step, node: Any = None) -> None:
        """Append one step, and the record of its call."""
        self.graph.steps.append(step)
        self.graph.nodes.append(node)

    def read(self, inputs: list[Any], outputs: list[Any]) -> Graph:
        """The graph from symbolic inputs to outputs."""
        self.graph.inputs = self.fresh(len(inputs))
        self.graph.outputs = self._read(inputs, outputs, self.graph.inputs)
        return self.graph

    def _read(self, inputs: list[Any], outputs: list[Any], values: list[int]) -> list[int]:
        """Append the steps from symbolic `inputs`, whose values are given, to `outputs`."""
        value_of = {id(tensor): value for tensor, value in zip(inputs, values, strict=False)}
        for node in _nodes_between(value_of, outputs):
            read = inputs_of(node)
            if self._composites and kind_of(operation_of(node)).positions:
                read = []
            taken = [value_of[id(t)] for t in read if id(t) in value_of]
            for tensor, value in zip(outputs_of(node), self._step(node, taken), strict=False):
                value_of[id(tensor)] = value
        return [value_of[id(t)] for t in outputs if id(t) in value_of]

    def _step(self, node: Any, taken: list[int]) -> list[int]:
        """Append one call, opened where it is a model or a user's composite; its outputs."""
        op = operation_of(node)
        if inner := own_graph(op):
            taken = _in_order(inner[0], op, node, taken)
            nested, place, start = self.graph.nested, len(self.graph.nested), len(self.graph.steps)
            nested.append(Nested(op, node, tuple(taken), start, start))
            made = self._read(*inner, taken)
            nested[place] = nested[place]._replace(stop=len(self.graph.steps))
            return made
        if self._composites and not _is_whole(op):
            # `call` cannot be followed in tf_keras.
            return self._chain(op, taken, self._failed.get(id(op), "it is not a functional model"))
        made = self.fresh(len(outputs_of(node)))
        key = self._keys.get(id(op), op.name)
        self.add(Step(key, op, tuple(taken), tuple(made)), node)
        return made

    def call(self, model: Any, args: list[Any], kwargs: dict[str, Any]) -> Graph:
        """Call a model on symbolic tensors, and read what Keras records."""
        with _forget_new_calls(model) as put:
            self._sparse = any(tensor.sparse for tensor in _symbols((args, kwargs)))
            layers = [layer for _, layer in walk_layers(model)]
            self._graphs = {id(layer) for layer in layers if own_graph(layer)}
            for layer in layers:
                if hasattr(layer, "equation"):
                    # Keras's EinsumDense says None where it was told None.
                    known = partial(_made_by_einsum, layer.equation, layer.compute_output_shape)
                    put(layer, "compute_output_shape", known)
                if id(layer) in self._graphs or not is_from_keras_3(type(layer)):
                    put(layer, "__call__", partial(self._called, layer, layer.__call__))
            try:
                outputs = _symbols(model(*args, **kwargs))
            except Exception as error:
                return self.guess(model, self._failed.get(id(model)) or reason(error))
            if id(model) in self._failed or not outputs:
                return self.guess(model, self._failed.get(id(model), "it makes no tensors"))
            return self.read(_symbols((args, kwargs)), outputs)

    def _called(self, layer: Any, itself: Any, *args: Any, **kwargs: Any) -> Any:
        """A call of a model, or of a layer that is not Keras's own.

        One that is to be opened records the calls inside it, and not its own.
        """
        given = _symbols((args, kwargs))
        for tensor in given:
            # Keras takes the product of a tensor and a number for sparse.
            if not self._sparse:
                make_dense(tensor)
        is_graph = id(layer) in self._graphs
        if not given or (_is_whole(layer) and not is_graph):
            return itself(*args, **kwargs)
        try:
            if is_graph:
                return _replayed(functional_of(layer), args, kwargs)
            # As Keras does, for a `call` that has no such argument.
            if "training" not in signature(layer.call).parameters:
                kwargs.pop("training", None)
            made = layer.call(*args, **kwargs)
        except Exception as error:
            # `call` is the user's code, and it may need real tensors for any reason.
            self._failed[id(layer)] = reason(error)
        else:
            if _symbols(made):
                return made
            self._failed[id(layer)] = "its output does not depend on its input"
        return itself(*args, **kwargs)

    def guess(self, model: Any, why: str) -> Graph:
        """The graph of a model of which nothing is known but its layers."""
        self.graph = Graph()
        self.graph.inputs = self.fresh(1)
        self.graph.outputs = self._chain(model, self.graph.inputs, why)
        return self.graph

    def _chain(self, layer: Any, taken: list[int], why: str) -> list[int]:
        """Append a composite's layers one after the other, in the order they were made."""
        self.graph.reasons[self._keys.get(id(layer)) or layer.name] = why
        below = [(key, child) for key, child in walk_layers(layer) if key and _is_whole(child)]
        inside = {id(c) for _, w in below for k, c in walk_layers(w) if k}
        for _, child in below:
            if id(child) not in inside:
                made = self.fresh(1)
                key = self._keys.get(id(child), child.name)
                self.add(Step(key, child, tuple(taken), tuple(made)))
                taken = made
        return taken


def _made_by_einsum(equation: str, itself: Any, input_shape: Any) -> tuple[int | None, ...]:
    return made_shape(equation, tuple(input_shape), itself(input_shape))


def _replayed(functional: Any, args: Any, kwargs: Any) -> Any:
    """The outputs of a functional model on other symbolic inputs, each of its calls made anew."""
    import keras

    given = _symbols((args, kwargs))
    if args and isinstance(args[0], dict) and not isinstance(input_structure(functional), dict):
        given = [args[0][tensor.name] for tensor in functional.inputs]
    known = {id(old): new for old, new in zip(functional.inputs, given, strict=False)}
    for node in _nodes_between(known, list(functional.outputs)):
        taken, named = arguments_with(node, known)
        made = keras.tree.flatten(operation_of(node)(*taken, **named))
        known.update(zip(map(id, node.outputs), made, strict=True))
    outputs = [known[id(tensor)] for tensor in functional.outputs]
    return keras.tree.pack_sequence_as(output_structure(functional), outputs)


def _in_order(inputs: list[Any], model: Any, node: Any, taken: list[int]) -> list[int]:
    """What a model inside is given, in the order of its inputs: a dict is read by their names."""
    args, _ = arguments_of(node) or ([], {})
    given = args[0] if args else None
    if not isinstance(given, dict) or isinstance(input_structure(model), dict):
        return taken
    by_name = dict(zip(sorted(given), taken, strict=False))
    return [by_name[tensor.name] for tensor in inputs]


def _symbols(structure: Any) -> list[Any]:
    """The symbolic tensors in nested lists, tuples and dicts, as Keras orders them."""
    import keras

    return [part for part in _flat(structure) if isinstance(part, keras.KerasTensor)]


def _flat(structure: Any) -> list[Any]:
    """The tensors in nested lists, tuples and dicts."""
    if isinstance(structure, dict):
        structure = [structure[name] for name in sorted(structure)]
    if isinstance(structure, list | tuple):
        return [tensor for part in structure for tensor in _flat(part)]
    return [structure] if hasattr(structure, "shape") else []


def outputs_of(node: Any) -> list[Any]:
    """The symbolic tensors that a recorded call makes."""
    return _flat(node.outputs)


def _nodes_between(inputs: dict[int, Any], outputs: list[Any]) -> list[Any]:
    """The recorded calls that lead to `outputs`, inputs first; `inputs` are ids of tensors."""
    order: list[Any] = []
    entered: set[int] = set()
    # Not recursive: a model may be a thousand layers deep.
    stack = [(tensor, False) for tensor in reversed(outputs)]
    while stack:
        tensor, ready = stack.pop()
        if id(tensor) in inputs:
            continue
        node = call_of(tensor)
        if node is None:
            continue
        if ready:
            order.append(node)
        elif id(node) not in entered:
            entered.add(id(node))
            stack.append((tensor, True))
            stack.extend((parent, False) for parent in reversed(inputs_of(node)))
    return order
