"""The SparseOptimizers that are alive, so that what prunes a weight is found without its model."""

import itertools
import weakref
from collections.abc import Iterable
from typing import Any

from tfinit.pruning.in_training.wrapping import chain

# What another optimizer steps: it trains no weights without the other one.
_INNER: "weakref.WeakSet[Any]" = weakref.WeakSet()
# What was built and is alive, by age: the last one knows best.
_COUNT = itertools.count()
_BUILT: "weakref.WeakValueDictionary[int, Any]" = weakref.WeakValueDictionary()


def note_inner(inner_optimizer: Any) -> None:
    """Note an optimizer, and those in it, as one that a SparseOptimizer steps."""
    _INNER.update(chain(inner_optimizer))


def note_built(optimizer: Any) -> None:
    """Note a SparseOptimizer that has its variables."""
    _BUILT[next(_COUNT)] = optimizer


def is_inner(optimizer: Any) -> bool:
    """Whether it is in a SparseOptimizer, which prunes."""
    return optimizer in _INNER


def optimizer_that_prunes(variables: Iterable[Any]) -> Any:
    """The SparseOptimizer that masks some of these variables, in whichever model or loop it is."""
    wanted = {id(v) for v in variables}
    found = [
        (optimizer.steps_taken > 0, age, optimizer)
        for age, optimizer in list(_BUILT.items())
        if any(id(v) in wanted for v in optimizer.masked_variables())
    ]
    return max(found)[2] if found else None
