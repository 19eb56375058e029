"""Theia (TOSEM 2024) and NeuraLint (TOSEM 2021): questions with faults in the network's structure.

Faults: what their lists of programs mend. Left out: programs that Keras 3 refuses (a missing
Flatten before one-hot targets), and those that learn nearly as well as mended.
"""

from functools import partial

import keras
from keras import layers

from fault_programs.data import clouds, colour_images, images, one_hot, waves
from fault_programs.program import (
    adam,
    conv,
    dropout,
    flatten,
    norm,
    pool,
    program,
    sgd,
    stack,
)


def conv1d(filters, size, activation="relu"):
    return lambda: layers.Conv1D(filters, size, padding="same", activation=activation)


@program("51118032", "rate")
def patterns_by_sgd_of_a_tenth(mended):
    x, y = colour_images()
    first = [conv(32), conv(32, padding="valid"), pool, dropout(0.25)]
    second = [conv(64), conv(64, padding="valid"), pool, dropout(0.25)]
    parts = [*first, *second, flatten, (512, "relu"), dropout(0.5), (10, "softmax")]
    rate = sgd(0.01 if mended else 0.1, 0.9)
    return stack((16, 16, 3), parts, "categorical_crossentropy", rate), x, one_hot(y, 10)


@program("49237068", "activation", epochs=30)
def digits_by_convolutions_of_sigmoids(mended):
    x, y = images()
    kind = "relu" if mended else "sigmoid"
    mean = partial(layers.AveragePooling2D, 2)
    parts = [conv(6, 5, kind), pool, conv(12, 5, kind), mean, flatten]
    parts = [*parts, (192, kind if mended else None), (10, kind), (10, "softmax")]
    rate = keras.optimizers.Adadelta(1.0)
    return stack((8, 8, 1), parts, "categorical_crossentropy", rate), x, one_hot(y, 10)


@program("62033143", "rate", epochs=30)
def digits_by_adadelta_with_its_default(mended):
    x, y = images()
    hidden = [conv(32), conv(64), pool, dropout(0.25), flatten, (128, "relu"), dropout(0.5)]
    rate = keras.optimizers.Adadelta(1.0 if mended else 0.001)
    parts = [*hidden, (10, "softmax")]
    return stack((8, 8, 1), parts, "categorical_crossentropy", rate), x, one_hot(y, 10)


@program("58291184", "rate", epochs=30)
def eight_convolutions_by_adadelta(mended):
    x, y = images()
    hidden = [conv(n) for n in (16, 32, 64, 64, 32, 32, 32, 16)]
    parts = [*hidden, pool, dropout(0.25), flatten, (64, "relu"), dropout(0.5), (10, "softmax")]
    rate = keras.optimizers.Adadelta(1.0 if mended else 0.001)
    return stack((8, 8, 1), parts, "categorical_crossentropy", rate), x, one_hot(y, 10)


@program("64522751", "loss", "rate", epochs=30)
def ten_classes_by_a_binary_loss_and_adam_of_a_tenth(mended):
    x, y = colour_images()
    parts = [conv(25), pool, conv(50), pool, conv(100), pool, flatten, (100, "relu")]
    parts = [*parts, (10, "softmax")]
    if mended:
        return stack((16, 16, 3), parts, "categorical_crossentropy"), x, one_hot(y, 10)
    return stack((16, 16, 3), parts, "binary_crossentropy", adam(0.1)), x, one_hot(y, 10)


@program("47272383", "activation", epochs=30)
def dropout_of_seven_tenths_everywhere(mended):
    x, y = colour_images(classes=6)
    high, half = (0.1, 0.1) if mended else (0.7, 0.5)
    parts = []
    for filters in (8, 16):
        parts += [conv(filters, activation=None), norm, layers.ReLU, dropout(high), pool]
        parts += [dropout(half)]
    parts += [flatten, (16,), norm, layers.ReLU, dropout(half), (6, "softmax")]
    return stack((16, 16, 3), parts, "categorical_crossentropy", "sgd"), x, one_hot(y, 6)


