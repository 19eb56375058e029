"""What a model is diagnosed on: a batch, its targets, and the number whose gradient is taken."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfinit.arguments import array, on_host, refused
from tfinit.diagnostics.measuring.mending import Mended, in_range, mended_inputs, mended_targets
from tfinit.diagnostics.measuring.outputs import (
    OFF,
    has_own_compute_loss,
    loss_of,
)
from tfinit.diagnostics.measuring.preprocessing import preprocessing, undo
from tfinit.errors import InputError
from tfinit.graph.calling import check_data
from tfinit.graph.calls import Graph
from tfinit.graph.keras_internals import given_losses, input_structure
from tfinit.graph.tracing import symbolic_arguments
from tfinit.streams import stream

# Of the inputs that are made up: at most so many numbers, and between so many examples.
_NUMBERS, _FEWEST, _MOST = 2**21, 8, 128
_UNKNOWN = 32  # the size of an axis that the model leaves open
_VOCABULARY = 2  # for whole numbers that no embedding reads
_PIXELS = 256  # for those of one byte
_APART = 1e-3  # of two losses, from which on they are not the same
_SEED = 0  # of everything that is made up: a diagnosis repeats


@dataclass(frozen=True)
class Batch:
    """A batch as tensors.

    Attributes:
        x: What the model is called with: what was given, mended where that would break it.
        loss: (x, y, outputs, weights) → the scalar whose gradient is taken. On JAX these are
            traced, so that it asks none for its value.
        y: The targets that the loss takes, mended the same; or None.
        given: The inputs and the targets as they were given.
        mended: What was mended of the inputs.
        weights: How much each example counts, or None.
        notes: What was made up, in words. `loss` may add to them.
        made_up: True if the inputs were.
        guesses: True if nobody said the loss of the targets.
    """

    x: Any
    loss: Callable[[Any, Any, Any, Any], Any]
    y: Any
    given: tuple[Any, Any]
    mended: Mended
    weights: Any
    notes: list[str]
    made_up: bool = False
    guesses: bool = False


def make_batch(
    model: Any, graph: Graph, x: Any, y: Any, loss: Any, sample_weight: Any = None
) -> Batch:
    """The batch to diagnose on, with what was not given made up.

    Raises:
        InputError: data that does not fit, a loss or weights without targets, targets that fit no
            loss.
    """
    import keras

    notes: list[str] = []
    made_up = x is None
    if made_up:
        if y is not None:
            raise InputError("`y` was given without `x`. Pass the inputs that the targets are of.")
        x = _normal_inputs(model, graph)
        notes.append("no data given: inputs of the model's shape drawn from N(0, 1)")
    given = _inputs(model, x)
    mended = mended_inputs(model, graph, given)
    x = mended.x
    if y is None:
        for name, told in (("loss", loss), ("sample_weight", sample_weight)):
            if told is not None:
                raise InputError(f"`{name}` was given without `y`. Pass the targets of `x`.")
        value = _of_layers_or(model, _random_sums(notes))
        return Batch(x, value, None, (given, None), mended, None, notes, made_up)
    rows = len(keras.tree.flatten(x)[0])
    told, weights = _targets(y, rows), _weights(sample_weight, rows)
    if loss is not None:
        value = _given(loss)
    elif _has_own_loss(model):
        # One that is not compiled may need what it was not given yet.
        compiled, otherwise = getattr(model, "compiled", False), _guessed(mended_targets(told))

        def value(x: Any, y: Any, outputs: Any, weights: Any) -> Any:
            how = {} if weights is None else {"sample_weight": weights}
            try:
                return model.compute_loss(x=x, y=y, y_pred=outputs, training=True, **how)
            except Exception:
                if compiled:
                    raise
            return otherwise(x, y, outputs, weights)
    else:
        value = _of_layers_or(model, _guessed(mended_targets(told)))
    guesses = loss is None and not _has_own_loss(model)
    # A loss of the user's own may well know what to do with NaN.
    y = told if _is_own(model, loss) else mended_targets(told)
    return Batch(
        x, in_range(model, loss, value), y, (given, told), mended, weights, notes, guesses=guesses
    )


def _is_own(model: Any, loss: Any) -> bool:
    """Whether what the targets are compared by is, or may be, code of the user's own."""
    import keras

    if loss is None and has_own_compute_loss(model):
        return True
    losses = given_losses(model)[0] if loss is None else loss
    return any(not loss_of(part).is_keras for part in keras.tree.flatten(losses) if part)


