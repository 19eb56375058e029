"""Which random stream fills which tensor. The rule is told in the package's docstring."""

import hashlib
import random
import sys
import weakref
from typing import Any

import keras
import numpy as np

from tfinit.errors import InputError
from tfinit.fans import check_shape

_DTYPES = ("float16", "bfloat16", "float32", "float64")


def target_of_call() -> tuple[str, Any]:
    """Path and owner of the weight that a Keras is filling right now; ``("", None)`` for none.

    The callers are asked, not Keras's name scope: a Keras 3 variable that is made during a symbolic
    call (every subclassed model without a ``build``) is filled later, after its scope has closed.
    A Keras 3 variable knows its own path. A tf_keras weight is known to the ``add_weight`` of its
    layer.
    """
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if "self" in code.co_varnames or "self" in code.co_freevars:
            owner = frame.f_locals.get("self")
            if isinstance(owner, keras.Variable):
                return owner.path, owner
            if code.co_name == "add_weight" and type(owner).__module__ != __name__:
                path = _tf_keras_path(owner, frame.f_locals.get("name"))
                if path:
                    return path, None
        frame = frame.f_back
    return "", None


def _tf_keras_path(layer: Any, name: Any) -> str:
    bases = type(layer).__mro__
    if not any(c.__name__ == "Layer" and c.__module__.startswith("tf_keras.") for c in bases):
        return ""
    import tensorflow as tf

    # An eager variable has opened a scope of its own name, a lifted one has not; a layer whose
    # `build` is called by hand has opened none.
    scope = tf.get_current_name_scope().split("/")
    if scope[-1] == name:
        scope.pop()
    return "/".join([*(scope if any(scope) else [layer.name]), str(name)])


class Streams:
    """The part of an initializer that turns its seed into one stream per tensor."""

    def __init__(self, seed: int | None = None) -> None:
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer)):
            raise InputError(
                f"`seed` must be an integer or None, received {seed!r}. A SeedGenerator is not "
                "needed: one integer already gives every tensor a stream of its own."
            )
        self._init_seed = None if seed is None else int(seed)
        # Python's generator, as in Keras, so that `keras.utils.set_random_seed` reaches it.
        self.seed = random.randrange(2**31) if seed is None else int(seed)
        self._filled: dict[tuple, list] = {}

    def stream(self, shape: tuple[int, ...]) -> int:
        """A 32-bit seed for the tensor that is being filled. Call it once per call."""
        path, variable = target_of_call()
        turn = self._turn(path, shape, variable) if path else 0
        told = repr((self.seed, type(self).__name__, path, shape, turn))
        return int.from_bytes(hashlib.sha256(told.encode()).digest()[:4], "big")

    def _turn(self, path: str, shape: tuple[int, ...], variable: Any) -> int:
        """How many other weights of this path and shape the instance has filled before."""
        filled = self._filled.setdefault((path, shape), [])
        # Keras 3 may ask more than once for one variable: first for a symbolic stand-in.
        for turn, known in enumerate(filled):
            if variable is not None and known is not None and known() is variable:
                return turn
        filled.append(None if variable is None else weakref.ref(variable))
        return len(filled) - 1

    def __getstate__(self) -> dict:
        # Weak references cannot be copied; the copy of an initializer starts afresh.
        return {**self.__dict__, "_filled": {}}


def checked(shape: Any, dtype: Any) -> tuple[tuple[int, ...], str, str]:
    """The shape as ints, the dtype to return, and the dtype to compute in (float32 or wider)."""
    dtype = keras.backend.standardize_dtype(dtype)
    if dtype not in _DTYPES:
        raise InputError(f"`dtype` must be one of {_DTYPES}, received {dtype!r}.")
    return check_shape(shape), dtype, "float64" if dtype == "float64" else "float32"
