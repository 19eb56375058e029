"""tf_keras models go through TensorFlow Model Optimization (TFMOT) itself.

TFMOT computes the masks, keeps them in its wrappers and strips them; this module only says when to
prune and to which count. Importing it does not import TFMOT: `load_tfmot` does.
"""

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from tfinit.arguments import mapping, whole
from tfinit.errors import InputError, MissingPackage
from tfinit.pruning.scoring.masks import Masks, check_mask
from tfinit.variables import (
    all_weights,
    check_same_keys,
    keras_of,
    prunable_weights,
    walk_layers,
)

try:
    import tensorflow as tf
except ModuleNotFoundError as error:
    raise MissingPackage("tfinit.pruning.TfmotPruner", "TensorFlow", "tensorflow") from error

_FLAG = "TF_USE_LEGACY_KERAS"


def load_tfmot() -> ModuleType:
    """Import TFMOT and leave ``TF_USE_LEGACY_KERAS`` and ``tf.keras`` as they were.

    TFMOT sets that variable and then looks at ``tf.keras``, which is settled at the first look: it
    would turn a ``tf.keras`` that nobody had used yet into tf_keras, for the whole process.
    """
    # Settle what tf.keras means before TFMOT changes the variable.
    _ = tf.keras.Model  # ty: ignore[missing-attribute]
    before = os.environ.get(_FLAG)
    try:
        import tensorflow_model_optimization as tfmot
    finally:
        if before is None:
            os.environ.pop(_FLAG, None)
        else:
            os.environ[_FLAG] = before
    return tfmot


def prune_tf_keras(
    to_prune: Any,
    pruning_schedule: Any,
    block_size: tuple[int, int],
    block_pooling_type: str,
    pruning_policy: Any,
    sparsity_m_by_n: tuple[int, int] | None,
    **kwargs: Any,
) -> Any:
    """TFMOT's own `prune_low_magnitude`, which takes tfinit's schedules and policies too.

    Raises:
        InputError: TFMOT refuses what it was given.
    """
    api = load_tfmot().sparsity.keras

    def theirs(ours: Any) -> Any:
        if ours is None or not type(ours).__module__.startswith("tfinit."):
            return ours
        own = getattr(api, type(ours).__name__)
        return own(**ours.get_config()) if hasattr(ours, "get_config") else own()

    try:
        return api.prune_low_magnitude(
            to_prune,
            theirs(pruning_schedule),
            block_size,
            block_pooling_type,
            theirs(pruning_policy),
            sparsity_m_by_n,
            **kwargs,
        )
    except ValueError as error:
        raise InputError(f"TFMOT cannot prune `to_prune`: {error}") from error


