"""Policies: which layers are worth pruning, and whether a model as a whole is."""

import abc
from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras import layers

from tfinit.errors import InputError
from tfinit.graph.keras_internals import calls_in, has_graph, producer_of
from tfinit.variables import keras_of

# By the name, as TFMOT does: `tf.nn.relu` is the same function for XNNPACK.
_ACTIVATIONS = ("relu", "relu6", "leaky_relu", "elu", "sigmoid")
# What `a + b`, `a - b`, `a * b` of symbolic tensors record; these are not layers.
_OPERATIONS = ("Add", "Subtract", "Multiply")
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
    end. The decisions are those of TFMOT's policy of this name on the same tf_keras model, with
    nested models too: a nested Sequential is opened when met from the front, a nested functional
    model is not supported. Two accidents of TFMOT are left out: it looks no further than the end
    of a nested Sequential, and it takes a 1×1 Conv2DTranspose for a Conv2D.

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
        graph = _Graph(model)
        starts = _search(graph.inputs, graph.starts_sparse_inference, graph.consumers)
        if not starts:
            raise InputError(
                f"`model` {model.name!r} has an input that meets no layer where XNNPACK's sparse "
                "inference starts: a Conv2D of 3×3 on 3 channels with strides=2 and "
                'padding="valid", right after a ZeroPadding2D(1), outside nested functional '
                "models. Change the first layers to these, or prune without this policy."
            )
        ends = _search(graph.outputs, _ends_sparse_inference, graph.producers)
        if not ends:
            raise InputError(
                f"`model` {model.name!r} has an output without a GlobalAveragePooling2D before "
                "it, where XNNPACK's sparse inference ends. Add one (outside nested models), "
                "or prune without this policy."
            )
        end_ids = {id(end) for end in ends}

        def check(layer: Any) -> bool:
            if id(layer) not in end_ids and not graph.supports(layer):
                raise InputError(
                    f"Layer {layer.name!r} ({type(layer).__name__}) of `model` {model.name!r} is "
                    f"not supported by {type(self).__name__}: {_cure(layer)}. "
                    "Replace it, or prune without this policy."
                )
            return id(layer) in end_ids

        _search([c for start in starts for c in graph.consumers(start)], check, graph.consumers)


def _check_keras(name: str, received: Any) -> None:
    if keras_of(received) == "keras":
        return
    kind = f"{type(received).__module__}.{type(received).__name__}"
    if keras_of(received) == "tf_keras":
        cure = "For tf_keras use tfmot.sparsity.keras.PruneForLatencyOnXNNPack."
    else:
        cure = f"Pass the {name} itself, not its output."
    raise InputError(f"`{name}` must be a Keras 3 {name}, received {kind}. {cure}")


def _search(
    sources: Iterable[Any],
    stop: Callable[[Any], bool],
    ahead: Callable[[Any], list[Any]],
) -> list[Any]:
    """The first layers for which `stop` is true on each way from the sources; none if one has none.

    `stop` sees each layer once, those on different ways too.
    """
    waiting = list(sources)
    met = {id(layer) for layer in waiting}
    found, lost = [], False
    while waiting:
        layer = waiting.pop(0)
        if stop(layer):
            found.append(layer)
            continue
        following = ahead(layer)
        lost = lost or not following
        for other in following:
            if id(other) not in met:
                met.add(id(other))
                waiting.append(other)
    return [] if lost else found