def _has_own_loss(model: Any) -> bool:
    """Whether a model is compiled with a loss, or computes its loss by code of the user's own."""
    if has_own_compute_loss(model):
        return True
    return getattr(model, "compiled", False) and getattr(model, "loss", None) is not None


def _of_layers_or(model: Any, otherwise: Any) -> Callable[[Any, Any, Any, Any], Any]:
    """Of a model that is compiled without a loss: what its layers added when they were called."""

    def value(x: Any, y: Any, outputs: Any, weights: Any) -> Any:
        if getattr(model, "compiled", False) and getattr(model, "loss", None) is None:
            penalties = [w for w in model.trainable_weights if getattr(w, "regularizer", None)]
            if len(model.losses) > len(penalties):
                return model.compute_loss(x=x, y=y, y_pred=outputs, training=True)
        return otherwise(x, y, outputs, weights)

    return value


def _inputs(model: Any, x: Any) -> Any:
    """The inputs as tensors, all of them with the same examples."""
    import keras

    x = check_data(model, x, "x", finite=False)
    rows = [part.shape[0] if len(part.shape) else 0 for part in keras.tree.flatten(x)]
    if not rows or not min(rows) or len(set(rows)) > 1:
        raise InputError(
            "`x` must have one example or more, as many in each of its arrays, along the first "
            f"axis; received {rows}."
        )
    return x


def _targets(y: Any, rows: int) -> Any:
    """The targets as arrays, one row for each example."""
    import keras

    parts = keras.tree.flatten(y)
    if len(parts) > 1 and all(np.ndim(part) == 0 for part in parts):
        y = np.asarray([on_host(part) for part in parts])  # a list of numbers is one array
    y = keras.tree.map_structure(lambda part: _as_array(array("y", part)), y)
    for part in keras.tree.flatten(y):
        if not part.ndim or len(part) != rows:
            received = len(part) if part.ndim else "a single value"
            raise InputError(
                f"`x` has {rows} examples and `y` has {received}. Pass a target for each."
            )
    return y


def _weights(given: Any, rows: int) -> Any:
    """How much each example counts, as arrays; None where it was not said."""
    import keras

    def checked(part: Any) -> np.ndarray:
        weights = _as_array(array("sample_weight", part)).astype(np.float32)
        if not weights.ndim or len(weights) != rows:
            received = len(weights) if weights.ndim else "a single value"
            raise InputError(
                f"`x` has {rows} examples and `sample_weight` has {received}. Pass one for each."
            )
        if not np.all(np.isfinite(weights) & (weights >= 0)):
            raise InputError("`sample_weight` must be numbers of 0 or more, none infinite or NaN.")
        return weights

    if given is None:
        return None
    if not keras.tree.flatten(given):
        raise refused("sample_weight", "an array, or one for each output", given)
    return keras.tree.map_structure(checked, given)


