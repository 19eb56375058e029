"""LoRA on pruned layers: adapters that leave zeros zero.

Keras computes with ``kernel + lora_alpha / lora_rank · A·B``, and A·B has no zeros: a pruned layer
is dense as soon as its adapters are trained, and dense in the file. Masked, it computes with

    (kernel != 0) · (kernel + lora_alpha / lora_rank · A·B)

while it trains, evaluates, is exported and saved. The mask needs no place of its own: under LoRA
the kernel is frozen, and its zeros are the mask.
"""

import functools
import inspect
import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from tfinit.errors import InputError, TfinitWarning
from tfinit.pruning.counting.effective_weights import has_lora, is_coded, lora_delta, lora_target
from tfinit.pruning.in_training.assigning import masked
from tfinit.variables import keras_of, walk_layers

_MASKED = "_tfinit_masks_lora"


def mask_lora(model: Any) -> Any:
    """Have LoRA leave the zeros of pruned layers zero, in training and in the saved file.

    Each layer with LoRA computes from now on with ``(kernel != 0) · (kernel + lora_alpha /
    lora_rank · A·B)``, and its gradients are those of this function. Call it after
    ``layer.enable_lora(rank)`` and before `fit`; a compiled model may stay as it is compiled.

    A file of the model needs no tfinit: Keras saves the merged kernel, whose zeros are exact. A
    copy by `clone_model` has Keras's own LoRA: mask it too. Of a loaded file Keras sets both
    adapters to zero, which no gradient moves: `merge_lora`, then enable and mask LoRA anew.
    `sparsity_report` says which layers are not masked.

    Args:
        model: A built Keras 3 layer or model, some of whose Dense, EinsumDense, Embedding or
            convolution layers have LoRA, and zeros.

    Returns:
        ``model`` itself.

    Raises:
        InputError: no layer has LoRA, none of those has a zero, or one is quantized. Nothing was
            changed.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="fc")])
        >>> _ = model.layers[0].kernel.assign([[1, 0], [0, 1]])
        >>> model.layers[0].enable_lora(1, a_initializer="ones", b_initializer="ones")
        >>> ops.convert_to_numpy(mask_lora(model).layers[0].kernel).tolist()
        [[2.0, 0.0], [0.0, 2.0]]

    References:
        Hu et al., *LoRA*, 2022, https://arxiv.org/abs/2106.09685. Lu et al., *SPP*, 2024,
        https://arxiv.org/abs/2405.16057, on adapters that keep the zeros of pruned weights.
    """
    layers = _adapted(model)
    if all(bool(np.all(_base(layer) != 0)) for layer in layers.values()):
        raise InputError(
            f"`model` {model.name!r} has LoRA on {list(layers)}, and no zero there to keep. Prune "
            "first, strip_pruning(model), then layer.enable_lora(rank)."
        )
    for layer in layers.values():
        if not is_masked(layer):
            _set_class(layer, _masked_class(type(layer)))
    _forget_compiled_functions(model)
    return model


