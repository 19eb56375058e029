"""What the programs train on: scikit-learn's own small sets, and numbers drawn from a seed."""

from typing import Any

import keras
import numpy as np
from sklearn.datasets import load_digits, load_iris


def one_hot(y: Any, classes: int) -> np.ndarray:
    return keras.utils.to_categorical(y, classes)


def standard(x: np.ndarray) -> np.ndarray:
    return ((x - x.mean(0)) / (x.std(0) + 1e-9)).astype("float32")


def digits(largest: float = 1.0, examples: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits as 64 pixels of 0 to ``largest``, and their class numbers."""
    x, y = load_digits(return_X_y=True)
    return (x[:examples] / 16 * largest).astype("float32"), y[:examples].astype("int32")


def images(largest: float = 1.0, examples: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """The same as images of 8×8×1."""
    x, y = digits(largest, examples)
    return x.reshape(-1, 8, 8, 1), y


def iris() -> tuple[np.ndarray, np.ndarray]:
    """150 flowers, shuffled: four lengths in cm, and class numbers."""
    x, y = load_iris(return_X_y=True)
    order = np.random.default_rng(1).permutation(len(y))
    return x[order].astype("float32"), y[order].astype("int32")
