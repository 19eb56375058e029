"""Twenty small programs, each of another kind, that learn what their data hold."""

import keras
import numpy as np
from healthy_networks.data import (
    colours,
    digits,
    forecast,
    images,
    masks,
    moons,
    one_hot,
    standard,
    table,
    tokens,
    two_classes,
    waves,
)
from keras import layers as L

from .program import Program

SPARSE, ONE_HOT = "sparse_categorical_crossentropy", "categorical_crossentropy"
BINARY = "binary_crossentropy"


def chain(shape, *parts, dtype=None):
    """() → a Sequential; each part is a function that makes a layer."""
    return lambda: keras.Sequential([keras.Input(shape, dtype=dtype), *(part() for part in parts)])


def dense(units, activation="relu", **options):
    return lambda: L.Dense(units, activation, **options)


def head(units, activation=None):
    return lambda: L.Dense(units, activation, name="head")


def convolution(filters, size=3, **options):
    options = {"activation": "relu", "padding": "same", **options}
    return lambda: L.Conv2D(filters, size, **options)


def transformer():
    ids = keras.Input((16,), dtype="int32")
    x = L.Embedding(50, 32)(ids)
    for _ in range(2):
        x = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(4, 8)(x, x)]))
        wide = L.Dense(32)(L.Dense(64, "relu")(x))
        x = L.LayerNormalization()(L.Add()([x, wide]))
    return keras.Model(ids, L.Dense(2, "softmax", name="head")(L.GlobalAveragePooling1D()(x)))


def resnet():
    inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    for _ in range(2):
        h = L.BatchNormalization(momentum=0.9)(
            L.Conv2D(16, 3, padding="same", activation="relu")(x)
        )
        x = L.Add()([x, L.Conv2D(16, 3, padding="same")(h)])
    return keras.Model(inputs, L.Dense(10, "softmax", name="head")(L.GlobalMaxPooling2D()(x)))


def two_heads():
    inputs = keras.Input((8,))
    shared = L.Dense(64, "relu")(L.Dense(64, "relu")(inputs))
    kind = L.Dense(3, "softmax", name="head_kind")(shared)
    size = L.Dense(1, name="head_size")(shared)
    return keras.Model(inputs, {"kind": kind, "size": size})


def unet():
    image = keras.Input((16, 16, 1))
    wide = L.Conv2D(8, 3, padding="same", activation="relu")(image)
    narrow = L.Conv2D(16, 3, padding="same", activation="relu")(L.MaxPooling2D()(wide))
    x = L.Concatenate()([L.UpSampling2D()(narrow), wide])
    x = L.Conv2D(8, 3, padding="same", activation="relu")(x)
    return keras.Model(image, L.Conv2D(1, 1, activation="sigmoid", name="head")(x))