def merge_lora(model: Any) -> dict[str, float]:
    """Put LoRA's adapters into the kernels, keep the zeros of these, and take LoRA off.

    ::

        kernel <- (kernel != 0) · (kernel + lora_alpha / lora_rank · A·B)

    The layers are ordinary ones again, trainable and as sparse as before LoRA. After `mask_lora`
    the model computes what it did. Without it, what the adapters added to zeros is dropped, with a
    warning.

    Args:
        model: A built Keras 3 layer or model, some of whose layers have LoRA. A model is
            uncompiled, as its optimizer trained the adapters: compile it again to go on.

    Returns:
        Key of each merged weight → the share of the adapters' product that fell on zeros and was
        dropped, ‖(1 - m)·A·B‖ / ‖A·B‖, 0 to 1; 0 after `mask_lora`.

    Raises:
        InputError: no layer has LoRA, or one is quantized: Keras merges those when it saves them.
            Nothing was changed.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="fc")])
        >>> _ = model.layers[0].kernel.assign([[1, 0], [0, 1]])
        >>> model.layers[0].enable_lora(1)
        >>> merge_lora(mask_lora(model))
        {'fc/kernel': 0.0}
    """
    layers = _adapted(model)
    dropped = {}
    for key, layer in layers.items():
        target, base = lora_target(layer), _base(layer)
        delta = lora_delta(layer)
        lost = np.where(base == 0, ops.convert_to_numpy(delta), 0)
        whole = float(np.linalg.norm(ops.convert_to_numpy(delta)))
        share = 0.0 if is_masked(layer) or not whole else float(np.linalg.norm(lost)) / whole
        dropped[f"{key}/{target}" if key else target] = share
        kernel = _stored(layer)
        kernel.assign(masked(ops.add(kernel, delta), ops.not_equal(kernel, 0)))
        _take_off(layer, target)
    if isinstance(model, keras.Model):
        model.optimizer = None
        model.compiled = False
    _forget_compiled_functions(model)
    if any(dropped.values()):
        worst = max(dropped, key=dropped.__getitem__)
        warnings.warn(
            f"LoRA was trained without regard to zeros: {dropped[worst]:.0%} of what it added to "
            f"{worst!r} fell on pruned weights and is gone. Evaluate again; to train adapters that "
            "lose nothing, call mask_lora(model) before `fit`.",
            TfinitWarning,
            stacklevel=2,
        )
    return dropped


def is_masked(layer: Any) -> bool:
    """Whether `mask_lora` made a layer leave its zeros zero."""
    return hasattr(type(layer), _MASKED)


def _adapted(model: Any) -> dict[str, Any]:
    """The layers with LoRA by their keys, or why there are none to work with."""
    if keras_of(model) != "keras":
        raise InputError(
            f"`model` must be a Keras 3 layer or model, received {type(model).__module__}."
            f"{type(model).__name__}."
        )
    found = {key: layer for key, layer in walk_layers(model) if has_lora(layer)}
    if not found:
        raise InputError(
            f"`model` {model.name!r} has no layer with LoRA. Call layer.enable_lora(rank) on "
            "Dense, EinsumDense, Embedding or convolution layers first."
        )
    coded = {key: layer.quantization_mode for key, layer in found.items() if is_coded(layer)}
    if coded:
        raise InputError(
            f"`model` {model.name!r} has LoRA on quantized layers, {coded}, whose codes cannot "
            "take adapters in. Train these in floats, merge_lora(model), then quantize."
        )
    return found


def _stored(layer: Any) -> Any:
    """The variable that LoRA adapts. By that name the layer itself gives the merged one."""
    return getattr(layer, f"_{lora_target(layer)}")


def _base(layer: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(_stored(layer)))


@functools.cache
def _masked_class(cls: type) -> type:
    """A layer's class with zeros kept zero: what PyTorch's `parametrize` does to a module.

    It passes for the class itself where Keras saves, so that files and copies need no tfinit.
    """
    target = "embeddings" if issubclass(cls, keras.layers.Embedding) else "kernel"
    merged = inspect.getattr_static(cls, target)

    def effective(layer: Any) -> Any:
        value = merged.fget(layer)
        if not has_lora(layer):
            return value
        # A gradient is masked with it. In float16 what underflows is zero as well.
        return masked(value, ops.not_equal(_stored(layer), 0))

    members = {
        target: property(effective),
        "__class__": property(lambda layer: cls),
        "__module__": cls.__module__,
        "__doc__": cls.__doc__,
        _MASKED: True,
    }
    return type(cls)(cls.__name__, (cls,), members)


def _set_class(layer: Any, cls: type) -> None:
    # Past Keras's __setattr__, and past the property that hides the masked class.
    object.__dict__["__class__"].__set__(layer, cls)


def _take_off(layer: Any, target: str) -> None:
    """Undo `enable_lora`."""
    if is_masked(layer):
        _set_class(layer, layer.__class__)
    stored = _stored(layer)
    for part in "ab":
        delattr(layer, f"lora_{target}_{part}")
    layer.lora_enabled = False
    layer.lora_rank = layer.lora_alpha = None
    stored.trainable = layer.trainable


def _forget_compiled_functions(model: Any) -> None:
    """Those compute with the kernels of before."""
    for _, part in walk_layers(model):
        if isinstance(part, keras.Model):
            part.train_function = part.test_function = part.predict_function = None
