"""What is known of each call of each layer: its signals, both ways, and its weights."""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfinit.diagnostics.measuring.initializers import initializer_of, wrong_fans
from tfinit.diagnostics.measuring.parameters import mean_and_std, norm
from tfinit.diagnostics.measuring.signals import BOUNDED, Beside, Signal
from tfinit.diagnostics.measuring.through_time import EXAMPLES, is_followed
from tfinit.diagnostics.measuring.twins import Twins, find_twins
from tfinit.graph.activations import activation_of, own_activation
from tfinit.graph.kernels import Kernel
from tfinit.graph.normalizations import is_normalization
from tfinit.graph.output_channels import channel_axes
from tfinit.graph.structure import Structure, is_merge
from tfinit.probes import Point, seen_layers


@dataclass(frozen=True)
class Weights:
    """What is known of one kernel.

    Attributes:
        key: Its stable key.
        fan_in: Of the layer that owns it (`tfinit.fans`).
        fan_out: The same.
        trainable: False if its layer is frozen.
        initializer: The class of the initializer that the layer holds for it, or "".
        mean: Over the weights.
        std: Over the weights.
        gradient_std: Over the gradient; None if there is none.
        gradient_norm: Of the gradient.
        update_ratio: rms of the optimizer's first update / rms of the weights, as `update_ratios`
            gives it; None without one.
        bias_rms: Of the layer's bias; None if it has none.
        twins: Units that cannot be told apart.
        wrong_fans: σ of the weights / σ that the initializer's formula gives with the layer's true
            fans, where the weights were drawn with others; else None.
    """

    key: str
    fan_in: float
    fan_out: float
    trainable: bool
    initializer: str
    mean: float
    std: float
    gradient_std: float | None
    gradient_norm: float | None
    update_ratio: float | None
    bias_rms: float | None
    twins: Twins | None
    wrong_fans: float | None


@dataclass(frozen=True)
class LayerSignals:
    """What was seen of one call of one layer.

    Attributes:
        key: The layer's stable key; with ``#2`` for its second call, and so on.
        layer: Its class.
        shape: Of its output, with the batch.
        depth: How many layers with kernels the signal has passed, this one included.
        activation: The activation inside it, or that it is; else "".
        follows: The activation that its kernel feeds, inside it or after it.
        normalized: True if a normalization undoes the scale of its output.
        reads: ``"normalization"`` or ``"sum"`` where one of them stands between it and the kernels
            before it; else "".
        head: True if no other kernel comes between it and the model's output.
        is_kernel: True if it has a kernel that sums inputs (no embedding).
        scores: True if it is beside the way of the signal: of queries, of keys, a router.
        weights: Of its kernels.
        linear: What the kernel makes, before the layer's own activation.
        output: What the layer makes.
        linear_gradient: Gradient by `linear`; None if backpropagation did not get there.
        output_gradient: Gradient by `output`.
    """

    key: str
    layer: str
    shape: tuple[int, ...]
    depth: int
    activation: str
    follows: str
    normalized: bool
    reads: str
    head: bool
    is_kernel: bool
    scores: bool
    weights: tuple[Weights, ...]
    linear: Signal
    output: Signal
    linear_gradient: Signal | None
    output_gradient: Signal | None


@dataclass
class _Call:
    """One call while the passes run; its signals are still being measured."""

    layer: Any
    shape: tuple[int, ...] = ()
    values: dict[str, Future[Signal]] = field(default_factory=dict)
    gradients: dict[str, Future[Signal]] = field(default_factory=dict)