class _Graph:
    """Who feeds whom in a functional or Sequential model, nested Sequentials opened.

    Shared layers count once, with all their neighbours, as TFMOT has it.
    """

    def __init__(self, model: Any):
        self._producers: dict[int, list[Any]] = {}
        self._consumers: dict[int, list[Any]] = {}
        self._ends: dict[int, list[Any]] = {}  # last layer → the nested Sequentials it ends
        self._rank: dict[int, int] = {}
        self._read(model)
        self.inputs = [producer_of(tensor) for tensor in model.inputs]
        self.outputs = [producer_of(tensor) for tensor in model.outputs]

    def _read(self, model: Any) -> None:
        nested = []
        for node in calls_in(model, inputs=True):
            op = node.operation
            if node.input_tensors:
                self._rank[id(op)] = len(node.input_tensors[0].shape)
            for parent in node.parent_nodes:
                _add(self._producers, op, parent.operation)
                _add(self._consumers, parent.operation, op)
            if isinstance(op, keras.Sequential) and not _is_in(op, nested):
                nested.append(op)
        for op in nested:
            _add(self._ends, producer_of(op.outputs[0]), op)
            self._read(op)

    def producers(self, layer: Any) -> list[Any]:
        """The layers and operations that feed a layer of the same model."""
        return self._producers.get(id(layer), [])

    def consumers(self, layer: Any) -> list[Any]:
        """The layers and operations that a layer feeds, across the borders of Sequentials."""
        found = [_opened(other) for other in self._consumers.get(id(layer), [])]
        for sequential in self._ends.get(id(layer), []):
            found.extend(self.consumers(sequential))
        return found

    def _padding(self, layer: Any) -> tuple[tuple[int, int], ...] | None:
        """What the ZeroPadding2D that alone feeds a layer adds; None where there is no such."""
        before = self.producers(layer)
        if len(before) == 1 and isinstance(before[0], layers.ZeroPadding2D):
            return before[0].padding
        return None

    def starts_sparse_inference(self, layer: Any) -> bool:
        """True for the convolution from 3 channels that XNNPACK lets sparse inference begin at."""
        return (
            isinstance(layer, layers.Conv2D)
            and tuple(layer.kernel.shape[:3]) == (3, 3, 3)
            and tuple(layer.strides) == (2, 2)
            and layer.padding == "valid"
            and self._padding(layer) == ((1, 1), (1, 1))
        )

    def supports(self, layer: Any) -> bool:
        """True for what XNNPACK can run between the start and the end of sparse inference."""
        if keras_of(layer) is None:
            # An operation of keras.ops; a class of that name elsewhere is not it.
            return type(layer).__name__ in _OPERATIONS and type(layer).__module__.startswith(
                "keras."
            )
        if isinstance(layer, _ALWAYS):
            return True
        if isinstance(layer, layers.DepthwiseConv2D):
            return self._supports_depthwise(layer)
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
            rank = self._rank[id(layer)]
            return layer.axis % rank == 3
        if isinstance(layer, layers.UpSampling2D):
            return layer.interpolation == "bilinear"
        if isinstance(layer, layers.Activation):
            return getattr(layer.activation, "__name__", None) in _ACTIVATIONS
        return False

    def _supports_depthwise(self, layer: Any) -> bool:
        size = layer.kernel_size[0]
        half = (size - 1) // 2
        strides = tuple(layer.strides)
        same = layer.padding == "same" and strides == (1, 1)
        padded = self._padding(layer) == ((half, half), (half, half))
        valid = layer.padding == "valid" and strides in ((1, 1), (2, 2)) and padded
        return (
            tuple(layer.kernel_size) in ((3, 3), (5, 5))
            and layer.depth_multiplier == 1
            and tuple(layer.dilation_rate) == (1, 1)
            and (same or valid)
        )


def _add(neighbours: dict[int, list[Any]], layer: Any, other: Any) -> None:
    """Note a neighbour of a layer, once however often they meet."""
    known = neighbours.setdefault(id(layer), [])
    if not _is_in(other, known):
        known.append(other)


def _is_in(layer: Any, others: list[Any]) -> bool:
    return any(layer is other for other in others)


def _opened(layer: Any) -> Any:
    """The layer that data meets first: of a Sequential, its first."""
    while isinstance(layer, keras.Sequential) and layer.layers:
        layer = layer.layers[0]
    return layer


def _ends_sparse_inference(layer: Any) -> bool:
    # With or without keepdims: it ends the sparse part either way.
    return isinstance(layer, layers.GlobalAveragePooling2D)


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
    if isinstance(layer, keras.Model):
        return "a nested functional model is not opened; call its layers in the model itself"
    allowed = ", ".join(cls.__name__ for cls in _ALWAYS)
    return (
        f"allowed are {allowed}, 1×1 Conv2D, DepthwiseConv2D, BatchNormalization, Activation, "
        f"UpSampling2D, GlobalAveragePooling2D and the operators +, - and *"
    )
