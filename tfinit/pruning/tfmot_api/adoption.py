"""That a marked or pruned model is not trained as a dense one: what compiles and trains is watched.

Three methods of Keras's base classes are extended, as soon as there is a mark or a SparseOptimizer:
`compile` puts the optimizer into a `SparseOptimizer`, or lets one that prunes go on in a new one;
`fit` does so for what was marked since, and says so where something else trained the weights;
an optimizer's `build` tells which weights others train. A loop of somebody's own may call none of
these: then `strip_pruning`, `sparsity_report` and saving find what was lost.
"""

import warnings
import weakref
from collections.abc import Iterable
from typing import Any

import keras
import wrapt

from tfinit.errors import InputError, TfinitWarning
from tfinit.pruning.in_training.living import is_inner, optimizer_that_prunes
from tfinit.pruning.in_training.model_masks import (
    ensure_sparse_optimizer,
    find_sparse_optimizer,
    prune_in,
)
from tfinit.pruning.in_training.pruner import Progress, joined
from tfinit.pruning.in_training.rules import PruningRule
from tfinit.pruning.in_training.sparse_optimizer import SparseOptimizer
from tfinit.pruning.tfmot_api.marks import (
    PruningMark,
    is_frozen,
    mark_of,
    marked_parts,
    marked_rules,
    progress_of_copy,
)
from tfinit.variables import find_prunable

# Weights that optimizers without pruning were built for, by their id.
_TRAINED_BY_OTHERS: "weakref.WeakValueDictionary[int, Any]" = weakref.WeakValueDictionary()


def watch() -> None:
    """Extend Keras's `compile`, `fit` and `build`, unless that is done."""
    for name, extension in (("compile", _compile), ("fit", _fit)):
        _extend(keras.Model, name, extension)
    for cls in keras.optimizers.Optimizer.__mro__:
        if cls.__name__ == "BaseOptimizer":
            _extend(cls, "build", _build)


def _extend(cls: type, name: str, extension: Any) -> None:
    """Put an extension around a method. Somebody else's, inside or outside of it, stay."""
    around = getattr(cls, name)
    while around is not None:
        if getattr(around, "_self_wrapper", None) is extension:
            return
        around = getattr(around, "__wrapped__", None)
    wrapt.wrap_function_wrapper(cls, name, extension)


def _compile(wrapped: Any, model: Any, args: tuple, kwargs: dict) -> None:
    before = find_sparse_optimizer(getattr(model, "optimizer", None))
    rules = marked_rules(model)
    if not rules and before is not None:
        rules = _of_the_user(before, model)
    if rules:
        optimizer = keras.optimizers.get(args[0] if args else kwargs.pop("optimizer", "rmsprop"))
        # None is for a model that is only evaluated; of a SparseOptimizer the user's rules win.
        sparse = find_sparse_optimizer(optimizer)
        if sparse is not None:
            _keep_masks(sparse, model, before)
        elif optimizer is not None:
            optimizer = prune_in(optimizer, rules)
            if (made := find_sparse_optimizer(optimizer)) is not None:
                _go_on(made, model, before)
        args = (optimizer, *args[1:])
    wrapped(*args, **kwargs)
    sparse = find_sparse_optimizer(model.optimizer)
    if sparse is not None:
        sparse.compiled_for(model)
        _adopted(model, sparse)
        _build_with_outer(model, sparse)


def _keep_masks(given: SparseOptimizer, model: Any, before: SparseOptimizer | None) -> None:
    """Let the user's own optimizer keep the masks of a marked model, if it takes none itself."""
    idle = not any(rule.prunes for rule in given.rules)
    if idle and given is not before and not given.built and not given.waits and marked_parts(model):
        _go_on(given, model, before)


def _of_the_user(sparse: SparseOptimizer, model: Any) -> list[PruningRule]:
    """The rules of a SparseOptimizer but for those that come from marks."""
    marked = [part for part, _ in marked_parts(model)]
    return sparse.rules_by_path(but_for=marked)


def _go_on(
    sparse: SparseOptimizer,
    model: Any,
    before: SparseOptimizer | None,
    from_step: int | None = None,
) -> None:
    """Let a new optimizer begin where another one is, or what the model was copied from."""
    if before is not None and before.built and not before.steps_taken:  # masks were set by hand
        by_hand = before.progress() if before.pruned() else None
        sparse.begin_with(lambda: progress_of_copy(model) or by_hand)
        return
    # A layer may have been pruned in another model. What prunes a layer now knows best.
    marks = [mark for part, mark in marked_parts(model) if not is_frozen([part])]
    earlier = [before, *(mark.optimizer for mark in marks)]
    earlier = list({id(o): o for o in earlier if o is not None}.values())

    if before is not None and earlier == [before] and before.waits and from_step is None:
        sparse.begin_with(before.progress_to_begin_with)  # no chain of them
        return

    def progress() -> Progress | None:
        found = [o.progress() for o in earlier if o.steps_taken or not o.built]
        now = joined([p for p in found if p is not None])
        if now is None:
            return progress_of_copy(model)
        return now if from_step is None else now._replace(step=from_step)

    sparse.begin_with(progress)


def _adopted(model: Any, sparse: SparseOptimizer) -> None:
    for part, mark in marked_parts(model):
        # What is frozen is pruned on, once it is unfrozen, from where its own optimizer left it.
        if mark.optimizer is None or not is_frozen([part]):
            mark.adopted_by(sparse)


