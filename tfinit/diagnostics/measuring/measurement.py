"""One forward and one backward pass, and what was seen on the way; the model is left as it was."""

import functools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfinit.diagnostics.measuring.backbones import Backbone, backbones_of
from tfinit.diagnostics.measuring.batch import Batch, make_batch, shapes, spreads
from tfinit.diagnostics.measuring.columns import Given, look_at
from tfinit.diagnostics.measuring.initializers import initializer_of, looks_drawn, wrong_fans
from tfinit.diagnostics.measuring.linear_fit import linear_fit
from tfinit.diagnostics.measuring.mending import Lookup
from tfinit.diagnostics.measuring.one_step import FirstStep, Rates, try_rates
from tfinit.diagnostics.measuring.optimizer import Optimizer, optimizer_of
from tfinit.diagnostics.measuring.outputs import Output, outputs_of
from tfinit.diagnostics.measuring.parameters import Parameter, norm, parameter
from tfinit.diagnostics.measuring.penalties import Penalty, penalties_of
from tfinit.diagnostics.measuring.preprocessing import preprocessed
from tfinit.diagnostics.measuring.settings import Settings, settings_of
from tfinit.diagnostics.measuring.signals import BOUNDED, Signal, measure_beside, measure_signal
from tfinit.diagnostics.measuring.start import Start, start_of
from tfinit.diagnostics.measuring.through_time import (
    EXAMPLES,
    ThroughTime,
    is_followed,
    through_time,
)
from tfinit.diagnostics.measuring.twins import Alike, Twins, find_alike, find_twins
from tfinit.diagnostics.measuring.updates import first_moves, first_updates
from tfinit.errors import InputError, reason
from tfinit.graph.activations import activation_of, own_activation
from tfinit.graph.keras_internals import weights_that_train
from tfinit.graph.kernels import Kernel
from tfinit.graph.normalizations import is_normalization
from tfinit.graph.output_channels import channel_axes
from tfinit.graph.structure import Structure, is_merge
from tfinit.probes import Point, probing, seen_layers
from tfinit.variables import all_weights, keras_of, own_weights, walk_layers

# Half-precision gradients are lifted by this, as a LossScaleOptimizer does, and set down again.
_HALF_SCALE = 2.0**12


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


@dataclass(frozen=True)
class Measurement:
    """All that a diagnosis is made from.

    Attributes:
        layers: The calls of the layers that have something to say, in the order they were made.
        inputs: Statistics of each float input, behind the model's own Rescaling or Normalization.
        examples: Size of the batch.
        loss: The scalar whose gradient was taken.
        start: The cross-entropy before training, where it is the loss of an output.
        broken: Keys of weights that are not finite.
        notes: What was made up or could not be told.
        half: True if the model computes in float16.
        structure: The model's graph, read.
        outputs: What the model puts out, with its targets and losses.
        parameters: Every weight that training moves.
        alike: Weights of several layers that hold the same numbers.
        given: The inputs as they were given, flat, in the order of the graph's; empty where they
            were made up.
        settings: What layers are set to: what is dropped, averaged over, frozen.
        recurrent: Its recurrent layers in time, those of Keras's own cells.
        linear_fit: Of a network that is linear, how much of its targets a linear map explains.
        looked_at: What each of the inputs holds.
        backbones: The networks of keras.applications that read them.
        filled: The numbers of the inputs in which NaN was replaced before the passes.
        lookups: The embeddings that read an input as it is.
        spreads: Whether a loss of the user's own compares all targets with all outputs.
        optimizer: What is known of the optimizer; None of a model that is not compiled.
        rates: What steps at its rate, and at others, do to the loss of the batch; None where the
            first step's size gives no reason to try it, or where it cannot be tried.
        drawn: Whether the weights look as they were drawn: none trained, none frozen.
        penalties: What regularizers of weights add to the loss and to the gradient.
    """

    layers: tuple[LayerSignals, ...]
    inputs: tuple[Signal, ...]
    examples: int
    loss: float
    start: Start | None
    broken: tuple[str, ...]
    notes: tuple[str, ...]
    half: bool
    structure: Structure
    outputs: tuple[Output, ...]
    parameters: tuple[Parameter, ...]
    alike: tuple[Alike, ...]
    given: tuple[np.ndarray, ...]
    looked_at: tuple[Given, ...]
    backbones: tuple[Backbone, ...]
    settings: Settings
    recurrent: tuple[ThroughTime, ...]
    linear_fit: float | None
    filled: frozenset[int]
    lookups: tuple[Lookup, ...]
    spreads: bool
    optimizer: Optimizer | None
    rates: Rates | None
    drawn: bool
    penalties: tuple[Penalty, ...]


