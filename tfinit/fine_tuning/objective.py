"""What a model is trained for, and what is told of it: loss, loss weights and metrics."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfinit.array_trees import each
from tfinit.errors import InputError
from tfinit.graph.keras_internals import given_losses, given_metrics
from tfinit.named_arrays import Ends
from tfinit.training.checks import overridden


def loss_of(model: Any, named: str | None, outputs: Ends) -> Any:
    """The loss that was named, or that of the model, as `compile` takes it; None without.

    Args:
        model: As it was loaded or built.
        named: A Keras loss; ``"a=mse,b=mae"`` for outputs ``a`` and ``b``.
        outputs: Of the model.

    Raises:
        InputError: it names another output.
    """
    if named is None:
        return given_losses(model)[0]
    if "=" not in named:
        return named
    parts = dict(part.strip().split("=", 1) for part in named.split(",") if "=" in part)
    if len(parts) != len(named.split(",")) or not set(parts) <= set(outputs.names):
        raise InputError(
            f"`loss` must be a Keras loss, or one for each output as in {_example(outputs)}, "
            f"received {named!r}."
        )
    # An output without a loss is not trained for. Keras wants to be told so of each.
    return outputs.pack({name: parts.get(name) for name in outputs.names})


def check_has_loss(model: Any, outputs: Ends) -> None:
    """Raise InputError unless a model without a compiled loss, which was called, has its own."""
    if not model.losses and not trains_itself(model):
        raise InputError(f"`model` comes without a loss. Name one: {_example(outputs)}.")


def trains_itself(model: Any) -> bool:
    """Whether what a model is trained for is in methods of its own, not in what it was given."""
    return overridden(model, "train_step") or overridden(model, "compute_loss")


def _example(outputs: Ends) -> str:
    if len(outputs.names) < 2:
        return "--loss sparse_categorical_crossentropy"
    return f"--loss {','.join(f'{name}=mse' for name in outputs.names)}"


def untrained(loss: Any, outputs: Ends) -> tuple[str, ...]:
    """Outputs without a loss."""
    if isinstance(loss, Mapping):
        return tuple(name for name in outputs.names if loss.get(name) is None)
    if isinstance(loss, list | tuple) and len(loss) == len(outputs.names):
        return tuple(name for name, one in zip(outputs.names, loss, strict=True) if one is None)
    return ()


def complete(loss: Any, outputs: Ends) -> Any:
    """Losses by name with None where there is none, which Keras demands of outputs in a list."""
    if isinstance(loss, Mapping) and set(loss) < set(outputs.names):
        return {name: loss.get(name) for name in outputs.names}
    return loss


def settings_of(model: Any, own_loss: bool, y: Any) -> dict[str, Any]:
    """Loss weights and metrics of the model for `compile`; accuracy of classes where it has none.

    Args:
        model: As it was loaded or built.
        own_loss: Whether the loss is that of the model, which the loss weights belong to.
        y: Targets as the model takes them.
    """
    metrics, weighted_metrics = given_metrics(model)
    settings = {
        "loss_weights": given_losses(model)[1] if own_loss else None,
        "metrics": metrics,
        "weighted_metrics": weighted_metrics,
    }
    if not settings["metrics"] and not settings["weighted_metrics"]:
        settings["metrics"] = _accuracies(y)
    return settings


def _accuracies(y: Any) -> Any:
    """Of whole-numbered targets."""
    if y is None:
        return None
    if isinstance(y, Mapping | list):
        found = each(lambda part: ["accuracy"] * _is_whole(part), y)
        parts = found.items() if isinstance(found, Mapping) else enumerate(found)
        filled = {key: part or [] for key, part in parts}
        return filled if isinstance(found, Mapping) else list(filled.values())
    return ["accuracy"] if _is_whole(y) else None


def _is_whole(y: np.ndarray) -> bool:
    return bool(np.issubdtype(y.dtype, np.integer))