def programs():
    x, y = digits()
    pictures, _ = images()
    square, colour = colours()
    rows, number = table()
    classified, either = two_classes()
    points, side = moons()
    words, topic = tokens()
    tagged, _ = tokens(length=10)
    series, speed = waves()
    window, following = forecast()
    noisy, mask = masks()
    several = (rows[:, :4] + rows[:, 4:] > 0.3).astype("float32")
    sums = standard(rows[:, :3] + np.abs(rows[:, 3:6]))
    both = {"kind": np.argmax(rows[:, :3], 1).astype("int32"), "size": number}
    sgd, fast = keras.optimizers.SGD, {"momentum": 0.9}
    return [
        Program(
            "mlp", chain((64,), dense(64), dense(32), head(10, "softmax")), "classes", SPARSE, x, y
        ),
        Program(
            "mlp, one-hot, SGD",
            chain((64,), dense(64), lambda: L.Dropout(0.2), dense(32), head(10, "softmax")),
            *("classes", ONE_HOT, x, one_hot(y, 10), sgd, fast, 0.05),
        ),
        Program(
            "mlp, logits",
            chain((64,), dense(64), dense(64), head(10)),
            *("classes", SPARSE, x, y),
            from_logits=True,
        ),
        Program(
            "deep mlp",
            chain((64,), *[dense(32, kernel_initializer="he_normal")] * 7, head(10, "softmax")),
            *("classes", SPARSE, x, y),
        ),
        Program(
            "cnn",
            chain(
                (8, 8, 1),
                convolution(16),
                lambda: L.MaxPooling2D(),
                convolution(16),
                lambda: L.Flatten(),
                dense(32),
                lambda: L.Dropout(0.25),
                head(10, "softmax"),
            ),
            *("classes", SPARSE, pictures, y),
            epochs=25,
        ),
        Program(
            "cnn with normalization",
            chain(
                (16, 16, 3),
                convolution(16, strides=2),
                lambda: L.BatchNormalization(momentum=0.9),
                convolution(16, strides=2),
                lambda: L.BatchNormalization(momentum=0.9),
                lambda: L.Flatten(),
                head(4, "softmax"),
            ),
            *("classes", ONE_HOT, square, one_hot(colour, 4)),
        ),
        Program("resnet", resnet, "classes", SPARSE, pictures, y, epochs=25),
        Program(
            "lstm",
            chain((32, 1), lambda: L.LSTM(16), head(3, "softmax")),
            *("classes", SPARSE, series, speed),
            rate=1e-2,
        ),
        Program(
            "convolutions and gru",
            chain(
                (32, 1),
                lambda: L.Conv1D(16, 5, activation="relu"),
                lambda: L.GRU(16),
                head(3, "softmax"),
            ),
            *("classes", ONE_HOT, series, one_hot(speed, 3)),
            rate=1e-2,
        ),
        Program(
            "forecast",
            chain((20, 2), lambda: L.LSTM(16), head(1)),
            *("numbers", "mse", window, following),
            rate=1e-2,
        ),
        Program(
            "tagger",
            chain(
                (10,),
                lambda: L.Embedding(50, 16),
                lambda: L.Bidirectional(L.LSTM(8, return_sequences=True)),
                head(4, "softmax"),
                dtype="int32",
            ),
            *("classes", SPARSE, tagged, tagged % 4),
            rate=2e-2,
        ),
        Program("transformer", transformer, "classes", SPARSE, words, topic, epochs=25),
        Program(
            "text cnn",
            chain(
                (16,),
                lambda: L.Embedding(50, 16),
                lambda: L.Conv1D(16, 3, activation="relu"),
                lambda: L.GlobalMaxPooling1D(),
                dense(16),
                head(1, "sigmoid"),
                dtype="int32",
            ),
            *("binary", BINARY, words, topic[:, None].astype("float32")),
        ),
        Program(
            "binary",
            chain((8,), dense(32), dense(16), head(1, "sigmoid")),
            "binary",
            BINARY,
            classified,
            either,
        ),
        Program(
            "binary, a logit",
            chain((8,), dense(32), dense(16), head(1)),
            *("binary", BINARY, classified, either),
            from_logits=True,
        ),
        Program(
            "points",
            chain((2,), dense(16, "tanh"), dense(16, "tanh"), head(1, "sigmoid")),
            *("binary", BINARY, points, side, sgd, fast, 0.1),
        ),
        Program(
            "regression", chain((8,), dense(64), dense(32), head(1)), "numbers", "mse", rows, number
        ),
        Program(
            "regression, tanh, SGD",
            chain((8,), dense(32, "tanh"), dense(32, "tanh"), head(3)),
            *("numbers", "mse", rows, sums, sgd, fast, 0.03),
        ),
        Program(
            "several labels",
            chain((8,), dense(32), dense(32), head(4, "sigmoid")),
            "labels",
            BINARY,
            rows,
            several,
        ),
        Program(
            "autoencoder",
            chain((64,), dense(64), dense(32), dense(64), head(64, "sigmoid")),
            *("numbers", "mse", x, x),
        ),
        Program("unet", unet, "binary", BINARY, noisy, mask, rate=1e-2, epochs=30),
        Program(
            "two outputs",
            two_heads,
            {"kind": "classes", "size": "numbers"},
            {"kind": SPARSE, "size": "mse"},
            *(rows, both),
        ),
    ]