@dataclass
class _Seen:
    """One call while the passes run; its signals are still being measured."""

    layer: Any
    shape: tuple[int, ...] = ()
    values: dict[str, Future[Signal]] = field(default_factory=dict)
    gradients: dict[str, Future[Signal]] = field(default_factory=dict)


def measure(
    model: Any,
    x: Any = None,
    y: Any = None,
    loss: Any = None,
    sample_weight: Any = None,
    kept: Any = None,
) -> Measurement:
    """Run a model forward and backward once on a batch, as a training step does.

    BatchNormalization uses the batch, dropout drops. It is done on the weights, moving statistics,
    seeds and metrics that the model has when it begins, and none of them is written.

    Args:
        model: As for `tfinit.diagnose`.
        x: The same.
        y: The same.
        loss: The same.
        sample_weight: The same.
        kept: An empty dictionary, the first time that this model is measured with this loss, and
            then again: for what need not be done anew (`tfinit.graph.passes.Programs`).

    Raises:
        InputError: as `tfinit.diagnose` says.
    """
    _check(model)
    from tfinit.graph.snapshot import streams_left  # it imports Keras

    with streams_left(model, loss, getattr(model, "loss", None)):
        return _measured(model, x, y, loss, sample_weight, kept)


def _measured(model: Any, x: Any, y: Any, loss: Any, sample_weight: Any, kept: Any) -> Measurement:
    import keras

    # They import Keras.
    from tfinit.graph.passes import Work, forward_and_backward
    from tfinit.graph.snapshot import apart

    structure = Structure.of(model, x)
    batch = make_batch(model, structure.graph, x, y, loss, sample_weight)
    layers = seen_layers(model)
    half = "float16" in {str(getattr(layer, "compute_dtype", "")) for _, layer in layers}
    scale = _HALF_SCALE if half else 1.0
    watched = [(key, layer) for key, layer in layers if _has_something_to_say(layer)]
    # To find out may call a layer of the user's own, which the passes would see.
    names = {id(layer): _activation_name(layer) for _, layer in watched}
    seen: dict[tuple[str, int], _Seen] = {}
    read: dict[str, tuple[Any, np.ndarray]] = {}

    def value(point: Point, tensor: Any) -> None:
        if point.what == "input":
            read.setdefault(point.key, (point.layer, _array(tensor[:EXAMPLES])))
            return
        record = seen.setdefault(point[:2], _Seen(point.layer))
        record.shape = tuple(tensor.shape)
        if _is_seen_before(point, structure, names[id(point.layer)]):
            return
        axis = _channel(structure.kernels_of(point.layer), point.layer, len(tensor.shape))
        activation = names[id(point.layer)] if point.what == "output" else ""
        record.values[point.what] = measure_beside(
            beside, tensor, axis, activation, count_zeros=bool(activation)
        )

    def gradient(point: Point, tensor: Any) -> None:
        if _is_seen_before(point, structure, names[id(point.layer)]):
            return
        axis = _channel(structure.kernels_of(point.layer), point.layer, len(tensor.shape))
        wide = keras.ops.cast(tensor, "float32") / scale if half else tensor
        seen[point[:2]].gradients[point.what] = measure_beside(
            beside, wide, axis, count_zeros=False
        )

    variables = {k.key: k.variable for k in structure.kernels}
    biases = {k.key: k.bias for k in structure.kernels if k.bias is not None}
    keys = {id(v): key for key, v in all_weights(model).items()}
    trained = {keys[id(v)]: v for v in model.trainable_variables if id(v) in keys}
    asked = {id(v): v for v in (*variables.values(), *biases.values(), *trained.values())}
    # What the passes leave of the other cores is enough to measure beside them.
    with ThreadPoolExecutor(1) as beside, apart(model) as snapshot:
        work = Work(
            lambda x, y: _computed(model, batch, x, *y),
            batch.x,
            (batch.y, batch.weights),
            [v for _, layer in walk_layers(model) for v in weights_that_train(layer)],
            list(asked.values()),
            functools.partial(
                probing,
                model,
                layers=watched,
                entering=[layer for _, layer in watched if is_followed(layer)],
            ),
            scale,
        )
        outputs, number, tapped = forward_and_backward(snapshot, work, value, gradient, kept)
        spread = spreads(model, loss, batch, outputs)
        looked_up = {lookup.input for lookup in batch.mended.lookups}
        floats = preprocessed(model, structure.graph, batch.x, looked_up)
        inputs = tuple(map(measure_signal, floats))
    gradients: dict[int, Any] = {
        id(v): _single(keras.ops.convert_to_numpy(g), scale)
        for v, g in zip(work.asked, tapped, strict=True)
        if g is not None
    }
    with snapshot.before():
        values = {kernel.key: _wide(kernel.variable) for kernel in structure.kernels}
        values.update((key, _wide(v)) for key, v in trained.items() if key not in values)
        broken = tuple(
            key
            for key, variable in all_weights(model).items()
            if "float" in str(variable.dtype) and not _all_finite(variable)
        )
    by_key = {
        key: gradients[id(v)] for key, v in (variables | trained).items() if id(v) in gradients
    }
    ratios, decrease = first_updates(model, values, by_key, {*trained})
    with snapshot.before():
        weights = {
            kernel.key: _weights(structure, kernel, values[kernel.key], gradients, ratios)
            for kernel in structure.kernels
        }
        settings = settings_of(structure, values)
    given = () if batch.made_up else tuple(map(_array, keras.tree.flatten(batch.given[0])))
    made = outputs_of(model, structure, outputs, batch.given[1], loss)
    parameters = tuple(
        parameter(key, values[key], by_key.get(key), ratios.get(key)) for key in trained
    )
    drawn = looks_drawn(structure, {key: values[key] for key in trained})
    optimizer, rates = optimizer_of(model, decrease), None
    by_sign = optimizer is not None and optimizer.adaptive
    moves = first_moves(values, by_key, ratios, by_sign) if read else {}
    with snapshot.before():
        recurrent = tuple(through_time(structure, read, values, moves, by_sign))
    if optimizer is not None and kept is None and batch.y is not None:
        undone = structure.is_normalized_throughout
        first = FirstStep(optimizer, parameters, float(number), drawn, undone)
        rates = try_rates(model, first, snapshot.taken, work)
    return Measurement(
        layers=tuple(_rows(seen, structure, weights)),
        inputs=inputs,
        examples=int(keras.tree.flatten(batch.x)[0].shape[0]),
        loss=float(number),
        start=start_of(made, batch.guesses),
        broken=broken,
        notes=(*batch.notes, *structure.notes, *_notes(model, structure)),
        half=half,
        structure=structure,
        outputs=made,
        parameters=parameters,
        alike=find_alike(values, by_key),
        given=given,
        looked_at=tuple(map(look_at, given)),
        backbones=backbones_of(structure, given),
        settings=settings,
        recurrent=recurrent,
        linear_fit=linear_fit(given, made[0].targets) if structure.is_linear and made else None,
        filled=batch.mended.filled,
        lookups=() if batch.made_up else batch.mended.lookups,
        spreads=spread,
        optimizer=optimizer,
        rates=rates,
        drawn=drawn,
        penalties=penalties_of(trained, values, by_key, batch.y is not None and loss is None),
    )


