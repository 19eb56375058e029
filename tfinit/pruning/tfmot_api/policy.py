"""Policies: which layers are worth pruning, and whether a model as a whole is."""

import abc
from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras import layers

from tfinit.errors import InputError
from tfinit.graph.calls import Graph
from tfinit.graph.keras_internals import has_graph, inputs_of
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.tracing import trace
from tfinit.variables import keras_of

# By the name, as TFMOT does: `tf.nn.relu` is the same function for XNNPACK.
_ACTIVATIONS = ("relu", "relu6", "leaky_relu", "elu", "sigmoid")
_ALWAYS = (
    layers.Add,
    layers.Multiply,
    layers.ZeroPadding2D,
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.Dropout,
)


class PruningPolicy(abc.ABC):
    """Which layers of a model are pruned, and which models are accepted at all.

    Subclass it for a policy of your own; both methods must be there.

    Example:
        >>> class OnlyDense(PruningPolicy):
        ...     def allow_pruning(self, layer):
        ...         return isinstance(layer, keras.layers.Dense)
        ...
        ...     def ensure_model_supports_pruning(self, model):
        ...         pass
        >>> OnlyDense().allow_pruning(keras.layers.Conv2D(8, 3))
        False
    """

    @abc.abstractmethod
    def allow_pruning(self, layer: Any) -> bool:
        """True if the layer's weights are to be pruned."""

    @abc.abstractmethod
    def ensure_model_supports_pruning(self, model: Any) -> None:
        """Return if the model can be pruned under this policy.

        Raises:
            InputError: it cannot; the message names the layer and what is allowed.
        """


class PruneForLatencyOnXNNPack(PruningPolicy):
    """Prune only what XNNPACK's sparse inference makes faster: 1×1 convolutions.

    XNNPACK runs a part of a network sparse if it

    - starts with a Conv2D of 3×3 on 3 channels, stride 2, ``padding="valid"``, right after a
      ZeroPadding2D of 1,
    - ends in a GlobalAveragePooling2D, and
    - has in between only: Conv2D of 1×1, stride 1, without groups; DepthwiseConv2D of 3×3 or 5×5,
      multiplier 1, no dilation, either ``"same"`` with stride 1 or ``"valid"`` with stride 1 or 2
      after a ZeroPadding2D of half the kernel; BatchNormalization of the last axis; Add, Multiply
      and ``+``, ``-``, ``*``; ReLU, LeakyReLU, ELU and Activation of relu, relu6, leaky_relu, elu
      or sigmoid; Dropout, ZeroPadding2D, bilinear UpSampling2D, and GlobalAveragePooling2D with
      ``keepdims=True`` (on side branches, as of squeeze-and-excite blocks).

    Every branch from an input must meet such a start, and every branch back from an output such an
    end. The decisions are those of TFMOT's policy of this name on the same tf_keras model, but for
    two accidents of it, and for what is nested: models inside the model are opened, Sequential and
    functional ones, wherever starts and ends are in them, for XNNPACK gets them flat. TFMOT opens
    a nested Sequential when met from the front, and looks no further than its end. And it takes a
    1×1 Conv2DTranspose for a Conv2D.

    Example:
        >>> policy = PruneForLatencyOnXNNPack()
        >>> policy.allow_pruning(keras.layers.Conv2D(8, 1))
        True
        >>> policy.allow_pruning(keras.layers.Conv2D(8, 3))
        False

    References:
        Elsen et al., *Fast Sparse ConvNets*, CVPR 2020, https://arxiv.org/abs/1911.09723.
    """

    def allow_pruning(self, layer: Any) -> bool:
        """True for a Conv2D of 1×1.

        Raises:
            InputError: ``layer`` is not a Keras 3 layer.
        """
        _check_keras("layer", layer)
        return isinstance(layer, layers.Conv2D) and tuple(layer.kernel_size) == (1, 1)

    def ensure_model_supports_pruning(self, model: Any) -> None:
        """Return if the model has the part that XNNPACK runs sparse, and only supported layers.

        Args:
            model: A built Sequential or functional Keras 3 model.

        Raises:
            InputError: ``model`` is no Keras 3 model, is subclassed or not built, has no start or
                no end, or has a layer in between that XNNPACK cannot run sparse.
        """
        _check_keras("model", model)
        if not isinstance(model, keras.Sequential) and not has_graph(model):
            raise InputError(
                f"`model` {model.name!r} ({type(model).__name__}) is a subclassed model, whose "
                f"layers have no order that {type(self).__name__} could check. "
                "Use a Sequential or functional model."
            )
        if not model.built or not has_graph(model):
            raise InputError(
                f"`model` {model.name!r} is not built, so the order and shapes of its layers are "
                "unknown. Give it an Input, or call `model.build(input_shape)`."
            )
        graph = trace(model)
        if graph.guessed:
            raise InputError(
                f"`model` {model.name!r} has a layer, {graph.guessed[0]!r}, whose layers have no "
                f"order that {type(self).__name__} could check. Use Keras's layers in its place, "
                "or prune without this policy."
            )
        calls = _Calls(graph)
        starts = _search(calls.after_inputs(), calls.starts_sparse_inference, calls.after)
        if not starts:
            raise InputError(
                f"`model` {model.name!r} has an input that meets no layer where XNNPACK's sparse "
                "inference starts: a Conv2D of 3×3 on 3 channels with strides=2 and "
                'padding="valid", right after a ZeroPadding2D(1). Change the first layers to '
                "these, or prune without this policy."
            )
        ends = _search(calls.before_outputs(), calls.ends_sparse_inference, calls.before)
        if not ends:
            raise InputError(
                f"`model` {model.name!r} has an output without a GlobalAveragePooling2D before "
                "it, where XNNPACK's sparse inference ends. Add one, or prune without this policy."
            )

        def check(call: int) -> bool:
            if call not in ends and not calls.supports(call):
                layer = calls.layer(call)
                raise InputError(
                    f"Layer {layer.name!r} ({type(layer).__name__}) of `model` {model.name!r} is "
                    f"not supported by {type(self).__name__}: {_cure(layer)}. "
                    "Replace it, or prune without this policy."
                )
            return call in ends

        _search([after for start in starts for after in calls.after(start)], check, calls.after)


