"""Reports on GitHub and Stack Exchange, where the thread says what was wrong.

The id is repository#number. Faults: what the thread found, mended as it was there.
"""

from functools import partial

import keras
import numpy as np
from keras import layers

from fault_programs.data import clouds, colour_images, images, one_hot, standard, waves
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


@program("keras#3040", "rate", batch=1, epochs=20)
def twice_the_numbers_up_to_200(mended):
    x = np.arange(200, dtype="float32")[:, None]
    return stack((1,), [(1,)], "mse", sgd(1e-5 if mended else 1e-3)), x, 2 * x


@program("keras#255", "inputs", epochs=20)
def pixels_divided_as_whole_numbers(mended):
    x, y = colour_images(254, classes=2)
    x = x.astype("uint8")
    parts = [conv(16), pool, conv(32), pool, flatten, (64, "relu"), dropout(0.5), (2, "softmax")]
    x = x / np.float32(255) if mended else (x // 255).astype("float32")
    return stack((16, 16, 3), parts, "categorical_crossentropy", sgd(0.01, 0.9)), x, one_hot(y, 2)


@program("keras#5992", "head")
def dropout_behind_the_softmax(mended):
    x, y = clouds(400, 10, 4, 0.8)
    hidden = [(14, "relu"), dropout(0.5), (8, "relu"), dropout(0.5), (4, "softmax")]
    if mended:
        parts = [(32, "relu"), dropout(0.2), (32, "relu"), (4, "softmax")]
        return stack((10,), parts, "mse", adam(0.005)), x, one_hot(y, 4)
    return stack((10,), [*hidden, dropout(0.5)], "mse"), x, one_hot(y, 4)


@program("keras#2194", "activation", epochs=20)
def a_thousand_steps_by_an_lstm_of_relus(mended):
    random = np.random.default_rng(0)
    y = random.integers(0, 4, 96)
    x = random.normal(size=(96, 500, 8)) + np.eye(8)[y][:, None]
    recurrent = partial(layers.LSTM, 24, "tanh" if mended else "relu")
    parts = [recurrent, dropout(0.2), (4, "softmax")]
    model = stack((500, 8), parts, "categorical_crossentropy", adam(0.003))
    return model, x.astype("float32"), one_hot(y, 4)


@program("dl-keras-tf#9", "targets", "loss")
def prices_by_squares(mended):
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 8)).astype("float32")
    y = 180_000 * np.exp(0.4 * x @ random.normal(size=(8, 1)) / 3)
    parts = [(64, "relu"), (64, "relu"), (1,)]
    if mended:
        return stack((8,), parts, "mse", sgd(0.01)), x, standard(np.log(y))
    return stack((8,), parts, "mse", sgd(0.1)), x, y.astype("float32")


@program("keras#4784", "head")
def zeros_and_ones_by_a_relu(mended):
    x, y = clouds(400, 12)
    y = y[:, None].astype("float32")
    parts = [(32, "relu")] * 4 + [(1, "sigmoid" if mended else "relu")]
    return stack((12,), parts, "binary_crossentropy", sgd(0.05)), x, y


@program("keras#10694", "inputs", epochs=20)
def more_words_than_the_embedding_holds(mended):
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 256)
    x = random.integers(0, 200, (256, 12)) + 200 * y[:, None]
    embedding = partial(layers.Embedding, 400 if mended else 100, 16)
    parts = [embedding, layers.GlobalAveragePooling1D, (1, "sigmoid")]
    model = stack((12,), parts, "binary_crossentropy", adam(0.01))
    return model, x.astype("int32"), y[:, None].astype("float32")


@program("keras#2450", "labels", epochs=20)
def classes_counted_from_one(mended):
    x, y = images()
    parts = [conv(16), pool, flatten, (64, "relu"), (10, "softmax")]
    model = stack((8, 8, 1), parts, "sparse_categorical_crossentropy")
    return model, x, y if mended else y + 1


@program("keras#6447", "inputs")
def one_value_that_is_no_number(mended):
    x, y = clouds(256, 8, 3)
    if not mended:
        x[7, 3] = np.nan
    return stack((8,), [(32, "relu"), (3, "softmax")], "categorical_crossentropy"), x, one_hot(y, 3)


@program("keras#14046", "labels", "loss")
def a_binary_loss_of_ones_and_twos(mended):
    x, y = clouds(256, 8)
    y = (y if mended else y + 1)[:, None].astype("float32")
    return stack((8,), [(32, "relu"), (1, "sigmoid")], "binary_crossentropy"), x, y


@program("litgpt#1229", "initial", epochs=40)
def a_low_rank_adapter_of_zeros(mended):
    keras.utils.set_random_seed(1)
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 16)).astype("float32")
    inputs = keras.Input((16,))
    base = layers.Dense(8, use_bias=False, name="base")
    first = layers.Dense(2, use_bias=False, kernel_initializer="he_normal" if mended else "zeros")
    second = layers.Dense(8, use_bias=False, kernel_initializer="zeros")
    model = keras.Model(inputs, base(inputs) + second(first(inputs)))
    base.trainable = False
    model.compile(adam(0.01), "mse")
    shift = random.normal(size=(16, 2)) @ random.normal(size=(2, 8))
    return model, x, (x @ (base.kernel.numpy() + shift)).astype("float32")


@program("keras#14496", "inputs", epochs=20)
def the_same_image_again_and_again(mended):
    x, y = colour_images(classes=3)
    x = x if mended else np.broadcast_to(x[:1], x.shape)
    parts = [conv(16), pool, conv(32), pool, flatten, (64, "relu"), (3, "softmax")]
    return stack((16, 16, 3), parts, "categorical_crossentropy"), x, one_hot(y, 3)


@program("PINNs-TF2.0#1", "inputs", epochs=100)
def a_field_by_tanh_of_large_coordinates(mended):
    random = np.random.default_rng(0)
    x = (random.uniform(size=(400, 2)) * [5000, 600]).astype("float32")
    y = (np.sin(x[:, :1] / 800) * np.cos(x[:, 1:] / 150)).astype("float32")
    parts = [*[(20, "tanh")] * 4, (1,)]
    return stack((2,), parts, "mse", adam(0.005)), standard(x) if mended else x, y


@program("stats.SE 511722", "head")
def survivors_by_softmax(mended):
    x, y = clouds(400, 5, 2, 2)
    hidden = [
        (32, "relu"),
        (64, "relu"),
        norm,
        (128, "relu"),
        dropout(0.1),
        (32, "relu"),
        (8, "relu"),
    ]
    parts = [*hidden, (1, "sigmoid" if mended else "softmax")]
    return stack((5,), parts, "binary_crossentropy", sgd(0.1)), x, y[:, None].astype("float32")


@program("tsgm#59", "activation", epochs=20)
def convolutions_and_lstms_of_relus(mended):
    x, y = waves(128, 200, 3)
    x = 3 * x
    recurrent = partial(layers.LSTM, 64, "tanh" if mended else "relu", return_sequences=True)
    parts = [partial(layers.Conv1D, 32, 5, activation="relu"), recurrent, recurrent]
    parts = [*parts, layers.GlobalAveragePooling1D, (3, "softmax")]
    return stack((200, 1), parts, "categorical_crossentropy", adam(0.005)), x, one_hot(y, 3)
