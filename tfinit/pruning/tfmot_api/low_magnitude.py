"""TFMOT's functions on Keras 3 models: prune_low_magnitude, strip_pruning, prune_scope.

Where TFMOT wraps layers and clones the model, this marks a layer or a model with a `PruningRule`.
Nothing else changes in it: the same object comes back, with the same weights and outputs. When a
model that is marked, or holds marked layers, is compiled, its optimizer goes into a
`SparseOptimizer` with these rules, and from there on it prunes in the compiled step. The mark goes
with every copy of the layer (`marks.py`), and what trains it otherwise is found (`adoption.py`).
"""

import contextlib
import sys
import warnings
from typing import Any

import keras
from keras import ops

from tfinit.arguments import flag, is_whole, refused, text, whole
from tfinit.errors import InputError, TfinitWarning
from tfinit.graph.keras_internals import is_symbolic
from tfinit.graph.layer_kinds import kind_of
from tfinit.pruning.in_training.model_masks import pruning_optimizer
from tfinit.pruning.in_training.rules import PruningRule, block_size_of
from tfinit.pruning.in_training.schedule_checks import check_schedule
from tfinit.pruning.in_training.schedules import ConstantSparsity, PruningSchedule
from tfinit.pruning.in_training.sparse_optimizer import SparseOptimizer
from tfinit.pruning.tfmot_api.adoption import adopt, begin_anew, check_pruning_is_not_lost, watch
from tfinit.pruning.tfmot_api.marks import mark, marked_parts, unmark
from tfinit.pruning.tfmot_api.policy import PruningPolicy
from tfinit.variables import find_prunable, keras_of, prunable_weights

# What TFMOT hands to the wrapper of a layer, and this to the layer itself.
_OF_A_LAYER = ("name", "input_shape", "batch_input_shape", "input_dim", "dtype", "trainable")


