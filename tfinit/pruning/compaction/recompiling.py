"""The smaller model compiled as the given one was, its optimizer where that of the given one is."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from tfinit.graph.channel_values import Channels
from tfinit.pruning.channels.groups import weights_with_channels
from tfinit.pruning.compaction.liveness import Liveness
from tfinit.pruning.in_training.model_masks import find_sparse_optimizer
from tfinit.pruning.in_training.wrapping import slots
from tfinit.pruning.tfmot_api.marks import marked_parts, unmark

Cut = Callable[[np.ndarray], np.ndarray]
"""From an array of the shape of a weight to what is left of it."""


def cuts_of(model: Any, channels: Channels, liveness: Liveness) -> list[Cut]:
    """For each trainable weight of a model, what is left of it."""
    axes = {id(weight.variable): weight.axes for weight in weights_with_channels(channels)}

    def cut_of(variable: Any) -> Cut:
        def cut(array: np.ndarray) -> np.ndarray:
            for axis, value in enumerate(axes.get(id(variable), ())):
                if value is not None:
                    array = array.compress(liveness.of(value), axis)
            return array

        return cut

    return [cut_of(variable) for variable in model.trainable_variables]


def compile_alike(
    new: Any, model: Any, cuts: Sequence[Cut] | None, masks: bool = False
) -> list[str]:
    """Compile ``new`` as ``model`` was.

    Args:
        new: The smaller model.
        model: The given one.
        cuts: For each trainable weight of ``model`` what is left of it: the optimizer goes on where
            that of ``model`` is, with what is left of its momenta. None: it begins anew.
        masks: Whether a SparseOptimizer stays one, with its schedule and what is left of its masks;
            otherwise the optimizer in it takes its place.

    Returns:
        A note for each thing that could not be done.
    """
    for part, _ in marked_parts(new):
        unmark(part)
    if not model.compiled:
        return []
    old = model.optimizer
    sparse = find_sparse_optimizer(old)
    if sparse is not None and any(rule.channels for rule in sparse.rules):
        masks = False  # of whole channels, the schedule is of how many there were
    try:
        config = model.get_compile_config()
        if sparse is not None:
            config["optimizer"] = keras.optimizers.serialize(sparse.inner_optimizer)
            new.compile_from_config(config)
            if masks:
                new.optimizer = _renewed(old)
            else:
                old = sparse.inner_optimizer
        else:
            new.compile_from_config(config)
    except Exception as error:  # losses and metrics may be the user's own code
        return [f"not compiled, for its settings could not be copied: {error}"]
    if cuts is None or old is None or not old.built or getattr(new, "optimizer", None) is None:
        return []
    return _go_on(new, old, model.trainable_variables, cuts)


def _renewed(optimizer: Any) -> Any:
    """A new optimizer of the same settings, for weights of other shapes."""
    config = keras.optimizers.serialize(optimizer)
    inner = config
    while isinstance(inner, dict):
        inner["config"].pop("shapes", None)
        inner = inner["config"].get("inner_optimizer")
    return keras.optimizers.deserialize(config)


def _go_on(new: Any, old: Any, weights: list[Any], cuts: Sequence[Cut]) -> list[str]:
    """Give the optimizer of ``new`` what is left of the variables of the old one."""
    optimizer = new.optimizer
    place = {
        id(slot): i
        for i, kept in slots(old, weights, range(len(weights))).items()
        for slot, _ in kept
    }
    sparse = find_sparse_optimizer(old)
    if sparse is not None:
        place |= sparse.places()
    values = []
    for variable in old.variables:
        value, i = keras.ops.convert_to_numpy(variable), place.get(id(variable))
        of_entries = i is not None and value.shape == tuple(weights[i].shape)
        values.append(cuts[i](value) if of_entries else value)
    renewed = find_sparse_optimizer(optimizer)
    if sparse is not None and renewed is not None:
        # Before it is built, which prunes for the first step: it is beyond that.
        first = [id(v) for v in old.variables].index(id(sparse.variables[0]))
        renewed.set_weights(values[first : first + len(sparse.variables)])
    optimizer.build(new.trainable_variables)
    if len(values) != len(optimizer.variables):
        return ["its optimizer begins anew: it keeps other variables than that of the given model"]
    notes = []
    for variable, value in zip(optimizer.variables, values, strict=True):
        if tuple(variable.shape) == value.shape:
            variable.assign(value)
        else:
            notes.append(f"its optimizer begins anew with {variable.path}")
    return notes[:3]
