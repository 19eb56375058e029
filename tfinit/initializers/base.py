"""What the initializers share: checks, dtypes, configs, and one random stream per tensor."""

import hashlib
import inspect
import random
import weakref
from typing import Any

import keras
import numpy as np

from tfinit import arguments
from tfinit.arguments import refused
from tfinit.errors import InputError
from tfinit.fans import check_shape
from tfinit.initializers.target import target_of_call

_DTYPES = ("float16", "bfloat16", "float32", "float64")


class Initializer(keras.initializers.Initializer):
    """Checks the call, asks ``values`` for the numbers, and casts them.

    The arguments of a subclass's ``__init__`` are its attributes and its config.
    """

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """A tensor of this shape and float dtype (None: ``keras.config.floatx()``)."""
        shape, given = check_shape(shape), dtype
        try:
            dtype = keras.backend.standardize_dtype(given)
        except Exception:  # of whatever was passed
            dtype = None
        if dtype not in _DTYPES:
            raise refused("dtype", f"one of {', '.join(_DTYPES)}", given)
        wide = "float64" if dtype == "float64" else "float32"
        return keras.ops.cast(keras.ops.convert_to_tensor(self.values(shape, wide)), dtype)

    def values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """The numbers, as an array or tensor of any float dtype; ``dtype`` is float32 or 64."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this initializer again."""
        return {name: getattr(self, name) for name in _arguments(type(self))}


def _arguments(cls: type) -> list[str]:
    return list(inspect.signature(cls).parameters)


class RandomInitializer(Initializer):
    """An initializer with a seed; the rule of the streams is told in the package's docstring."""

    def __init__(self, seed: int | None = None) -> None:
        cure = (
            "A SeedGenerator is not needed: one integer already gives every tensor a stream of its "
            "own."
        )
        self._init_seed = arguments.seed("seed", seed, none=True, cure=cure)
        # Python's generator, as in Keras, so that `keras.utils.set_random_seed` reaches it.
        self.seed = random.randrange(2**31) if seed is None else self._init_seed
        self._filled: dict[tuple, list] = {}

    def stream(self, shape: tuple[int, ...]) -> int:
        """A 32-bit seed for the tensor that is being filled. Ask once per call."""
        path, variable = target_of_call()
        turn = self._turn(path, shape, variable) if path else 0
        told = repr((self.seed, type(self).__qualname__, path, shape, turn))
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

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this initializer again; the seed as it was given."""
        return {**super().get_config(), "seed": self._init_seed}

    def __getstate__(self) -> dict[str, Any]:
        # Weak references cannot be copied; the copy of an initializer starts afresh.
        return {**self.__dict__, "_filled": {}}


def as_matrix(name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a shape ``(..., out)`` taken as a matrix (the rest, out)."""
    if len(shape) < 2:
        raise InputError(f"{name} needs a shape of two or more axes, received {shape}.")
    return int(np.prod(shape[:-1])), shape[-1]


def center(window: tuple[int, ...]) -> tuple[int, ...]:
    """The tap of a kernel that "same" padding lays over the output's own position."""
    return tuple((k - 1) // 2 for k in window)