def prune_low_magnitude(
    to_prune: Any,
    pruning_schedule: PruningSchedule | None = None,
    block_size: tuple[int, int] | str = (1, 1),
    block_pooling_type: str = "AVG",
    pruning_policy: PruningPolicy | None = None,
    sparsity_m_by_n: tuple[int, int] | None = None,
    **settings: Any,
) -> Any:
    """Have a layer or model pruned while it trains, as TFMOT's function of this name does.

    Unlike TFMOT's it takes every Keras 3 model (nested, subclassed, with shared layers or layers
    that cannot be pruned, which are skipped: see `sparsity_report`), returns the same object
    unwrapped, and needs no callback: `compile` does the rest. A tf_keras model, layer or list is
    handed to TFMOT itself.

    That it is to be pruned is part of the configuration from now on (as its dtype policy): it is
    true of its clones and deep copies, of what is made by ``from_config`` or loaded from a file,
    compiled or not, with tfinit imported. A copy with the weights of a pruned model goes on with
    its zeros and at its step, and so do its layers in another model. `keras.Model.compile` and
    ``fit`` see to it; a training loop of your own needs `SparseOptimizer` or `UpdatePruningStep`,
    and `strip_pruning` raises where it had neither. `strip_pruning` ends it.

    The native way is shorter: ``model.compile(SparseOptimizer(Adam(), schedule, scope=model))``.

    Args:
        to_prune: A Keras 3 model, layer or list of layers, built or not.
        pruning_schedule: When, and to what sparsity. None: ``ConstantSparsity(0.5, 0)``.
        block_size: (height, width) of the blocks in which weights go together, or ``"litert"``:
            the blocks of Dense kernels, (4, 1), that `tfinit.export` makes faster.
        block_pooling_type: ``"AVG"`` or ``"MAX"``.
        pruning_policy: Which layers of a model; `ensure_model_supports_pruning` is asked at once.
        sparsity_m_by_n: (m, n): m zeros in every n weights along the inputs.
        settings: What else `PruningRule` takes: ``allocation``, ``score``, ``monotone``, …; for a
            single layer also its ``name``, ``input_shape``, ``batch_input_shape``, ``input_dim``,
            ``dtype`` and ``trainable``, which TFMOT gives to the wrapper.

    Returns:
        ``to_prune`` itself. A model that was compiled before prunes from now on; one that is being
        pruned keeps its zeros and counts the steps of the new schedule from 0.

    Raises:
        InputError: not a layer or model, nothing in it to prune, or an argument that is none of
            those above. Nothing was changed.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="fc")])
        >>> model = prune_low_magnitude(model, ConstantSparsity(0.75, begin_step=1))
        >>> model.compile("adam", "mse")
        >>> _ = model.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
        >>> int(np.count_nonzero(strip_pruning(model).layers[0].kernel))
        2
    """
    if pruning_schedule is None:
        pruning_schedule = ConstantSparsity(0.5, 0)
    parts = list(to_prune) if isinstance(to_prune, list | tuple) else [to_prune]
    kinds = {keras_of(part) for part in parts}
    if kinds == {"tf_keras"}:
        from tfinit.pruning.tfmot_api.tfmot import prune_tf_keras

        block_size = block_size_of(block_size)
        given = (pruning_schedule, block_size, block_pooling_type, pruning_policy, sparsity_m_by_n)
        return prune_tf_keras(to_prune, *given, **settings)
    if kinds != {"keras"}:
        raise InputError(_what_to_pass(to_prune, parts))
    pruning_schedule = check_schedule(pruning_schedule)
    of_layer = {name: settings.pop(name) for name in _OF_A_LAYER if name in settings}
    unknown = sorted(settings.keys() - PruningRule.SETTINGS)
    if unknown:
        raise InputError(
            f"prune_low_magnitude does not take {unknown}; give the layer its own arguments."
        )
    if of_layer and (isinstance(to_prune, keras.Model) or len(parts) > 1):
        raise InputError(
            f"{sorted(of_layer)} go with a single layer; `to_prune` is a {type(to_prune).__name__}."
        )
    of_layer = _checked_of_layer(of_layer)
    if "dtype_policy" in of_layer and to_prune.built:
        raise InputError("`dtype` is for a layer that is not built yet; this one has its weights.")
    if pruning_policy is not None and not hasattr(pruning_policy, "allow_pruning"):
        raise refused("pruning_policy", "a PruningPolicy, or None", pruning_policy)
    if pruning_policy is not None:
        if not isinstance(to_prune, keras.Model):
            raise InputError("`pruning_policy` chooses among the layers of a model; pass a model.")
        pruning_policy.ensure_model_supports_pruning(to_prune)
    settings |= {
        "block_size": block_size,
        "block_pooling_type": block_pooling_type,
        "sparsity_m_by_n": sparsity_m_by_n,
    }
    rules = [PruningRule(pruning_schedule, part, pruning_policy, **settings) for part in parts]
    if isinstance(to_prune, keras.Model) and to_prune.built:
        allow = None if pruning_policy is None else pruning_policy.allow_pruning
        prunable_weights(to_prune, allow)  # raises where there is nothing to prune
    watch()
    for part, rule in zip(parts, rules, strict=True):
        for name, value in of_layer.items():
            setattr(part, name, value)
        mark(part, rule, pruning_policy)
        begin_anew([part])
        if getattr(part, "compiled", False):
            adopt(part, from_step=0)
    return to_prune


def _checked_of_layer(arguments: dict[str, Any]) -> dict[str, Any]:
    """What TFMOT's wrapper takes of a layer's arguments, as Keras 3 calls it."""
    given = dict(arguments)
    if "name" in given:
        text("name", given["name"])
    if "trainable" in given:
        flag("trainable", given["trainable"])
    if "input_dim" in given:
        given["input_shape"] = (whole("input_dim", given.pop("input_dim"), 1),)
    for name, skipped in (("input_shape", 0), ("batch_input_shape", 1)):
        shape = given.pop(name, None)
        if shape is None:
            continue
        if not isinstance(shape, tuple | list) or not all(n is None or is_whole(n) for n in shape):
            axes = "with" if skipped else "without"
            raise refused(name, f"a tuple of sizes, {axes} that of the batch", shape)
        # Sequential asks its first layer for the shape of the inputs under this name.
        given["_input_shape_arg"] = tuple(shape[skipped:])
    if "dtype" in given:
        try:
            given["dtype_policy"] = keras.dtype_policies.get(given.pop("dtype"))
        except Exception as error:  # ValueError and TypeError, as it is no dtype or nothing like it
            raise refused("dtype", "a dtype or a dtype policy", arguments["dtype"]) from error
    return given


def _what_to_pass(to_prune: Any, parts: list[Any]) -> str:
    if parts and all(map(keras_of, parts)):
        return "`to_prune` mixes layers of Keras 3 and of tf_keras. A model is made of one of them."
    odd = next(part for part in parts if keras_of(part) is None) if parts else to_prune
    received = f"{type(odd).__module__}.{type(odd).__name__}"
    if is_symbolic(odd) or hasattr(odd, "shape"):
        return f"`to_prune` is a tensor ({received}): pass the layer or model, not its output."
    return (
        "`to_prune` must be a model, a layer or a list of layers, of Keras 3 (`import keras`) or "
        f"of tf_keras; received {received}."
    )


