"""The first fourteen: questions in the benchmarks of DeepLocalize, DeepFD and DEFault."""

import numpy as np

from fault_programs.data import digits, images, one_hot, standard
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


@program("48385830", "head", "loss", "rate", "initial")
def digits_by_linear_layers_and_mse(mended):
    x, y = digits()
    if mended:
        parts = [(30, "sigmoid"), (10, "softmax")]
        return stack((64,), parts, "categorical_crossentropy", sgd(0.5)), x, one_hot(y, 10)
    return stack((64,), [(30,), (10,)], "mse", sgd(3.0), normal(1.0)), x, one_hot(y, 10)


@program("50306988", "rate")
def two_clouds_by_a_tiny_rate(mended):
    random = np.random.default_rng(0)
    clouds = random.uniform(0.2, 0.4, (100, 2)), random.uniform(0.5, 0.7, (100, 2))
    x, y = np.concatenate(clouds).astype("float32"), np.repeat([0, 1], 100)
    order = random.permutation(200)
    x, y = x[order], y[order]
    if mended:
        parts = [(8, "tanh"), (1, "sigmoid")]
        return stack((2,), parts, "binary_crossentropy", adam(0.1)), x, y[:, None].astype("float32")
    parts = [(2, "sigmoid"), (2, "softmax")]
    return stack((2,), parts, "categorical_crossentropy", sgd(1e-4)), x, one_hot(y, 2)


@program("33969059", "head", "inputs", "targets")
def a_sum_of_large_numbers_by_softmax(mended):
    x = np.random.default_rng(0).uniform(0, 10000, (256, 3)).astype("float32")
    y = (x @ np.array([2.0, 1.0, 0.5]) + 2.2)[:, None].astype("float32")
    if mended:
        return stack((3,), [(16, "tanh"), (1,)], "mse", sgd(0.01, 0.9)), standard(x), standard(y)
    parts = [(3, "tanh"), (2, "tanh"), (1, "softmax")]
    return stack((3,), parts, "mse", sgd(0.1, 0.9), uniform()), x, y


@program("55328966", "head", "inputs", "rate")
def digits_of_0_to_255_by_sigmoids(mended):
    x, y = digits(255)
    if mended:
        parts = [(64, "relu"), (50, "relu"), (10, "softmax")]
        return stack((64,), parts, "categorical_crossentropy", sgd(0.05)), x / 255, one_hot(y, 10)
    parts = [(64,), (50, "relu"), (10, "sigmoid")]
    return stack((64,), parts, "categorical_crossentropy", sgd(1e-4)), x, one_hot(y, 10)


@program("34311586", "head", "rate", "activation", epochs=300)
def exclusive_or_by_softmax(mended):
    x = np.array([[1, 1], [0, 0], [1, 0], [0, 1], [1, 1], [0, 0]], "float32")
    y = np.array([[0], [0], [1], [1], [0], [0]], "float32")
    if mended:
        return stack((2,), [(8, "tanh"), (1, "sigmoid")], "mse", sgd(0.5, 0.9)), x, y
    parts = [(2, "sigmoid"), (3, "sigmoid"), (1, "softmax")]
    return stack((2,), parts, "mse", sgd(0.001, 0.9), uniform()), x, y


@program("31880720", "head")
def ones_or_zeros_by_softmax(mended):
    x = np.concatenate([np.ones((128, 128)), np.zeros((128, 128))]).astype("float32")
    y = np.repeat([1.0, 0.0], 128)[:, None].astype("float32")
    order = np.random.default_rng(0).permutation(256)
    hidden = [(50, "relu"), dropout(0.2), (50, "relu"), dropout(0.2)]
    head = (1, "sigmoid" if mended else "softmax")
    return stack((128,), [*hidden, head], "binary_crossentropy", "rmsprop"), x[order], y[order]


@program("39525358", "inputs", epochs=300)
def letters_as_their_codes(mended):
    x = np.random.default_rng(0).integers(65, 71, (40, 3)).astype("float32")
    y = (x.sum(1, keepdims=True) > 203).astype("float32")
    parts = [(12, "relu"), (3, "relu"), (1, "sigmoid")]
    if mended:
        return stack((3,), parts, "binary_crossentropy", adam(0.01)), standard(x), y
    return stack((3,), parts, "binary_crossentropy", "adam", uniform()), x, y


@program("48934338", "rate", "targets")
def a_noisy_square(mended):
    x = np.arange(0, 5, 0.1, dtype="float32")[:, None]
    y = (5 * x**2 + np.random.default_rng(0).normal(size=x.shape) ** 3).astype("float32")
    parts = [(50, "relu"), (30, "relu"), (1,)]
    if mended:
        return stack((1,), parts, "mse", sgd(0.05)), standard(x), standard(y)
    return stack((1,), parts, "mse", sgd(0.1)), x, y


@program("59325381", "labels")
def class_numbers_divided_by_255(mended):
    x, y = images()
    parts = [conv(16), pool, flatten, (64, "relu"), (10, "softmax")]
    model = stack((8, 8, 1), parts, "sparse_categorical_crossentropy")
    return model, x, (y if mended else y / 255)[:, None]


@program("52800582", "inputs", "targets")
def the_fourth_power_of_up_to_100(mended):
    x = np.arange(-100, 100, 0.5).astype("float32")[:, None]
    x = np.random.default_rng(0).permutation(x)
    y = x**4
    if mended:
        return stack((1,), [(50, "relu"), (50, "elu"), (1,)], "mse"), standard(x), standard(y)
    return stack((1,), [(50, "sigmoid"), (50, "elu"), (1,)], "mse"), x, y


@program("48221692", "head", "targets")
def a_square_by_a_sigmoid(mended):
    x = np.arange(-10, 10, 0.1, dtype="float32")[:, None]
    y = x**2 + 3
    if mended:
        return stack((1,), [(32, "tanh"), (1,)], "mse", adam(0.02)), standard(x), standard(y)
    return stack((1,), [(5, "sigmoid"), (1, "sigmoid")], "mse", "sgd"), x, y


@program("45337371", "head")
def a_threshold_by_softmax(mended):
    x = np.random.default_rng(0).uniform(size=(256, 5)).astype("float32")
    y = (x.sum(1, keepdims=True) > 2.5).astype("float32")
    head = (1, "sigmoid" if mended else "softmax")
    return stack((5,), [(60, "relu"), (50, "relu"), head], "binary_crossentropy"), x, y


@program("58609115", "head", "loss", "inputs")
def class_of_a_large_number_by_sigmoids(mended):
    x = np.random.default_rng(0).integers(0, 100, (256, 1)).astype("float32")
    y = one_hot((x[:, 0] // 10).astype(int), 69)
    if mended:
        parts = [(69, "relu"), (69, "relu"), (69, "softmax")]
        return stack((1,), parts, "categorical_crossentropy"), standard(x), y
    return stack((1,), [(69, "sigmoid")] * 3, "binary_crossentropy", start=normal()), x, y


@program("44164749", "rate")
def digits_by_a_rate_of_1000(mended):
    x, y = digits()
    parts = [(512, "relu"), dropout(0.1), (128, "relu"), dropout(0.1), (10, "softmax")]
    rate = sgd(0.05, 0.9) if mended else sgd(1000.0)
    return stack((64,), parts, "categorical_crossentropy", rate), x, one_hot(y, 10)
