"""Data sets as arrays in memory, split the same way every time.

The default, ``digits``, is the real handwritten digits that ship inside scikit-learn: no network.
The others come from a directory of ``.npz`` files in Keras's format, named by the environment
variable ``TFINIT_DATA_DIR``, or are downloaded by Keras.
"""

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfinit.errors import InputError

Split = tuple[np.ndarray, np.ndarray]

DATA_DIR = "TFINIT_DATA_DIR"
_SPLIT_SEED = 0  # which examples are held out is part of the data set, not of an experiment


@dataclass(frozen=True)
class Dataset:
    """Training, validation and test examples.

    Attributes:
        name: What `load` calls it.
        train: (x, y): float32 inputs scaled to [0, 1], int32 class numbers.
        validation: The same, held out of the training examples: decides when to stop.
        test: The same, never used to decide anything.
        classes: Number of classes.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int


def _take(x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> Split:
    return x[rows].astype(np.float32), y[rows].astype(np.int32)


def _digits() -> Dataset:
    """1797 images of 8×8 pixels: 1097 train, 300 validate, 400 test, classes in proportion."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x = (x / 16.0).reshape(-1, 8, 8, 1)
    rest, test = train_test_split(
        np.arange(len(x)), test_size=400, stratify=y, random_state=_SPLIT_SEED
    )
    train, validation = train_test_split(
        rest, test_size=300, stratify=y[rest], random_state=_SPLIT_SEED
    )
    return Dataset("digits", _take(x, y, train), _take(x, y, validation), _take(x, y, test), 10)


def _mnist() -> Dataset:
    """70,000 images of 28×28 pixels: 55,000 train, 5,000 validate, 10,000 test."""
    (x, y), (x_test, y_test) = _keras_arrays("mnist")
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(x))
    x, x_test = x[..., None] / 255.0, x_test[..., None] / 255.0
    return Dataset(
        "mnist",
        _take(x, y, order[5000:]),
        _take(x, y, order[:5000]),
        _take(x_test, y_test, np.arange(len(x_test))),
        10,
    )


def _keras_arrays(name: str) -> tuple[Split, Split]:
    directory = os.environ.get(DATA_DIR)
    if directory:
        path = Path(directory) / f"{name}.npz"
        try:
            with np.load(path) as arrays:
                return (
                    (arrays["x_train"], arrays["y_train"]),
                    (arrays["x_test"], arrays["y_test"]),
                )
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{DATA_DIR} is {directory!r}, but {path} cannot be read as Keras's {name}.npz "
                f"(x_train, y_train, x_test, y_test): {error}. Put the file there, or unset "
                f"{DATA_DIR} to let Keras download it."
            ) from error
    import keras

    return getattr(keras.datasets, name).load_data()


_LOADERS: dict[str, Callable[[], Dataset]] = {"digits": _digits, "mnist": _mnist}
NAMES = tuple(_LOADERS)


def load(name: str) -> Dataset:
    """Load a data set by its name.

    Args:
        name: ``"digits"`` (in scikit-learn, no network) or ``"mnist"`` (from
            ``TFINIT_DATA_DIR``, or downloaded by Keras).

    Raises:
        InputError: the name is unknown, or the file in ``TFINIT_DATA_DIR`` cannot be read.

    Example:
        >>> load("digits").train[0].shape
        (1097, 8, 8, 1)
    """
    if name not in _LOADERS:
        raise InputError(f"`dataset` must be one of {', '.join(NAMES)}, received {name!r}.")
    return _LOADERS[name]()
