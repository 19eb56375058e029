"""What is going on where an initializer is asked for values: who wants them, and why.

A layer asks its initializers whenever it is built: by the user's own call, by Keras in the middle
of loading a file, or by a part of tfinit that copies layers. `Pretrained` reads another file only
for the first of them.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tfinit.devices import KERASES

# Of Keras's functions, those that make a model and then write all its weights.
_LOADING = ("load_model", "_unpickle_model")
_DESERIALIZING = ("deserialize_keras_object",)
_values_follow = ContextVar("values_follow", default=False)


@contextmanager
def filled_afterwards() -> Iterator[None]:
    """While this is open, the values that layers are built with do not matter: whoever opened it
    writes others before it is left."""
    token = _values_follow.set(True)
    try:
        yield
    finally:
        _values_follow.reset(token)


def values_follow() -> bool:
    """Whether what is built now gets its values afterwards: from the model file that Keras is
    loading, or as `filled_afterwards` says."""
    return _values_follow.get() or loading()


def loading() -> bool:
    """Whether Keras 3 or tf_keras is loading a model from a file."""
    return _called_by(_LOADING)


def deserializing() -> bool:
    """Whether Keras 3 or tf_keras is making an object from its configuration."""
    return _called_by(_DESERIALIZING)


def _called_by(functions: tuple[str, ...]) -> bool:
    # Keras tells nobody what it is doing, so the question goes to the call stack. It is asked once
    # for each tensor of an initializer that reads files.
    frame = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "").split(".")[0]
        if frame.f_code.co_name in functions and module in KERASES:
            return True
        frame = frame.f_back
    return False