class TfmotPruner:
    """Wraps a tf_keras model for pruning with TFMOT, at moments and to counts of your choice.

    Where TFMOT's schedules prune by step, this prunes when `prune` is called, as a lottery-ticket
    experiment needs it. The mask is TFMOT's own: it keeps the ``keep`` largest magnitudes, and at
    least one; where several weights tie at the threshold it keeps them all.

    Args:
        model: A built Sequential or functional tf_keras model whose prunable weights are in its
            own layers, not in nested models. It is left as it is.

    Attributes:
        model: The wrapped copy, with the same weights. Compile and train this one, with
            `callback` in ``fit(callbacks=[...])``.
        variables: Every weight of `model` under its key in the original model.

    Raises:
        InputError: not a tf_keras model, nothing to prune, or a layer that TFMOT cannot wrap.

    Example:
        >>> model = tf_keras.Sequential([tf_keras.layers.Dense(3, name="fc")])
        >>> model.build((None, 4))
        >>> pruner = TfmotPruner(model)
        >>> masks = pruner.prune({"fc/kernel": 6})
        >>> int(masks["fc/kernel"].sum())
        6
    """

    def __init__(self, model: Any):
        if keras_of(model) != "tf_keras" or not hasattr(model, "layers"):
            raise InputError(
                "`model` must be a tf_keras model, received "
                f"{type(model).__module__}.{type(model).__name__}. "
                "A Keras 3 model is pruned with tfinit.pruning.SparseOptimizer."
            )
        self._tfmot = load_tfmot()
        prunable = prunable_weights(model)
        layer_of = _layers_of(model, prunable)
        outside = sorted(k for k, layer in layer_of.items() if not _is_in(layer, model.layers))
        if outside:
            raise InputError(
                f"TFMOT cannot prune {outside}, which are inside nested layers or models. "
                "Use a model whose own layers hold the weights, or a Keras 3 model."
            )
        chosen = {id(layer): layer for layer in layer_of.values()}
        self.model = self._wrap(model, chosen)
        # Layers keep their order, and so do the weights of each: the copy is found by position.
        copy_of: dict[int, Any] = {}
        slot_of: dict[int, tuple[Any, Any, Any]] = {}
        for old, new in zip(model.layers, self.model.layers, strict=True):
            inner = new.layer if id(old) in chosen else new
            copy_of |= {id(a): b for a, b in zip(old.weights, inner.weights, strict=True)}
            if id(old) in chosen:
                slot_of |= {id(w): (new, w, mask) for w, mask, _ in new.pruning_vars}
        self.variables = {key: copy_of[id(v)] for key, v in all_weights(model).items()}
        without = [key for key in prunable if id(self.variables[key]) not in slot_of]
        if without:
            raise InputError(f"TFMOT does not prune {without}. Use a Keras 3 model.")
        self._slots = {key: slot_of[id(self.variables[key])] for key in prunable}

    def _wrap(self, model: Any, chosen: dict[int, Any]) -> Any:
        import tf_keras

        api = self._tfmot.sparsity.keras
        schedule_class = _on_demand(api.PruningSchedule)

        def clone(layer: Any) -> Any:
            if id(layer) not in chosen:
                return layer.__class__.from_config(layer.get_config())
            copy = layer.__class__.from_config(layer.get_config())
            return api.prune_low_magnitude(copy, pruning_schedule=schedule_class())

        try:
            wrapped = tf_keras.models.clone_model(model, clone_function=clone)
        except ValueError as error:
            raise InputError(f"TFMOT cannot prune `model` {model.name!r}: {error}") from error
        if not wrapped.built:
            wrapped.build(model.input_shape)
        for old, new in zip(model.layers, wrapped.layers, strict=True):
            new.set_weights(old.get_weights())
        return wrapped

    def callback(self) -> Any:
        """TFMOT's own callback, which training needs: ``fit(callbacks=[pruner.callback()])``."""
        return self._tfmot.sparsity.keras.UpdatePruningStep()

    @property
    def weights(self) -> dict[str, Any]:
        """The wrapped model's prunable weights, under the keys of the original model."""
        return {key: weight for key, (_, weight, _) in self._slots.items()}

    def get_masks(self) -> Masks:
        """The masks that TFMOT's wrappers hold."""
        return {key: mask.numpy().astype(bool) for key, (_, _, mask) in self._slots.items()}

    def set_masks(self, masks: Mapping[str, np.ndarray]) -> None:
        """Put masks into TFMOT's wrappers, and zero the weights that they prune.

        Raises:
            InputError: a key is missing or unknown, a shape differs, or an entry is neither 0 nor
                1. Nothing was changed.
        """
        check_same_keys("masks", masks, self.weights)
        checked = {k: check_mask(k, masks[k], w.shape) for k, w in self.weights.items()}
        for key, (_, _, mask) in self._slots.items():
            mask.assign(checked[key].astype(mask.dtype.as_numpy_dtype))
        self.apply_masks()

    def apply_masks(self) -> None:
        """Zero the pruned weights now: TFMOT does so at the next forward pass."""
        for wrapper in {id(w): w for w, _, _ in self._slots.values()}.values():
            wrapper.pruning_obj.weight_mask_op()

    def prune(self, keep: Mapping[str, int]) -> Masks:
        """Let TFMOT prune each weight to ``keep`` survivors, and return its masks.

        Args:
            keep: Key → number of survivors, for exactly the keys of `weights`.
        """
        keep = mapping("keep", keep, "keys to counts")
        keep = {key: whole(f"keep[{key!r}]", count) for key, count in keep.items()}
        sizes = {key: int(tf.size(weight)) for key, weight in self.weights.items()}
        fits = keep.keys() == sizes.keys() and all(1 <= keep[k] <= n for k, n in sizes.items())
        if not fits:
            raise InputError(
                f"`keep` must have counts from 1 to the size of each weight, {sizes}; "
                f"received {dict(keep)}."
            )
        self.apply_masks()
        for key, (wrapper, _, _) in self._slots.items():
            # TFMOT rounds size * (1 - sparsity) to the count.
            wrapper.pruning_schedule.sparsity.assign(1 - keep[key] / sizes[key])
            wrapper.pruning_schedule.update.assign(True)
            wrapper.pruning_obj.conditional_mask_update()
            wrapper.pruning_schedule.update.assign(False)
        self.apply_masks()
        return self.get_masks()

    def strip(self) -> Any:
        """The model without TFMOT's wrappers and masks, with its pruned weights."""
        self.apply_masks()
        return self._tfmot.sparsity.keras.strip_pruning(self.model)


def _on_demand(base: Any) -> type:
    """A TFMOT schedule that prunes when its ``update`` is set, to its ``sparsity``.

    Made here, because its base class exists only once TFMOT is imported.
    """

    class OnDemand(base):
        def __init__(self) -> None:
            self.update = tf.Variable(False, trainable=False)
            self.sparsity = tf.Variable(0.0, trainable=False)

        def __call__(self, step: Any) -> tuple[Any, Any]:
            return self.update, self.sparsity

        def get_config(self) -> dict[str, Any]:
            return {"class_name": "OnDemand", "config": {}}

    return OnDemand


def _layers_of(model: Any, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Which layer below ``model`` each variable belongs to: the deepest that holds it."""
    found: dict[str, Any] = {}
    for _, layer in walk_layers(model):
        held = {id(w) for w in layer.weights}
        found.update({key: layer for key, v in variables.items() if id(v) in held})
    return found


def _is_in(layer: Any, layers: list[Any]) -> bool:
    return any(layer is other for other in layers)
