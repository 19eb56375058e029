"""A model's variables as they were at one moment, and a run on them that writes none.

A pass in training mode changes moving statistics, seeds and metrics, and what measures may want
other weights in the model. All of that happens here in a scope of the thread: Keras reads and
writes tensors in the place of the variables, which are never touched, so that whoever trains, calls
or saves the model in another thread does not notice.
"""

import random
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import keras
import numpy as np

from tfinit.errors import InputError
from tfinit.graph.exclusive import alone
from tfinit.graph.keras_internals import (
    assign_at_once,
    forget_losses,
    holds_a_value,
    keep_called,
    renew_losses,
    set_thread_attribute,
    thread_attribute,
)
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.overlay import overlaid
from tfinit.variables import walk_layers

# Of reading all variables, until twice the same is read.
_TRIES = 20


class Snapshot(keras.StatelessScope):
    """What Keras's variables are in this thread while the scope is open: copies of their own.

    On TensorFlow, copies of trainable ones are variables, which tapes and custom gradients find;
    on PyTorch, tensors that gradients are taken of. Of others, and on JAX, they are tensors. They
    share the memory of what was read until something is assigned. What is traced into a
    ``tf.function`` meanwhile has the variables themselves: it outlives the scope.

    Args:
        values: Variables and their values.
    """

    def __init__(self, values: list[tuple[Any, Any]]) -> None:
        super().__init__(collect_losses=True)
        self._values = {id(variable): (variable, value) for variable, value in values}
        # The backend's own behind each: what it is outside of the scope.
        self._live = {id(variable): variable.value for variable, _ in values}

    @property
    def taken(self) -> list[tuple[Any, Any]]:
        """The variables, and what they held first."""
        return list(self._values.values())

    def get_current_value(self, variable: Any) -> Any:
        """The copy of a variable; None in a graph, where the variable itself is meant."""
        if _in_graph():
            return None
        found = super().get_current_value(variable)
        if found is None and id(variable) in self._values:
            found = _copy(self._live[id(variable)], self._values[id(variable)][1])
            self.state_mapping[id(variable)] = found
        return found

    def add_update(self, update: tuple[Any, Any]) -> None:
        """Assign to the copy; in a graph, to the variable itself."""
        variable, value = update
        if _in_graph():
            assign_at_once(variable, value)
            return
        copy = self.get_current_value(variable)
        if _is_tensorflow() and hasattr(copy, "assign"):
            copy.assign(value)
            return
        # As from a variable, no gradient goes back from it to where it was made.
        value = keras.ops.stop_gradient(value)
        if getattr(copy, "requires_grad", False):  # PyTorch
            value = value.requires_grad_()
        super().add_update((variable, value))

    def differentiable(self, variables: list[Any]) -> list[Any]:
        """What variables hold here, so that gradients can be taken by it, of frozen ones too."""
        if keras.backend.backend() == "torch":
            for variable in variables:
                held = self.get_current_value(variable)
                if held.is_floating_point() and not held.requires_grad:
                    self.state_mapping[id(variable)] = held.detach().requires_grad_()
        return [variable.value for variable in variables]

    @contextmanager
    def recorded(self) -> Iterator[Any]:
        """A tape of TensorFlow; what a ``tf.function`` in the model did to its variables is undone
        at the end."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            try:
                yield tape
            finally:
                if self.is_passed_by(tape):
                    for key, (_, value) in self._values.items():
                        if not _same(tf.convert_to_tensor(self._live[key]), value):
                            self._live[key].assign(value)

    def is_passed_by(self, tape: Any) -> bool:
        """True if a ``tf.function`` in the model used its variables themselves on the tape."""
        live = {id(variable) for variable in self._live.values()}
        return any(id(variable) in live for variable in tape.watched_variables())

    def gradients(self, tape: Any, target: Any, variables: list[Any]) -> list[Any]:
        """Those of a tape by each variable, as dense tensors; None where there is none."""
        import tensorflow as tf

        sources = [[self.get_current_value(v), self._live[id(v)]] for v in variables]
        found = []
        for parts in tape.gradient(target, sources):
            dense = [tf.convert_to_tensor(part) for part in parts if part is not None]
            found.append(tf.add_n(dense) if dense else None)
        return found

    def before(self) -> keras.StatelessScope:
        """Another scope, with the values that there were first."""
        scope = keras.StatelessScope()
        scope.state_mapping.update((key, value) for key, (_, value) in self._values.items())
        return scope


@contextmanager
def apart(model: Any, held: list[tuple[Any, Any]] | None = None) -> Iterator[Snapshot]:
    """The model as it is now, for this thread: what is done to it in the block is forgotten.

    That is: the values of variables, seeds and metrics; losses that layers add; the generator of
    layers that draw without a seed; what `compute_loss` makes when it is first asked. A `call` that
    is a ``tf.function`` runs as Python.

    Args:
        model: A built model.
        held: What its variables hold in the block: what an earlier snapshot of it has `taken`,
            perhaps with other values. None: what they hold now.

    Raises:
        InputError: another thread trains the model so fast that no single state can be read.
    """
    if held is None:
        with alone(model):
            values = _read(model, list({id(v): v for v in model.variables}.values()))
    else:
        values = held[:-1]  # the last is of the generator
    # Of layers that draw without a seed of their own. Keras has one a thread, made when needed.
    shared = thread_attribute("global_seed_generator")
    drawn = shared or keras.random.SeedGenerator(_next_seed(), name="global_seed_generator")
    values.append((drawn.state, _now(drawn.state)))
    snapshot = Snapshot(values)
    set_thread_attribute("global_seed_generator", drawn)
    try:
        with overlaid() as put, _buffers_left(model), snapshot:
            for _, layer in walk_layers(model):
                forget_losses(put, layer)
                keep_called(put, layer)
                # Traced, it would use the variables, and nobody could look inside.
                traced = getattr(getattr(layer, "call", None), "python_function", None)
                if traced is not None:
                    put(layer, "call", traced)
                if _is_tensorflow() and _compiles_its_convolution(layer):
                    put(layer, "call", partial(_with_its_kernel, layer, layer.call))
            renew_losses(put, model)
            yield snapshot
    finally:
        set_thread_attribute("global_seed_generator", shared)


def _compiles_its_convolution(layer: Any) -> bool:
    """Whether Keras computes it in a ``tf.function``, as TensorFlow cannot on a CPU otherwise."""
    grouped = getattr(layer, "groups", 1) != 1
    first = getattr(layer, "data_format", "") == "channels_first"
    return kind_of(layer).convolution and hasattr(layer, "kernel") and (grouped or first)


def _with_its_kernel(layer: Any, call: Any, *args: Any, **kwargs: Any) -> Any:
    """A call of a layer whose kernel is a tensor meanwhile, which in a graph is the same."""
    import tensorflow as tf

    with overlaid() as put:
        # Keras's own function would give the variable back.
        put(layer, "kernel", tf.convert_to_tensor(getattr(layer.kernel, "value", layer.kernel)))
        return call(*args, **kwargs)


@contextmanager
def _buffers_left(model: Any) -> Iterator[None]:
    """Put back what modules of PyTorch itself, in a TorchModuleWrapper, hold beside parameters."""
    if keras.backend.backend() != "torch":
        yield
        return
    import torch

    held = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in held:
                buffer.copy_(value)


@contextmanager
def streams_left(model: Any, *functions: Any) -> Iterator[None]:
    """Put back Python's and NumPy's random streams where code of the user's own may draw from them.

    They are the process's: what another thread draws meanwhile is drawn again. Keras's layers and
    losses do not draw from them, so that for a model of these nothing is put back; but PyTorch's
    stream always is, from which Keras's Dropout draws there.
    """
    with _of_torch():
        if not _has_own_code(model, functions):
            yield
            return
        streams = random.getstate(), np.random.get_state()
        try:
            yield
        finally:
            random.setstate(streams[0])
            np.random.set_state(streams[1])


def _of_torch() -> AbstractContextManager[None]:
    if keras.backend.backend() != "torch":
        return nullcontext()
    import torch

    return torch.random.fork_rng(devices=range(torch.cuda.device_count()))


def _has_own_code(model: Any, functions: tuple[Any, ...]) -> bool:
    layers = [layer for _, layer in walk_layers(model)]
    activations = [vars(layer).get("activation") for layer in layers]
    parts = [*layers, *activations, *keras.tree.flatten(functions)]
    return any(
        isinstance(part, keras.layers.Lambda)
        or str(getattr(part, "__module__", "keras")).split(".")[0] != "keras"
        for part in parts
        if not isinstance(part, str | float | int | None)
    )


def _next_seed() -> int:
    """The seed that Keras would draw, which it would take from the stream."""
    copy = random.Random()
    copy.setstate(random.getstate())
    return copy.randint(1, int(1e9))


def _read(model: Any, variables: list[Any]) -> list[tuple[Any, Any]]:
    """The variables' values at one moment: two readings in a row that are the same."""
    if keras.backend.backend() == "jax":
        _check_at_hand(model, variables)
    values = [_now(v) for v in variables]
    for _ in range(_TRIES):
        if threading.enumerate() == [threading.current_thread()]:  # nobody else
            break
        again = [_now(v) for v in variables]
        if all(_same(one, other) for one, other in zip(values, again, strict=True)):
            break
        values = again
    else:
        raise InputError(
            f"`model` {model.name!r} is being trained by another thread: its weights changed "
            f"{_TRIES} times while they were read. Ask between two steps, in a callback of `fit` "
            "(as SignalMonitor does), or take a copy: keras.models.clone_model and set_weights."
        )
    return list(zip(variables, values, strict=True))