def _check(model: Any) -> None:
    if keras_of(model) == "tf_keras":
        raise InputError(
            "`model` must be a model of Keras 3, received a tf_keras model. Build it with `keras`."
        )
    if not all_weights(model):  # refuses what is no model, or is not built
        raise InputError(
            f"`model` {model.name!r} has no weights: there is nothing to diagnose. If it is to "
            "have some, it is not built yet: call it on a batch."
        )


def _notes(model: Any, structure: Structure) -> Iterator[str]:
    """What a reader of the table would miss."""
    if not model.trainable_weights:
        yield "all weights are frozen: training would change none"
    known = {id(kernel.layer) for kernel in structure.kernels}
    others = [
        key or layer.name
        for key, layer in walk_layers(model)
        if id(layer) not in known
        and activation_of(layer) is None
        and any(len(weight.shape) > 1 for weight in own_weights(layer) if weight.trainable)
    ]
    if others:
        yield (
            f"layer {others[0]!r}{f' and {len(others) - 1} others' if others[1:] else ''}: no "
            "weight is named kernel, so the rules about kernels pass it over"
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


def _computed(model: Any, batch: Batch, x: Any, y: Any, weights: Any) -> tuple[Any, Any]:
    """The model's outputs, and the scalar whose gradient is taken."""
    outputs = _outputs(model, batch, x)
    return outputs, _scalar(batch, x, y, outputs, weights)


def _outputs(model: Any, batch: Batch, x: Any) -> Any:
    try:
        return model(x, training=True)
    except InputError:
        raise
    except Exception as error:
        if batch.made_up:
            raise InputError(
                f"`x` is needed: `model` {model.name!r} cannot be called on numbers that are made "
                f"up ({shapes(x)}): {reason(error)}"
            ) from error
        raise InputError(
            f"`model` {model.name!r} cannot be called on `x` ({shapes(x)}): {reason(error)}"
        ) from error


def _scalar(batch: Batch, x: Any, y: Any, outputs: Any, weights: Any) -> Any:
    import keras

    try:
        return keras.ops.convert_to_tensor(batch.loss(x, y, outputs, weights))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"The loss cannot be computed from `y` ({shapes(y)}) and the outputs "
            f"({shapes(outputs)}): {reason(error)} Pass the targets that the loss takes, or as "
            "`loss` one that fits."
        ) from error


