"""What enters the pretrained backbones of keras.applications that a model begins with."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfinit.graph.calls import Graph
from tfinit.graph.gradients import without_gradients
from tfinit.graph.keras_internals import arguments_with, inputs_of
from tfinit.graph.structure import Structure

# Names of networks → the module of keras.applications, and the range that its weights are for.
_FAMILIES = (
    (r"vgg(16|19)", "vgg{0}", "bgr"),
    (r"resnet\d+", "resnet", "bgr"),
    (r"resnet\d+v2", "resnet_v2", "unit"),
    (r"mobilenet_.*", "mobilenet", "unit"),
    (r"mobilenetv2_.*", "mobilenet_v2", "unit"),
    (r"mobilenetv3.*", "mobilenet_v3", "pixels"),
    (r"xception", "xception", "unit"),
    (r"inception_v3", "inception_v3", "unit"),
    (r"inception_resnet_v2", "inception_resnet_v2", "unit"),
    (r"nasnet_.*", "nasnet", "unit"),
    (r"densenet\d+", "densenet", "unit"),
    (r"efficientnetb\d", "efficientnet", "pixels"),
    (r"efficientnetv2-.*", "efficientnet_v2", "pixels"),
    (r"convnext_.*", "convnext", "pixels"),
)
_STEPS = 8  # operations before a backbone that are done again, and
_EXAMPLES = 4  # on so many examples


@dataclass(frozen=True)
class Backbone:
    """A network of keras.applications that reads a model's input.

    Attributes:
        name: Of the network.
        module: Its module in `keras.applications`.
        takes: What its weights are for: ``"pixels"`` from 0 to 255, ``"unit"``, about -1 to 1,
            or ``"bgr"``, pixels less their mean, -124 to 152.
        low: The smallest number that enters it.
        high: The largest.
        frozen: Whether none of its weights is trained.
    """

    name: str
    module: str
    takes: str
    low: float
    high: float
    frozen: bool


def backbones_of(structure: Structure, given: tuple[np.ndarray, ...]) -> tuple[Backbone, ...]:
    """The backbones in a model, with what enters them of the inputs."""
    graph = structure.graph
    if graph.guessed or len(graph.inputs) != len(given):
        return ()
    found = []
    for nested in graph.nested:
        family = next((f for f in _FAMILIES if re.fullmatch(f[0], nested.model.name.lower())), None)
        if family is None or len(nested.inputs) != 1:
            continue
        entering = _value(graph, nested.inputs[0], given)
        if entering is None or not entering.size or not np.all(np.isfinite(entering)):
            continue
        pattern, module, takes = family
        parts = re.fullmatch(pattern, nested.model.name.lower())
        module = module.format(*(parts.groups() if parts else ()))
        low, high = float(entering.min()), float(entering.max())
        frozen = not nested.model.trainable_weights
        found.append(Backbone(nested.model.name, module, takes, low, high, frozen))
    return tuple(found)


def _value(graph: Graph, value: int, given: tuple[np.ndarray, ...]) -> np.ndarray | None:
    """What a value of the graph is for some examples, where few operations make it of an input."""
    import keras

    producers = graph.producers()
    way: list[int] = []
    while value not in graph.inputs:
        index = producers.get(value)
        if index is None or len(set(graph.steps[index].inputs)) != 1 or len(way) >= _STEPS:
            return None
        way.insert(0, index)
        value = graph.steps[index].inputs[0]
    array = given[graph.inputs.index(value)][:_EXAMPLES]
    if array.dtype.kind not in "biuf":
        return None
    made: Any = keras.ops.convert_to_tensor(array.astype(np.float32))
    try:
        with without_gradients():
            for index in way:
                node = graph.nodes[index]
                args, how = arguments_with(node, {id(inputs_of(node)[0]): made})
                made = graph.steps[index].op(*args, **how)
    except Exception:
        # What is before it may take more than these examples.
        return None
    return np.asarray(keras.ops.convert_to_numpy(made))