def adopt(model: Any, from_step: int | None = None) -> SparseOptimizer | None:
    """Have the optimizer that a model is compiled with prune by the model's marks.

    Args:
        model: The model.
        from_step: At which step the marks begin, where it is being pruned; None: where it is.

    Returns:
        The model's SparseOptimizer; None if it has none and no marks.

    Raises:
        InputError: there are marks, and no optimizer.
    """
    sparse = find_sparse_optimizer(getattr(model, "optimizer", None))
    parts = marked_parts(model)
    if all(
        sparse is not None and (mark.optimizer is sparse or is_frozen([part]))
        for part, mark in parts
    ):
        # `clone_model` compiles the clone, which may have got the weights since.
        if parts and sparse is not None and sparse.built and not sparse.steps_taken:
            sparse.begin_with(lambda: progress_of_copy(model))
        return sparse
    rules = marked_rules(model)
    if sparse is not None and not any(mark.optimizer is sparse for _, mark in parts):
        # It has rules of the user's own; they hold for what is not marked.
        rules += [] if mark_of(model) is not None else _of_the_user(sparse, model)
    if not rules:
        return sparse
    fresh = ensure_sparse_optimizer(model, rules, anew=True)
    _go_on(fresh, model, sparse, from_step)
    _adopted(model, fresh)
    _build_with_outer(model, fresh)
    return fresh


def _build_with_outer(model: Any, sparse: SparseOptimizer) -> None:
    if model.optimizer.built and not sparse.built:  # what is around it will not ask it to
        sparse.build(model.trainable_variables)


def _fit(wrapped: Any, model: Any, args: tuple, kwargs: dict) -> Any:
    if getattr(model, "optimizer", None) is not None:
        adopt(model)
    result = wrapped(*args, **kwargs)
    warn_of_lost_pruning(model, "fit")
    return result


def _build(wrapped: Any, optimizer: Any, args: tuple, kwargs: dict) -> Any:
    variables = args[0] if args else kwargs.get("variables", ())
    if not is_inner(optimizer) and find_sparse_optimizer(optimizer) is None:
        _TRAINED_BY_OTHERS.update((id(v), v) for v in variables)
    return wrapped(*args, **kwargs)


def begin_anew(parts: Iterable[Any]) -> None:
    """What trained these layers before they were marked does not count."""
    for part in parts:
        for variable in part.weights:
            _TRAINED_BY_OTHERS.pop(id(variable), None)


def lost_pruning(model: Any) -> list[str]:
    """The paths of marked weights that another optimizer trained, and nothing pruned."""
    lost = {}
    for part, mark in marked_parts(model):
        if part.built and not _has_stepped(mark):
            for variable in find_prunable(part).values():
                if id(variable) in _TRAINED_BY_OTHERS and not _is_pruned(variable):
                    lost[id(variable)] = variable.path
    return list(lost.values())


def _has_stepped(mark: PruningMark) -> bool:
    return mark.optimizer is not None and mark.optimizer.steps_taken > 0


def _is_pruned(variable: Any) -> bool:
    sparse = optimizer_that_prunes([variable])
    return sparse is not None and sparse.steps_taken > 0


def _what_is_lost(model: Any, paths: list[str]) -> str:
    return (
        f"{paths} of {model.name!r} were marked by prune_low_magnitude, and trained by an "
        "optimizer that prunes nothing: they are dense. Train by `model.compile` and `model.fit`, "
        "or take the steps with SparseOptimizer(optimizer, schedule, scope=model), or call the "
        "hooks of UpdatePruningStep in your loop."
    )


def warn_of_lost_pruning(model: Any, where: str) -> None:
    """Warn where what was to be pruned was trained without."""
    paths = lost_pruning(model)
    if paths:
        warnings.warn(f"{where}: {_what_is_lost(model, paths)}", TfinitWarning, stacklevel=4)


def warn_of_dense_report(model: Any) -> None:
    """Warn where a report is of weights that were to be pruned, and are not."""
    warn_of_lost_pruning(model, "sparsity_report")
    _warn_of_revived(model, "reported on")


def _warn_of_revived(part: Any, happens: str) -> None:
    """Warn where something else wrote weights of a marked layer that are pruned."""
    known = {id(o): o for _, mark in marked_parts(part) if (o := mark.optimizer) is not None}
    mine = {id(v) for v in part.weights}
    if any(o.built and o.revived(mine) for o in known.values()):
        warnings.warn(
            f"A layer is {happens} that prune_low_magnitude marked, and weights that are pruned "
            "are not zero, as if brought back from an earlier epoch (EarlyStopping with "
            "restore_best_weights does so) or trained by another optimizer. `strip_pruning` sets "
            "them to zero, as the next step of the model's own optimizer does.",
            TfinitWarning,
            stacklevel=5,
        )


def warn_of_dense_copy(part: Any) -> None:
    """Warn that a marked layer which is being saved or copied was trained without pruning."""
    _warn_of_revived(part, "being saved or copied")
    if lost_pruning(part):
        # The same words for each layer, so that Python shows them once.
        warnings.warn(
            "Layers that prune_low_magnitude marked are being saved or copied, and an optimizer "
            "that prunes nothing trained them: they are dense. `strip_pruning` says which, and "
            "what to do.",
            TfinitWarning,
            stacklevel=4,
        )


def check_pruning_is_not_lost(model: Any) -> None:
    """Raise InputError where what was to be pruned was trained without."""
    paths = lost_pruning(model)
    if paths:
        raise InputError(_what_is_lost(model, paths))
