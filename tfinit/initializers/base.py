"""What the initializers share: checks, dtypes, configs, and one random stream per tensor."""

import inspect
import random
import sys
import weakref
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np

from tfinit import arguments
from tfinit.arguments import refused, wholes
from tfinit.errors import InputError
from tfinit.graph.keras_internals import thread_attribute
from tfinit.graph.layer_kinds import keras_of
from tfinit.streams import number

# What decides a tensor's values; the package's docstring says how.
Seed = int | keras.random.SeedGenerator | None
_DTYPES = ("float16", "bfloat16", "float32", "float64")


class Initializer(keras.initializers.Initializer):
    """Checks the call, asks ``values`` for the numbers, casts and distributes them.

    The arguments of a subclass's ``__init__`` are its attributes and its config.
    """

    def __call__(self, shape: Any, dtype: Any = None, layout: Any = None) -> Any:
        """A tensor of this shape and float dtype (None: ``keras.config.floatx()``).

        Args:
            shape: Whole numbers of at least 0; ``()`` is a scalar, where the class has one.
            dtype: ``"float16"``, ``"bfloat16"``, ``"float32"`` or ``"float64"``.
            layout: How the tensor is spread over devices: a ``keras.distribution.TensorLayout`` or
                the backend's own, as Keras 3.15 passes it. None: as the backend makes it. The
                values are the same.
        """
        shape, given = _shape(shape), dtype
        try:
            dtype = keras.backend.standardize_dtype(given)
        except Exception:  # of whatever was passed
            dtype = None
        if dtype not in _DTYPES:
            raise refused("dtype", f"one of {', '.join(_DTYPES)}", given)
        wide = "float64" if dtype == "float64" else "float32"
        self.check(shape)
        # Of a shape without entries no formula is asked: it may divide by them.
        values = np.zeros(shape, wide) if 0 in shape else self.values(shape, wide)
        tensor = keras.ops.cast(keras.ops.convert_to_tensor(values), dtype)
        return tensor if layout is None else _distributed(tensor, layout)

    def check(self, shape: tuple[int, ...]) -> None:
        """InputError for a shape that this initializer is not for."""

    def values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """The numbers, as an array or tensor of any float dtype; ``dtype`` is float32 or 64."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this initializer again."""
        return {name: getattr(self, name) for name in _arguments(type(self))}

    def __repr__(self) -> str:
        """As it is called: the arguments that are not the defaults."""
        defaults = inspect.signature(type(self)).parameters
        given = {name: repr(getattr(self, name)) for name in defaults}
        said = (f"{n}={told}" for n, told in given.items() if told != repr(defaults[n].default))
        return f"{type(self).__name__.removeprefix('Tfinit')}({', '.join(said)})"


def _shape(shape: Any) -> tuple[int, ...]:
    if hasattr(shape, "as_list"):  # of TensorFlow
        shape = tuple(shape)
    cure = "() is a scalar, and an axis of 0 leaves it without entries."
    return wholes("shape", shape, 0, empty=True, cure=cure)


def _distributed(tensor: Any, layout: Any) -> Any:
    """The tensor spread over devices as the layout says."""
    backend = keras.backend.backend()
    if backend != "jax":
        cure = f"Keras spreads weights over devices on JAX; here it runs on {backend}."
        raise refused("layout", "None", layout, cure)
    import jax

    layout = getattr(layout, "backend_layout", layout)
    # Keras asks under a mesh whose axes are explicit, where only this moves a tensor.
    if isinstance(getattr(layout, "mesh", None), jax.sharding.AbstractMesh):
        return jax.sharding.reshard(tensor, layout)
    return keras.distribution.distribute_tensor(tensor, layout)


def _arguments(cls: type) -> list[str]:
    return list(inspect.signature(cls).parameters)


