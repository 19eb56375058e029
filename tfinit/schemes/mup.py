"""Yang et al.: scales with which learning rates carry over to wider models."""

import math
from typing import Any

import numpy as np

from tfinit.arguments import number, one_of
from tfinit.errors import InputError
from tfinit.graph.kernels import Kernel, find_kernels
from tfinit.graph.tracing import trace
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Report, frozen, record_of
from tfinit.schemes.engine.task import Task
from tfinit.schemes.variance import draw
from tfinit.variables import check_built

_OPTIMIZERS = ("adam", "sgd")


@scheme("μP")
def mup(task: Task, *, base: Any, optimizer: str = "adam", gain: float = 1.0) -> Report:
    """Scales and learning rates by which axes grow with the width; n is wide / base of an axis.

    ========== ======================== ================================= ============ ==========
    kernel     axes that grow           σ²                                Adam's rate  SGD's rate
    ========== ======================== ================================= ============ ==========
    input      its outputs              gain² / fan_in                    1            n_out
    hidden     inputs and outputs       gain² / fan_in                    1 / n_in     1
    output     its inputs               gain² / fan_in / n_in             1 / n_in     1 / n_in
    other      none                     gain² / fan_in                    1            1
    ========== ======================== ================================= ============ ==========

    The optimizer's rate for a weight is the base model's rate times the multiplier in the report.
    Biases and normalization, which no scheme changes, have 1 with Adam and n with SGD, as inputs.
    With ``base`` the model's own architecture at its own width, all is as in a plain model. The
    paper's attention divides by the size of a head instead of its root; that is for the model.

    Args:
        task: The wide model.
        base: The same architecture in the width that the rate was tuned at, built. An embedding
            table is an input kernel, whose rows are never summed.
        optimizer: ``"adam"`` (and its relatives) or ``"sgd"``.
        gain: Of all kernels.

    Returns:
        A report with the standard deviation and the learning-rate multiplier of each kernel.

    Raises:
        InputError: ``base`` is not a built model with the same weights but for their sizes, or
            another optimizer or gain.

    Example:
        >>> def model(width):
        ...     layers = [keras.layers.Dense(n) for n in (width, width, 2)]
        ...     return keras.Sequential([keras.Input((4,)), *layers])
        >>> report = initialize(model(256), "mup", seed=1, base=model(64))
        >>> [record.multiplier for record in report]
        [1.0, 0.25, 0.25]

    Yang et al., Tensor programs V: tuning large neural networks via zero-shot hyperparameter
    transfer, NeurIPS 2021, table 3.
    """
    one_of("optimizer", optimizer, _OPTIMIZERS)
    gain = number("gain", gain, above=0)
    narrow = _matching(task, base)
    stds: dict[str, list[float]] = {}
    multipliers: dict[str, float] = {}
    kinds: dict[str, str] = {}
    for kernel in task.kernels:
        other = narrow[kernel.key]
        n_in, n_out = kernel.fan_in / other.fan_in, kernel.fan_out / other.fan_out
        kind = _KINDS[n_in != 1, n_out != 1]
        variance = gain**2 / kernel.fan_in / (n_in if kind == "output" else 1)
        stds[kernel.key] = [math.sqrt(variance)] * len(kernel.activations)
        multipliers[kernel.key] = _RATES[optimizer][kind](n_in, n_out)
        kinds[kernel.key] = kind

    def value(kernel: Kernel, random: np.random.Generator) -> np.ndarray:
        return draw(kernel, stds[kernel.key], "normal", random)

    task.draw([kernel for kernel in task.kernels if kernel.trainable], value)
    records = [
        record_of(
            kernel,
            "set",
            std=stds[kernel.key][0],
            multiplier=multipliers[kernel.key],
            note=kinds[kernel.key],
        )
        if kernel.trainable
        else frozen(kernel)
        for kernel in task.kernels
    ]
    return task.report("mup", records, f"multipliers of the learning rate of {optimizer}")


# By whether the inputs and the outputs grow.
_KINDS = {
    (False, True): "input",
    (True, True): "hidden",
    (True, False): "output",
    (False, False): "other",
}
_RATES = {
    "adam": {
        "input": lambda n_in, n_out: 1.0,
        "hidden": lambda n_in, n_out: 1 / n_in,
        "output": lambda n_in, n_out: 1 / n_in,
        "other": lambda n_in, n_out: 1.0,
    },
    "sgd": {
        "input": lambda n_in, n_out: n_out,
        "hidden": lambda n_in, n_out: 1.0,
        "output": lambda n_in, n_out: 1 / n_in,
        "other": lambda n_in, n_out: 1.0,
    },
}


def _matching(task: Task, base: Any) -> dict[str, Kernel]:
    """The base model's kernels under the keys of the wide model's."""
    check_built(base, "base")
    kernels = find_kernels(base, trace(base))
    narrow = {kernel.key: kernel for kernel in kernels}
    keys = [kernel.key for kernel in task.kernels]
    unlike = [
        k.key for k in task.kernels if k.key in narrow and len(narrow[k.key].shape) != len(k.shape)
    ]
    if set(keys) != set(narrow) or unlike:
        raise InputError(
            "`base` must be the same architecture in another width: its kernels are "
            f"{list(narrow)}, the model's {keys}."
        )
    return narrow
