"""What tf2onnx does not know, put so that it does."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from tfinit.graph.overlay import overlaid
from tfinit.variables import walk_layers


@contextmanager
def as_tf2onnx_takes_it(model: Any) -> Iterator[None]:
    """While this is open, the model's layers compute in operations that tf2onnx knows, in this
    thread.

    Keras compiles grouped convolutions by XLA, and tf2onnx does not look into what is compiled.
    Constants that are TensorFlow's tensors, such as the mean in `Normalization`, would become
    inputs of the file.
    """
    import tensorflow as tf

    _teach()
    with overlaid() as put:
        for _, layer in walk_layers(model):
            for name, value in list(vars(layer).items()):
                if isinstance(value, tf.Tensor):
                    put(layer, name, value.numpy())
            if isinstance(layer, keras.layers.Conv2D) and layer.groups > 1:
                put(layer, "convolution_op", _plain_convolution(layer))
        yield


def _plain_convolution(layer: Any) -> Callable[[Any, Any], Any]:
    import tensorflow as tf

    order = "NHWC" if layer.data_format == "channels_last" else "NCHW"
    strides, dilations = list(layer.strides), list(layer.dilation_rate)

    def convolution(inputs: Any, kernel: Any) -> Any:
        return tf.nn.convolution(inputs, kernel, strides, layer.padding.upper(), order, dilations)

    return convolution


@functools.cache
def _teach() -> None:
    """Replace operations of TensorFlow that ONNX lacks by some that it has."""
    from tf2onnx.handler import tf_op

    @tf_op("Erfc")
    class Erfc:
        """1 − erf(x); Keras's GELU computes with it."""

        @classmethod
        def version_9(cls, graph: Any, node: Any, **_: Any) -> None:
            _rewrite(graph, node, lambda put, x, one: put("Sub", one, put("Erf", x)))

    @tf_op("Expm1")
    class Expm1:
        """eˣ − 1, of CELU."""

        @classmethod
        def version_9(cls, graph: Any, node: Any, **_: Any) -> None:
            _rewrite(graph, node, lambda put, x, one: put("Sub", put("Exp", x), one))

    @tf_op("Log1p")
    class Log1p:
        """log(1 + x)."""

        @classmethod
        def version_9(cls, graph: Any, node: Any, **_: Any) -> None:
            _rewrite(graph, node, lambda put, x, one: put("Log", put("Add", x, one)))


def _rewrite(graph: Any, node: Any, formula: Callable[..., str]) -> None:
    """A node of one input by a formula ``(put, x, one)``; ``put`` adds an operation."""
    from tf2onnx import utils

    (x,), (output,) = node.input, node.output
    shape, dtype = graph.get_shape(output), graph.get_dtype(output)
    number = np.ones([], utils.map_onnx_to_numpy_type(dtype))
    one = graph.make_const(utils.make_name("one"), number).output[0]

    def put(kind: str, *inputs: str) -> str:
        made = graph.make_node(kind, list(inputs), shapes=[shape], dtypes=[dtype])
        return made.output[0]

    graph.remove_node(node.name)
    found = formula(put, x, one)
    graph.replace_all_inputs(output, found)
    # What leaves the graph keeps its name.
    graph.make_node("Identity", [found], outputs=[output], shapes=[shape], dtypes=[dtype])