def _array(tensor: Any) -> np.ndarray:
    import keras

    return keras.ops.convert_to_numpy(tensor)


def _all_finite(variable: Any) -> bool:
    return bool(np.all(np.isfinite(variable.numpy())))


def _wide(variable: Any) -> np.ndarray:
    values = variable.numpy()
    return values if values.dtype == np.float64 else values.astype(np.float32, copy=False)


def _single(gradient: np.ndarray, scale: float) -> np.ndarray:
    wide = gradient.astype(np.float32, copy=False)
    return wide if scale == 1 else wide / scale


def _weights(
    structure: Structure,
    kernel: Kernel,
    wide: np.ndarray,
    gradients: dict[int, Any],
    ratios: dict[str, float],
) -> Weights:
    gradient = gradients.get(id(kernel.variable))
    bias = None if kernel.bias is None else kernel.bias.numpy().astype(np.float32)
    with np.errstate(all="ignore"):
        std, mean = float(wide.std()), float(wide.mean())
        return Weights(
            key=kernel.key,
            fan_in=kernel.fan_in,
            fan_out=kernel.fan_out,
            trainable=kernel.trainable,
            initializer=initializer_of(kernel),
            mean=mean,
            std=std,
            gradient_std=None if gradient is None else float(gradient.std()),
            gradient_norm=None if gradient is None else norm(gradient),
            update_ratio=ratios.get(kernel.key),
            bias_rms=None if bias is None else float(np.sqrt(np.mean(bias**2))),
            twins=find_twins(structure, kernel, wide, gradients),
            wrong_fans=wrong_fans(kernel, std),
        )


def _rows(
    seen: dict[tuple[str, int], _Seen], structure: Structure, weights: dict[str, Weights]
) -> Iterator[LayerSignals]:
    depths = structure.depths([(key, n, record.layer) for (key, n), record in seen.items()])
    for (key, n), record in seen.items():
        if "output" not in record.values:
            continue
        kernels = structure.kernels_of(record.layer)
        values = {what: signal.result() for what, signal in record.values.items()}
        gradients = {what: signal.result() for what, signal in record.gradients.items()}
        output, back = values["output"], gradients.get("output")
        yield LayerSignals(
            key=key if n == 0 else f"{key}#{n + 1}",
            layer=type(record.layer).__name__,
            shape=record.shape,
            depth=depths[key, n],
            activation=_activation_name(record.layer),
            follows=str(kernels[-1].activations[0]) if kernels else "",
            normalized=structure.is_normalized(record.layer),
            reads=structure.reads(record.layer),
            head=structure.is_head(record.layer),
            is_kernel=any(not kernel.is_embedding for kernel in kernels),
            scores=structure.makes_scores(record.layer),
            weights=tuple(weights[kernel.key] for kernel in kernels),
            linear=values.get("preactivation", output),
            output=output,
            linear_gradient=gradients.get("preactivation", back),
            output_gradient=back,
        )
