"""A 110-layer residual network without normalization, on scikit-learn's digits: Fixup against He.

Zhang, Dauphin & Ma (ICLR 2019): without normalization, a residual network from He's initialization
explodes, and Fixup trains it. Both runs share the network, the data, the order of batches and the
optimizer. Run: python scripts/fixup.py [--epochs 15] [--figure fixup.png]
"""

import argparse
import math
import time

import keras
import numpy as np
from _figure import parsed, save
from keras import layers as L
from sklearn.datasets import load_digits

from tfinit.cli.signals import heard
from tfinit.plots.style import panels
from tfinit.schemes import initialize

RATE = 1e-3
BLOCKS, WIDTH = 54, 16  # 2 · 54 convolutions, the stem and the head: 110 layers


class Scalar(L.Layer):
    """x + b or x · m with one learned number: what Fixup has instead of normalization.

    As in the paper, scalars learn at a tenth of the rate: Adam moves each number by about the
    rate, and these enter times 0.1.
    """

    def __init__(self, multiply=False, **kwargs):
        super().__init__(**kwargs)
        self.multiply = multiply

    def build(self, shape):
        self.value = self.add_weight(name="scalar", shape=(), initializer="zeros")

    def call(self, x):
        value = self.value * 0.1
        return x * (1 + value) if self.multiply else x + value


def network():
    def conv(x):
        return L.Conv2D(WIDTH, 3, padding="same", use_bias=False)(x)

    inputs = keras.Input((8, 8, 1))
    x = L.ReLU()(Scalar()(conv(inputs)))
    for block in range(BLOCKS):
        if block in (BLOCKS // 3, 2 * BLOCKS // 3):
            x = L.AveragePooling2D(2)(x)
        y = L.ReLU()(Scalar()(conv(Scalar()(x))))
        y = Scalar()(Scalar(multiply=True)(conv(Scalar()(y))))
        x = L.ReLU()(L.Add()([x, y]))
    return keras.Model(inputs, L.Dense(10)(Scalar()(L.GlobalAveragePooling2D()(x))))


def digits():
    x, y = load_digits(return_X_y=True)
    x = ((x.reshape(-1, 8, 8, 1) - x.mean()) / x.std()).astype("float32")
    order = np.random.default_rng(0).permutation(len(x))
    return x[order[360:]], y[order[360:]], x[order[:360]], y[order[:360]]


def train(scheme, epochs):
    x, y, test_x, test_y = digits()
    model = network()
    initialize(model, scheme, seed=1)
    model.compile(
        keras.optimizers.Adam(RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # compiling 110 layers takes longer than training them
    )
    first = model.evaluate(x, y, batch_size=256, verbose=0)[0]
    keras.utils.set_random_seed(0)  # the order of the batches
    history = model.fit(x, y, batch_size=64, epochs=epochs, verbose=0).history
    return [first, *history["loss"]], model.evaluate(test_x, test_y, batch_size=256, verbose=0)[1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=15)
    arguments = parsed(__doc__, parser)
    curves = {}
    print("scheme  loss before  loss after  test accuracy  seconds")
    for scheme in ("fixup", "he"):
        start = time.perf_counter()
        losses, accuracy = train(scheme, arguments.epochs)
        curves[scheme] = losses
        seconds = time.perf_counter() - start
        print(
            f"{scheme:6}  {losses[0]:11.4g}  {losses[-1]:10.4g}  {accuracy:13.3f}  {seconds:7.0f}",
            flush=True,
        )
    save(drawn(curves), arguments.figure)


def drawn(curves):
    figure, (axes,) = panels("", 1, (6, 4))
    for scheme, losses in curves.items():
        finite = [loss if math.isfinite(loss) else float("nan") for loss in losses]
        axes.semilogy(finite, marker="o", label=scheme)
    axes.set(xlabel="epoch", ylabel="training loss (gaps: not finite)")
    axes.set_title(f"{2 * BLOCKS + 2} layers, no normalization, digits")
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    with heard():
        main()
