"""Yang et al.: scales with which learning rates carry over to wider models."""

import math
from typing import Any, NamedTuple

import numpy as np

from tfinit.arguments import number, one_of
from tfinit.errors import InputError
from tfinit.graph.kernels import Kernel, find_kernels
from tfinit.graph.tracing import trace
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Record, Report, records_of_set
from tfinit.schemes.engine.task import Task
from tfinit.schemes.variance import draw
from tfinit.variables import all_weights, check_built, own_weights, walk_layers

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

    The optimizer's rate for a weight is the base model's rate times the multiplier in the report:
    `tfinit.learning_rates.scaled_learning_rates` makes an optimizer of it. Biases and
    normalization, which no scheme changes, have 1 with Adam and n with SGD, as inputs; where that
    is not 1 the report has them, too.
    With ``base`` the model's own architecture at its own width, all is as in a plain model. The
    paper's attention divides by the size of a head instead of its root; that is for the model.

    Args:
        task: The wide model.
        base: The same architecture in the width that the rate was tuned at, built. An embedding
            table is an input kernel, whose rows are never summed.
        optimizer: ``"adam"`` (and its relatives) or ``"sgd"``.
        gain: Of all kernels.

    Returns:
        A report with the standard deviation and the learning-rate multiplier of each kernel, and
        the multipliers of other weights that are not 1.

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
    kernels, others = by_width(task, base, optimizer, gain)
    records = draw_by_width(task, kernels, others)
    return task.report("mup", records, f"multipliers of the learning rate of {optimizer}")


class ByWidth(NamedTuple):
    """What is said of a kernel: which row of μP's table, the deviation, the learning rate."""

    kind: str
    std: float
    multiplier: float


def by_width(
    task: Task, base: Any, optimizer: str, gain: float
) -> tuple[dict[str, ByWidth], dict[str, float]]:
    """The kernels by their keys, and the multipliers of all other weights that train.

    Raises:
        InputError: as `mup`.
    """
    one_of("optimizer", optimizer, _OPTIMIZERS)
    gain = number("gain", gain, above=0)
    narrow = _matching(task, base)
    found = {}
    for kernel in task.kernels:
        other = narrow[kernel.key]
        n_in, n_out = kernel.fan_in / other.fan_in, kernel.fan_out / other.fan_out
        kind = _KINDS[n_in != 1, n_out != 1]
        variance = gain**2 / kernel.fan_in / (n_in if kind == "output" else 1)
        rate = _RATES[optimizer][kind](n_in, n_out)
        found[kernel.key] = ByWidth(kind, math.sqrt(variance), rate)
    sizes = {key: math.prod(v.shape) for key, v in all_weights(base).items()}
    others = {
        key: _RATES[optimizer]["input"](1, math.prod(variable.shape) / sizes[key])
        for key, variable in all_weights(task.model).items()
        if key not in found and variable.trainable and sizes.get(key)
    }
    return found, others


def draw_by_width(
    task: Task, kernels: dict[str, ByWidth], others: dict[str, float]
) -> list[Record]:
    """Draw each kernel that trains from its normal distribution; the lines of all weights."""

    def value(kernel: Kernel, random: np.random.Generator) -> np.ndarray:
        return draw(kernel, [kernels[kernel.key].std] * len(kernel.activations), "normal", random)

    task.draw([kernel for kernel in task.kernels if kernel.trainable], value)

    def known(kernel: Kernel) -> dict[str, Any]:
        kind, std, multiplier = kernels[kernel.key]
        return {"std": std, "multiplier": multiplier, "note": kind}

    return records_of_set(task.kernels, known) + _records_of_others(task, others)


def _records_of_others(task: Task, multipliers: dict[str, float]) -> list[Record]:
    """The lines of biases and normalizations, which are left, whose learning rate is another."""
    weights = all_weights(task.model)
    owners = {
        id(variable): type(layer).__name__
        for _, layer in walk_layers(task.model)
        for variable in own_weights(layer)
    }
    return [
        Record(
            key,
            owners[id(weights[key])],
            tuple(weights[key].shape),
            "kept",
            multiplier=multiplier,
            note="only its learning rate",
        )
        for key, multiplier in multipliers.items()
        if multiplier != 1
    ]


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
