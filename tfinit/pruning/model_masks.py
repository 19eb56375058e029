"""The SparseOptimizer of a model, and its masks by the keys of the model's weights."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tfinit.errors import InputError
from tfinit.pruning.masks import Masks
from tfinit.pruning.rules import PruningRule
from tfinit.pruning.sparse_optimizer import SparseOptimizer
from tfinit.variables import check_built, check_same_keys, prunable_weights


def find_sparse_optimizer(optimizer: Any) -> SparseOptimizer | None:
    """The SparseOptimizer in a chain of optimizers, if there is one."""
    # `compile` under mixed_float16 puts a LossScaleOptimizer around it.
    while optimizer is not None and not isinstance(optimizer, SparseOptimizer):
        optimizer = getattr(optimizer, "inner_optimizer", None)
    return optimizer


def sparse_optimizer_of(model: Any) -> SparseOptimizer:
    """The SparseOptimizer that a Keras 3 model was compiled with, built.

    Raises:
        InputError: the model was compiled without one, or not at all.
    """
    check_built(model)
    optimizer = getattr(model, "optimizer", None)
    found = find_sparse_optimizer(optimizer)
    if found is None:
        raise InputError(
            f"`model` {model.name!r} must be compiled with a SparseOptimizer to keep masks, "
            f"received {type(optimizer).__name__}. "
            "Use model.compile(SparseOptimizer(Adam()), ...)."
        )
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    return found


def ensure_sparse_optimizer(
    model: Any, rules: Iterable[PruningRule] | None = None
) -> SparseOptimizer:
    """The model's SparseOptimizer; where it has none, one around the optimizer it has.

    Args:
        model: A Keras 3 model with an optimizer. Its other compile settings and the state of its
            optimizer stay.
        rules: What a new SparseOptimizer prunes; None: nothing by itself.

    Raises:
        InputError: the model has no optimizer yet.
    """
    optimizer = getattr(model, "optimizer", None)
    found = find_sparse_optimizer(optimizer)
    if found is not None:
        return found
    if optimizer is None:
        raise InputError(
            f"`model` {model.name!r} has no optimizer to keep masks in. Call "
            "`model.compile(optimizer, loss)` first."
        )
    sparse = SparseOptimizer(optimizer, rules=rules)
    model.optimizer = sparse
    # Compiled functions hold the old one, and a saved model would bring it back.
    model.train_function = None
    if model.compiled:
        model._compile_config.config["optimizer"] = sparse
    return sparse


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
    masks = {key: optimizer.get_mask(v) for key, v in prunable_weights(model).items()}
    return {key: mask for key, mask in masks.items() if mask is not None}
