"""DeepLocalize (ICSE 2021) and DeepFD (ICSE 2022): the other questions, and repositories.

Faults: what their lists of patches changed, "activation" of the last layer as "head". Questions of
which they found that the program trains, or changed the epochs alone, are left out.
"""

import keras
import numpy as np

from fault_programs.data import (
    clouds,
    colour_images,
    images,
    one_hot,
    people,
    standard,
)
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
    uniform,
)


@program("31556268", "loss", "rate", epochs=1000)
def exclusive_or_by_absolute_errors(mended):
    x = np.array([[1, 1], [1, 0], [0, 0], [0, 1]], "float32")
    y = np.array([[0], [1], [0], [1]], "float32")
    if mended:
        return stack((2,), [(8, "tanh"), (1, "sigmoid")], "mse", adam(0.05)), x, y
    return stack((2,), [(4, "sigmoid"), (1, "sigmoid")], "mae", sgd(0.05, 0.11)), x, y


@program("38648195", "head", "loss", epochs=200)
def three_labels_by_softmax(mended):
    random = np.random.default_rng(0)
    x = random.normal(size=(512, 20)).astype("float32")
    y = (x @ random.normal(size=(20, 3)) > 0).astype("float32")
    hidden = [(20, "relu"), dropout(0.5), (20, "relu"), dropout(0.5)]
    if mended:
        hidden = [(64, "relu"), dropout(0.2), (64, "relu"), dropout(0.2)]
        return stack((20,), [*hidden, (3, "sigmoid")], "binary_crossentropy"), x, y
    return stack((20,), [*hidden, (3, "softmax")], "mse", "sgd"), x, y


@program("39217567", "activation", epochs=150)
def bits_by_sigmoids_that_start_small(mended):
    x = np.array([[n >> k & 1 for k in range(8)] for n in range(256)], "float32")
    y = np.random.default_rng(0).permutation(x)
    if mended:
        parts = [(128, "relu"), (128, "relu"), (8, "sigmoid")]
        return stack((8,), parts, "mse", adam(0.005)), x, y
    return stack((8,), [(8, "sigmoid")] * 3, "mse", "sgd", normal()), x, y


@program("44066044", "head", "inputs")
def packets_by_relu(mended):
    x, y = clouds(300, 11)
    x = (x * 10.0 ** np.arange(11).clip(0, 6) + 100).astype("float32")
    y = y[:, None].astype("float32")
    if mended:
        parts = [(12, "relu"), (12, "relu"), (1, "sigmoid")]
        return stack((11,), parts, "binary_crossentropy", "adam", normal()), standard(x), y
    return (
        stack((11,), [(12, "relu")] * 2 + [(1, "relu")], "binary_crossentropy", "adam", normal()),
        x,
        y,
    )


@program("45442843", "head", "loss", "rate", epochs=600)
def a_flag_by_softmax_and_absolute_errors(mended):
    x = np.random.default_rng(0).uniform(0, 2, (400, 1)).astype("float32")
    y = (x > 1).astype("float32")
    if mended:
        parts = [(8, "tanh"), (1, "sigmoid")]
        return stack((1,), parts, "binary_crossentropy", adam(0.05)), x, y
    return stack((1,), [(1, "sigmoid"), (1, "softmax")], "mae", "rmsprop"), x, y


@program("47352366", "head")
def digits_by_a_relu_head(mended):
    x, y = images()
    bias = {"bias_initializer": keras.initializers.Constant(0.1)}
    parts = [conv(16, 5, **bias), pool, conv(32, 5, **bias), pool, flatten, (128, "relu")]
    head = (10, "softmax" if mended else "relu")
    parts = [*parts, dropout(0.5), head]
    return stack((8, 8, 1), parts, "categorical_crossentropy"), x, one_hot(y, 10)


@program("47724077", "inputs", "rate")
def incomes_of_people(mended):
    x, y = people()
    parts = [(21, "relu"), (2, "softmax")]
    if mended:
        return (
            stack((6,), parts, "categorical_crossentropy", adam(0.01)),
            standard(x),
            one_hot(y, 2),
        )
    return stack((6,), parts, "categorical_crossentropy"), x, one_hot(y, 2)


