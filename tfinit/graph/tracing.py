"""A model as the calls of its layers in data-flow order: who feeds whom, and what follows.

Functional and Sequential models carry their graph. A composite layer or model of a user's own is
called once on symbolic tensors, and the graph that Keras records is read, then forgotten. Where
that cannot be done (its `call` uses raw TensorFlow, say) its layers are taken in the order they
were made, and `Graph.guessed` names it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tfinit.gains import sinusoid
from tfinit.graph.activations import LINEAR, Activation, activation_of
from tfinit.graph.keras_internals import (
    arguments_of,
    call_of,
    forget_calls,
    forget_losses,
    functional_of,
    input_structure,
    inputs_of,
    is_symbolic,
    operation_of,
)
from tfinit.graph.overlay import overlaid
from tfinit.variables import keras_of, walk_layers

KERNEL_NAMES = ("kernel", "depthwise_kernel", "pointwise_kernel", "recurrent_kernel", "embeddings")


class Step(NamedTuple):
    """One call of a layer or operation; values are numbers, equal where a tensor is the same."""

    key: str
    op: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Nested(NamedTuple):
    """One call of a model inside the model; its steps are ``steps[start:stop]`` of the graph."""

    model: Any
    node: Any
    inputs: tuple[int, ...]
    start: int
    stop: int


@dataclass
class Graph:
    """The calls of a model in data-flow order.

    Attributes:
        steps: Every call; a shared layer has several.
        inputs: The values that enter the model.
        outputs: The values that leave it.
        guessed: Keys of composite layers (of the model itself: its name) whose order is that of
            creation, not of data flow.
        nodes: Keras's record of the call behind each step; None where there is none.
        nested: Every call of a model inside the model, in data-flow order, outer before inner.
    """

    steps: list[Step] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    guessed: list[str] = field(default_factory=list)
    nodes: list[Any] = field(default_factory=list)
    nested: list[Nested] = field(default_factory=list)

    def producers(self) -> dict[int, int]:
        """Value → the index of the step that made it; the model's inputs are absent."""
        return {value: i for i, step in enumerate(self.steps) for value in step.outputs}

    def following(self) -> dict[int, Activation]:
        """Value → the first activation that it meets before another layer with a kernel.

        Normalization, dropout, pooling, reshaping, additions and the like are passed through.
        Where a value is used several times, the first use with an activation counts.
        """
        found: dict[int, Activation] = {}
        for index in reversed(range(len(self.steps))):
            step = self.steps[index]
            ahead = activation_of(step.op)
            if ahead is None:
                ahead = LINEAR
                if not bears_kernel(step.op):
                    seen = (found.get(value, LINEAR) for value in step.outputs)
                    ahead = next((a for a in seen if a is not LINEAR), LINEAR)
                    # sin(30·z) is written as a product and a sine.
                    if not isinstance(ahead.source, str) and sinusoid(ahead.source):
                        ahead = ahead.behind(self._factor(index))
            for value in step.inputs:
                # Steps come last first, so an earlier use overwrites a later one.
                if ahead is not LINEAR or value not in found:
                    found[value] = ahead
        return found

    def _factor(self, index: int) -> float:
        """The number that a step multiplies its input by; 1 of other steps."""
        op, node = self.steps[index].op, self.nodes[index] if self.nodes else None
        if type(op).__name__ not in ("Multiply", "Divide", "TrueDivide") or node is None:
            return 1.0
        args, kwargs = arguments_of(node) or ([], {})
        given = [*args, *kwargs.values()]
        if len(given) != 2 or len(self.steps[index].inputs) != 1:
            return 1.0
        numbers = [n for n in given if not is_symbolic(n) and np.size(n) == 1]
        if len(numbers) != 1:
            return 1.0
        factor = float(np.ravel(numbers[0])[0])
        if type(op).__name__ == "Multiply":
            return factor
        return 1 / factor if factor and numbers[0] is given[1] else 1.0


def bears_kernel(op: Any) -> bool:
    """True if a layer has a kernel or an embedding, itself or below."""
    weights = getattr(op, "weights", ())
    return any(w.name.split("/")[-1].split(":")[0] in KERNEL_NAMES for w in weights)


def trace(model: Any, *, composites: bool = True) -> Graph:
    """The graph of a built model of Keras 3, or of a functional model of tf_keras.

    Args:
        model: A built layer or model. It is left as it was.
        composites: Open the layers of a user's own that hold layers, too.

    Returns:
        Its calls in data-flow order, nested models opened, Keras's own layers left whole.
    """
    tracer = _Tracer(model, composites)
    with _forget_new_calls(model):
        inner = own_graph(model)
        if inner is not None:
            inputs, outputs = inner
            values = tracer.graph.inputs = tracer.fresh(len(inputs))
            tracer.graph.outputs = tracer.read(inputs, outputs, values)
        elif _is_whole(model):
            tracer.graph.inputs, tracer.graph.outputs = tracer.fresh(1), tracer.fresh(1)
            values = tuple(tracer.graph.inputs), tuple(tracer.graph.outputs)
            tracer.add(Step("", model, *values))
        else:
            tracer.call(model, *symbolic_arguments(model))
    return tracer.graph


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
    model = functional_of(model)
    names = {cls.__name__ for cls in type(model).__mro__}
    if "Functional" not in names or not getattr(model, "inputs", None):
        return None
    return list(model.inputs), list(model.outputs)


def _is_whole(op: Any) -> bool:
    """True for an operation that is one step: no layers with kernels below, or Keras's own."""
    if keras_of(op) is None or type(op).__module__.split(".")[0] in ("keras", "tf_keras"):
        return True
    layers = [layer for _, layer in walk_layers(op)]
    return not any(bears_kernel(layer) for layer in layers[1:])


