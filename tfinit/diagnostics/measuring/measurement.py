"""One forward and one backward pass, and what was seen on the way; the model is left as it was."""

import functools
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfinit.diagnostics.measuring.backbones import Backbone, backbones_of
from tfinit.diagnostics.measuring.batch import Batch, make_batch, shapes, spreads
from tfinit.diagnostics.measuring.columns import Given, look_at
from tfinit.diagnostics.measuring.initializers import looks_drawn
from tfinit.diagnostics.measuring.layers import LayerSignals, Seen, weights_of
from tfinit.diagnostics.measuring.linear_fit import linear_fit
from tfinit.diagnostics.measuring.mending import Lookup
from tfinit.diagnostics.measuring.misfits import misfit
from tfinit.diagnostics.measuring.one_step import FirstStep, Rates, try_rates
from tfinit.diagnostics.measuring.optimizer import Optimizer, optimizer_of
from tfinit.diagnostics.measuring.output_names import check_names
from tfinit.diagnostics.measuring.outputs import Output, compared, outputs_of
from tfinit.diagnostics.measuring.parameters import Parameter, largest, parameter
from tfinit.diagnostics.measuring.penalties import Penalty, penalties_of
from tfinit.diagnostics.measuring.preprocessing import preprocessed
from tfinit.diagnostics.measuring.settings import Settings, settings_of
from tfinit.diagnostics.measuring.signals import Beside, Signal, array_of, measure_signal
from tfinit.diagnostics.measuring.start import Start, start_of
from tfinit.diagnostics.measuring.through_time import ThroughTime, through_time
from tfinit.diagnostics.measuring.twins import Alike, find_alike
from tfinit.diagnostics.measuring.updates import first_moves, first_updates
from tfinit.diagnostics.measuring.without_dropout import Undropped, try_without_dropout
from tfinit.errors import InputError, reason
from tfinit.graph.activations import activation_of
from tfinit.graph.keras_internals import weights_that_train
from tfinit.graph.structure import Structure
from tfinit.probes import probing
from tfinit.variables import all_weights, keras_of, own_weights, walk_layers

