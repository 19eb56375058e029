"""Inputs that look as if they were not prepared, and are."""

import keras
import numpy as np
from keras import layers as L

from ..data import colours, digits, images, random, standard, table, tokens, two_classes, waves


def _mlp(columns, units=1, activation="sigmoid", loss="binary_crossentropy", before=()):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((columns,)), *before, L.Dense(32, "relu"), L.Dense(units, activation)]
    )
    model.compile(keras.optimizers.Adam(3e-3), loss)
    return model


def bag_of_words():
    """Counts of 400 words, nearly all of them 0, some columns 0 throughout."""
    x, y = tokens(vocabulary=400)
    counts = np.stack([np.bincount(row, minlength=400) for row in x]).astype("float32")
    return _mlp(400), counts, y[:, None].astype("float32")


def bag_of_words_as_zeros_and_ones():
    (
        x,
        y,
    ) = tokens(vocabulary=400)
    counts = np.stack([np.bincount(row, minlength=400) > 0 for row in x]).astype("float32")
    return _mlp(400), counts, y[:, None].astype("float32")


def tf_idf():
    """Rows of norm 1: each number is small."""
    model, counts, y = bag_of_words()
    weighed = counts * np.log(len(counts) / (1 + (counts > 0).sum(0)))
    return model, weighed / np.linalg.norm(weighed, axis=1, keepdims=True), y


def columns_of_many_kinds():
    """Standardized numbers beside 0 or 1, one-hot columns, and one that is rarely set."""
    rng = random(50)
    x, y = two_classes()
    kind = np.eye(6)[rng.integers(0, 6, len(x))]
    rare = np.zeros((len(x), 1))
    flag = rng.integers(0, 2, (len(x), 1))
    return _mlp(16), np.concatenate([x, kind, rare, flag], 1).astype("float32"), y


def one_column_twice():
    x, y = two_classes()
    return _mlp(9), np.concatenate([x, x[:, :1]], 1), y


def two_columns_left_unscaled():
    """Ages of 18 to 90 beside standardized columns, behind a BatchNormalization."""
    x, y = two_classes()
    age = random(51).integers(18, 90, (len(x), 2))
    return (
        _mlp(10, before=[L.BatchNormalization()]),
        np.concatenate([x, age], 1).astype("float32"),
        y,
    )


def rescaling_layer():
    """Bytes, and a layer in the model that divides them by 255."""
    x, y = colours(scale=255)
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            L.Rescaling(1 / 255),
            L.Conv2D(16, 3, activation="relu"),
            L.Conv2D(16, 3, activation="relu"),
            L.Flatten(),
            L.Dense(4, "softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    return model, x, y


def bytes_behind_a_rescaling_layer():
    """The same as uint8."""
    model, x, y = rescaling_layer()
    return model, x.astype("uint8"), y


def normalization_layer():
    """Columns of any scale, and a Normalization that has seen them."""
    x, y = two_classes()
    x = x * np.logspace(0, 4, 8) + np.logspace(0, 5, 8)
    known = L.Normalization()
    known.adapt(x)
    return _mlp(8, before=[known]), x.astype("float32"), y


def pixels_from_0_to_1():
    """Not centred: the usual way."""
    x, y = images()
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            L.Conv2D(16, 3, activation="relu"),
            L.Flatten(),
            L.Dense(10, "softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    return model, x, y


def pixels_from_minus_1_to_1():
    model, x, y = pixels_from_0_to_1()
    return model, 2 * x - 1, y


def black_images():
    """Nine of ten pixels are 0."""
    x, y = images()
    model, *_ = pixels_from_0_to_1()
    return model, np.where(x > 0.9, x, 0), y


def pixels_of_0_to_16():
    """scikit-learn's digits as they come: it learns."""
    x, y = digits(scale=16.0)
    model = _mlp(64, 10, "softmax", "sparse_categorical_crossentropy")
    return model, x, y


def bytes_behind_a_batch_normalization():
    x, y = digits(scale=255.0)
    model = _mlp(64, 10, "softmax", "sparse_categorical_crossentropy", [L.BatchNormalization()])
    return model, x, y


def centimetres():
    """Columns with a mean of 5 and a deviation of 1, as of the irises."""
    x, y = two_classes()
    return _mlp(8), x + 5, y


def small_numbers():
    """Returns of shares: a hundredth."""
    x, y = two_classes()
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8,)), L.Dense(64, "relu"), L.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy")
    return model, x / 20, y


def one_hot_inputs():
    rng = random(52)
    ids = rng.integers(0, 20, 256)
    return _mlp(20), np.eye(20, dtype="float32")[ids], (ids % 2)[:, None].astype("float32")


def xor():
    """Four examples are all there are."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((2,)), L.Dense(8, "tanh"), L.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.Adam(0.1), "binary_crossentropy")
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
    return model, x, (x.sum(1, keepdims=True) == 1).astype("float32")


def one_column():
    """x and its sine."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((1,)), L.Dense(32, "tanh"), L.Dense(32, "tanh"), L.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    x = np.linspace(-3, 3, 200)[:, None].astype("float32")
    return model, x, np.sin(2 * x)


def padded_sequences():
    """Ids with zeros behind, of different lengths."""
    x, y = tokens(length=24)
    x[np.arange(24) >= random(53).integers(4, 24, (len(x), 1))] = 0
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((24,), dtype="int32"),
            L.Embedding(50, 16, mask_zero=True),
            L.LSTM(16),
            L.Dense(1, "sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy")
    return model, x, y[:, None]


def ids_as_floats():
    """Whole numbers that were read as floats, for an Embedding."""
    x, y = tokens()
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((16,)), L.Embedding(50, 16), L.Flatten(), L.Dense(2, "softmax")]
    )
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    return model, x.astype("float32"), y


def series_of_several_channels():
    x, y = waves(channels=3)
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((32, 3)), L.Conv1D(16, 5, activation="relu"), L.GRU(16), L.Dense(3, "softmax")]
    )
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    return model, x, y


def class_weights():
    x, y = two_classes(share=0.1)
    return _mlp(8), x, y


def physics():
    """y'' = -y through a loss of the points' own: places and nothing else are its inputs."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((1,)), L.Dense(32, "tanh"), L.Dense(32, "tanh"), L.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(5e-3), "mse")
    x = random(54).uniform(0, 3.1, (128, 1)).astype("float32")
    return model, x, np.cos(x)


def states_of_a_pendulum():
    """Cosine, sine and speed: columns of different size."""
    rng = random(55)
    angle, speed = rng.uniform(-np.pi, np.pi, 256), rng.uniform(-8, 8, 256)
    x = np.stack([np.cos(angle), np.sin(angle), speed], 1).astype("float32")
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((3,)), L.Dense(64, "relu"), L.Dense(64, "relu"), L.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    return model, x, standard((-(angle**2) - 0.1 * speed**2)[:, None])


def columns_that_depend_on_each_other():
    x, y = table(columns=6)
    return (
        _mlp(9, 1, None, "mse"),
        np.concatenate([x, x[:, :3] + 0.01 * random(56).normal(size=(len(x), 3))], 1).astype(
            "float32"
        ),
        y,
    )