def _is_tensorflow() -> bool:
    return keras.backend.backend() == "tensorflow"


def _in_graph() -> bool:
    """True while TensorFlow traces a graph, which means the variables themselves."""
    if not _is_tensorflow():
        return False
    import tensorflow as tf

    return not tf.executing_eagerly()


def _check_at_hand(model: Any, variables: list[Any]) -> None:
    """InputError if `fit` has the variables' values elsewhere, which it does on JAX."""
    if not all(map(holds_a_value, variables)):
        raise InputError(
            f"`model` {model.name!r} is in `fit`, which on JAX holds the weights itself from step "
            "to step. In a callback, call model.jax_state_sync() first, or use "
            "tfinit.callbacks.SignalMonitor, which does; in another thread, wait for its end."
        )


def _now(variable: Any) -> Any:
    """What a variable holds, which stays as it is when somebody assigns."""
    value = variable.value
    if keras.backend.backend() == "torch":
        return value.detach().clone()  # PyTorch writes into a parameter's memory
    if _is_tensorflow():
        import tensorflow as tf

        # It shares the variable's memory; TensorFlow copies when somebody assigns. Keras's own
        # function would give the variable back.
        return tf.convert_to_tensor(value)
    return keras.ops.convert_to_tensor(value)


def _copy(live: Any, value: Any) -> Any:
    """What stands for a variable in a `Snapshot`: of one that trains, what gradients are taken of.

    Args:
        live: The backend's variable itself.
        value: A tensor of what it holds.
    """
    if _is_tensorflow():
        import tensorflow as tf

        # In another scope it is what stands for the variable there.
        if getattr(live, "trainable", False):
            with tf.device(live.device):
                return tf.Variable(value)
    elif getattr(live, "requires_grad", False):
        return value.detach().requires_grad_()
    return value


def _same(one: Any, other: Any) -> bool:
    """True if two tensors hold the same bits; nothing is compared if they are the same memory."""
    try:
        if _address(one) == _address(other):
            return True
    except (
        BufferError,
        TypeError,
        ValueError,
    ):  # not in memory of the host, or of a type of its own
        pass
    to_numpy = keras.ops.convert_to_numpy
    return to_numpy(one).tobytes() == to_numpy(other).tobytes()


def _address(tensor: Any) -> int:
    return np.frombuffer(memoryview(tensor).cast("B"), np.uint8).ctypes.data
