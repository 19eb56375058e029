"""TFMOT's functions on Keras 3 models: prune_low_magnitude, strip_pruning, prune_scope.

Where TFMOT wraps layers and clones the model, this marks a layer or a model with a `PruningRule`.
Nothing else changes in it: the same object comes back, with the same weights and outputs. When a
model that is marked, or holds marked layers, is compiled, its optimizer goes into a
`SparseOptimizer` with these rules, and from there on it prunes in the compiled step.
"""

import contextlib
import sys
import warnings
from typing import Any

import keras
import numpy as np
import wrapt
from keras import ops

from tfinit.arguments import refused
from tfinit.errors import InputError
from tfinit.pruning.model_masks import ensure_sparse_optimizer, find_sparse_optimizer
from tfinit.pruning.policy import PruningPolicy
from tfinit.pruning.rules import PruningRule, block_size_of
from tfinit.pruning.schedules import ConstantSparsity, PruningSchedule
from tfinit.pruning.sparse_optimizer import SparseOptimizer
from tfinit.variables import keras_of, prunable_weights, walk_layers

_MARK = "_tfinit_pruning_rule"


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
    handed to TFMOT itself. The first call extends `keras.Model.compile` in this process, for marked
    models only.

    The native way is shorter: ``model.compile(SparseOptimizer(Adam(), schedule, scope=model))``.

    Args:
        to_prune: A Keras 3 model, layer or list of layers, built or not.
        pruning_schedule: When, and to what sparsity. None: ``ConstantSparsity(0.5, 0)``.
        block_size: (height, width) of the blocks in which weights go together, or ``"litert"``:
            the blocks of Dense kernels, (4, 1), that `tfinit.export` makes faster.
        block_pooling_type: ``"AVG"`` or ``"MAX"``.
        pruning_policy: Which layers of a model; `ensure_model_supports_pruning` is asked at once.
        sparsity_m_by_n: (m, n): m zeros in every n weights along the inputs.
        settings: What else `PruningRule` takes: ``allocation``, ``score``, ``monotone``, …

    Returns:
        ``to_prune`` itself. A model that was compiled before prunes from now on.

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
        from tfinit.pruning.tfmot import prune_tf_keras

        block_size = block_size_of(block_size)
        given = (pruning_schedule, block_size, block_pooling_type, pruning_policy, sparsity_m_by_n)
        return prune_tf_keras(to_prune, *given, **settings)
    if kinds != {"keras"}:
        raise InputError(_what_to_pass(to_prune, parts))
    unknown = sorted(settings.keys() - PruningRule.SETTINGS)
    if unknown:
        raise InputError(
            f"prune_low_magnitude does not take {unknown}; give the layer its own arguments."
        )
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
    _extend_compile()
    for part, rule in zip(parts, rules, strict=True):
        setattr(part, _MARK, rule)
        if getattr(part, "compiled", False):
            ensure_sparse_optimizer(part, marked_rules(part))
    return to_prune


def _what_to_pass(to_prune: Any, parts: list[Any]) -> str:
    if parts and all(map(keras_of, parts)):
        return "`to_prune` mixes layers of Keras 3 and of tf_keras. A model is made of one of them."
    odd = next(part for part in parts if keras_of(part) is None) if parts else to_prune
    received = f"{type(odd).__module__}.{type(odd).__name__}"
    if hasattr(odd, "_keras_history") or hasattr(odd, "shape"):
        return f"`to_prune` is a tensor ({received}): pass the layer or model, not its output."
    return (
        "`to_prune` must be a model, a layer or a list of layers, of Keras 3 (`import keras`) or "
        f"of tf_keras; received {received}."
    )


def marked_rules(model: Any) -> list[PruningRule]:
    """The rules of a model's marks: layers before the models that hold them, equal ones joined."""
    joined: dict[str, PruningRule] = {}
    for _, part in reversed(list(walk_layers(model))):
        rule = getattr(part, _MARK, None)
        if rule is None:
            continue
        if isinstance(part, keras.Model):
            joined[f"model {id(part)}"] = rule
            continue
        config = {k: v for k, v in vars(rule).items() if k != "scope"}
        config["schedule"] = rule.schedule.get_config()
        # Some layers have nothing to prune (a Flatten); all together must have something.
        same = joined.setdefault(f"{type(rule.schedule)} {config}", rule.with_scope([]))
        same.scope.append(part)
    return list(joined.values())


