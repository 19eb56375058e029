"""Gradients of a scalar on each backend: TensorFlow's tapes, JAX's functions, PyTorch's graphs.

What is differentiated is a function of tensors, the values of some of a model's variables, so that
gradients can be nested. On TensorFlow and PyTorch variables are recorded as they are used; on JAX
gradients are of a function's arguments, and the variables read these: `reading`. Nothing here
imports a backend before it is used.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from tfinit.errors import InputError

__all__ = [
    "Program",
    "dense",
    "hessian_times",
    "reading",
    "replaced",
    "require_gradients",
    "sum_of",
    "value_and_gradients",
    "without_gradients",
]


def _backend() -> str:
    import keras

    return keras.backend.backend()


def require_gradients(what: str, instead: str = "") -> None:
    """InputError unless Keras runs on a backend that has gradients.

    Args:
        what: What takes them: ``"'snip'"``.
        instead: What else to use.
    """
    if _backend() not in _BACKENDS:
        raise InputError(
            f"{what} takes gradients, which Keras's backend {_backend()!r} has not. Set "
            f"KERAS_BACKEND to {', '.join(_BACKENDS)}{instead and f', or use {instead}'}."
        )


def value_and_gradients(
    function: Callable[[list[Any]], Any],
    values: Sequence[Any],
    *,
    again: bool = False,
    more: bool = False,
    watched: Callable[[Sequence[Any]], None] | None = None,
) -> tuple[Any, list[Any]]:
    """f(values), and ∂f/∂value for each: zeros where f does not depend on it.

    Args:
        function: Of tensors, to a scalar tensor. It calls models inside of `reading`.
        values: Tensors; on TensorFlow and PyTorch they may be variables' own.
        again: Whether the gradients are differentiated in turn.
        more: Whether the function returns a pair, of which only the first is differentiated.
        watched: On TensorFlow, called with the variables that the function read.

    Returns:
        What the function returned, and dense tensors in the order of ``values``.
    """
    return _BACKENDS[_backend()](function, list(values), again, more, watched)


def hessian_times(
    function: Callable[[list[Any]], Any],
    values: Sequence[Any],
    vectors: Sequence[Any],
    watched: Callable[[Sequence[Any]], None] | None = None,
) -> list[Any]:
    """H v: the gradient of g · v, where g is that of f, and v is held fixed.

    Args:
        function: As for `value_and_gradients`.
        values: As there.
        vectors: v, a tensor for each value.
        watched: As there.
    """
    from keras import ops

    def along(inner: list[Any]) -> Any:
        _, first = value_and_gradients(function, inner, again=True, watched=watched)
        return sum_of([ops.sum(g * v) for g, v in zip(first, vectors, strict=True)])

    return value_and_gradients(along, values)[1]


def without_gradients() -> AbstractContextManager[Any]:
    """A block of passes whose gradients nobody asks for: PyTorch would keep all on the way."""
    if _backend() != "torch":
        return nullcontext()
    import torch

    return torch.no_grad()


def sum_of(scalars: list[Any]) -> Any:
    """The sum of scalar tensors."""
    if _backend() == "tensorflow":
        import tensorflow as tf

        return tf.add_n(scalars)
    return sum(scalars[1:], scalars[0])


@contextmanager
def reading(variables: Sequence[Any], values: Sequence[Any]) -> Iterator[None]:
    """Let variables read the values by which `value_and_gradients` differentiates.

    On JAX they do so in a scope of this thread, which forgets what is written in it. Elsewhere the
    values are what the variables read anyway.

    Args:
        variables: Keras's variables.
        values: What the function that is differentiated was given for them.
    """
    if _backend() != "jax":
        yield
        return
    import keras

    with keras.StatelessScope(collect_losses=True, initialize_variables=False) as scope:
        outer = scope.original_scope
        if outer is not None:
            scope.state_mapping.update(outer.state_mapping)
        for variable, value in zip(variables, values, strict=True):
            scope.state_mapping[id(variable)] = value
        yield


@contextmanager
def replaced(variables: Sequence[Any], values: Sequence[Any]) -> Iterator[None]:
    """Let variables read other values than their own, such as those after a step, on any backend.

    Args:
        variables: Keras's variables.
        values: Tensors; what is made with them is differentiated by what they were made of.
    """
    if _backend() == "jax":
        with reading(variables, values):
            yield
        return
    import keras

    pairs = list(zip(variables, values, strict=True))
    with keras.StatelessScope(pairs, collect_losses=True, initialize_variables=False):
        yield


class Program:
    """A function of some variables' values and of data, which calls a model.

    On JAX it is compiled, once for each shape of the data, and has all of the model's variables as
    arguments: weights may change between two calls. On TensorFlow it is a graph if it is to be
    called often, as tracing gradients of gradients takes as long as several calls; a model that
    cannot be traced, as one that looks at its numbers, runs as it is. So does all on PyTorch. What
    a call writes into variables is forgotten on JAX.

    Args:
        function: Of a list of tensors and of data; from both it makes what is returned, tensors.
        variables: Whose values it is given.
        others: All other variables that the model reads.
        often: Whether it is called often.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        variables: Sequence[Any],
        others: Sequence[Any] = (),
        often: bool = False,
    ) -> None:
        given = {id(variable) for variable in variables}
        self._function, self._variables = function, list(variables)
        self._others = [v for v in {id(v): v for v in others}.values() if id(v) not in given]
        self._often = often
        self._compiled: Any = None

    def __call__(self, *data: Any) -> Any:
        """What the function makes of the values that the variables have now."""
        if _backend() == "tensorflow" and self._often:
            return self._in_graph(data)
        values = [variable.value for variable in self._variables]
        if _backend() != "jax":
            return self._function(values, *data)
        if self._compiled is None:
            import jax

            self._compiled = jax.jit(self._traced)
        return self._compiled(values, [variable.value for variable in self._others], data)

    def _in_graph(self, data: tuple[Any, ...]) -> Any:
        if self._compiled is None:
            import tensorflow as tf

            self._compiled = tf.function(self._as_it_is, autograph=False)
        try:
            return self._compiled(*data)
        except Exception:
            # Of the model or of TensorFlow; what is wrong with the model is said below, too.
            self._often = False
            return self._as_it_is(*data)

    def _as_it_is(self, *data: Any) -> Any:
        return self._function([variable.value for variable in self._variables], *data)

    def _traced(self, values: list[Any], others: list[Any], data: tuple[Any, ...]) -> Any:
        with reading(self._others, others), reading(self._variables, values):
            return self._function(values, *data)


