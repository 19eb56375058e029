"""Orthogonal kernels, and orthogonal convolutions with all their weight in the middle."""

import numpy as np

from tfinit.arguments import number
from tfinit.graph.kernels import Kernel, matrices
from tfinit.haar import haar_matrices
from tfinit.schemes.engine.isometries import by_map, orthogonal_kernel
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Report, records_of_set
from tfinit.schemes.engine.task import Task
from tfinit.schemes.variance import gains, set_biases


@scheme("Orthogonal", is_start=True)
def orthogonal(
    task: Task, *, gain: float | str = "activation", bias: float | None = None
) -> Report:
    """QᵀQ = gain² · I or QQᵀ = gain² · I, whichever side of the kernel's matrix is shorter.

    The matrix of a kernel is the linear map that its layer applies: one for each group, gate and
    channel of a depthwise convolution; a convolution's goes from a whole window to the channels.
    Rows of an embedding have entries of variance gain², as a lookup sums nothing.

    Why: An orthogonal matrix turns its input and changes no length: a linear network keeps every
    signal and every gradient, where random weights stretch some directions and lose others. The
    gain makes up for what the activation takes.

    Args:
        task: The model.
        gain: A number, or ``"activation"``: the gain of the activation that follows each layer.
        bias: What to set the layers' biases to. None leaves them alone.

    Raises:
        InputError: ``gain`` is neither a positive number nor ``"activation"``.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="fc")])
        >>> report = initialize(model, "orthogonal", seed=1)
        >>> w = model.layers[0].kernel.numpy()
        >>> bool(abs(w.T @ w - numpy.eye(4)).max() < 1e-6)
        True

    Saxe, McClelland & Ganguli, Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks, ICLR 2014, https://arxiv.org/abs/1312.6120.
    """
    return _orthogonal(task, "orthogonal", orthogonal_kernel, gain, bias)


@scheme("Delta-orthogonal", fits="convolutions", is_start=True)
def delta_orthogonal(
    task: Task, *, gain: float | str = "activation", bias: float | None = None
) -> Report:
    """K[middle] = gain · Q, K[elsewhere] = 0 in convolutions; "orthogonal" in other layers.

    The middle is the tap that "same" padding lays on the output's own position. With as many
    channels out as in, or more, the convolution then keeps every norm exactly. Arguments and
    errors are those of "orthogonal".

    Xiao et al., Dynamical isometry and a mean field theory of CNNs, ICML 2018.
    """
    return _orthogonal(task, "delta_orthogonal", _delta_kernel, gain, bias)


def _orthogonal(task: Task, name: str, make, gain: float | str, bias: float | None) -> Report:  # noqa: ANN001
    bias = number("bias", bias, none=True)
    chosen = [kernel for kernel in task.kernels if kernel.trainable]
    scales = {kernel.key: gains(task, kernel, gain) for kernel in chosen}
    stds: dict[str, float] = {}

    def value(kernel: Kernel, random: np.random.Generator) -> np.ndarray:
        values = make(kernel, scales[kernel.key], random)
        stds[kernel.key] = float(np.sqrt(np.mean(np.square(values))))
        return values

    task.draw(chosen, value, threads=1)
    set_biases(task, chosen, bias)
    records = records_of_set(task.kernels, lambda kernel: {"std": stds[kernel.key]})
    return task.report(name, records)


def _delta_kernel(kernel: Kernel, gains: list[float], random: np.random.Generator) -> np.ndarray:
    layout = matrices(kernel)
    if not layout.window:
        return orthogonal_kernel(kernel, gains, random)
    maps, window, inputs, outputs = layout.sizes()
    taps = [layout.shape[axis] for axis in layout.window]
    middle = np.ravel_multi_index([(n - 1) // 2 for n in taps], taps)
    values = np.zeros((maps, window, inputs, outputs), np.float32)
    values[:, middle] = haar_matrices(random, maps, inputs, outputs) * by_map(gains, maps)[:, 0]
    return layout.kernel(values, kernel.shape)