def _extend_compile() -> None:
    if isinstance(vars(keras.Model).get("compile"), wrapt.FunctionWrapper):
        return

    def compile(wrapped: Any, model: Any, args: tuple, kwargs: dict) -> None:
        rules = marked_rules(model)
        if rules:
            given = args[0] if args else kwargs.pop("optimizer", "rmsprop")
            before = find_sparse_optimizer(getattr(model, "optimizer", None))
            args = (_with_rules(given, rules, before), *args[1:])
        wrapped(*args, **kwargs)

    wrapt.wrap_function_wrapper(keras.Model, "compile", compile)


def _with_rules(optimizer: Any, rules: list[PruningRule], before: SparseOptimizer | None) -> Any:
    optimizer = keras.optimizers.get(optimizer)
    if find_sparse_optimizer(optimizer) is not None:
        return optimizer  # the user's own rules win
    sparse = SparseOptimizer(optimizer, rules=rules)
    if before is not None and before.built:
        sparse.continue_from(before)  # compiled anew, for a smaller learning rate say
    return sparse


def strip_pruning(model: Any) -> Any:
    """The model without its pruning: the same layers and weights, zeros included, uncompiled.

    A Sequential or functional model is returned as a new model of the same layers, and the pruned
    one can go on training. Another model is returned itself, with its optimizer taken away. Marks
    that `prune_low_magnitude` put on single layers are removed. Weights that are pruned but not
    zero, such as those that EarlyStopping brought back from an epoch that was less sparse, are set
    to zero, with a warning. A tf_keras model is handed to TFMOT.

    The file of the result needs no tfinit to be loaded. It is as large as before, if not
    compressed, and as fast: a zero takes the space and the time of any number.

    Raises:
        InputError: not a model, or one that nothing prunes.
    """
    if keras_of(model) == "tf_keras":
        from tfinit.pruning.tfmot import load_tfmot

        return load_tfmot().sparsity.keras.strip_pruning(model)
    if not isinstance(model, keras.Model):
        raise InputError(
            f"`model` must be a model, of Keras 3 or of tf_keras; received {type(model).__name__}."
        )
    sparse = find_sparse_optimizer(getattr(model, "optimizer", None))
    if sparse is None and not marked_rules(model):
        raise InputError(
            f"`model` {model.name!r} is not being pruned: it has no SparseOptimizer, and "
            "prune_low_magnitude was not called on it. There is nothing to strip."
        )
    if sparse is not None and sparse.built:
        _zero_what_is_pruned(model, sparse)
    for _, part in walk_layers(model):
        if part is not model and hasattr(part, _MARK):
            delattr(part, _MARK)
    if type(model) is keras.Sequential:
        inputs = [
            keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t.name) for t in _inputs(model)
        ]
        return keras.Sequential([*inputs, *model.layers], name=model.name)
    if _is_functional(model):
        return keras.Model(model.input, model.output, name=model.name)
    if hasattr(model, _MARK):
        delattr(model, _MARK)
    model.optimizer = None
    model.compiled = False
    model.train_function = None
    return model


def _inputs(sequential: keras.Sequential) -> list[Any]:
    return sequential.inputs if sequential.built and sequential.inputs else []


def _is_functional(model: Any) -> bool:
    # Keras has no public name for the class; subclasses may have more than inputs and outputs.
    return type(model).__name__ == "Functional" and type(model).__module__.startswith("keras.")


def _zero_what_is_pruned(model: Any, sparse: SparseOptimizer) -> None:
    revived = 0
    for variable in model.trainable_variables:
        mask = sparse.get_mask(variable)
        if mask is not None:
            revived += int(np.count_nonzero(ops.convert_to_numpy(variable)[~mask]))
    if revived:
        sparse.mask_weights()
        warnings.warn(
            f"{revived} weights that are pruned were not zero, as if brought back from an earlier "
            "epoch (EarlyStopping with restore_best_weights does so). They are zero now: evaluate "
            "again.",
            stacklevel=3,
        )


def prune_scope() -> contextlib.AbstractContextManager:
    """A scope for loading saved pruned models: needed for tf_keras only, harmless for Keras 3."""
    if "tf_keras" not in sys.modules:
        return contextlib.nullcontext()
    from tfinit.pruning.tfmot import load_tfmot

    return load_tfmot().sparsity.keras.prune_scope()