def dense(gradients: list[Any], values: list[Any]) -> list[Any]:
    """TensorFlow's gradients as tensors: zeros where there is none, an embedding's whole table."""
    import tensorflow as tf

    return [
        tf.zeros_like(v) if g is None else tf.convert_to_tensor(g)
        for g, v in zip(gradients, values, strict=True)
    ]


def _by_tensorflow(
    function: Callable[[list[Any]], Any], values: list[Any], again: bool, more: bool, watched: Any
) -> tuple[Any, list[Any]]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        # Variables are watched by themselves, if they train.
        tape.watch([value for value in values if not isinstance(value, tf.Variable)])
        found = function(values)
        value = found[0] if more else found
    if watched is not None:
        watched(tape.watched_variables())
    return found, dense(tape.gradient(value, values), values)


def _by_jax(
    function: Callable[[list[Any]], Any], values: list[Any], again: bool, more: bool, watched: Any
) -> tuple[Any, list[Any]]:
    import jax

    found, gradients = jax.value_and_grad(function, has_aux=more, allow_int=True)(values)
    return found, [
        jax.numpy.zeros_like(v) if g.dtype == jax.dtypes.float0 else g
        for g, v in zip(gradients, values, strict=True)
    ]


def _by_torch(
    function: Callable[[list[Any]], Any], values: list[Any], again: bool, more: bool, watched: Any
) -> tuple[Any, list[Any]]:
    import torch

    with torch.enable_grad():
        found = function(values)
    value = found[0] if more else found
    asked = [v for v in values if v.requires_grad]
    parts: list[Any] = [None] * len(asked)
    if asked and value.requires_grad:
        parts = list(torch.autograd.grad(value, asked, create_graph=again, allow_unused=True))
    by_value = dict(zip(map(id, asked), parts, strict=True))
    gradients = [by_value.get(id(v)) for v in values]
    return found if again or more else value.detach(), [
        torch.zeros_like(v) if g is None else g for g, v in zip(gradients, values, strict=True)
    ]


_BACKENDS = {"tensorflow": _by_tensorflow, "jax": _by_jax, "torch": _by_torch}
