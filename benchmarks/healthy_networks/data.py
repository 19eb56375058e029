"""Small data sets that can be learned: each function gives (inputs, targets)."""

import keras
import numpy as np
from sklearn.datasets import load_digits


def random(salt):
    return np.random.default_rng([19, salt])


def one_hot(labels, classes):
    return keras.utils.to_categorical(labels, classes)


def standard(x):
    """Mean 0 and deviation 1, column by column; what is constant becomes 0."""
    return ((x - x.mean(0)) / (x.std(0) + 1e-9)).astype("float32")


def digits(rows=256, scale=1.0):
    """Handwritten digits as 64 numbers of 0 to `scale`, and their classes."""
    x, y = load_digits(return_X_y=True)
    return (x[:rows] / 16 * scale).astype("float32"), y[:rows].astype("int32")


def images(rows=256, scale=1.0, size=8):
    """The same as images of one channel, each pixel `size` / 8 pixels wide."""
    x, y = digits(rows, scale)
    x = x.reshape(-1, 8, 8, 1)
    return x.repeat(size // 8, 1).repeat(size // 8, 2), y


def colours(rows=128, size=16, classes=4, scale=1.0, salt=1):
    """Images of three channels: a bright square, whose colour and place tell the class."""
    rng = random(salt)
    x = rng.uniform(0, 0.4, (rows, size, size, 3))
    y = rng.integers(0, classes, rows)
    half = size // 2
    for n, label in enumerate(y):
        row, column = rng.integers(0, half, 2)
        x[n, row : row + half, column : column + half, label % 3] += 0.3 + 0.3 * (label // 3)
    return (x * scale).astype("float32"), y.astype("int32")


def table(rows=256, columns=8, salt=2):
    """Standardized columns, and a number that depends on them; as (x, y of shape (rows, 1))."""
    rng = random(salt)
    x = rng.normal(size=(rows, columns))
    y = x[:, 0] * x[:, 1] + np.abs(x[:, 2]) + 0.5 * x[:, 3] + rng.normal(0, 0.05, rows)
    return standard(x), standard(y[:, None])


def two_classes(rows=256, columns=8, salt=3, share=0.5):
    """A table, and 0 or 1 as a column: `share` of the rows are 1."""
    x, y = table(rows, columns, salt)
    return x, (y > np.quantile(y, 1 - share)).astype("float32")


def moons(rows=256, salt=4):
    """Points of two interlaced half circles, and 0 or 1."""
    rng = random(salt)
    y = rng.integers(0, 2, rows)
    angle = rng.uniform(0, np.pi, rows)
    x = np.stack([np.cos(angle), np.sin(angle)], 1)
    x = np.where(y[:, None] == 1, [1.0, 0.5] - x, x) + rng.normal(0, 0.1, (rows, 2))
    return x.astype("float32"), y[:, None].astype("float32")


def tokens(rows=128, length=16, vocabulary=50, classes=2, salt=5):
    """Sequences of ids from 1 on, and a class: which part of the vocabulary is most frequent."""
    rng = random(salt)
    y = rng.integers(0, classes, rows)
    x = rng.integers(1, vocabulary, (rows, length))
    part = (vocabulary - 1) // classes
    told = 1 + y[:, None] * part + rng.integers(0, part, (rows, length))
    x = np.where(rng.uniform(size=x.shape) < 0.4, told, x)
    return x.astype("int32"), y.astype("int32")


def waves(rows=128, length=32, channels=1, classes=3, salt=6):
    """Noisy sine waves, and a class: how fast they swing. Mean 0, deviation about 1."""
    rng = random(salt)
    y = rng.integers(0, classes, rows)
    place = np.linspace(0, 2 * np.pi, length)[None, :, None]
    phase = rng.uniform(0, 2 * np.pi, (rows, 1, channels))
    x = 1.4 * np.sin((1 + 1.5 * y[:, None, None]) * place + phase) + rng.normal(
        0, 0.2, (rows, length, channels)
    )
    return x.astype("float32"), y.astype("int32")


def forecast(rows=128, length=20, channels=2, salt=7):
    """Windows of a series, and its next value, of mean 0 and deviation about 1."""
    rng = random(salt)
    steps = np.arange(rows + length + 1)
    waves = [np.sin(steps / (3 + 2 * c)) + rng.normal(0, 0.05, len(steps)) for c in range(channels)]
    series = standard(np.stack(waves, 1))
    x = np.stack([series[n : n + length] for n in range(rows)])
    return x, series[length : length + rows, :1]


def masks(rows=64, size=16, share=6, salt=8):
    """Noisy images with a bright square, and 1 for each pixel in it: (rows, size, size, 1) both."""
    rng = random(salt)
    y = np.zeros((rows, size, size, 1), "float32")
    for n, (row, column) in enumerate(rng.integers(0, size - share, (rows, 2))):
        y[n, row : row + share, column : column + share] = 1
    return (y + rng.normal(0, 0.3, y.shape)).astype("float32"), y
