"""Data sets as arrays in memory, split the same way every time.

The default, ``digits``, is the real handwritten digits that ship inside scikit-learn: no network.
The others come from a directory of ``.npz`` files in Keras's format, named by the environment
variable ``TFINIT_DATA_DIR``, or are downloaded by Keras; or they are arrays, files or TensorFlow
Datasets of the user's.

A function with `named` above it is all that a new one needs: flags, help, errors and the menu of
the page list it. It imports what it needs itself: configurations read the names here, without
NumPy.
"""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfinit import points
from tfinit.arguments import meant, text
from tfinit.errors import InputError, MissingPackage, WorkError, first_line

if TYPE_CHECKING:
    import numpy as np

    from tfinit.splits import Dataset, Split, digest, from_arrays

__all__ = [
    "DATASETS",
    "DATA_DIR",
    "NAMES",
    "Dataset",
    "NamedDataset",
    "at_hand",
    "data_help",
    "datasets_help",
    "digest",
    "from_arrays",
    "is_known",
    "load",
    "named",
]

DATA_DIR = "TFINIT_DATA_DIR"
NAMES: tuple[str, ...]
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_TFDS = "tfds:"


_Make = Callable[[], "Dataset"]


@dataclass(frozen=True)
class NamedDataset:
    """A data set under a name.

    Attributes:
        load: _Makes it.
        description: What it is, in the help.
        label: What menus call it.
        at_hand: Whether it needs neither a download nor a file: the page offers these.
    """

    load: _Make
    description: str
    label: str
    at_hand: bool = False


DATASETS: dict[str, NamedDataset] = {}


def named(
    name: str, description: str, label: str = "", at_hand: bool = False
) -> Callable[[_Make], _Make]:
    """Let `load` know what a function makes by a name: see `NamedDataset`."""

    def register(make: _Make) -> _Make:
        DATASETS[name] = NamedDataset(make, description, label or name.capitalize(), at_hand)
        return make

    return register