# Half-precision gradients are lifted by this, as a LossScaleOptimizer does, and set down again.
_HALF_SCALE = 2.0**12


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
        undropped: What steps do where dropout is left out, and where it is not; None where nothing
            gives a reason to try it, or where it cannot be tried.
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
    undropped: Undropped | None
    drawn: bool
    penalties: tuple[Penalty, ...]


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
    half = "float16" in {
        str(getattr(layer, "compute_dtype", "")) for _, layer in walk_layers(model)
    }
    scale = _HALF_SCALE if half else 1.0
    variables = {k.key: k.variable for k in structure.kernels}
    biases = {k.key: k.bias for k in structure.kernels if k.bias is not None}
    by_name = all_weights(model)
    keys = {id(v): key for key, v in by_name.items()}
    trained = {keys[id(v)]: v for v in model.trainable_variables if id(v) in keys}
    asked = {id(v): v for v in (*variables.values(), *biases.values(), *trained.values())}
    # What the passes leave of the other cores is enough to measure beside them.
    with ThreadPoolExecutor(1) as thread, apart(model) as snapshot:
        seen = Seen(model, structure, Beside(thread), scale)
        work = Work(
            lambda x, y: _computed(model, batch, loss, x, *y),
            batch.x,
            (batch.y, batch.weights),
            [v for _, layer in walk_layers(model) for v in weights_that_train(layer)],
            list(asked.values()),
            functools.partial(
                probing,
                model,
                layers=seen.watched,
                entering=seen.entering,
            ),
            scale,
        )
        outputs, number, tapped = forward_and_backward(
            snapshot, work, seen.value, seen.gradient, kept
        )
        spread = spreads(model, loss, batch, outputs)
        looked_up = {lookup.input for lookup in batch.mended.lookups}
        floats = preprocessed(model, structure.graph, batch.x, looked_up)
        inputs = tuple(map(measure_signal, floats))
    gradients: dict[int, Any] = {
        id(v): _single(array_of(g), scale)
        for v, g in zip(work.asked, tapped, strict=True)
        if g is not None
    }
    held = {id(variable): value for variable, value in snapshot.taken}
    arrays = {key: array_of(held[id(v)]) for key, v in by_name.items()}
    values = {kernel.key: _wide(arrays[kernel.key]) for kernel in structure.kernels}
    values.update((key, _wide(arrays[key])) for key in trained if key not in values)
    broken = tuple(
        key
        for key, array in arrays.items()
        if "float" in str(array.dtype) and not math.isfinite(largest(array))
    )
    by_key = {
        key: gradients[id(v)] for key, v in (variables | trained).items() if id(v) in gradients
    }
    ratios, decrease = first_updates(model, values, by_key, {*trained})
    with snapshot.before():
        weights = {
            kernel.key: weights_of(structure, kernel, values[kernel.key], gradients, ratios)
            for kernel in structure.kernels
        }
        settings = settings_of(structure, values)
    flat = () if batch.made_up else keras.tree.flatten(batch.given[0])
    given = tuple(map(keras.ops.convert_to_numpy, flat))
    made = outputs_of(model, structure, outputs, batch.given[1], loss)
    parameters = tuple(
        parameter(key, values[key], by_key.get(key), ratios.get(key)) for key in trained
    )
    drawn = looks_drawn(structure, {key: values[key] for key in trained})
    optimizer, rates = optimizer_of(model, decrease), None
    by_sign = optimizer is not None and optimizer.adaptive
    moves = first_moves(values, by_key, ratios, by_sign) if seen.read else {}
    with snapshot.before():
        recurrent = tuple(through_time(structure, seen.read, values, moves, by_sign))
    layers, undropped = tuple(seen.rows(weights)), None
    if optimizer is not None and kept is None and batch.y is not None:
        undone = structure.is_normalized_throughout
        first = FirstStep(optimizer, parameters, float(number), drawn, undone)
        rates = try_rates(model, first, snapshot.taken, work)
        if rates is None or rates.given is None or rates.given.does:
            undropped = try_without_dropout(
                model, optimizer.rate, settings.dropped, layers, snapshot.taken, work
            )
    return Measurement(
        layers=layers,
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
        undropped=undropped,
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


def _computed(model: Any, batch: Batch, loss: Any, x: Any, y: Any, weights: Any) -> tuple[Any, Any]:
    """The model's outputs, and the scalar whose gradient is taken."""
    outputs = _outputs(model, batch, x)
    return outputs, _scalar(model, batch, loss, x, y, outputs, weights)


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


def _scalar(model: Any, batch: Batch, loss: Any, x: Any, y: Any, outputs: Any, weights: Any) -> Any:
    import keras

    check_names(model, outputs, y, loss)
    try:
        return keras.ops.convert_to_tensor(batch.loss(x, y, outputs, weights))
    except InputError:
        raise
    except Exception as error:
        pairs = zip(compared(model, outputs, y, loss), keras.tree.flatten(outputs), strict=True)
        known = (misfit(told, np.shape(part), tuple(made.shape)) for (part, told), made in pairs)
        why = next(filter(None, known), "") or (
            f"{reason(error)} Pass the targets that the loss takes, or as `loss` one that fits."
        )
        raise InputError(
            f"The loss cannot be computed from `y` ({shapes(y)}) and the outputs "
            f"({shapes(outputs)}): {why}"
        ) from error


def _wide(values: np.ndarray) -> np.ndarray:
    return values if values.dtype == np.float64 else values.astype(np.float32, copy=False)


def _single(gradient: np.ndarray, scale: float) -> np.ndarray:
    wide = gradient.astype(np.float32, copy=False)
    return wide if scale == 1 else wide / scale
