"""The SparseOptimizer of a model, and its masks by the keys of the model's weights."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from tfinit.arguments import instance, refused
from tfinit.errors import InputError
from tfinit.graph.keras_internals import save_with
from tfinit.pruning.in_training.living import optimizer_that_prunes
from tfinit.pruning.in_training.pruner import Progress
from tfinit.pruning.in_training.rules import PruningRule
from tfinit.pruning.in_training.sparse_optimizer import SparseOptimizer
from tfinit.pruning.in_training.wrapping import chain
from tfinit.pruning.scoring.masks import Masks
from tfinit.variables import check_built, check_same_keys, find_prunable, prunable_weights


def find_sparse_optimizer(optimizer: Any) -> SparseOptimizer | None:
    """The SparseOptimizer in a chain of optimizers, if there is one."""
    # `compile` under mixed_float16 puts a LossScaleOptimizer around it.
    while optimizer is not None and not isinstance(optimizer, SparseOptimizer):
        optimizer = getattr(optimizer, "inner_optimizer", None)
    return optimizer


def pruning_optimizer(model: Any) -> SparseOptimizer | None:
    """What prunes a model: its own SparseOptimizer, or that of what it is trained in."""
    own = find_sparse_optimizer(getattr(model, "optimizer", None))
    if own is not None and own.steps_taken > 0:
        return own
    return optimizer_that_prunes(model.weights) or own


def sparse_optimizer_of(model: Any) -> SparseOptimizer:
    """The SparseOptimizer that prunes a Keras 3 model, built.

    Raises:
        InputError: the model was compiled without one, or not at all, and no other one that is
            alive masks weights of it.
    """
    check_built(model)
    optimizer = getattr(model, "optimizer", None)
    found = pruning_optimizer(model)
    if found is None:
        raise InputError(
            f"`model` {model.name!r} must be compiled with a SparseOptimizer to keep masks, "
            f"received {type(optimizer).__name__}. "
            "Use model.compile(SparseOptimizer(Adam()), ...)."
        )
    if not found.built and optimizer is not None:
        optimizer.build(model.trainable_variables)
    return found


def ensure_sparse_optimizer(
    model: Any, rules: Iterable[PruningRule] | None = None, anew: bool = False
) -> SparseOptimizer:
    """The model's SparseOptimizer; where it has none, one around the optimizer it has.

    Args:
        model: A Keras 3 model with an optimizer. Its other compile settings and the state of its
            optimizer stay.
        rules: What a new SparseOptimizer prunes; None: nothing by itself.
        anew: Make a new one, around the same inner optimizer, also where it has one.

    Raises:
        InputError: the model has no optimizer yet.
    """
    optimizer = getattr(model, "optimizer", None)
    found = find_sparse_optimizer(optimizer)
    if found is not None and not anew:
        return found
    if optimizer is None:
        raise InputError(
            f"`model` {model.name!r} has no optimizer to keep masks in. Call "
            "`model.compile(optimizer, loss)` first."
        )
    if found is None:
        whole = prune_in(optimizer, rules)
    else:
        sparse = SparseOptimizer(found.inner_optimizer, rules=rules)
        outer = [o for o in chain(optimizer) if getattr(o, "inner_optimizer", None) is found]
        whole = optimizer if outer else sparse
        if outer:  # a LossScaleOptimizer
            outer[0].inner_optimizer = sparse
    model.optimizer = whole
    if model.compiled:
        save_with(model, whole)
    model.train_function = None  # it holds the old one
    made = find_sparse_optimizer(whole)
    assert made is not None
    return made


def prune_in(optimizer: Any, rules: Iterable[PruningRule] | None) -> Any:
    """An optimizer with a SparseOptimizer around what moves the weights in it.

    That is inside of a LossScaleOptimizer, which passes no gradients on where they overflow; around
    another optimizer than that, `compile` may put one of its own.
    """
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return SparseOptimizer(optimizer, rules=rules)
    optimizer.inner_optimizer = SparseOptimizer(optimizer.inner_optimizer, rules=rules)
    return optimizer


def set_masks(model: Any, masks: Mapping[str, np.ndarray]) -> None:
    """Set the masks of a model that was compiled with `SparseOptimizer`, and prune its weights.

    Args:
        model: A built Keras 3 model.
        masks: Key → array of the weight's shape, 1 keeps and 0 prunes, for exactly the keys of
            `tfinit.variables.prunable_weights(model)`.

    Raises:
        InputError: a key is missing or unknown, a shape differs, an entry is neither 0 nor 1, or
            the model has no SparseOptimizer. Nothing was changed.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="fc")])
        >>> model.compile(SparseOptimizer(keras.optimizers.SGD()), loss="mse")
        >>> set_masks(model, {"fc/kernel": [[1, 0], [0, 1]]})
    """
    variables = prunable_weights(model)
    check_same_keys("masks", masks, variables)
    optimizer = sparse_optimizer_of(model)
    optimizer.assign_masks([(variable, masks[key]) for key, variable in variables.items()])


def get_masks(model: Any) -> Masks:
    """The masks of a model that was compiled with `SparseOptimizer`, under its keys.

    A weight that its optimizer does not mask has none here.
    """
    optimizer = sparse_optimizer_of(model)
    masks = {key: optimizer.get_mask(v) for key, v in find_prunable(model, frozen=True).items()}
    return {key: mask for key, mask in masks.items() if mask is not None}


def hold_zeros(model: Any, optimizer: Any = "adam") -> SparseOptimizer:
    """An optimizer that trains a sparse model on and keeps the zeros that its weights have now.

    For what has zeros and nothing that keeps them: a stripped or compacted model, a sparse file.
    Nothing is pruned further; for that use ``SparseOptimizer(..., keep_zeros=True)``.

    Args:
        model: A built Keras 3 model.
        optimizer: What trains it: a Keras optimizer or the name of one.

    Raises:
        InputError: no weight of the model that could be pruned is zero.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="fc")])
        >>> model.set_weights([[[1.0, 0.0], [0.0, 2.0]], [0.0, 0.0]])
        >>> model.compile(hold_zeros(model, keras.optimizers.SGD(0.1)), loss="mse")
        >>> _ = model.fit(np.ones((8, 2)), np.ones((8, 2)), verbose=0)
        >>> int(np.count_nonzero(model.layers[0].kernel))
        2
    """
    try:
        given = keras.optimizers.get(optimizer) if isinstance(optimizer, str) else optimizer
    except ValueError as error:
        raise refused("optimizer", "a Keras optimizer or the name of one", optimizer) from error
    instance("optimizer", given, keras.optimizers.Optimizer)
    weights = prunable_weights(model)
    masks = {id(v): ops.convert_to_numpy(v) != 0 for v in weights.values()}
    if all(mask.all() for mask in masks.values()):
        raise InputError(
            f"`model` {model.name!r} has no zeros to hold in {list(weights)}. Prune it first, or "
            "train it with a plain optimizer."
        )
    # `keep_zeros` is for what is frozen now: it has its mask once it is unfrozen.
    held = SparseOptimizer(given, scope=model, keep_zeros=True)
    held.begin_with(lambda: Progress(0, masks, {}, {}))
    return held
