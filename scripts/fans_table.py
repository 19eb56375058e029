"""Measure what one weight of every layer kind does to the signal: tfinit's fans beside Keras's.

    python scripts/fans_table.py --out docs/fans.md

A wide layer gets unit-variance noise. With Var[w] = 1/fan_in its outputs should have a mean square
of 1; with Var[w] = 1/fan_out so should the gradient at its inputs when unit-variance noise comes
from above. Borders are cut off. Each figure is a mean over independent draws of weights and noise;
its sampling error is the standard error over the draws.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfinit.cli.signals import heard
from tfinit.fans import fans
from tfinit.files import write_whole

DRAWS = 24
MARGIN = 4  # at least every kernel size here, less one
L = keras.layers


@dataclass(frozen=True)
class Case:
    name: str
    make: Callable[[Any], Any]  # a kernel initializer → the layer
    shape: tuple[int, ...]  # of one batch of inputs to the weight
    weight: Callable[[Any], Any] = lambda layer: layer.kernel
    apply: Callable[[Any, Any], Any] = lambda layer, x: layer(x)
    window: int = 0  # axes of space, where borders are cut off
    build: tuple[tuple[int, ...], ...] = ()  # where the layer's inputs are not the weight's
    integers: int = 0  # inputs are drawn below this
    owner: Callable[[Any], Any] = lambda layer: layer  # the layer that `fans` is asked about


def gate(name: str) -> dict[str, Any]:
    """One gate of a recurrent cell: its block of the kernel, as a matrix."""
    return {
        "weight": lambda layer: getattr(layer.cell, name),
        "apply": lambda layer, x: x @ getattr(layer.cell, name).value[:, : layer.units],
    }


def multi_head(init: Any) -> Any:
    return L.MultiHeadAttention(8, 16, kernel_initializer=init)


def grouped_query(init: Any) -> Any:
    return L.GroupQueryAttention(16, 8, 2, kernel_initializer=init)


def projection(
    attention: Callable[[Any], Any], name: str, part: str, shape: tuple[int, ...]
) -> Case:
    return Case(
        name,
        attention,
        shape,
        weight=lambda layer: getattr(layer, part).kernel,
        apply=lambda layer, x: getattr(layer, part)(x),
        build=((8, 20, 160), (8, 20, 160)),
        owner=lambda layer: getattr(layer, part),
    )


CASES = [
    Case("Dense", lambda i: L.Dense(300, kernel_initializer=i), (64, 200)),
    Case("Conv1D", lambda i: L.Conv1D(48, 5, kernel_initializer=i), (16, 40, 32), window=1),
    Case("Conv2D", lambda i: L.Conv2D(48, 3, kernel_initializer=i), (8, 20, 20, 32), window=2),
    Case("Conv3D", lambda i: L.Conv3D(24, 3, kernel_initializer=i), (4, 14, 14, 14, 16), window=3),
    Case(
        "Conv2D, 4 groups",
        lambda i: L.Conv2D(48, 3, groups=4, kernel_initializer=i),
        (8, 20, 20, 32),
        window=2,
    ),
    Case(
        "Conv2D, dilation 2",
        lambda i: L.Conv2D(48, 3, dilation_rate=2, kernel_initializer=i),
        (8, 20, 20, 32),
        window=2,
    ),
    Case(
        "Conv2D, strides 2",
        lambda i: L.Conv2D(48, 3, strides=2, kernel_initializer=i),
        (16, 21, 21, 32),
        window=2,
    ),
    Case(
        "DepthwiseConv1D",
        lambda i: L.DepthwiseConv1D(5, depth_multiplier=2, depthwise_initializer=i),
        (4, 40, 512),
        window=1,
    ),
    Case(
        "DepthwiseConv2D",
        lambda i: L.DepthwiseConv2D(3, depthwise_initializer=i),
        (2, 20, 20, 512),
        window=2,
    ),
    Case(
        "DepthwiseConv2D, strides 2",
        lambda i: L.DepthwiseConv2D(3, strides=2, depthwise_initializer=i),
        (2, 21, 21, 512),
        window=2,
    ),
    Case(
        "SeparableConv2D, depthwise",
        lambda i: L.SeparableConv2D(48, 3, depthwise_initializer=i),
        (2, 20, 20, 512),
        weight=lambda layer: layer.depthwise_kernel,
        apply=lambda layer, x: keras.ops.depthwise_conv(x, layer.depthwise_kernel),
        window=2,
    ),
    Case(
        "SeparableConv2D, pointwise",
        lambda i: L.SeparableConv2D(48, 3, pointwise_initializer=i),
        (8, 20, 20, 64),
        weight=lambda layer: layer.pointwise_kernel,
        apply=lambda layer, x: keras.ops.conv(x, layer.pointwise_kernel),
        window=2,
    ),
    Case(
        "Conv1DTranspose, strides 2",
        lambda i: L.Conv1DTranspose(24, 4, strides=2, kernel_initializer=i),
        (16, 20, 64),
        window=1,
    ),
    Case(
        "Conv2DTranspose",
        lambda i: L.Conv2DTranspose(24, 3, kernel_initializer=i),
        (8, 16, 16, 64),
        window=2,
    ),
    Case(
        "Conv2DTranspose, strides 2",
        lambda i: L.Conv2DTranspose(24, 3, strides=2, kernel_initializer=i),
        (8, 14, 14, 64),
        window=2,
    ),
    Case(
        "Conv3DTranspose, strides 2",
        lambda i: L.Conv3DTranspose(16, 2, strides=2, kernel_initializer=i),
        (4, 8, 8, 8, 48),
        window=3,
    ),
    Case(
        "EinsumDense abc,cde->abde",
        lambda i: L.EinsumDense("abc,cde->abde", (None, 8, 16), kernel_initializer=i),
        (16, 12, 160),
    ),
    Case(
        "EinsumDense abde,dec->abc",
        lambda i: L.EinsumDense("abde,dec->abc", (None, 160), kernel_initializer=i),
        (16, 12, 8, 16),
    ),
    Case(
        "EinsumDense aeb,ebc->aec, 6 experts",
        lambda i: L.EinsumDense("aeb,ebc->aec", (6, 120), kernel_initializer=i),
        (64, 6, 80),
    ),
    projection(multi_head, "MultiHeadAttention, query", "_query_dense", (8, 20, 160)),
    projection(multi_head, "MultiHeadAttention, value", "_value_dense", (8, 20, 160)),
    projection(multi_head, "MultiHeadAttention, output", "_output_dense", (8, 20, 8, 16)),
    projection(grouped_query, "GroupQueryAttention, key", "_key_dense", (8, 20, 160)),
    Case(
        "Embedding",
        lambda i: L.Embedding(500, 128, embeddings_initializer=i),
        (64, 20),
        weight=lambda layer: layer.embeddings,
        integers=500,
    ),
]
for kind in (L.SimpleRNN, L.LSTM, L.GRU):
    CASES += [
        Case(
            f"{kind.__name__}, kernel, one gate",
            lambda i, kind=kind: kind(120, kernel_initializer=i),
            (64, 80),
            build=((8, 5, 80),),
            **gate("kernel"),
        ),
        Case(
            f"{kind.__name__}, recurrent kernel, one gate",
            lambda i, kind=kind: kind(120, recurrent_initializer=i),
            (64, 120),
            build=((8, 5, 80),),
            **gate("recurrent_kernel"),
        ),
    ]


def built(case: Case, initializer: Any) -> Any:
    layer = case.make(initializer)
    layer.build(*(case.build or (case.shape,)))
    return layer


def inner(case: Case, values: np.ndarray) -> np.ndarray:
    """Without borders, and with as many positions as divide by every stride here."""
    for axis in range(1, 1 + case.window):
        count = (values.shape[axis] - 2 * MARGIN) // 2 * 2
        values = np.take(values, range(MARGIN, MARGIN + count), axis) if count > 0 else values
    return values


def mean_square(case: Case, layer: Any, side: str, random: np.random.Generator) -> float:
    if case.integers:
        x = tf.constant(random.integers(case.integers, size=case.shape))
        return float(np.mean(case.apply(layer, x).numpy() ** 2))
    x = tf.constant(random.standard_normal(case.shape).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = case.apply(layer, x)
    if side == "fan_in":
        found = y.numpy()
    else:
        noise = random.standard_normal(y.shape).astype("float32")
        found = tape.gradient(y, x, output_gradients=tf.constant(noise)).numpy()
    return float(np.mean(inner(case, found) ** 2))


def measure(case: Case, side: str, library: str, draws: int = DRAWS) -> tuple[float, float]:
    """Mean square with Var[w] = 1/fan, and its sampling error; the fan is that of ``library``."""
    random, found = np.random.default_rng(0), []
    layer = built(case, "zeros")
    weight = case.weight(layer)
    for seed in range(draws):
        if library == "tfinit":
            fan = fans(case.owner(layer), weight)[side == "fan_out"]
            std = 1 / math.sqrt(fan)
            weight.assign(std * random.standard_normal(weight.shape))
        else:
            layer = built(
                case,
                keras.initializers.VarianceScaling(1.0, side, "untruncated_normal", seed=seed),
            )
        found.append(mean_square(case, layer, side, random))
    return float(np.mean(found)), float(np.std(found, ddof=1) / math.sqrt(draws))


def sides(case: Case) -> tuple[str, ...]:
    # A lookup has no gradient at its inputs.
    return ("fan_in",) if case.integers else ("fan_in", "fan_out")


def row(case: Case) -> list[str]:
    layer = built(case, "zeros")
    own = fans(case.owner(layer), case.weight(layer))
    cells = [case.name, str(tuple(case.weight(layer).shape))]
    for side, fan in zip(("fan_in", "fan_out"), own, strict=True):
        if side not in sides(case):
            cells += [f"{fan:g}", "–", "–"]
            continue
        ours, theirs = (measure(case, side, library) for library in ("tfinit", "keras"))
        # Where Keras's variance is right within its error it is not named off.
        off = abs(theirs[0] - 1) > max(4.5 * theirs[1], 0.01)
        keras_cell = f"**{theirs[0]:.3g}**" if off else f"{theirs[0]:.3f}"
        cells += [f"{fan:g}", f"{ours[0]:.3f} ± {ours[1]:.3f}", keras_cell]
    return cells


HEAD = f"""# Fans of every layer kind, measured

