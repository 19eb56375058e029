"""One thread at a time writes the weights of a model, and of models that share layers with it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tfinit.errors import InputError
from tfinit.variables import walk_layers

# (thread, ids of the layers it has) of every block that is open. No model is kept alive, and none
# has anything in it.
_open: list[tuple[int, frozenset[int]]] = []
_changed = threading.Condition()


@contextmanager
def alone(model: Any) -> Iterator[None]:
    """Wait until no other thread has a layer of the model, and have all of them in the block.

    Blocks of one thread may be nested, of the same model or others.

    Raises:
        InputError: another thread has a layer of this model while this thread has others: waiting
            might never end.
    """
    me = threading.get_ident()
    mine = frozenset(id(layer) for _, layer in walk_layers(model))
    entry = (me, mine)
    with _changed:
        while any(thread != me and taken & mine for thread, taken in _open):
            if any(thread == me for thread, _ in _open):
                raise InputError(
                    f"`model` {model.name!r} is being initialized by another thread, while this "
                    "one is about another model: they might wait for each other for ever. "
                    "Initialize one model after the other."
                )
            _changed.wait()
        _open.append(entry)
    try:
        yield
    finally:
        with _changed:
            _open.remove(entry)
            _changed.notify_all()
