"""One forward pass in which each layer's kernel is set as the data reaches it.

A pre-activation is linear in the kernel: z = W∗x + b. So the pass computes it once, a scheme
chooses a factor from it, and what goes on to the next layer is φ(factor · W∗x + b): no layer is
ever run twice.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tfinit.errors import InputError
from tfinit.graph.activations import gate_activations
from tfinit.graph.calling import call, check_data
from tfinit.graph.gradients import without_gradients
from tfinit.graph.kernels import Kernel
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.overlay import overlaid
from tfinit.schemes.engine.task import Task
from tfinit.variables import keras_of, walk_layers

# Given a kernel, W∗x and b as tensors that broadcast (b is None where it is zero), it writes the
# weights and returns the new pre-activation; None to have the layer called with what it holds now.
Stop = Callable[[Kernel, Any, Any], Any]


def reachable(task: Task) -> list[Kernel]:
    """The trainable kernels that a pass can rescale: those of layers whose output is φ(W∗x + b).

    Of a recurrent layer this is the kernel of its inputs; what it makes is the share of the inputs
    in each gate. Of a separable convolution it is the pointwise kernel.
    """
    cells = {id(getattr(layer, "cell", None)) for _, layer in walk_layers(task.model)}
    return [kernel for kernel in task.kernels if kernel.trainable and _is_linear(kernel, cells)]


def pass_through(task: Task, kernels: list[Kernel], stop: Stop) -> set[str]:
    """Call the model once on the data, in inference mode; stop at each of the kernels' layers.

    Args:
        task: The model and the data.
        kernels: Some of `reachable`'s.
        stop: Called once for each kernel, when the data first reaches its layer.

    Returns:
        The keys of the kernels that the data reached.

    Raises:
        InputError: the model is not of Keras 3, or the data does not fit it or is not finite.
    """
    if keras_of(task.model) != "keras":
        raise InputError(
            "Schemes that use data run on models of Keras 3, received a tf_keras model. "
            "Use a scheme that needs no data."
        )
    data = check_data(task.model, task.data)
    reached: set[str] = set()
    with _stopping(task, kernels, stop, reached), without_gradients():
        call(task.model, data)
    return reached


def _is_linear(kernel: Kernel, cells: set[int]) -> bool:
    layer = kernel.layer
    if gate_activations(layer):
        return kernel.name == "kernel" and len(kernel.shape) == 2 and id(layer) in cells
    if kernel.name in ("depthwise_kernel", "reverse_embeddings"):
        return False
    return kind_of(layer).linear


@contextmanager
def _stopping(task: Task, kernels: list[Kernel], stop: Stop, reached: set[str]) -> Iterator[None]:
    """Put a stop into the `call` of each kernel's layer, for the calls of this thread."""
    recurrent = {id(getattr(layer, "cell", None)): layer for _, layer in walk_layers(task.model)}
    with overlaid() as put:
        for kernel in kernels:
            gated = bool(gate_activations(kernel.layer))
            layer = recurrent[id(kernel.layer)] if gated else kernel.layer
            with_stop = _with_stop_before if gated else _with_stop
            put(layer, "call", with_stop(kernel, layer.call, stop, reached))
        yield


def _with_stop(
    kernel: Kernel, plain: Callable[..., Any], stop: Stop, reached: set[str]
) -> Callable[..., Any]:
    layer = kernel.layer

    def call(*args: Any, **kwargs: Any) -> Any:
        if kernel.key in reached:  # a shared layer, called again
            return plain(*args, **kwargs)
        reached.add(kernel.key)
        with _without_activation(layer) as activation:
            z = plain(*args, **kwargs)
        z = _stopped(kernel, z, stop)
        return plain(*args, **kwargs) if z is None else activation(z)

    return call


@contextmanager
def _without_activation(layer: Any) -> Iterator[Callable[[Any], Any]]:
    """The layer's activation, which it does not apply while the block runs."""
    activation = getattr(layer, "activation", None)
    if activation is None:
        yield lambda z: z
        return
    with overlaid() as put:
        put(layer, "activation", None)
        yield activation


def _stopped(kernel: Kernel, z: Any, stop: Stop) -> Any:
    """The new pre-activation, from the old one."""
    import keras

    bias = bias_of(kernel, z)
    if bias is None:
        return stop(kernel, z, None)
    return stop(kernel, z - keras.ops.cast(bias, z.dtype), bias)


def bias_of(kernel: Kernel, z: Any) -> Any:
    """The layer's bias, shaped to broadcast against its output; None if all of it is zero."""
    import keras

    if kernel.bias is None:
        return None
    bias = keras.ops.convert_to_numpy(kernel.bias)
    if not np.any(bias):
        return None
    if getattr(kernel.layer, "data_format", None) == "channels_first":
        bias = bias.reshape(-1, *(1,) * (len(z.shape) - 2))
    return keras.ops.convert_to_tensor(bias)


def _with_stop_before(
    kernel: Kernel, plain: Callable[..., Any], stop: Stop, reached: set[str]
) -> Callable[..., Any]:
    import keras

    def call(sequences: Any, *args: Any, **kwargs: Any) -> Any:
        if kernel.key not in reached:
            reached.add(kernel.key)
            weights = keras.ops.cast(kernel.variable, sequences.dtype)
            stop(kernel, keras.ops.matmul(sequences, weights), None)
        return plain(sequences, *args, **kwargs)

    return call
