"""Heads, losses and targets of numbers, and of what is rebuilt."""

import keras
import numpy as np
from keras import layers as L
from keras import losses, ops

from ..data import digits, random, standard, table, waves
from .networks import mlp


def standardized_regression():
    x, y = table()
    return mlp(8, 1, None, "mse"), x, y


def flat_regression():
    """Targets of shape (rows,) for one unit."""
    x, y = table()
    return mlp(8, 1, None, "mae"), x, y[:, 0]


def regression_of_several_numbers():
    x, _ = table()
    return mlp(8, 3, None, losses.Huber()), x, standard(x[:, :3] * x[:, 3:6])


def regression_of_single_digits():
    """Not standardized, and near enough: a grade from 1 to 6."""
    x, y = table()
    return mlp(8, 1, None, "mse", 1e-2), x, np.clip(np.round(3.5 + 1.2 * y), 1, 6)


def regression_of_house_prices():
    """In thousands, around 22, as Boston's: many steps, but it learns."""
    x, y = table()
    return mlp(8, 1, None, "mse", 1e-2), x, (22 + 9 * y).astype("float32")


def shares_by_a_sigmoid():
    x, y = table()
    return mlp(8, 1, "sigmoid", "mse", 1e-2), x, 1 / (1 + np.exp(-2 * y))


def bounded_by_a_tanh():
    x, y = table()
    return mlp(8, 1, "tanh", "mse"), x, np.tanh(y)


def amounts_by_a_softplus():
    x, y = table()
    return mlp(8, 1, "softplus", "mae"), x, np.log1p(np.exp(y))


def amounts_by_a_relu():
    """Targets of 0 and more, and a ReLU head whose bias begins above 0."""
    x, y = table()
    start = keras.initializers.Constant(1.0)
    return mlp(8, 1, "relu", "mse", bias_initializer=start), x, np.maximum(y + 1, 0)


def counts_by_an_exponential():
    x, y = table()
    return mlp(8, 1, "exponential", "poisson"), x, random(22).poisson(np.exp(y)).astype("float32")


def quantile():
    """A pinball loss of the user's own."""

    def pinball(y, output):
        return ops.mean(ops.maximum(0.9 * (y - output), -0.1 * (y - output)), axis=-1)

    x, y = table()
    return mlp(8, 1, None, pinball), x, y


def mean_and_deviation():
    """The negative log-likelihood of a normal distribution: it may well be negative."""

    def likelihood(y, output):
        mean, log = output[:, :1], output[:, 1:]
        return ops.mean(log + ops.square(y - mean) * ops.exp(-2 * log) / 2, axis=-1)

    x, y = table()
    return mlp(8, 2, None, likelihood), x, y


def cosine_similarity():
    """It runs from 1 down to -1."""
    x, _ = table(columns=12)
    wanted = x[:, :4] + x[:, 4:8]
    return mlp(12, 4, None, "cosine_similarity"), x, wanted


def angle_as_sine_and_cosine():
    x, _ = table()
    angle = np.arctan2(x[:, 0], x[:, 1])
    return mlp(8, 2, "tanh", "mse"), x, np.stack([np.sin(angle), np.cos(angle)], 1)


# Of what is rebuilt.


def _autoencoder(head, loss, x):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            L.Dense(32, "relu"),
            L.Dense(16, "relu"),
            L.Dense(32, "relu"),
            L.Dense(64, head),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), loss)
    return model, x, x


def sigmoid_autoencoder():
    """Pixels of [0, 1], and binary cross-entropy, which ends well above 0."""
    return _autoencoder("sigmoid", "binary_crossentropy", digits()[0])


def sigmoid_autoencoder_of_squares():
    return _autoencoder("sigmoid", "mse", digits()[0])


def tanh_autoencoder():
    return _autoencoder("tanh", "mse", 2 * digits()[0] - 1)


def denoising_autoencoder():
    model, x, y = _autoencoder("sigmoid", "binary_crossentropy", digits()[0])
    return model, (x + random(23).normal(0, 0.3, x.shape)).astype("float32"), y


def autoencoder_of_series():
    x, _ = waves()
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((32, 1)),
            L.LSTM(32),
            L.RepeatVector(32),
            L.LSTM(32, return_sequences=True),
            L.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    return model, x, x