class Seen:
    """What a probe hands over, measured while the passes run.

    Args:
        model: The model that the passes run.
        structure: Its graph, read.
        beside: Where the statistics of large tensors are taken.
        scale: What the loss was multiplied by; gradients are set down by it.

    Attributes:
        watched: The layers to look at, under their keys.
        read: Key of a recurrent layer → the layer, and what it read.
    """

    def __init__(self, model: Any, structure: Structure, beside: Beside, scale: float) -> None:
        self._structure, self._beside, self._scale = structure, beside, scale
        self.watched = [
            (k, layer) for k, layer in seen_layers(model) if _has_something_to_say(layer)
        ]
        # To find out may call a layer of the user's own, which the passes would see.
        self._names = {id(layer): _activation_name(layer) for _, layer in self.watched}
        self._calls: dict[tuple[str, int], _Call] = {}
        self.read: dict[str, tuple[Any, np.ndarray]] = {}

    @property
    def entering(self) -> list[Any]:
        """The layers whose inputs are to be handed over too: those that are seen in time."""
        return [layer for _, layer in self.watched if is_followed(layer)]

    def value(self, point: Point, tensor: Any) -> None:
        """Take a tensor of the way forward."""
        import keras

        if point.what == "input":
            some = keras.ops.convert_to_numpy(tensor[:EXAMPLES])
            self.read.setdefault(point.key, (point.layer, some))
            return
        call = self._calls.setdefault(point[:2], _Call(point.layer))
        call.shape = tuple(tensor.shape)
        activation = self._names[id(point.layer)]
        if _is_seen_before(point, self._structure, activation):
            return
        activation = activation if point.what == "output" else ""
        call.values[point.what] = self._beside.measure(
            tensor,
            self._axis(point, tensor),
            activation,
            count_zeros=bool(activation),
        )

    def gradient(self, point: Point, tensor: Any) -> None:
        """Take the gradient by one of them."""
        import keras

        if _is_seen_before(point, self._structure, self._names[id(point.layer)]):
            return
        wide = tensor if self._scale == 1 else keras.ops.cast(tensor, "float32") / self._scale
        self._calls[point[:2]].gradients[point.what] = self._beside.measure(
            wide, self._axis(point, tensor), count_zeros=False
        )

    def _axis(self, point: Point, tensor: Any) -> int:
        """The axis of the units."""
        kernels = self._structure.kernels_of(point.layer)
        return _channel(kernels, point.layer, len(tensor.shape))

    def rows(self, weights: dict[str, Weights]) -> Iterator[LayerSignals]:
        """What was seen of each call, in their order, when the passes have run."""
        structure, seen = self._structure, self._calls
        depths = structure.depths([(key, n, call.layer) for (key, n), call in seen.items()])
        for (key, n), call in seen.items():
            if "output" not in call.values:
                continue
            kernels = structure.kernels_of(call.layer)
            values = {what: signal.result() for what, signal in call.values.items()}
            gradients = {what: signal.result() for what, signal in call.gradients.items()}
            output, back = values["output"], gradients.get("output")
            yield LayerSignals(
                key=key if n == 0 else f"{key}#{n + 1}",
                layer=type(call.layer).__name__,
                shape=call.shape,
                depth=depths[key, n],
                activation=self._names[id(call.layer)],
                follows=str(kernels[-1].activations[0]) if kernels else "",
                normalized=structure.is_normalized(call.layer),
                reads=structure.reads(call.layer),
                head=structure.is_head(call.layer),
                is_kernel=any(not kernel.is_embedding for kernel in kernels),
                scores=structure.makes_scores(call.layer),
                weights=tuple(weights[kernel.key] for kernel in kernels),
                linear=values.get("preactivation", output),
                output=output,
                linear_gradient=gradients.get("preactivation", back),
                output_gradient=back,
            )


def weights_of(
    structure: Structure,
    kernel: Kernel,
    wide: np.ndarray,
    gradients: dict[int, Any],
    ratios: dict[str, float],
) -> Weights:
    """What is known of a kernel, with the gradients by the ids of variables."""
    gradient = gradients.get(id(kernel.variable))
    bias = None if kernel.bias is None else kernel.bias.numpy().astype(np.float32)
    with np.errstate(all="ignore"):
        mean, std = mean_and_std(wide)
        return Weights(
            key=kernel.key,
            fan_in=kernel.fan_in,
            fan_out=kernel.fan_out,
            trainable=kernel.trainable,
            initializer=initializer_of(kernel),
            mean=mean,
            std=std,
            gradient_std=None if gradient is None else mean_and_std(gradient)[1],
            gradient_norm=None if gradient is None else norm(gradient),
            update_ratio=ratios.get(kernel.key),
            bias_rms=None if bias is None else float(np.sqrt(np.mean(bias**2))),
            twins=find_twins(structure, kernel, wide, gradients),
            wrong_fans=wrong_fans(kernel, std),
        )


def _is_seen_before(point: Point, structure: Structure, activation: str) -> bool:
    """What enters an activation that is a layer was the output of another, but for bounded ones."""
    if point.what == "output" or structure.kernels_of(point.layer):
        return False
    return activation not in BOUNDED


def _has_something_to_say(layer: Any) -> bool:
    """Kernels, activations, sums of branches, and layers of the user's own with weights."""
    if is_normalization(layer):
        return False
    return bool(
        activation_of(layer) is not None or is_merge(layer) or getattr(layer, "weights", None)
    )


def _activation_name(layer: Any) -> str:
    found = activation_of(layer) or own_activation(layer)
    return "" if found is None else found.name


def _channel(kernels: list[Kernel], layer: Any, rank: int) -> int:
    """The axis of the units of a layer's output."""
    if kernels and hasattr(kernels[-1].layer, "equation"):
        return channel_axes(kernels[-1], rank)[-1]
    return 1 if getattr(layer, "data_format", None) == "channels_first" else rank - 1
