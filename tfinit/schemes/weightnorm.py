"""Salimans & Kingma: each unit of mean 0 and variance 1 on a batch, in one forward pass."""

from typing import Any

import numpy as np

from tfinit.arguments import number
from tfinit.graph.kernels import Kernel
from tfinit.graph.output_channels import against_kernel, against_output, channel_statistics
from tfinit.schemes.engine.forward import pass_through, reachable
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Record, Report, frozen, record_of
from tfinit.schemes.engine.task import Task
from tfinit.schemes.engine.unit_means import INPUTS, LEAST, is_centred_after, reads_inputs, share_in
from tfinit.schemes.lsuv import NOT_REACHED, check_finite
from tfinit.schemes.variance import draw

_CONSTANT = 1e-5
_SMALLEST = 1e-30


@scheme("Weight normalization, from data", needs_data=True)
def weightnorm_data(task: Task, *, std: float = 0.05) -> Report:
    """w ← v / σ[v∗x] and b ← -μ[v∗x] / σ[v∗x] for each output channel, v ~ N(0, std²).

    Every channel of every pre-activation then has mean 0 and variance 1 on the batch. In terms of
    the paper's w = g · v/‖v‖ this is its g and b. A layer without a bias gets the factor alone, so
    its channels keep a mean, and so does a recurrent one. Layers run as in inference. A recurrent
    kernel, which the pass does not reach, is orthogonal with entries of that std.

    Where the mean of the inputs hides what varies (2000 ± 10), the biases take it out, but the
    first steps of training bring it back: the report and a warning say so.

    Why: The first batch tells what each unit sees. Weights are scaled and biases set so that every
    unit starts in the middle of its activation's range, neither always off nor saturated.

    Args:
        task: The model, and a batch.
        std: The standard deviation of v. It only matters to channels that are constant and to
            recurrent kernels.

    Returns:
        A report with the mean factor of each kernel; constant channels are counted there, and
        keep v and their bias.

    Raises:
        InputError: data that does not fit or is not finite, or a ``std`` that is not positive.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
        >>> x = numpy.random.default_rng(0).normal(size=(256, 8))
        >>> report = initialize(model, "weightnorm_data", x, seed=1)
        >>> bool(keras.ops.max(abs(keras.ops.std(model(x), axis=0) - 1)) < 1e-5)
        True

    Salimans & Kingma, Weight normalization, NIPS 2016, section 3,
    https://arxiv.org/abs/1602.07868.
    """
    std = number("std", std, above=0)
    chosen = [kernel for kernel in task.kernels if kernel.trainable]
    task.draw(chosen, lambda kernel, random: draw(kernel, [std], "normal", random))
    records = standardize(task)
    return task.report(
        "weightnorm_data",
        [
            records.get(kernel.key)
            or (record_of(kernel, "set", note=NOT_REACHED) if kernel.trainable else frozen(kernel))
            for kernel in task.kernels
        ],
    )


def standardize(task: Task, scale: bool = True) -> dict[str, Record]:
    """Give every output channel mean 0, and variance 1 if `scale`, in one forward pass.

    Biases take the means. A recurrent layer's input kernel is scaled, and its bias left.

    Returns:
        The records of the kernels that the pass reached, under their keys.
    """
    records: dict[str, Record] = {}

    def stop(kernel: Kernel, linear: Any, bias: Any) -> Any:
        import keras

        statistics = mean, variance = channel_statistics(kernel, linear)
        check_finite(kernel, float(np.sum(variance)))
        varies = (variance > (_CONSTANT * mean) ** 2) & (variance > _SMALLEST)
        factor = np.where(varies & scale, 1 / np.sqrt(np.where(varies, variance, 1)), 1)
        task.write(kernel.variable, kernel.variable * against_kernel(kernel, factor))
        if scale and np.any(varies):
            _tell_of_means(task, kernel, share_in(statistics))
        rank = len(linear.shape)
        # An EinsumDense may share a bias between channels; that one cannot centre each.
        if kernel.bias is not None and np.prod(kernel.bias.shape) == mean.size:
            old = keras.ops.convert_to_numpy(kernel.bias)
            new = np.where(varies, -mean * factor, old.reshape(mean.shape))
            task.write(kernel.bias, new.reshape(old.shape))
            bias = against_output(kernel, new, rank)
        dead = int(np.sum(~varies))
        records[kernel.key] = record_of(
            kernel,
            "scaled",
            scale=float(np.mean(factor)),
            note=f"{dead} of {varies.size} channels are constant over the batch" if dead else "",
        )
        linear = linear * keras.ops.cast(against_output(kernel, factor, rank), linear.dtype)
        return linear if bias is None else linear + keras.ops.cast(bias, linear.dtype)

    pass_through(task, reachable(task), stop)
    return records


def _tell_of_means(task: Task, kernel: Kernel, share: float) -> None:
    """Warn of units whose means hide what varies, where no bias takes them out for good."""
    if kernel.name == "embeddings" or share >= LEAST or is_centred_after(task, kernel):
        return
    which = f"of what {kernel.key!r} makes, {share:.2g} of the size depends on the example"
    if reads_inputs(task, kernel):
        task.warn(
            f"the mean of `x` hides the rest ({which}), and training brings it back: {INPUTS}."
        )
    elif kernel.bias is None:
        task.warn(f"{which}, and no bias takes the units' means out: give the layer one.")
