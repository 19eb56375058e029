"""Glorot & Bengio, He et al., LeCun et al.: random weights of a variance set by the fans."""

import math

import numpy as np

from tfinit.arguments import number, one_of
from tfinit.gains import CUT, CUT_STD
from tfinit.graph.activations import LINEAR
from tfinit.graph.kernels import Kernel, matrices
from tfinit.schemes.engine.isometries import orthogonal_kernel
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Report, records_of_set
from tfinit.schemes.engine.task import Task

MODES = ("fan_in", "fan_out", "fan_avg")
DISTRIBUTIONS = ("normal", "truncated_normal", "uniform")


@scheme("Xavier (Glorot)", is_start=True)
def xavier(
    task: Task,
    *,
    gain: float | str = 1.0,
    mode: str = "fan_avg",
    distribution: str = "uniform",
    bias: float | None = None,
) -> Report:
    """σ² = gain² · 2 / (fan_in + fan_out), of every kernel by its layer's own fans.

    A recurrent kernel of that variance is orthogonal, gate by gate: gain · Q.

    Why: A unit sums fan_in inputs, which multiplies the signal's variance by fan_in · σ²; on the
    way back the gradient's is multiplied by fan_out · σ². Between the two, both keep about their
    size in layers that are linear near 0, as tanh is. ReLU halves the signal at each layer: for it
    there is He.

    Args:
        task: The model.
        gain: A number, or ``"activation"``: the gain of the activation that follows each layer.
        mode: ``"fan_in"``, ``"fan_out"`` or ``"fan_avg"``, which is the formula above.
        distribution: ``"uniform"``, ``"normal"`` or ``"truncated_normal"`` (cut at two standard
            deviations, the variance corrected). Not of recurrent kernels.
        bias: What to set the layers' biases to. None leaves them alone.

    Raises:
        InputError: an unknown mode, distribution or gain.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="fc")])
        >>> round(initialize(model, "xavier", seed=1)["fc/kernel"].std, 4)
        0.5774

    Glorot & Bengio, Understanding the difficulty of training deep feedforward neural networks,
    AISTATS 2010, https://proceedings.mlr.press/v9/glorot10a.html.
    """
    return _variance(task, "xavier", gain, mode, distribution, bias)


@scheme("He", is_start=True)
def he(
    task: Task,
    *,
    gain: float | str = "activation",
    mode: str = "fan_in",
    distribution: str = "normal",
    bias: float | None = None,
) -> Report:
    """σ² = gain² / fan_in, with the gain of the activation that follows (2 / fan_in for ReLU).

    Why: ReLU sets half of what enters it to zero, and so halves the signal at each layer. Twice the
    variance makes up for it: signals and gradients keep their size through any number of layers.

    With ``mode="fan_out"`` the gain is the backward one: gain² · E[φ′(z)²] = 1. Each gate of a
    recurrent layer has the gain of its own activation in the kernel, and 1 in the recurrent
    kernel, which is orthogonal. Arguments and errors are those of "xavier".

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2, "relu", name="fc")])
        >>> round(initialize(model, "he", seed=1)["fc/kernel"].std, 4)
        0.5

    He, Zhang, Ren & Sun, Delving deep into rectifiers, ICCV 2015,
    https://arxiv.org/abs/1502.01852.
    """
    return _variance(task, "he", gain, mode, distribution, bias)


@scheme("LeCun", is_start=True)
def lecun(
    task: Task,
    *,
    gain: float | str = 1.0,
    mode: str = "fan_in",
    distribution: str = "normal",
    bias: float | None = None,
) -> Report:
    """σ² = gain² / fan_in: the variance of what a unit sums is that of its inputs.

    Why: A unit sums fan_in products; with variance 1 / fan_in the sum varies as much as one input
    does. ReLU then loses half at each layer, which He makes up for; SELU is made for this one.

    Arguments, recurrent kernels and errors are those of "xavier".

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="fc")])
        >>> initialize(model, "lecun", seed=1)["fc/kernel"].std
        0.5

    LeCun, Bottou, Orr & Müller, Efficient backprop, 1998,
    http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf.
    """
    return _variance(task, "lecun", gain, mode, distribution, bias)


