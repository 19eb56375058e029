"""DEFault (ICSE 2025): its questions that are not in the other sets.

Faults: its list's root causes and patches. Left out: programs of PyTorch, programs that stop with
an error of shapes, and those that only overfit.
"""

from functools import partial

import keras
import numpy as np
from keras import layers

from fault_programs.data import clouds, colour_images, images, one_hot, waves
from fault_programs.program import (
    adam,
    conv,
    dropout,
    flatten,
    pool,
    program,
    sgd,
    stack,
)


@program("69364684", "activation", epochs=60)
def a_recurrent_autoencoder_of_relus(mended):
    x, _ = waves(256, 20, 2)
    kind = "tanh" if mended else "relu"
    encoder = [partial(layers.GRU, 8, kind, return_sequences=True), partial(layers.GRU, 4, kind)]
    decoder = [partial(layers.GRU, n, kind, return_sequences=True) for n in (4, 8)]
    last = partial(layers.TimeDistributed, layers.Dense(1))
    parts = [*encoder, partial(layers.RepeatVector, 20), *decoder, last]
    return stack((20, 1), parts, "mse", adam(0.01) if mended else "adam"), x, x


@program("51971180", "head", epochs=40)
def price_changes_by_relu(mended):
    x, _ = waves(256, 20, 3)
    y = x[:, -1] - x[:, -2] - 0.5
    parts = [partial(layers.GRU, 50), dropout(0.2), (1, None if mended else "relu")]
    return stack((19, 1), parts, "mse"), x[:, :-1], y


@program("68692047", "loss", "head", epochs=30)
def sequences_by_logits_that_are_not_said_to_be_logits(mended):
    x, y = waves(256, 20, 4)
    loss = keras.losses.CategoricalCrossentropy(from_logits=mended)
    return stack((20, 1), [partial(layers.LSTM, 32), (4,)], loss, adam(0.01)), x, one_hot(y, 4)


@program("64151679", "head", "rate", epochs=40)
def two_classes_by_softmax_and_adam_of_a_tenth(mended):
    x, y = clouds(256, 12)
    hidden = [(64, "relu"), dropout(0.2 if mended else 0.5), (64, "relu")]
    if mended:
        parts = [*hidden, (2, "softmax")]
        return stack((12,), parts, "categorical_crossentropy"), x, one_hot(y, 2)
    parts = [*hidden, dropout(0.5), (1, "softmax")]
    return stack((12,), parts, "binary_crossentropy", adam(0.1)), x, y[:, None].astype("float32")


@program("66840108", "loss")
def house_prices_by_a_binary_loss(mended):
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 5)).astype("float32")
    y = (x @ np.array([2.0, -1, 3, 0.5, 1]) + 4)[:, None].astype("float32")
    parts = [(32, "relu"), (32, "relu"), (1,)]
    return stack((5,), parts, "mse" if mended else "binary_crossentropy"), x, y


@program("64634468", "loss", epochs=40)
def a_number_by_the_loss_of_classes(mended):
    x, _ = images()
    y = x.mean((1, 2)) * 10
    parts = [conv(16), pool, conv(32), pool, flatten, (32, "relu"), (1,)]
    return stack((8, 8, 1), parts, "mse" if mended else "categorical_crossentropy"), x, y


@program("64522751-b", "head", "loss", "rate", epochs=30)
def ten_classes_by_one_number_and_a_binary_loss(mended):
    x, y = colour_images()
    parts = [conv(25), pool, conv(50), pool, flatten, (100, "relu")]
    if mended:
        parts = [*parts, (10, "softmax")]
        return stack((16, 16, 3), parts, "sparse_categorical_crossentropy"), x, y[:, None]
    return stack((16, 16, 3), [*parts, (1,)], "binary_crossentropy", adam(0.1)), x, y[:, None]


@program("68716219", "loss", "rate", epochs=30)
def moods_by_squares_and_a_small_rate(mended):
    x, y = waves(256, 30, 3)
    if mended:
        parts = [partial(layers.Bidirectional, layers.GRU(32)), (32, "relu"), (3, "softmax")]
        return stack((30, 1), parts, "categorical_crossentropy", adam(0.003)), x, one_hot(y, 3)
    parts = [partial(layers.Bidirectional, layers.LSTM(16, "relu")), dropout(0.2), (3, "softmax")]
    return stack((30, 1), parts, "mse", adam(5e-5)), x, one_hot(y, 3)


@program("52448552", "inputs", epochs=8)
def patterns_of_0_to_255(mended):
    x, y = colour_images(255)
    hidden = [conv(32), conv(32), pool, dropout(0.25), flatten, (256, "relu"), dropout(0.5)]
    model = stack(
        (16, 16, 3), [*hidden, (10, "softmax")], "categorical_crossentropy", sgd(0.01, 0.9)
    )
    return model, x / 255 if mended else x, one_hot(y, 10)
