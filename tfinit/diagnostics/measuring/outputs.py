"""What a model puts out, by what activation, and what its loss compares that with."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tfinit.diagnostics.measuring.targets import Targets
from tfinit.errors import InputError
from tfinit.graph.heads import Applied, heads_of
from tfinit.graph.keras_internals import given_losses, given_metrics, has_logits
from tfinit.graph.layer_kinds import snake
from tfinit.graph.structure import Structure

OFF = 2e-2  # from 1, of the sum of probabilities in half precision


@dataclass(frozen=True)
class Loss:
    """The loss of one output.

    Attributes:
        name: Keras's, in small letters, ``"sparse_categorical_crossentropy"``; of a function or
            class of the user's own, its name.
        is_keras: Whether it is one of Keras's own.
        from_logits: Whether it takes logits; None for a loss that has no such setting.
        label_smoothing: Of the targets; 0 for a loss that has no such setting.
        weight: What it counts for beside the losses of other outputs.
        ignored: The class whose examples it leaves out; None of a loss that has none.
    """

    name: str
    is_keras: bool
    from_logits: bool | None
    label_smoothing: float
    weight: float
    ignored: int | None = None

    @property
    def words(self) -> str:
        """What a reader calls it: ``"mean squared error"``."""
        return self.name.replace("crossentropy", "cross-entropy").replace("_", " ")


@dataclass(frozen=True)
class Output:
    """One output of a model on the batch.

    Attributes:
        name: Keras's name of it; "" where there is but one.
        head: The key of the last layer with a kernel before it; "" where it cannot be told.
        applied: What stands between that kernel and the output, innermost first.
        values: What the model puts out, float32 or wider, one row for each example.
        targets: What the loss compares it with, as it was given; None without.
        loss: The loss that does; None without, and where the model computes its loss by code of
            the user's own.
        keeps_logits: Whether Keras's cross-entropies see through its last activation, as they do
            on TensorFlow: they take the logits, and not the probabilities.
        metrics: The names of its metrics, ``"accuracy"``, as they were given or in small letters.
        first_loss: What the loss gives for it, times its weight, where there are several; else
            None.
    """

    name: str
    head: str
    applied: tuple[Applied, ...]
    values: np.ndarray
    targets: np.ndarray | None
    loss: Loss | None
    keeps_logits: bool = False
    metrics: tuple[str, ...] = ()
    first_loss: float | None = None

    @cached_property
    def of_targets(self) -> Targets | None:
        """What the targets are; None without."""
        if self.targets is None:
            return None
        return Targets(self.targets, self.units, self.loss.ignored if self.loss else None)

    @property
    def units(self) -> int:
        """How many numbers there are at the last axis."""
        return self.values.shape[-1] if self.values.ndim > 1 else 1

    @property
    def activations(self) -> tuple[str, ...]:
        """The names of the activations of it, innermost first."""
        return tuple(a.what for a in self.applied if a.is_activation)

    @property
    def activation(self) -> str:
        """The last of them; ``"linear"`` of none, ``"softmax"`` where the values look like it."""
        if self.activations:
            return self.activations[-1]
        if not self.head and self.values.ndim > 1 and are_probabilities(self.values):
            return "softmax"
        return "linear"


def are_probabilities(outputs: np.ndarray) -> bool:
    """True if the rows are non-negative and sum to one, as softmax makes them."""
    return bool(np.all(outputs >= 0) and np.all(abs(outputs.sum(-1) - 1) <= OFF))


def outputs_of(
    model: Any, structure: Structure, outputs: Any, y: Any, loss: Any
) -> tuple[Output, ...]:
    """The outputs of a model, each with its targets and its loss.

    Args:
        model: The model, compiled or not.
        structure: Its graph, read.
        outputs: What it put out.
        y: The targets, as arrays, or None.
        loss: What was given as the loss of this diagnosis; None for the model's own.
    """
    import keras

    parts = keras.tree.flatten(outputs)
    values = [_wide(part) for part in parts]
    names = names_of(model, outputs, len(values))
    heads, metrics = list(heads_of(structure, len(values))), _metrics(model, names)
    made = []
    for n, (target, own, weight) in enumerate(_compared(model, outputs, y, loss)):
        known = None if target is None else np.asarray(target)
        several = len(values) > 1 and own is not None and known is not None
        made.append(
            Output(
                names[n] if len(values) > 1 else "",
                *heads[n],
                values[n],
                known,
                None if own is None else loss_of(own, weight),
                has_logits(parts[n]),
                metrics[n],
                _first_loss(own, known, values[n], weight) if several else None,
            )
        )
    return tuple(made)


def compared(model: Any, outputs: Any, y: Any, loss: Any) -> list[tuple[Any, Loss | None]]:
    """For each output what it is compared with, and by which loss; None for what there is not.

    Args:
        model: As for `outputs_of`.
        outputs: The same, tensors or placeholders.
        y: The same.
        loss: The same.
    """
    return [
        (target, None if own is None else loss_of(own, weight))
        for target, own, weight in _compared(model, outputs, y, loss)
    ]


def _compared(model: Any, outputs: Any, y: Any, loss: Any) -> Iterator[tuple[Any, Any, float]]:
    """The same with the loss as it was given, and its weight."""
    import keras

    count = len(keras.tree.flatten(outputs))
    names = names_of(model, outputs, count)
    targets = _for_each(y, names)
    losses, weights = (loss, None) if loss is not None else _compiled_losses(model)
    given, weighed = _for_each(losses, names), _for_each(weights, names)
    if count > 1 and len(given) == 1 and losses is not None:
        given = given * count  # one loss is that of each output
    for n in range(count):
        weight = weighed[n] if n < len(weighed) and weighed[n] is not None else 1.0
        yield (
            targets[n] if n < len(targets) else None,
            given[n] if n < len(given) else None,
            float(weight),
        )


def _metrics(model: Any, names: list[str]) -> list[tuple[str, ...]]:
    """The names of the metrics of each output."""
    import keras

    found: list[list[str]] = [[] for _ in names]
    for given in given_metrics(model):
        several = isinstance(given, list | tuple) and any(
            isinstance(part, list | tuple | dict) for part in given
        )
        for n, name in enumerate(names):
            own = given
            if isinstance(given, dict):
                own = given.get(name)
            elif several:
                own = given[n] if n < len(given) else None
            for metric in keras.tree.flatten(own):
                if metric is not None:
                    said = getattr(metric, "__name__", None) or snake(type(metric).__name__)
                    found[n].append(metric if isinstance(metric, str) else said)
    return [tuple(part) for part in found]


def has_own_compute_loss(model: Any) -> bool:
    """Whether a model computes its loss by code of the user's own."""
    method = getattr(type(model), "compute_loss", None)  # a layer has none
    return method is not None and method.__module__.split(".")[0] != "keras"