def _variance(
    task: Task, name: str, gain: float | str, mode: str, distribution: str, bias: float | None
) -> Report:
    one_of("mode", mode, MODES)
    one_of("distribution", distribution, DISTRIBUTIONS)
    bias = number("bias", bias, none=True)
    chosen = [kernel for kernel in task.kernels if kernel.trainable]
    stds = {kernel.key: _stds(task, kernel, gain, mode) for kernel in chosen}
    task.draw(chosen, lambda kernel, random: draw(kernel, stds[kernel.key], distribution, random))
    set_biases(task, chosen, bias)
    records = records_of_set(task.kernels, lambda kernel: {"std": rms(stds[kernel.key])})
    return task.report(name, records)


def _stds(task: Task, kernel: Kernel, gain: float | str, mode: str) -> list[float]:
    """The standard deviation of each gate's part of a kernel; most kernels have one part."""
    fan = {
        "fan_in": kernel.fan_in,
        "fan_out": kernel.fan_out,
        "fan_avg": (kernel.fan_in + kernel.fan_out) / 2,
    }[mode]
    return [g / math.sqrt(fan) for g in gains(task, kernel, gain, mode)]


def gains(task: Task, kernel: Kernel, gain: float | str, mode: str = "fan_in") -> list[float]:
    """The gain of each gate of a kernel: given, or that of the activation that follows.

    Raises:
        InputError: ``gain`` is neither a positive number nor ``"activation"``.
    """
    if isinstance(gain, str) and gain == "activation":
        # What a recurrent kernel reads is the state, which comes back at each step: a gain there
        # would be a power of the number of steps.
        activations = kernel.activations
        if kernel.name == "recurrent_kernel":
            activations = (LINEAR,) * len(activations)
        direction = "backward" if mode == "fan_out" else "forward"
        return [task.gain(activation, direction) for activation in activations]
    gain = number("gain", gain, above=0, what='"activation" or a number')
    return [gain] * len(kernel.activations)


def draw(
    kernel: Kernel, stds: list[float], distribution: str, random: np.random.Generator
) -> np.ndarray:
    """Independent weights of zero mean, gate by gate with the given standard deviations.

    A recurrent kernel's have those standard deviations too, but each gate is a multiple of an
    orthogonal matrix, whatever the distribution (Saxe et al. 2014; Keras's own choice): the state
    goes through it at every step, and the powers of an orthogonal matrix neither stretch nor lose
    a direction, as those of independent numbers do.
    """
    if kernel.name == "recurrent_kernel":
        _, window, inputs, outputs = matrices(kernel).sizes()
        root = math.sqrt(max(window * inputs, outputs))  # 1 / that of an isometry's entries
        return orthogonal_kernel(kernel, [std * root for std in stds], random)
    dtype = np.float64 if "float64" in str(kernel.variable.dtype) else np.float32
    if distribution == "uniform":
        values = random.random(kernel.shape, dtype)
        values -= dtype(0.5)
        unit = math.sqrt(12)
    else:
        values = random.standard_normal(kernel.shape, dtype)
        unit = 1.0
        if distribution == "truncated_normal":
            unit = 1 / CUT_STD
            flat = values.reshape(-1)
            while (outside := np.flatnonzero(np.abs(flat) > CUT)).size:
                flat[outside] = random.standard_normal(outside.size, dtype)
    if len(stds) == 1:
        values *= dtype(stds[0] * unit)
    else:
        parts = values.reshape(*kernel.shape[:-1], len(stds), -1)
        parts *= np.asarray(stds, dtype)[:, None] * dtype(unit)
    return values


def set_biases(task: Task, kernels: list[Kernel], value: float | None) -> None:
    """Set the biases of the kernels' layers to a constant; None leaves them."""
    if value is None:
        return
    for kernel in kernels:
        if kernel.bias is not None:
            task.write(kernel.bias, np.full(tuple(kernel.bias.shape), value, np.float32))


def rms(stds: list[float]) -> float:
    """The standard deviation of parts of equal size together."""
    return math.sqrt(sum(s * s for s in stds) / len(stds))
