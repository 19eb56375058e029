"""Dictionaries by the names of outputs that a model does not have, or that leave one of them out.

Keras says of them that None is no sequence, or gives a weight to another output than was meant.
"""

from typing import Any

from tfinit.diagnostics.measuring.outputs import has_own_compute_loss, names_of
from tfinit.errors import InputError
from tfinit.graph.keras_internals import given_losses, given_metrics


def check_names(model: Any, outputs: Any, y: Any, loss: Any) -> None:
    """Refuse what was given by names of outputs that there are not, or without one that is needed.

    Args:
        model: Compiled or not.
        outputs: What it puts out.
        y: The targets.
        loss: What was given as the loss of this diagnosis; None for the model's own.

    Raises:
        InputError: `fit` would fail, or count an output by the weight of another.
    """
    import keras

    if has_own_compute_loss(model):
        return
    count = len(keras.tree.flatten(outputs))
    losses, weights = given_losses(model) if loss is None else (None, None)
    metrics, weighted = given_metrics(model) if loss is None else (None, None)
    if not (getattr(model, "output_names", None) or isinstance(outputs, dict)):
        if isinstance(losses, dict) and count == 1:  # a Sequential's
            raise InputError(
                f"`loss` has {_listed(list(losses))}, and the model's output has no name: compile "
                "with the loss alone, not in a dictionary."
            )
        return
    names = names_of(model, outputs, count)
    _check_known("loss", losses, names)
    if count < 2:  # Keras takes the rest of a single output, whatever it is called
        return
    _check_known("loss_weights", weights, names)
    _check_known("metrics", metrics, names)
    _check_known("weighted_metrics", weighted, names)
    _check_known("y", y, names)
    by_name = isinstance(losses, dict)
    judged = [n for n in names if losses is not None and not (by_name and losses.get(n) is None)]
    if not isinstance(outputs, dict):
        _check_all("loss", losses, names, " Write None for one that has no loss.")
    _check_all("y", y, judged if isinstance(outputs, dict) else names)
    if by_name:
        _check_all("loss_weights", weights, judged)


def _check_known(argument: str, given: Any, names: list[str]) -> None:
    unknown = [name for name in given if name not in names] if isinstance(given, dict) else []
    if unknown:
        raise InputError(
            f"`{argument}` has {_listed(unknown)}, and the model has no output of that name: they "
            f"are {_listed(names)}. Write one of these, or call the layer that makes it so."
        )


def _check_all(argument: str, given: Any, names: list[str], cure: str = "") -> None:
    missing = [name for name in names if name not in given] if isinstance(given, dict) else []
    if missing:
        raise InputError(
            f"`{argument}` has {_listed(list(given))} and nothing for {_listed(missing)}: it must "
            f"have {_listed(names)}.{cure}"
        )


def _listed(names: list[Any]) -> str:
    return ", ".join(map(repr, names))