def _as_array(part: Any) -> np.ndarray:
    array = np.asarray(part)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _normal_inputs(model: Any, graph: Graph) -> Any:
    """Standard normal behind the model's own preprocessing; whole numbers where it embeds them."""
    import keras

    inputs = getattr(model, "inputs", None)
    if not inputs:
        args, kwargs = symbolic_arguments(model)
        if not args or kwargs:
            raise InputError(
                f"`x` is needed: `model` {model.name!r} does not say the shape of its inputs."
            )
        inputs = args[0]
    flat = keras.tree.flatten(inputs)
    if any(str(tensor.dtype) == "string" for tensor in flat):
        raise InputError(f"`x` is needed: `model` {model.name!r} reads text, which is not made up.")
    shapes = [[n or _UNKNOWN for n in tuple(tensor.shape)[1:]] for tensor in flat]
    size = max(math.prod(shape) for shape in shapes)
    rows = flat[0].shape[0] or max(_FEWEST, min(_MOST, _NUMBERS // max(size, 1)))
    random = stream(_SEED, "diagnose/x")
    vocabularies = {
        value: step.op.input_dim
        for step in graph.steps
        if hasattr(step.op, "input_dim")
        for value in step.inputs
    }
    made = []
    for n, (tensor, shape) in enumerate(zip(flat, shapes, strict=True)):
        vocabulary = vocabularies.get(graph.inputs[n]) if n < len(graph.inputs) else None
        if vocabulary or "int" in str(tensor.dtype):
            least = _PIXELS if str(tensor.dtype) == "uint8" else _VOCABULARY
            drawn = random.integers(0, vocabulary or least, (rows, *shape))
            dtype = str(tensor.dtype) if "int" in str(tensor.dtype) else "int32"
            made.append(drawn.astype(dtype))
        else:
            normal = random.standard_normal((rows, *shape))
            if n < len(graph.inputs):
                normal = undo(preprocessing(graph, graph.inputs[n]), normal)
            made.append(normal.astype("float32"))
    if getattr(model, "inputs", None):
        # As the model was given its inputs: a single one, a list, or a dictionary by name.
        structure = input_structure(model)
        return made[0] if structure is None else keras.tree.pack_sequence_as(structure, made)
    return made[0] if len(made) == 1 else keras.tree.pack_sequence_as(inputs, made)


def _random_sums(notes: list[str]) -> Callable[[Any, Any, Any, Any], Any]:
    """Mean over the examples of η·f(x), an η for each: no direction is preferred."""
    import keras
    from keras import ops

    def value(x: Any, y: Any, outputs: Any, weights: Any) -> Any:
        notes.append("no targets given: gradients of random sums of the outputs, η·f(x), η~N(0, 1)")
        random = stream(_SEED, "diagnose/η")
        sums = []
        for output in keras.tree.flatten(outputs):
            dtype = keras.backend.standardize_dtype(output.dtype)
            if keras.backend.is_float_dtype(dtype):
                wide = ops.cast(output, "float64" if dtype == "float64" else "float32")
                eta = ops.convert_to_tensor(random.standard_normal(tuple(output.shape)), wide.dtype)
                sums.append(ops.cast(ops.sum(wide * eta) / int(output.shape[0]), "float32"))
        if not sums:
            raise InputError(
                "`model` puts out no floating-point numbers, so that nothing has a gradient. Pass "
                "the part of it that ends before argmax, rounding or the like."
            )
        return sum(sums[1:], sums[0])

    return value


def _given(loss: Any) -> Callable[[Any, Any, Any, Any], Any]:
    import keras

    cure = (
        "For several outputs, compile the model with their losses, and leave it out."
        if isinstance(loss, dict | list | tuple)
        else 'Pass its name, as "mse", or an instance.'
    )
    try:
        function = keras.losses.get(loss) if isinstance(loss, str) else loss
    except ValueError:
        function = None
    if not callable(function) or isinstance(function, type):
        raise InputError(
            "`loss` must be a Keras loss, its name, or a function (y, outputs) → loss, received "
            f"{loss!r}. {cure}"
        )

    def value(x: Any, y: Any, outputs: Any, weights: Any) -> Any:
        if weights is not None and isinstance(function, keras.losses.Loss):
            return _mean(function(y, outputs, sample_weight=weights))
        return _mean(function(y, outputs), weights)

    return value


def _guessed(known: Any) -> Callable[[Any, Any, Any, Any], Any]:
    """Cross-entropy for classes, the mean squared error for numbers.

    Args:
        known: The targets as they were passed, which it decides by.
    """
    from keras import losses, ops

    def value(x: Any, y: Any, outputs: Any, weights: Any) -> Any:
        if hasattr(outputs, "shape") and isinstance(known, np.ndarray):
            shape = tuple(outputs.shape)
            whole = np.issubdtype(known.dtype, np.integer) or known.dtype == bool
            if shape in (known.shape, (*known.shape, 1)):
                same, y = known.reshape(shape), ops.reshape(y, shape)
                rows = same.ndim > 1 and shape[-1] > 1 and np.all(same >= 0)
                if rows and np.allclose(same.sum(-1), 1):
                    loss, certain = losses.categorical_crossentropy, _are_rows(outputs)
                elif whole and set(np.unique(same)) <= {0, 1}:
                    loss = losses.binary_crossentropy
                    certain = ops.logical_and(ops.min(outputs) >= 0, ops.max(outputs) <= 1)
                else:
                    squares = losses.mean_squared_error(ops.cast(y, "float32"), outputs)
                    return _mean(squares, weights)
                return _entropy(loss, y, outputs, certain, weights)
            column = whole and known.ndim > 1 and known.shape[-1:] == (1,)
            labels = known.reshape(known.shape[:-1]) if column else known
            if whole and labels.shape == shape[:-1]:
                y = ops.clip(ops.reshape(y, labels.shape), 0, shape[-1] - 1)
                loss = losses.sparse_categorical_crossentropy
                return _entropy(loss, y, outputs, _are_rows(outputs), weights)
        raise InputError(
            "`loss` is needed: the model is not compiled, and no loss can be told from the shapes "
            f"of `y` ({shapes(known)}) and of the outputs ({shapes(outputs)}). Classes are whole "
            "numbers from 0 on, one for each of the outputs."
        )

    return value


def _are_rows(outputs: Any) -> Any:
    """`are_probabilities` as a tensor."""
    from keras import ops

    close = ops.abs(ops.sum(outputs, -1) - 1) <= OFF
    return ops.logical_and(ops.all(outputs >= 0), ops.all(close))


def _entropy(loss: Any, y: Any, outputs: Any, probabilities: Any, weights: Any) -> Any:
    """A cross-entropy of probabilities, or of logits: of what a tensor says that they are."""
    from keras import ops

    return ops.cond(
        probabilities,
        lambda: _mean(loss(y, outputs, from_logits=False), weights),
        lambda: _mean(loss(y, outputs, from_logits=True), weights),
    )


def _mean(losses: Any, weights: Any = None) -> Any:
    """The mean of losses, each times the weight of its example."""
    from keras import ops

    if weights is None:
        return ops.mean(losses)
    given = tuple(getattr(weights, "shape", ()))
    if not given or tuple(losses.shape)[: len(given)] != given:
        raise InputError(
            f"`sample_weight` ({shapes(weights)}) does not fit what `loss` gives "
            f"({shapes(losses)}). Let it give a number for each example, pass a keras.losses.Loss, "
            "or compile the model with its losses."
        )
    rest = (1,) * (len(losses.shape) - len(given))
    return ops.mean(losses * ops.reshape(ops.cast(weights, losses.dtype), (*given, *rest)))


def spreads(model: Any, loss: Any, batch: Batch, outputs: Any) -> bool:
    """Whether a loss of the user's own compares targets (n,) with outputs (n, 1) all with all.

    It is asked for its number with targets of shape (n, 1), which is the same where it does not.
    """
    import keras

    shape = tuple(getattr(outputs, "shape", ()))
    y = batch.y
    if not isinstance(y, np.ndarray) or y.ndim != 1 or shape != (len(y), 1) or len(y) < 2:
        return False
    if not _is_own(model, loss):
        return False
    try:
        asked = (y, y, y[:, None])
        first, again, column = (
            float(keras.ops.convert_to_numpy(batch.loss(batch.x, part, outputs, batch.weights)))
            for part in asked
        )
    except Exception:
        # It may take targets of one shape alone.
        return False
    off = _APART * max(abs(first), abs(column))
    return abs(first - again) <= off / 10 and abs(first - column) > off


def shapes(structure: Any) -> str:
    """The shapes of the arrays in it, in words."""
    import keras

    return ", ".join(str(tuple(part.shape)) for part in keras.tree.flatten(structure))