class RandomInitializer(Initializer):
    """An initializer with a seed; the rule of the streams is told in the package's docstring."""

    def __init__(self, seed: Seed | dict[str, Any] = None) -> None:
        if isinstance(seed, dict):  # a SeedGenerator, out of a configuration
            seed = _generator_of(seed)
        if not isinstance(seed, keras.random.SeedGenerator):
            cure = "Or pass a keras.random.SeedGenerator, for other values at every call."
            seed = arguments.seed("seed", seed, none=True, cure=cure)
        self._init_seed = seed
        # Python's generator, as in Keras, so that `keras.utils.set_random_seed` reaches it.
        self.seed = random.randrange(2**31) if seed is None else seed
        self._filled: dict[tuple, list] = {}

    def stream(self, shape: tuple[int, ...]) -> int:
        """A 32-bit seed for the tensor that is being filled. Ask once per call."""
        path, variable = weight_being_filled()
        if isinstance(self.seed, keras.random.SeedGenerator):
            seed, turn = _next(self.seed, bool(path)), 0
        else:
            seed, turn = self.seed, self._turn(path, shape, variable) if path else 0
        told = repr((seed, type(self).__qualname__, path, shape, turn))
        return number(told, 4)

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
        """The arguments that make this initializer again; the seed as it was given.

        Of a SeedGenerator it is what makes one that starts where this one started, as in Keras.
        """
        seed = keras.saving.serialize_keras_object(self._init_seed)
        return {**super().get_config(), "seed": seed}

    def __getstate__(self) -> dict[str, Any]:
        # Weak references cannot be copied; the copy of an initializer starts afresh.
        return {**self.__dict__, "_filled": {}}


def _generator_of(config: dict[str, Any]) -> keras.random.SeedGenerator:
    try:
        made = keras.saving.deserialize_keras_object(config)
    except Exception:  # of whatever was passed
        made = None
    if not isinstance(made, keras.random.SeedGenerator):
        raise refused("seed", "a whole number, a keras.random.SeedGenerator or None", config)
    return made


def _next(generator: keras.random.SeedGenerator, filling: bool) -> list[int]:
    """The generator's state, which then goes on by one, as ``generator.next()`` does.

    Not by it: it would compute under the mesh that Keras sets on JAX while it fills a weight.
    """
    try:
        with _eagerly() if filling else nullcontext():
            state = np.array(keras.ops.convert_to_numpy(generator.state.value))
            generator.state.assign(state + np.array([0, 1], state.dtype))
            return state.tolist()
    except Exception as error:
        if filling and thread_attribute("stateless_scope"):
            # A symbol, for a stand-in whose values nobody sees: Keras asks again for the weight.
            return [0, 0]
        raise InputError(
            "`seed`: the state of a SeedGenerator cannot be read while a function is traced. "
            "Call the initializer outside of it, or give it a whole number."
        ) from error


def _eagerly() -> AbstractContextManager:
    """Numbers, not symbols, although the weight is made while a function is traced."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.init_scope()
    if backend == "jax":
        import jax

        return jax.ensure_compile_time_eval()
    return nullcontext()


def as_matrix(name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a shape ``(..., out)`` taken as a matrix (the rest, out)."""
    if len(shape) < 2:
        raise InputError(f"{name} needs a shape of two or more axes, received {shape}.")
    return int(np.prod(shape[:-1])), shape[-1]


def center(window: tuple[int, ...]) -> tuple[int, ...]:
    """The tap of a kernel that "same" padding lays over the output's own position."""
    return tuple((k - 1) // 2 for k in window)


def weight_being_filled() -> tuple[str, Any]:
    """Path and variable of the weight that is being filled; ``("", None)`` outside of any."""
    path, variable, _ = _being_filled()
    return path, variable


def shape_being_filled() -> tuple[int, ...] | None:
    """The shape of the weight that is being filled, of which a call may fill a part; None of none.

    LSTM with ``unit_forget_bias`` asks its initializer for the gates before and after that one.
    """
    _, _, shape = _being_filled()
    return None if shape is None else tuple(shape)


def _being_filled() -> tuple[str, Any, Any]:
    """Path, variable and shape of the weight that is being filled.

    The callers are asked, not Keras's name scope: a Keras 3 variable that is made during a symbolic
    call (every subclassed model without a ``build``) is filled later, after its scope has closed.
    A Keras 3 variable knows its own path. A tf_keras weight is known to the ``add_weight`` of its
    layer, and its variable does not exist yet.
    """
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if "self" in code.co_varnames or "self" in code.co_freevars:
            owner = frame.f_locals.get("self")
            if isinstance(owner, keras.Variable):
                return owner.path, owner, owner.shape
            if code.co_name == "add_weight" and keras_of(owner) == "tf_keras":
                told = frame.f_locals
                return _tf_keras_path(owner, told["name"]), None, told.get("shape")
        frame = frame.f_back
    return "", None, None


def _tf_keras_path(layer: Any, name: str | None) -> str:
    import tensorflow as tf

    # An eager variable has opened a scope of its own name, one that a tf.function lifts has not,
    # and a layer whose `build` is called by hand has opened none.
    scope = [part for part in tf.get_current_name_scope().split("/") if part]
    if scope and scope[-1] == name:
        scope.pop()
    return "/".join([*(scope or [layer.name]), str(name)])