@program("48251943", "head")
def negative_numbers_by_relu(mended):
    x = np.random.default_rng(0).uniform(-1, 1, (200, 2)).astype("float32")
    y = (0.4 * x[:, :1] - 0.3 * x[:, 1:] - 0.5).astype("float32")
    parts = [(4, "relu"), (1, "tanh" if mended else "relu")]
    return stack((2,), parts, "mse", sgd(0.1) if mended else "sgd"), x, y


@program("50079585", "head", "loss")
def three_classes_by_one_sigmoid(mended):
    x, y = colour_images(classes=3)
    parts = [conv(16), pool, conv(32), pool, flatten, (64, "relu"), dropout(0.5)]
    if mended:
        parts = [*parts, (3, "softmax")]
        return stack((16, 16, 3), parts, "categorical_crossentropy", "rmsprop"), x, one_hot(y, 3)
    parts = [*parts, (1, "sigmoid")]
    y = y[:, None].astype("float32")
    return stack((16, 16, 3), parts, "binary_crossentropy", "rmsprop"), x, y


@program("37624102", "rate")
def coloured_patterns_by_a_large_momentum(mended):
    x, y = colour_images()
    hidden = [conv(32), conv(32), pool, dropout(0.25), conv(64), conv(64), pool, dropout(0.25)]
    parts = [*hidden, flatten, (256, "relu"), dropout(0.5), (10, "softmax")]
    rate = sgd(0.01 if mended else 0.1, 0.9)
    return stack((16, 16, 3), parts, "categorical_crossentropy", rate), x, one_hot(y, 10)


@program("42800203", "head")
def yes_or_no_by_softmax(mended):
    x, y = clouds(256, 10)
    parts = [(32, "relu"), (1, "sigmoid" if mended else "softmax")]
    return stack((10,), parts, "binary_crossentropy"), x, y[:, None].astype("float32")


@program("46642627", "head", "loss", "rate", "inputs", "targets")
def amounts_by_a_sigmoid(mended):
    random = np.random.default_rng(0)
    x = random.uniform(0, 500, (300, 4)).astype("float32")
    y = (x @ np.array([3.0, -1.0, 2.0, 0.5]) + 100)[:, None].astype("float32")
    if mended:
        return stack((4,), [(16, "relu"), (1,)], "mse", adam(0.01)), standard(x), standard(y)
    parts = [(16, "relu"), (1, "sigmoid")]
    return stack((4,), parts, "binary_crossentropy", sgd(0.01), uniform()), x, y


@program("46995209", "activation", "inputs")
def tanh_and_nine_narrow_layers(mended):
    x, y = people(300)
    y = y[:, None].astype("float32")
    if mended:
        parts = [(10, "relu"), (25, "relu"), (1, "sigmoid")]
        return stack((6,), parts, "binary_crossentropy", adam(0.01)), standard(x), y
    parts = [(10, "tanh"), (90, "tanh"), *[(10, "relu")] * 9, (1, "sigmoid")]
    return stack((6,), parts, "binary_crossentropy"), x, y


@program("51181393", "rate", epochs=200)
def a_line_by_a_default_rate(mended):
    x = np.linspace(1, 2, 100, dtype="float32")[:, None]
    rate = keras.optimizers.RMSprop(0.1 if mended else 0.001)
    return stack((1,), [(1,)], "mse", rate), x, 5 * x


@program("42514960", "activation", "head")
def an_autoencoder_of_relus(mended):
    random = np.random.default_rng(0)
    x = np.tanh(random.normal(size=(400, 3)) @ random.normal(size=(3, 12))).astype("float32")
    kind = "tanh" if mended else "relu"
    parts = [(24, kind), (24, kind), (3, kind), (24, kind), (24, kind)]
    return stack((12,), [*parts, (12, "tanh" if mended else "sigmoid")], "mse"), x, x


@program("FacialKeypointsDetection", "rate", epochs=40)
def key_points_by_a_large_rate(mended):
    x, _ = colour_images(classes=2)
    y = np.tanh(3 * (x.reshape(len(x), 4, 192).mean(2) - 0.5)).astype("float32")
    y = np.tile(y, (1, 3))
    parts = [conv(16, activation=None), pool, conv(32, activation=None), pool, flatten]
    parts = [*parts, (100, None), (12, None)]
    return stack((16, 16, 3), parts, "mse", adam(0.001 if mended else 0.1)), x, y
