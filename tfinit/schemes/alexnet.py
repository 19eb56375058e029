"""Krizhevsky, Sutskever & Hinton: one Gaussian for all, and ones where ReLUs need a push."""

import numpy as np

from tfinit.arguments import number
from tfinit.graph.layer_kinds import kind_of
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Report, frozen, record_of
from tfinit.schemes.engine.task import Task
from tfinit.schemes.variance import draw

_WITHOUT_ONES = (1, 3)


@scheme("AlexNet")
def alexnet(task: Task, *, std: float = 0.01, ones: float = 1.0) -> Report:
    """w ~ N(0, 0.01²); b = 1 in hidden rectifier layers, but for convolutions 1 and 3; else b = 0.

    The paper sets ones in "the second, fourth, and fifth convolutional layers, as well as in the
    fully-connected hidden layers": all hidden ones but the first and the third convolution. Ones
    give ReLUs positive inputs, so a layer that no rectifier follows gets zeros.

    Why: It is how the first deep networks on GPUs began: small numbers, whatever the layer's size,
    and biases that open the ReLUs. In narrow or deep networks such weights are too small, and the
    signal vanishes.

    Args:
        task: The model. Biases of its kernels' layers are set too.
        std: The standard deviation of every kernel.
        ones: The value of those biases.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2, "relu")])
        >>> report = initialize(model, "alexnet", seed=1)
        >>> model.layers[0].bias.numpy()
        array([1., 1.], dtype=float32)

    Krizhevsky, Sutskever & Hinton, ImageNet classification with deep convolutional neural
    networks, NIPS 2012, section 5, https://doi.org/10.1145/3065386.
    """
    std, ones = number("std", std, above=0), number("ones", ones)
    chosen = [kernel for kernel in task.kernels if kernel.trainable]
    task.draw(chosen, lambda kernel, random: draw(kernel, [std], "normal", random))
    records = []
    convolutions = 0
    for kernel in task.kernels:
        is_conv = kind_of(kernel.layer).convolution
        # A separable convolution is one layer with two kernels.
        convolutions += is_conv and kernel.name != "depthwise_kernel"
        if not kernel.trainable:
            records.append(frozen(kernel))
            continue
        note = ""
        if kernel.bias is not None:
            rectified = (
                "relu" in kernel.activations[0].name or kernel.activations[0].name == "prelu"
            )
            pushed = rectified and not (is_conv and convolutions in _WITHOUT_ONES)
            task.write(kernel.bias, np.full(tuple(kernel.bias.shape), pushed * ones, np.float32))
            note = f"bias {pushed * ones:g}"
        records.append(record_of(kernel, "set", std=std, note=note))
    return task.report("alexnet", records)
