"""Mishkin & Matas: layer-sequential unit variance, in one forward pass."""

import math
from typing import Any

from tfinit.arguments import number
from tfinit.errors import InputError
from tfinit.graph.kernels import Kernel
from tfinit.schemes.engine.forward import pass_through, reachable
from tfinit.schemes.engine.registry import scheme, start_from
from tfinit.schemes.engine.report import Record, Report, frozen, record_of
from tfinit.schemes.engine.task import Task
from tfinit.schemes.engine.unit_means import (
    INPUTS,
    LEAST,
    is_centred_after,
    reads_inputs,
    share_of_examples,
)

# What varies by less than this share of the whole is rounding in float32.
_CONSTANT = 1e-5
_SMALLEST = 1e-30
DEAD = (
    "dead: constant over the batch, left as it was. Check the layers before it (units that are "
    "all off, a kernel of zeros), or pass a larger batch"
)
NOT_REACHED = "kept its start: the pass does not reach it as a linear layer of Keras"


@scheme("LSUV, from data", needs_data=True)
def lsuv(task: Task, *, std: float = 1.0, start: str | None = "orthogonal") -> Report:
    """W ← W · s with std(s · W∗x + b) = std, layer by layer, x being what reaches the layer.

    The standard deviation is over all entries of a layer's output on the batch, as in the paper;
    over those of one gate in a recurrent layer, whose input kernel alone is rescaled. A shared
    layer is rescaled where the data first reaches it. Layers run as in inference (no dropout,
    moving statistics).

    Over all entries, a unit's own mean counts as signal. With inputs of 2000 ± 10, nearly all of a
    layer's variance is that of its units' means: scaled to 1, what tells examples apart would be
    0.005, and no bias or factor mends it, as each step of training moves the means again. So what
    varies over the examples must be 5 % of the whole at least. Data of which less is left in a
    first layer are refused, unless batch normalization follows; further on, such a layer is named
    in the report and in a warning.

    Why: Formulas assume inputs and activations of some kind; this one looks. Weights start
    orthogonal, a batch passes through, and each layer's weights are divided by the size of what
    comes out: on these data the signal then has size 1 at every layer.

    Args:
        task: The model, and a batch of some dozens of examples.
        std: The standard deviation that each pre-activation gets.
        start: The scheme that the weights are drawn with first, ``"orthogonal"`` as in the paper;
            None rescales the weights that are there.

    Returns:
        A report with the factor of each kernel. A layer whose pre-activation is constant over the
        batch is named there and in a warning, and left as it was.

    Raises:
        InputError: data that does not fit, is not finite, makes activations that are not, or whose
            mean hides what varies; a ``std`` that is not positive.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(64, "relu")])
        >>> x = numpy.random.default_rng(0).normal(size=(256, 8))
        >>> report = initialize(model, "lsuv", x, seed=1)
        >>> model.layers[0].activation = None
        >>> round(float(keras.ops.std(model(x))), 3)
        1.0

    Mishkin & Matas, All you need is a good init, ICLR 2016, https://arxiv.org/abs/1511.06422.
    """
    std = number("std", std, above=0)
    start_from(task, start, **({} if start is None else {"gain": 1.0}))
    records: dict[str, Record] = {}
    dead: list[str] = []
    faint: list[str] = []

    def stop(kernel: Kernel, linear: Any, bias: Any) -> Any:
        import keras

        parts = len(kernel.activations)
        last = linear.shape[-1]
        split = keras.ops.reshape(linear, (-1, parts, last // parts)) if parts > 1 else linear
        found = [
            _scale(kernel, split[:, part] if parts > 1 else split, bias, std)
            for part in range(parts)
        ]
        scales = [scale for scale in found if scale is not None]
        share = share_of_examples(kernel, linear)
        if len(scales) < parts or share <= _CONSTANT:
            task.restore(kernel.variable)
            records[kernel.key] = record_of(kernel, "kept", note=DEAD)
            dead.append(kernel.key)
            return None
        note = ""
        if share < LEAST and not is_centred_after(task, kernel):
            note = f"{share:.2g} of its size depends on the example"
            if reads_inputs(task, kernel):
                raise InputError(
                    f"`x` has a mean that hides the rest: of what {kernel.key!r} makes, only "
                    f'{share:.2g} of the size depends on the example, and "lsuv" would take the '
                    f"units' means for signal. No scale of the weights mends that: {INPUTS}."
                )
            faint.append(kernel.key)
        factor = keras.ops.repeat(keras.ops.array(scales, "float32"), last // parts)
        task.write(kernel.variable, kernel.variable * (scales[0] if parts == 1 else factor))
        scale = math.prod(scales) ** (1 / parts)
        records[kernel.key] = record_of(kernel, "scaled", scale=scale, note=note)
        linear = linear * scales[0]
        return linear if bias is None else linear + keras.ops.cast(bias, linear.dtype)

    pass_through(task, reachable(task), stop)
    if dead:
        task.warn(f"{_listed(dead)} constant over the batch: left as before.")
    if faint:
        task.warn(
            f"{_listed(faint)} almost constant over the batch: units' means were taken for signal. "
            'The layers before lose it. "weightnorm_data" centres each unit; '
            "tfinit.recommend(model).apply() starts with less loss."
        )
    return task.report(
        "lsuv", [records.get(kernel.key) or untouched(kernel, start) for kernel in task.kernels]
    )


def _listed(keys: list[str]) -> str:
    """The first of some kernels, how many others, and the verb."""
    more = f" and {len(keys) - 1} more kernels" if len(keys) > 1 else ""
    return f"what {keys[0]!r}{more} {'make' if more else 'makes'} of `x` is"


def untouched(kernel: Kernel, start: str | None, note: str = NOT_REACHED) -> Record:
    """The line of a kernel that has what it started with."""
    if not kernel.trainable:
        return frozen(kernel)
    return record_of(kernel, "kept" if start is None else "set", note=note)


def _scale(kernel: Kernel, linear: Any, bias: Any, std: float) -> float | None:
    """The s with std(s · linear + bias) = std; None if nothing varies."""
    mean, variance = moments(linear)
    check_finite(kernel, variance)
    if variance <= (_CONSTANT * mean) ** 2 or variance < _SMALLEST:
        return None
    if bias is None:
        return std / math.sqrt(variance)
    import keras

    # var(s·u + b) = s² var(u) + 2s cov(u, b) + var(b)
    _, of_bias = moments(keras.ops.broadcast_to(keras.ops.cast(bias, "float32"), linear.shape))
    _, of_both = moments(linear + keras.ops.cast(bias, linear.dtype))
    covariance = (of_both - variance - of_bias) / 2
    root = covariance**2 + variance * (std**2 - of_bias)
    if root < 0 or math.sqrt(root) <= covariance:
        raise InputError(
            f"`std` = {std} cannot be reached in {kernel.key!r}: the layer's biases alone vary "
            f"with {math.sqrt(of_bias):.3g}. Set them to zero (`bias=0.0` of a scheme without "
            "data, then `start=None`), or ask for a larger `std`."
        )
    return (math.sqrt(root) - covariance) / variance


def moments(values: Any) -> tuple[float, float]:
    """Mean and variance over all entries, computed in float32 or wider."""
    import keras

    if keras.backend.standardize_dtype(values.dtype) != "float64":
        values = keras.ops.cast(values, "float32")
    mean = keras.ops.mean(values)
    variance = keras.ops.mean(keras.ops.square(values - mean))
    return float(mean), float(variance)


def check_finite(kernel: Kernel, statistic: float) -> None:
    """InputError if what a layer makes of the data is not finite."""
    if not math.isfinite(statistic):
        raise InputError(
            f"`x` makes the output of {kernel.key!r} infinite or NaN. Check the layers before "
            "it and the range of the data (in float16 it ends at 65504)."
        )