def _compiled_losses(model: Any) -> tuple[Any, Any]:
    return (None, None) if has_own_compute_loss(model) else given_losses(model)


def _first_loss(given: Any, target: np.ndarray, value: np.ndarray, weight: float) -> float | None:
    """The mean of a loss over the batch, times its weight; None where it cannot be computed."""
    import keras

    try:
        function = keras.losses.get(given) if isinstance(given, str) else given
        losses = keras.ops.convert_to_numpy(function(target, value))
    except Exception:  # of the user's own, or of targets that do not fit
        return None
    return float(np.mean(losses)) * weight


def loss_of(given: Any, weight: float = 1.0) -> Loss:
    """What is known of a loss: Keras's name, an instance, or a function of the user's own.

    Raises:
        InputError: Keras has none of that name.
    """
    import keras

    try:
        function = keras.losses.get(given) if isinstance(given, str) else given
    except ValueError as error:
        raise InputError(
            f"`model` is compiled with the loss {given!r}, and Keras has none of that name. Write "
            "one of keras.losses."
        ) from error
    wrapped = getattr(function, "fn", function)
    name = getattr(wrapped, "__name__", None) or type(function).__name__
    home = type(function) if isinstance(function, keras.losses.Loss) else function
    is_keras = (getattr(home, "__module__", "") or "").split(".")[0] == "keras"
    is_own = hasattr(function, "fn") and type(function).__name__ == "LossFunctionWrapper"
    if is_own:  # a function that Keras wrapped
        is_keras = (getattr(wrapped, "__module__", "") or "").split(".")[0] == "keras"
    config: dict[str, Any] = {}
    if isinstance(function, keras.losses.Loss) and is_keras:
        config = {**function.get_config(), **(getattr(function, "_fn_kwargs", None) or {})}
        if not is_own:
            name = snake(type(function).__name__)
    if is_keras and "crossentropy" in name:
        config.setdefault("from_logits", False)
    logits = config.get("from_logits")
    return Loss(
        _SHORT.get(name, name),
        is_keras,
        None if logits is None else bool(logits),
        float(config.get("label_smoothing") or 0.0),
        weight,
        config.get("ignore_class"),
    )


# What Keras calls the same loss elsewhere.
_SHORT = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error",
    "kld": "kl_divergence",
    "k_l_divergence": "kl_divergence",
    "kullback_leibler_divergence": "kl_divergence",
    "bce": "binary_crossentropy",
    "logcosh": "log_cosh",
}


def _wide(output: Any) -> np.ndarray:
    import keras

    array = keras.ops.convert_to_numpy(output)
    if array.dtype.kind in "fiub":
        return array if array.dtype == np.float64 else array.astype(np.float32, copy=False)
    return array


def names_of(model: Any, outputs: Any, count: int) -> list[str]:
    """What Keras calls the outputs of a model, or their places where it has no names for them."""
    if isinstance(outputs, dict) and len(outputs) == count:
        return [str(key) for key in sorted(outputs)]  # as Keras flattens them
    given = list(getattr(model, "output_names", None) or [])
    return given if len(given) == count else [f"output {n + 1}" for n in range(count)]


def _for_each(given: Any, names: list[str]) -> list[Any]:
    """What was given for each output, by its name or by its place."""
    import keras

    if given is None:
        return [None] * len(names)
    if isinstance(given, dict):
        return [given.get(name) for name in names]
    if isinstance(given, list | tuple):
        return list(keras.tree.flatten(list(given)))
    return [given]