def symbolic_arguments(model: Any) -> tuple[list[Any], dict[str, Any]] | tuple[None, None]:
    """Symbolic tensors of the shapes that a model was built with, as its `call` takes them."""
    if keras_of(model) != "keras":
        return None, None
    if getattr(model, "inputs", None):  # a functional model with a `call` of its own
        return [model.input], {}
    import keras

    def tensor(shape: Any) -> Any:
        if isinstance(shape, dict):
            return {name: tensor(part) for name, part in shape.items()}
        if shape and isinstance(shape[0], list | tuple | dict):
            return [tensor(part) for part in shape]
        return keras.KerasTensor(tuple(shape), dtype=model.compute_dtype)

    config = model.get_build_config() or {}
    if config.get("input_shape") is not None:
        return [tensor(config["input_shape"])], {}
    if "shapes_dict" in config:
        shapes = config["shapes_dict"].items()
        return [], {name.removesuffix("_shape"): tensor(shape) for name, shape in shapes}
    return None, None


@contextmanager
def _forget_new_calls(model: Any) -> Iterator[None]:
    """Drop what Keras records on layers while the block runs: calls, and losses that are added.

    It is recorded on lists that only this thread sees.
    """
    with overlaid() as put:
        # Of tf_keras nothing is called.
        for _, layer in walk_layers(model) if keras_of(model) == "keras" else ():
            forget_calls(put, layer)
            forget_losses(put, layer)
        yield


class _Tracer:
    def __init__(self, model: Any, composites: bool) -> None:
        self.graph = Graph()
        self._composites = composites
        self._keys = {id(layer): key for key, layer in walk_layers(model)}
        self._count = 0

    def fresh(self, n: int) -> list[int]:
        self._count += n
        return list(range(self._count - n, self._count))

    def add(self, step: Step, node: Any = None) -> None:
        """Append one step, and the record of its call."""
        self.graph.steps.append(step)
        self.graph.nodes.append(node)

    def read(self, inputs: list[Any], outputs: list[Any], values: list[int]) -> list[int]:
        """Append the steps from symbolic `inputs`, whose values are given, to `outputs`."""
        value_of = {id(tensor): value for tensor, value in zip(inputs, values, strict=False)}
        for node in _nodes_between(value_of, outputs):
            taken = [value_of[id(t)] for t in inputs_of(node) if id(t) in value_of]
            for tensor, value in zip(outputs_of(node), self._step(node, taken), strict=False):
                value_of[id(tensor)] = value
        return [value_of[id(t)] for t in outputs if id(t) in value_of]

    def _step(self, node: Any, taken: list[int]) -> list[int]:
        """Append one call, opened where it is a model or a user's composite; its outputs."""
        op = operation_of(node)
        inner = own_graph(op)
        if inner is not None:
            taken = _in_order(inner[0], op, node, taken)
            nested, start = self.graph.nested, len(self.graph.steps)
            place = len(nested)
            nested.append(Nested(op, node, tuple(taken), start, start))
            made = self.read(*inner, taken)
            nested[place] = nested[place]._replace(stop=len(self.graph.steps))
            return made
        if not self._composites or _is_whole(op):
            made = self.fresh(len(outputs_of(node)))
            key = self._keys.get(id(op), op.name)
            self.add(Step(key, op, tuple(taken), tuple(made)), node)
            return made
        given = arguments_of(node) or (None, None)
        return self._open(op, *given, taken)

    def call(self, model: Any, args: Any, kwargs: Any) -> None:
        """Open a composite from outside: the model's own inputs and outputs."""
        n = 1 if args is None else len(_flat((args, kwargs)))
        self.graph.inputs = self.fresh(n)
        self.graph.outputs = self._open(model, args, kwargs, self.graph.inputs)

    def _open(self, layer: Any, args: Any, kwargs: Any, taken: list[int]) -> list[int]:
        outputs = None
        if args is not None:
            try:
                outputs = _flat(layer.call(*args, **kwargs))
            except Exception:
                # `call` is the user's code, and it may need real tensors for any reason.
                outputs = None
        if outputs is None or not all(is_symbolic(t) for t in outputs):
            return self._chain(layer, taken)
        return self.read(_flat((args, kwargs)), outputs, taken)

    def _chain(self, layer: Any, taken: list[int]) -> list[int]:
        """Append a composite's layers one after the other, in the order they were made."""
        self.graph.guessed.append(self._keys.get(id(layer)) or layer.name)
        below = [(key, child) for key, child in walk_layers(layer) if key and _is_whole(child)]
        inside = {id(c) for _, w in below for k, c in walk_layers(w) if k}
        for _, child in below:
            if id(child) not in inside:
                made = self.fresh(1)
                key = self._keys.get(id(child), child.name)
                self.add(Step(key, child, tuple(taken), tuple(made)))
                taken = made
        return taken


def _in_order(inputs: list[Any], model: Any, node: Any, taken: list[int]) -> list[int]:
    """What a model inside is given, in the order of its inputs: a dict is read by their names."""
    args, _ = arguments_of(node) or ([], {})
    given = args[0] if args else None
    if not isinstance(given, dict) or isinstance(input_structure(model), dict):
        return taken
    by_name = dict(zip(sorted(given), taken, strict=False))
    return [by_name[tensor.name] for tensor in inputs]


def _flat(structure: Any) -> list[Any]:
    """The symbolic tensors in nested lists, tuples and dicts."""
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
