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


def clouds(
    examples: int = 256, columns: int = 8, classes: int = 2, apart: float = 1.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Points about one centre for each class, of unit scale, and class numbers."""
    random = np.random.default_rng(seed)
    y = random.integers(0, classes, examples)
    centres = apart * random.normal(size=(classes, columns))
    x = centres[y] + random.normal(size=(examples, columns))
    return standard(x), y.astype("int32")


def people(examples: int = 400, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Columns as tables of people have them: years, sums of money, codes; and class numbers."""
    x, y = clouds(examples, 6, classes)
    x[:, [1, 4]] = np.random.default_rng(1).normal(size=(examples, 2))  # money says nothing
    scales, means = np.array([13, 1e5, 3, 4, 7e3, 12]), np.array([38, 2e5, 6, 10, 9e3, 40])
    return (x * scales + means).astype("float32"), y


def colour_images(
    largest: float = 1.0, examples: int = 384, size: int = 16, classes: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """Noisy coloured patterns of 0 to ``largest``, one for each class, and class numbers."""
    random = np.random.default_rng(0)
    y = random.integers(0, classes, examples)
    coarse = random.uniform(size=(classes, size // 4, size // 4, 3))
    x = 0.6 * coarse.repeat(4, 1).repeat(4, 2)[y] + 0.4 * random.uniform(
        size=(examples, size, size, 3)
    )
    return (largest * x).astype("float32"), y.astype("int32")


def waves(examples: int = 256, steps: int = 20, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Sine waves with noise, steps × 1, and class numbers that are their frequencies."""
    random = np.random.default_rng(0)
    y = random.integers(0, classes, examples)
    phase = random.uniform(0, 2 * np.pi, (examples, 1))
    x = np.sin(phase + (y[:, None] + 1) * np.arange(steps) * 2 * np.pi / steps)
    x = x + 0.1 * random.normal(size=x.shape)
    return x[..., None].astype("float32"), y.astype("int32")