def strip_pruning(model: Any) -> Any:
    """The model without its pruning: the same layers and weights, zeros included, uncompiled.

    A Sequential or functional model is returned as a new model of the same layers, and the pruned
    one can go on training. Another model is returned itself, with its optimizer taken away. Marks
    that `prune_low_magnitude` put on single layers are removed. Weights that are pruned but not
    zero, such as those that EarlyStopping brought back from an epoch that was less sparse, are set
    to zero, with a warning. A tf_keras model is handed to TFMOT.

    The file of the result needs no tfinit to be loaded. It is as large as before, if not
    compressed, and as fast: a zero takes the space and the time of any number. Nothing keeps its
    zeros when it is trained on: compile it with `hold_zeros` for that.

    Warns:
        UserWarning: nothing ever pruned the model, which is returned as it is, or no training step
            did so far, which leaves it dense.

    Raises:
        InputError: not a model; or what was marked by `prune_low_magnitude` was trained by an
            optimizer that does not prune, as in a training loop of your own. Nothing was changed.
    """
    if keras_of(model) == "tf_keras":
        from tfinit.pruning.tfmot_api.tfmot import load_tfmot

        return load_tfmot().sparsity.keras.strip_pruning(model)
    if not isinstance(model, keras.Model):
        raise InputError(
            f"`model` must be a model, of Keras 3 or of tf_keras; received {type(model).__name__}."
        )
    sparse = pruning_optimizer(model)
    marked = marked_parts(model)
    if sparse is None and not marked:
        warnings.warn(
            f"`model` {model.name!r} is not being pruned: it has no SparseOptimizer, and "
            "prune_low_magnitude was not called on it. There is nothing to strip.",
            TfinitWarning,
            stacklevel=2,
        )
        return model
    check_pruning_is_not_lost(model)
    if sparse is not None and sparse.built:
        _zero_what_is_pruned(sparse)
        sparse.warn_of_emptied()
    _warn_if_dense(model, sparse, bool(marked))
    for part, _ in marked:
        if part is not model:
            unmark(part)
    new = uncompiled(model)
    if new is not None:
        return new
    unmark(model)
    model.optimizer = None
    model.compiled = False
    model.train_function = None
    return model


def uncompiled(model: Any) -> Any:
    """A new model of the same layers; None of a class that may have more than these."""
    if type(model) is keras.Sequential:
        inputs = [
            keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t.name)
            for t in (model.built and model.inputs) or ()
        ]
        return keras.Sequential([*inputs, *model.layers], name=model.name)
    if kind_of(model, exactly=True).model == "functional":
        return keras.Model(model.input, model.output, name=model.name)
    return None


def _zero_what_is_pruned(sparse: SparseOptimizer) -> None:
    revived = sparse.revived()
    if revived:
        sparse.mask_weights()
        warnings.warn(
            f"{revived} weights that are pruned were not zero, as if brought back from an earlier "
            "epoch (EarlyStopping with restore_best_weights does so) or trained by another "
            "optimizer. They are zero now: evaluate again.",
            TfinitWarning,
            stacklevel=3,
        )


def _warn_if_dense(model: Any, sparse: SparseOptimizer | None, marked: bool) -> None:
    """Say so where pruning was asked for, and has not begun."""
    if sparse is not None and (sparse.pruned() or not any(rule.prunes for rule in sparse.rules)):
        return
    weights = find_prunable(model, frozen=True) if model.built else {}
    if marked and any(bool(ops.any(ops.equal(v, 0))) for v in weights.values()):
        return  # a copy of a pruned model, not trained since
    steps = 0 if sparse is None else sparse.steps_taken
    warnings.warn(
        f"`model` {model.name!r} is dense: it took {steps} training steps, and none of them pruned "
        "anything. Train it first, past the first update of its schedule.",
        TfinitWarning,
        stacklevel=3,
    )


def prune_scope() -> contextlib.AbstractContextManager:
    """A scope for loading saved pruned models: needed for tf_keras only, harmless for Keras 3."""
    if "tf_keras" not in sys.modules:
        return contextlib.nullcontext()
    from tfinit.pruning.tfmot_api.tfmot import load_tfmot

    return load_tfmot().sparsity.keras.prune_scope()