def _check_keras(name: str, received: Any) -> None:
    if keras_of(received) == "keras":
        return
    kind = f"{type(received).__module__}.{type(received).__name__}"
    if keras_of(received) == "tf_keras":
        cure = "For tf_keras use tfmot.sparsity.keras.PruneForLatencyOnXNNPack."
    else:
        cure = f"Pass the {name} itself, not its output."
    raise InputError(f"`{name}` must be a Keras 3 {name}, received {kind}. {cure}")


_OUTSIDE = -1  # in place of a call: what a model is given


def _search(
    sources: Iterable[int], stop: Callable[[int], bool], ahead: Callable[[int], list[int]]
) -> list[int]:
    """The first calls for which `stop` is true on each way from the sources; none if one has none.

    `stop` sees each call once, those on different ways too.
    """
    waiting = list(sources)
    met = set(waiting)
    found, lost = [], False
    while waiting:
        call = waiting.pop(0)
        if stop(call):
            found.append(call)
            continue
        following = ahead(call)
        lost = lost or not following
        for other in following:
            if other not in met:
                met.add(other)
                waiting.append(other)
    return [] if lost else found


class _Calls:
    """The calls of a traced model as XNNPACK sees them; a call is the index of its step."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._producers = graph.producers()
        self._readers = graph.readers()

    def layer(self, call: int) -> Any:
        """The layer or operation that is called."""
        return None if call == _OUTSIDE else self._graph.steps[call].op

    def after_inputs(self) -> list[int]:
        """The calls that read the model's inputs; none if an input is not read."""
        read = [self._readers.get(value, []) for value in self._graph.inputs]
        return [call for calls in read for call in calls] if all(read) else []

    def before_outputs(self) -> list[int]:
        """The calls that make the model's outputs."""
        return [self._producers.get(value, _OUTSIDE) for value in self._graph.outputs]

    def after(self, call: int) -> list[int]:
        """The calls that read what a call makes."""
        made = self._graph.steps[call].outputs
        return [reader for value in made for reader in self._readers.get(value, [])]

    def before(self, call: int) -> list[int]:
        """The calls that make what a call reads."""
        read = () if call == _OUTSIDE else self._graph.steps[call].inputs
        return [self._producers.get(value, _OUTSIDE) for value in read]

    def _padding(self, call: int) -> tuple[tuple[int, int], ...] | None:
        """What the ZeroPadding2D that alone feeds a call adds; None where there is no such."""
        before = [self.layer(other) for other in self.before(call)]
        if len(before) == 1 and isinstance(before[0], layers.ZeroPadding2D):
            return before[0].padding
        return None

    def starts_sparse_inference(self, call: int) -> bool:
        """True for the convolution from 3 channels that XNNPACK lets sparse inference begin at."""
        layer = self.layer(call)
        return (
            isinstance(layer, layers.Conv2D)
            and tuple(layer.kernel.shape[:3]) == (3, 3, 3)
            and tuple(layer.strides) == (2, 2)
            and layer.padding == "valid"
            and self._padding(call) == ((1, 1), (1, 1))
        )

    def ends_sparse_inference(self, call: int) -> bool:
        """True for the pooling at the end, with or without keepdims."""
        return isinstance(self.layer(call), layers.GlobalAveragePooling2D)

    def supports(self, call: int) -> bool:
        """True for what XNNPACK can run between the start and the end of sparse inference."""
        layer = self.layer(call)
        if keras_of(layer) is None:  # what `a + b`, `a - b`, `a * b` of symbolic tensors record
            return kind_of(layer).merge in ("add", "subtract", "multiply")
        if isinstance(layer, _ALWAYS):
            return True
        if isinstance(layer, layers.DepthwiseConv2D):
            return self._supports_depthwise(call)
        if isinstance(layer, layers.Conv2D):
            return (
                layer.groups == 1
                and tuple(layer.kernel_size) == (1, 1)
                and tuple(layer.strides) == (1, 1)
                and tuple(layer.dilation_rate) == (1, 1)
            )
        if isinstance(layer, layers.GlobalAveragePooling2D):
            return layer.keepdims
        if isinstance(layer, layers.BatchNormalization):
            read = inputs_of(self._graph.nodes[call])[0]
            return layer.axis % len(read.shape) == 3
        if isinstance(layer, layers.UpSampling2D):
            return layer.interpolation == "bilinear"
        if isinstance(layer, layers.Activation):
            return getattr(layer.activation, "__name__", None) in _ACTIVATIONS
        return False

    def _supports_depthwise(self, call: int) -> bool:
        layer = self.layer(call)
        size = layer.kernel_size[0]
        half = (size - 1) // 2
        strides = tuple(layer.strides)
        same = layer.padding == "same" and strides == (1, 1)
        padded = self._padding(call) == ((half, half), (half, half))
        valid = layer.padding == "valid" and strides in ((1, 1), (2, 2)) and padded
        return (
            tuple(layer.kernel_size) in ((3, 3), (5, 5))
            and layer.depth_multiplier == 1
            and tuple(layer.dilation_rate) == (1, 1)
            and (same or valid)
        )