def __getattr__(name: str) -> Any:
    if name == "NAMES":  # as of now
        return tuple(DATASETS)
    if name in ("Dataset", "digest", "from_arrays"):
        return getattr(importlib.import_module("tfinit.splits"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def at_hand() -> tuple[str, ...]:
    """The names of the data sets that need neither a download nor a file."""
    return tuple(name for name, known in DATASETS.items() if known.at_hand)


def data_help(arrays: str) -> str:
    """What a command that takes any arrays is given, in a sentence for ``--help``.

    Args:
        arrays: Those that a file must and may have.
    """
    return (
        f"{', '.join(DATASETS)}, tfds:NAME, file.py:load, which returns ((x, y), (x_test, y_test)),"
        f" or an .npz file with {arrays}."
    )


def datasets_help() -> str:
    """The data sets by their names, in a sentence for ``--help``."""
    known = ", ".join(f"{name} ({one.description})" for name, one in DATASETS.items())
    return (
        f"Data set: {known}, an .npz file, tfds:NAME, or file.py:load, which returns ((x, y), "
        f"(x_test, y_test)). Those of Keras come from {DATA_DIR}, or Keras downloads them."
    )


def _take(x: "np.ndarray", y: "np.ndarray", rows: "np.ndarray") -> "Split":
    import numpy as np

    return x[rows].astype(np.float32), y[rows].astype(np.int32)


@named("digits", "1797 images of 8×8, inside scikit-learn", "Digits (8×8 images)", at_hand=True)
def _digits() -> "Dataset":
    """1797 images of 8×8 pixels: 1097 train, 300 validate, 400 test, classes in proportion."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    from tfinit.splits import SPLIT_SEED, Dataset

    x, y = load_digits(return_X_y=True)
    x = (x / 16.0).reshape(-1, 8, 8, 1)
    rest, test = train_test_split(
        np.arange(len(x)), test_size=400, stratify=y, random_state=SPLIT_SEED
    )
    train, validation = train_test_split(
        rest, test_size=300, stratify=y[rest], random_state=SPLIT_SEED
    )
    return Dataset("digits", _take(x, y, train), _take(x, y, validation), _take(x, y, test), 10)


@named("mnist", "70,000 images of 28×28", "MNIST")
def _mnist() -> "Dataset":
    """70,000 images of 28×28 pixels: 55,000 train, 5,000 validate, 10,000 test."""
    from tfinit.splits import from_arrays

    return from_arrays(*_keras_arrays("mnist"), name="mnist", classes=10)


@named("fashion_mnist", "70,000 images of 28×28", "Fashion-MNIST")
def _fashion_mnist() -> "Dataset":
    """70,000 images of 28×28 pixels: 55,000 train, 5,000 validate, 10,000 test."""
    from tfinit.splits import from_arrays

    return from_arrays(*_keras_arrays("fashion_mnist"), name="fashion_mnist", classes=10)


@named("cifar10", "60,000 images of 32×32×3", "CIFAR-10")
def _cifar10() -> "Dataset":
    """60,000 images of 32×32×3 pixels: 45,000 train, 5,000 validate, 10,000 test; normalized."""
    import numpy as np

    from tfinit.splits import from_arrays

    train, test = _keras_arrays("cifar10")
    data = from_arrays(train, test, name="cifar10", classes=10)
    mean, std = _moments(np.asarray(train[0]))
    for x, _ in (data.train, data.validation, data.test):
        x -= mean
        x /= std
    return data


def _moments(x: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Mean and standard deviation of each channel, summed in float64 without a copy in it."""
    import numpy as np

    rows = x.reshape(-1, x.shape[-1])
    unit = 255.0 if x.dtype == np.uint8 else 1.0
    mean = rows.mean(axis=0, dtype=np.float64)
    square = np.einsum("nc,nc->c", rows, rows, dtype=np.float64, casting="same_kind") / len(rows)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    std[std == 0] = unit  # a constant channel becomes zeros, not NaN
    return (mean / unit).astype(np.float32), (std / unit).astype(np.float32)


def _keras_arrays(name: str) -> "tuple[Split, Split]":
    directory = os.environ.get(DATA_DIR)
    if directory:
        path = Path(directory) / f"{name}.npz"
        splits = _read(
            path,
            f"{DATA_DIR} is {directory!r}, but {path} cannot be read as Keras's {name}.npz",
            f"Put the file there, or unset {DATA_DIR} to let Keras download it.",
        )
        return splits["train"], splits["test"]
    import keras

    try:
        return getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises a bare Exception where a download fails
        raise WorkError(
            f"Keras cannot load {name}: {error}. Put Keras's {name}.npz ({', '.join(_ARRAYS)}) in "
            f"a directory and set {DATA_DIR} to that directory."
        ) from error


def _read(path: Path, trouble: str, cure: str) -> "dict[str, Split]":
    """The splits of a file by their names; InputError of both texts if it has none."""
    from tfinit.array_files import read_arrays
    from tfinit.arrays_by_name import has_part, part_of

    trouble = f"{trouble} ({', '.join(_ARRAYS)})"
    arrays = read_arrays(path, trouble, cure)
    if not all(has_part(arrays, key) for key in _ARRAYS):
        raise InputError(f"{trouble}: it holds {', '.join(sorted(arrays)) or 'nothing'}. {cure}")
    splits = {}
    for which in ("train", "test", "validation"):
        parts = [part_of(arrays, f"{part}_{which}") for part in ("x", "y", "sample_weight")]
        if parts[0] is not None or parts[1] is not None:
            splits[which] = tuple(parts if parts[2] is not None else parts[:2])
    return splits


def _file(argument: str, path: Path, name: str) -> "Dataset":
    from tfinit.splits import from_arrays

    splits: Any = _read(
        path,
        f"`{argument}` {name!r}: {path} cannot be read as an .npz file of arrays",
        "Write one with numpy.savez(path, x_train=…, y_train=…, x_test=…, y_test=…).",
    )
    return from_arrays(**splits, name=name)


def _tensorflow_dataset(argument: str, name: str) -> "Dataset":
    import numpy as np

    from tfinit.splits import from_arrays

    try:
        import tensorflow_datasets as tfds  # ty: ignore[import-not-found]
    except ImportError as error:
        raise MissingPackage(
            f"Data set {name!r}", "tensorflow-datasets", "tfinit[datasets]"
        ) from error
    try:
        splits = tfds.load(name.removeprefix(_TFDS), split=["train", "test"], as_supervised=True)
        # One by one, so that images of several sizes are NumPy's ValueError, not a crash.
        train, test = (
            tuple(map(np.stack, zip(*tfds.as_numpy(split), strict=True))) for split in splits
        )
    except (ValueError, TypeError) as error:
        raise InputError(
            f"`{argument}` {name!r} cannot be loaded as images of one size with labels, in splits "
            f"train and test: {first_line(error)} Data sets: "
            "https://www.tensorflow.org/datasets/catalog. Or load the arrays yourself and pass "
            "them to tfinit.datasets.from_arrays."
        ) from error
    return from_arrays(train, test, name=name)


def _points(name: str) -> "Dataset":
    from tfinit.splits import Dataset

    splits = points.make(name)
    classes = int(splits["train"][1].max()) + 1
    return Dataset(name, splits["train"], splits["validation"], splits["test"], classes)


for _name in points.NAMES:
    _label = "XOR" if _name == "xor" else ""
    named(_name, points.description(_name), _label, at_hand=True)(partial(_points, _name))


def is_known(name: str) -> bool:
    """Whether `load` knows a name that is no path of a file.

    Example:
        >>> is_known("digits"), is_known("tfds:mnist"), is_known("digits.npz")
        (True, True, False)
    """
    text("name", name)
    return name in DATASETS or name.startswith(_TFDS) or _in_directory(name) is not None


def _in_directory(name: str) -> Path | None:
    directory = os.environ.get(DATA_DIR)
    if not directory or name.endswith(".npz"):
        return None
    path = Path(directory) / f"{name}.npz"
    return path if os.path.isfile(path) else None


def load(name: str, argument: str = "dataset") -> "Dataset":
    """Load a data set by its name.

    =================== ==========================================================================
    name                data
    =================== ==========================================================================
    ``digits``          1797 images of 8×8×1, inside scikit-learn
    ``mnist``           70,000 images of 28×28×1
    ``fashion_mnist``   70,000 images of 28×28×1
    ``cifar10``         60,000 images of 32×32×3, each channel normalized: (x - mean) / std
    ``circles``         600 points in the plane, as ``blobs``, ``moons``, ``xor`` and ``spiral``
    any other name      the file ``TFINIT_DATA_DIR/<name>.npz``
    ``path/to/it.npz``  that file
    ``tfds:NAME``       NAME of TensorFlow Datasets: splits train and test, labeled images
    =================== ==========================================================================

    The three of Keras come from ``TFINIT_DATA_DIR/<name>.npz`` where that variable is set, and are
    downloaded by Keras where not. Mean and deviation of CIFAR-10 are those of its 50,000 training
    images, as in the published recipes for ResNet and VGG. A file has the arrays x_train, y_train,
    x_test and y_test, may have x_validation, y_validation, sample_weight_train and so on, and
    becomes a data set by the rules of `from_arrays`; so do the others but ``digits``: validation is
    held out of the training examples, 5000 of MNIST and CIFAR. Several inputs or targets have names
    that go on: x_train_image, x_train_text.

    Args:
        name: As in the table.
        argument: What the caller calls it, for errors.

    Raises:
        InputError: the name is unknown, or the file cannot be read or has unfit arrays.
        WorkError: Keras cannot download the data set.
        MissingPackage: ``tfds:`` without the package tensorflow-datasets.

    Example:
        >>> load("digits").train[0].shape
        (1097, 8, 8, 1)
    """
    text("argument", argument)
    text(argument, name)
    if name in DATASETS:
        return DATASETS[name].load()
    if name.startswith(_TFDS):
        return _tensorflow_dataset(argument, name)
    if name.endswith(".npz"):
        return _file(argument, Path(name), name)
    if path := _in_directory(name):
        return _file(argument, path, name)
    directory = os.environ.get(DATA_DIR)
    raise InputError(
        f"`{argument}` must be one of {', '.join(DATASETS)}, the name of an .npz file in {DATA_DIR}"
        f" ({directory or 'which is not set'}), the path of an .npz file, or "
        f"{_TFDS}NAME, received {name!r}.{meant(name, DATASETS)}"
    )
