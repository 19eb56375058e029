"""Programs that nobody who wrote a rule had seen when the rules were frozen; reported apart.

AUTOTRAINER's demonstrations, Theia's mutated programs, NeuraLint's mixed ones, UMLAUT's example,
and threads on GitHub and Stack Exchange. Faults: as there.
"""

import keras
import numpy as np
from sklearn.datasets import make_blobs, make_circles

from fault_programs.data import clouds, colour_images, digits, images, one_hot, standard
from fault_programs.program import (
    adam,
    conv,
    dropout,
    flatten,
    normal,
    pool,
    program,
    sgd,
    stack,
)


@program("stats.SE 418955", "targets")
def two_linear_layers_and_squares_up_to_9800(mended):
    x = np.arange(100, dtype="float32")[:, None]
    y = x**2 + 3
    model = stack((1,), [(1,), (1,)], "mse", "sgd")
    return model, standard(x), standard(y) if mended else y


@program("stats.SE 409000", "targets")
def house_prices_in_dollars(mended):
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 8)).astype("float32")
    y = (250_000 + 90_000 * np.tanh(x @ random.normal(size=(8, 1)) / 3)).astype("float32")
    return stack((8,), [(8, "relu"), (1,)], "mse", adam(0.01)), x, standard(y) if mended else y


@program("keras#3642", "inputs")
def an_autoencoder_of_pixels_of_0_to_255(mended):
    x, _ = digits(255)
    x = x / 255 if mended else x
    parts = [(32, "relu"), (64, "sigmoid")]
    rate = keras.optimizers.Adadelta(1.0)
    return stack((64,), parts, "binary_crossentropy", rate), x, x


@program("xor gate, math.SE", "initial", "rate", epochs=2000)
def exclusive_or_by_weights_near_zero(mended):
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
    y = np.array([[0], [1], [1], [0]], "float32")
    parts = [(5, "sigmoid"), (1, "sigmoid")]
    rate = sgd(2.0 if mended else 0.1)
    return stack((2,), parts, "binary_crossentropy", rate, normal(1.0 if mended else 0.01)), x, y


@program("AUTOTRAINER vanishing gradient", "activation", epochs=100)
def circles_by_eight_layers_of_five_sigmoids(mended):
    x, y = make_circles(400, noise=0.05, factor=0.5, random_state=0)
    kind = "relu" if mended else "sigmoid"
    parts = [*[(16 if mended else 5, kind)] * (3 if mended else 8), (1, "sigmoid")]
    model = stack((2,), parts, "binary_crossentropy", adam(0.005 if mended else 0.001))
    return model, x.astype("float32"), y[:, None].astype("float32")


@program("AUTOTRAINER improper activation", "head")
def blobs_by_a_relu_head(mended):
    x, y = make_blobs(400, 2, centers=3, cluster_std=1, random_state=2)
    parts = [*[(50, "relu")] * 4, (3, "softmax" if mended else "relu")]
    model = stack((2,), parts, "categorical_crossentropy", sgd(0.01, 0.9), "he_uniform")
    return model, standard(x), one_hot(y, 3)


@program("AUTOTRAINER dying ReLU", "activation", "initial", epochs=30)
def digits_by_thirty_four_layers_of_relu(mended):
    x, y = digits()
    parts = [*[(32, "relu")] * (4 if mended else 34), (10, "softmax")]
    return stack((64,), parts, "categorical_crossentropy"), x, one_hot(y, 10)


@program("UMLAUT example", "inputs", "activation", "rate", "loss", "head", epochs=10)
def everything_that_can_be_wrong(mended):
    x, y = colour_images(255)
    kind, half = ("relu", 0.2) if mended else (None, 0.8)
    parts = []
    for filters in (16, 32):
        parts += [conv(filters, activation=kind), conv(filters, activation=kind), pool]
        parts += [dropout(half)]
    parts += [flatten, (64, kind), (64, kind), dropout(half), (10,)]
    if mended:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return stack((16, 16, 3), parts, loss), x / 255, y
    return stack((16, 16, 3), parts, "sparse_categorical_crossentropy", adam(-1e3)), x, y


def _patterns(parts, rate=0.001, start="glorot_uniform"):
    x, y = colour_images()
    model = stack((16, 16, 3), parts, "categorical_crossentropy", adam(rate), start)
    return model, x, one_hot(y, 10)


def _blocks(kind="relu", widths=(16, 32, 64)):
    blocks = [[conv(n, activation=kind), conv(n, activation=kind), pool] for n in widths]
    return [part for block in blocks for part in block]


@program("Theia B4", "activation", epochs=30)
def dropout_behind_each_of_four_narrowing_layers(mended):
    rate = 0.1 if mended else 0.5
    parts = [conv(32), pool, dropout(0.2), conv(64), pool, dropout(0.2), flatten]
    for units in (128, 64, 32, 16):
        parts += [(units, "relu"), dropout(rate)]
    return _patterns([*parts, (10, "softmax")])


@program("Theia B9", "rate", epochs=30)
def patterns_by_adam_of_a_tenth(mended):
    parts = [*_blocks(), flatten, (128, "relu"), dropout(0.5), (10, "softmax")]
    return _patterns(parts, 0.001 if mended else 0.1)


@program("Theia B19", "rate", epochs=30)
def patterns_by_adam_of_a_millionth(mended):
    parts = [conv(32, 5), pool, conv(64), pool, flatten, (128, "relu"), (10, "softmax")]
    return _patterns(parts, 0.001 if mended else 1e-6)


@program("Theia B26", "head", epochs=30)
def two_patterns_by_two_relus(mended):
    x, y = colour_images(classes=2)
    parts = [*_blocks(), flatten, (128, "relu"), dropout(0.5)]
    parts = [*parts, (2, "softmax" if mended else "relu")]
    return stack((16, 16, 3), parts, "categorical_crossentropy"), x, one_hot(y, 2)


@program("NeuraLint mix 4", "initial", "head", "loss", epochs=30)
def convolutions_of_zeros_and_no_probabilities(mended):
    x, y = images()
    start = "glorot_uniform" if mended else "zeros"
    first, second = conv(16, 5, kernel_initializer=start), conv(32, 5, kernel_initializer=start)
    parts = [first, pool, second, pool, flatten, (64, "relu"), dropout(0.25)]
    parts = [*parts, (10, "softmax" if mended else None)]
    return stack((8, 8, 1), parts, "categorical_crossentropy"), x, one_hot(y, 10)


@program("Theia B25", "rate", epochs=30)
def two_patterns_by_adam_of_a_tenth(mended):
    x, y = colour_images(classes=2)
    parts = [*_blocks(), flatten, (256, "relu"), dropout(0.5), (2, "softmax")]
    rate = adam(0.001 if mended else 0.1)
    return stack((16, 16, 3), parts, "categorical_crossentropy", rate), x, one_hot(y, 2)


@program("boohere.com 80265", "head")
def two_classes_by_one_softmax_and_the_loss_of_many(mended):
    x, y = clouds(300, 10)
    hidden = [(32, "relu"), (16, "relu")]
    if mended:
        return stack((10,), [*hidden, (2, "softmax")], "categorical_crossentropy"), x, one_hot(y, 2)
    y = y[:, None].astype("float32")
    return stack((10,), [*hidden, (1, "softmax")], "categorical_crossentropy"), x, y