def _cure(layer: Any) -> str:
    """What is allowed in place of a layer that is not supported."""
    if isinstance(layer, layers.DepthwiseConv2D):
        return (
            "a DepthwiseConv2D must be 3×3 or 5×5 with depth_multiplier=1 and no dilation, either "
            'padding="same" with strides=1, or padding="valid" with strides of 1 or 2 right after '
            "a ZeroPadding2D of 1 (for 3×3) or 2 (for 5×5)"
        )
    if isinstance(layer, layers.Conv2D):
        return "a Conv2D must be 1×1 with strides=1, no dilation and groups=1"
    if isinstance(layer, layers.GlobalAveragePooling2D):
        return "a GlobalAveragePooling2D before the last one must have keepdims=True"
    if isinstance(layer, layers.BatchNormalization):
        return "a BatchNormalization must be over the last axis of images"
    if isinstance(layer, layers.UpSampling2D):
        return 'an UpSampling2D must have interpolation="bilinear"'
    if isinstance(layer, layers.Activation):
        return f"an Activation must be one of {', '.join(_ACTIVATIONS)}"
    allowed = ", ".join(cls.__name__ for cls in _ALWAYS)
    return (
        f"allowed are {allowed}, 1×1 Conv2D, DepthwiseConv2D, BatchNormalization, Activation, "
        f"UpSampling2D, GlobalAveragePooling2D and the operators +, - and *"
    )