@program("45378493", "head")
def motions_by_convolutions_and_softmax(mended):
    x, y = clouds(256, 40)
    x = x.reshape(-1, 10, 4)
    parts = []
    for filters in (16, 8):
        parts += [conv1d(filters, 4, None), norm, layers.LeakyReLU, dropout(0.2)]
    parts += [flatten, (64,), norm, layers.LeakyReLU, (1, "sigmoid" if mended else "softmax")]
    return stack((10, 4), parts, "binary_crossentropy"), x, y[:, None].astype("float32")


@program("51749207", "head")
def signals_by_softmax_and_nadam(mended):
    x, y = waves(256, 60, 2)
    parts = [conv1d(20, 4), layers.MaxPooling1D, dropout(0.3), flatten, (50, "relu")]
    parts = [*parts, (1, "sigmoid" if mended else "softmax")]
    return stack((60, 1), parts, "binary_crossentropy", "nadam"), x, y[:, None].astype("float32")


@program("58844149", "head")
def two_kinds_of_images_by_softmax(mended):
    x, y = colour_images(classes=2)
    parts = [conv(16, 7), pool, conv(32), pool, flatten, (64, "relu"), dropout(0.2)]
    parts = [*parts, (1, "sigmoid" if mended else "softmax")]
    return stack((16, 16, 3), parts, "binary_crossentropy"), x, y[:, None].astype("float32")


def dice(truth, answer):
    """1 minus twice the overlap over both sizes, as programs that segment images write it."""
    both = keras.ops.sum(truth * answer)
    return 1 - 2 * both / (keras.ops.sum(truth) + keras.ops.sum(answer) + 1e-6)


@program("UNet_Keras", "head", epochs=40)
def a_mask_by_relu_and_dice(mended):
    x, _ = colour_images(classes=4)
    y = (x.mean(-1, keepdims=True) > x.mean()).astype("float32")
    x = (x - x.mean()) / x.std()
    head = conv(1, 1, "sigmoid" if mended else "relu")
    return stack((16, 16, 3), [conv(16), conv(16), head], dice, adam(0.003)), x, y


@program("TF_lenet_zeros_init", "initial", epochs=30)
def a_lenet_that_starts_at_zero(mended):
    return _lenet("glorot_uniform" if mended else "zeros")


@program("TF_lenet_constant_init", "initial", epochs=30)
def a_lenet_that_starts_at_one_constant(mended):
    return _lenet("glorot_uniform" if mended else keras.initializers.Constant(0.1))


def _lenet(start):
    x, y = images()
    first, second = conv(6, 5, kernel_initializer=start), conv(16, 5, kernel_initializer=start)
    parts = [first, pool, second, pool, flatten, (64, "relu"), (10, "softmax")]
    model = stack((8, 8, 1), parts, "categorical_crossentropy", adam(), lambda: start)
    return model, x, one_hot(y, 10)


@program("TF_lenet_bin_wrong_last_layer_activation", "head", epochs=30)
def two_kinds_of_digits_by_the_wrong_head(mended):
    x, y = images()
    y = (y > 4).astype("float32")[:, None]
    parts = [conv(6, 5), pool, conv(16, 5), pool, flatten, (64, "relu")]
    parts = [*parts, (1, "sigmoid" if mended else "softmax")]
    return stack((8, 8, 1), parts, "binary_crossentropy"), x, y


@program("TF_lenet_missing_softmax", "head", epochs=30)
def digits_by_numbers_that_are_no_probabilities(mended):
    x, y = images()
    parts = [conv(6, 5), pool, conv(16, 5), pool, flatten, (64, "relu")]
    parts = [*parts, (10, "softmax" if mended else None)]
    return stack((8, 8, 1), parts, "categorical_crossentropy"), x, one_hot(y, 10)