*Written by `python scripts/fans_table.py` with Keras {keras.__version__}.*

A layer gets unit-variance noise, and its weight is drawn with variance 1/fan. The mean square of
what comes out (forward, fan_in) and of the gradient at the inputs (backward, fan_out) should be 1.
The columns "Keras" show the same layer with
`keras.initializers.VarianceScaling(1.0, mode, "untruncated_normal")`: **bold** where it is off, and
by this factor. Keras sees a shape, not a layer, except in EinsumDense and in the attention that is
made of it, which hand over their axes in this version (tf_keras's do not: it reads those kernels
as convolutions). A value after ± is the sampling error over {DRAWS} draws.

Gates of recurrent kernels are measured one by one; Keras divides by all gates together on the way
back. A lookup in an Embedding sums nothing, so its fan_in is 1.

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the page of the documentation here")
    target = parser.parse_args().out
    names = ["layer", "weight", "fan_in", "forward", "Keras", "fan_out", "backward", "Keras"]
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    for case in CASES:
        lines.append(" | ".join(row(case)))
        print(lines[-1], flush=True)
    table = "\n".join(f"| {line} |" for line in lines)
    if target is not None:
        write_whole(target, f"{HEAD}{table}\n".encode())
        print(f"wrote {target}")


if __name__ == "__main__":
    with heard():
        main()
