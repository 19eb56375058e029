"""Masks of a whole model, by the keys of its weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfinit.errors import InputError
from tfinit.pruning.masks import Masks
from tfinit.pruning.sparse_optimizer import SparseOptimizer
from tfinit.variables import check_same_keys, prunable_weights


def sparse_optimizer_of(model: Any) -> SparseOptimizer:
    """The SparseOptimizer that a Keras 3 model was compiled with, built.

    Raises:
        InputError: the model was compiled without one, or not at all.
    """
    optimizer = getattr(model, "optimizer", None)
    # `compile` under mixed_float16 puts a LossScaleOptimizer around it.
    found = optimizer
    while found is not None and not isinstance(found, SparseOptimizer):
        found = getattr(found, "inner_optimizer", None)
    if found is None:
        raise InputError(
            f"`model` {model.name!r} must be compiled with a SparseOptimizer to keep masks, "
            f"received {type(optimizer).__name__}. "
            "Use model.compile(SparseOptimizer(Adam()), ...)."
        )
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    return found


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
    check_same_keys("masks", dict(masks), variables)
    optimizer = sparse_optimizer_of(model)
    optimizer.assign_masks([(variable, masks[key]) for key, variable in variables.items()])


def get_masks(model: Any) -> Masks:
    """The masks of a model that was compiled with `SparseOptimizer`, under its keys."""
    optimizer = sparse_optimizer_of(model)
    return {key: optimizer.get_mask(v) for key, v in prunable_weights(model).items()}
