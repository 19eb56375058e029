"""Data sets as arrays in memory, split the same way every time.

The default, ``digits``, is the real handwritten digits that ship inside scikit-learn: no network.
The others come from a directory of ``.npz`` files in Keras's format, named by the environment
variable ``TFINIT_DATA_DIR``, or are downloaded by Keras; or they are arrays, files or TensorFlow
Datasets of the user's.
"""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfinit import arguments, points
from tfinit.arguments import array, text, whole
from tfinit.array_files import read_arrays
from tfinit.errors import InputError, MissingPackage, WorkError, first_line

Split = tuple[np.ndarray, np.ndarray]

DATA_DIR = "TFINIT_DATA_DIR"
_SPLIT_SEED = 0  # which examples are held out is part of the data set, not of an experiment
_MOST_HELD_OUT = 5000
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_TFDS = "tfds:"
_LAST_LABEL = 2**31 - 1  # they become int32


@dataclass(frozen=True)
class Dataset:
    """Training, validation and test examples.

    Attributes:
        name: What `load` calls it.
        train: (x, y): float32 inputs, int32 class numbers. Pixels are scaled to [0, 1]; those of
            ``cifar10`` are then normalized, see `load`.
        validation: The same, held out of the training examples: decides when to stop.
        test: The same, never used to decide anything.
        classes: Number of classes.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int

    def subset(self, train_rows: int, seed: int = 0) -> "Dataset":
        """The same data set with fewer training examples, drawn without repetition.

        These are the first ``train_rows`` of a permutation by ``seed``, so with one seed a smaller
        subset lies inside a larger one. Validation and test examples stay all.

        Args:
            train_rows: How many, from 1 to all.
            seed: Of the permutation.

        Raises:
            InputError: there are not so many.

        Example:
            >>> load("digits").subset(100).train[0].shape
            (100, 8, 8, 1)
        """
        x, y = self.train
        cure = f"{self.name!r} has so many training examples."
        train_rows = whole("train_rows", train_rows, 1, len(x), cure=cure)
        seed = arguments.seed("seed", seed, 0)
        rows = np.random.default_rng(seed).permutation(len(x))[:train_rows]
        return dataclasses.replace(self, train=(x[rows], y[rows]))

    def digest(self) -> str:
        """The `digest` of all its examples; not of its name."""
        splits = (self.train, self.validation, self.test)
        return digest(*(array for split in splits for array in split or (None,)))


def digest(*arrays: np.ndarray | None) -> str:
    """SHA-256, in hexadecimal, of arrays: of their types, shapes and bytes, in this order.

    It tells whether the data of a run are still those it began with. MNIST takes 0.2 s.

    Args:
        *arrays: The arrays; None for one that could be there and is not.

    Example:
        >>> x = np.arange(3)
        >>> digest(x) == digest(x.copy()), digest(x) == digest(x[:, None]), digest(None)[:8]
        (True, False, 'eba11f86')
    """
    told = hashlib.sha256()
    for part in arrays:
        if part is None:
            told.update(b"none;")
            continue
        told.update(f"{part.dtype.str}{part.shape};".encode())
        told.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8))
    return told.hexdigest()


def from_arrays(
    train: tuple[Any, Any],
    test: tuple[Any, Any],
    validation: tuple[Any, Any] | None = None,
    name: str = "arrays",
    classes: int | None = None,
) -> Dataset:
    """A data set of arrays. Without ``validation``, a tenth of ``train`` is held out for it.

    Inputs of uint8 are pixels and become x / 255; floats are taken as they are, in float32.
    Inputs of shape (n, height, width) get a channel axis, labels of shape (n, 1) lose theirs.
    What is held out, at random but always the same and at most 5000 examples, is no longer in
    ``train``. Arrays that have the right form already are not copied.

    Args:
        train: (x, y): inputs of shape (n, …), labels 0, 1, … of shape (n,) or (n, 1).
        test: The same.
        validation: The same, or None.
        name: What errors and results call the data set.
        classes: Number of classes. None: the largest label + 1.

    Raises:
        InputError: a pair is not one, is empty or differs in length, examples differ in shape,
            inputs are neither uint8 nor floats or are NaN or infinite, labels are not integers,
            are negative or beyond ``classes``.

    Example:
        >>> x, y = np.zeros((20, 6, 6), "uint8"), np.arange(20) % 4
        >>> data = from_arrays((x, y), (x, y))
        >>> data.train[0].shape, len(data.validation[0]), data.classes
        ((18, 6, 6, 1), 2, 4)
    """
    text("name", name)
    classes = whole("classes", classes, 1, none=True)
    given = {"train": train, "test": test}
    if validation is not None:
        given["validation"] = validation
    pairs = {which: _pair(name, which, pair) for which, pair in given.items()}
    shapes = {which: x.shape[1:] for which, (x, _) in pairs.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(
            f"The examples of data set {name!r} must have one shape, received {shapes}. "
            "Resize or reshape them to one."
        )
    most = max(int(y.max()) for _, y in pairs.values())
    if classes is None:
        classes = most + 1
    elif most >= classes:
        raise InputError(
            f"`classes` is {classes}, so the labels of {name!r} must be 0 to {classes - 1}, "
            f"received {most}. Labels count from 0; pass a larger number or leave it out."
        )
    if validation is None:
        pairs["train"], pairs["validation"] = _held_out(name, *pairs["train"])
    ready = {which: (_inputs(x), y.astype(np.int32, copy=False)) for which, (x, y) in pairs.items()}
    for which, (x, _) in ready.items():
        # Of minimum and maximum, one is NaN or infinite if anything is; and they copy nothing.
        if not (np.isfinite(x.min()) and np.isfinite(x.max())):
            raise InputError(
                f"`{which}` of data set {name!r} has inputs that are NaN or infinite in float32. "
                "Remove or replace them, as numpy.nan_to_num does."
            )
    return Dataset(name, ready["train"], ready["validation"], ready["test"], int(classes))


def _pair(name: str, which: str, pair: Any) -> Split:
    """Inputs and labels of the right axes, checked; not converted yet, which would be a copy."""
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise InputError(
            f"`{which}` must be a pair (x, y) of arrays, received {type(pair).__name__}. "
            "Pass (inputs, labels)."
        )
    x = array(which, pair[0])
    y = array(which, pair[1])
    where = f"`{which}` of data set {name!r}"
    if x.ndim < 2 or x.size == 0:
        raise InputError(
            f"{where} must have inputs of shape (examples, …), one at least, received {x.shape}. "
            "For a single feature pass x[:, None]."
        )
    if x.dtype != np.uint8 and not np.issubdtype(x.dtype, np.floating):
        raise InputError(
            f"{where} must have inputs of uint8 (pixels) or of floats, received {x.dtype}. "
            "Convert pixels with x.astype('uint8'), other numbers with x.astype('float32')."
        )
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise InputError(
            f"{where} must have integer labels of shape (examples,), received {y.dtype} of shape "
            f"{y.shape}. Convert whole numbers with y.astype('int32'), one-hot rows with "
            "y.argmax(axis=1)."
        )
    if len(x) != len(y):
        raise InputError(
            f"{where} has {len(x)} inputs and {len(y)} labels. Pass one label for each input."
        )
    if y.min() < 0 or y.max() > _LAST_LABEL:
        odd = y.min() if y.min() < 0 else f"{y.max()}, which is beyond 2**31 - 1"
        raise InputError(
            f"{where} must have labels of at least 0, received {odd}. Number the "
            "classes from 0, as numpy.unique(y, return_inverse=True)[1] does."
        )
    return (x[..., None] if x.ndim == 3 else x), y


def _held_out(name: str, x: np.ndarray, y: np.ndarray) -> tuple[Split, Split]:
    """Training and validation examples: a tenth, of MNIST's 60,000 the usual 5000."""
    if len(x) < 2:
        raise InputError(
            f"`train` of data set {name!r} has one example, so none can be held out for "
            "validation. Pass more, or pass `validation`."
        )
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(x))
    held = min(_MOST_HELD_OUT, max(1, len(x) // 10))
    return (x[order[held:]], y[order[held:]]), (x[order[:held]], y[order[:held]])


def _inputs(x: np.ndarray) -> np.ndarray:
    if x.dtype == np.uint8:
        # The same 256 numbers as float32(x / 255.0), without float64 in between.
        return np.divide(x, np.float32(255), dtype=np.float32)
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which is refused
        return x.astype(np.float32, copy=False)


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
    return from_arrays(*_keras_arrays("mnist"), name="mnist", classes=10)


def _fashion_mnist() -> Dataset:
    """70,000 images of 28×28 pixels: 55,000 train, 5,000 validate, 10,000 test."""
    return from_arrays(*_keras_arrays("fashion_mnist"), name="fashion_mnist", classes=10)


def _cifar10() -> Dataset:
    """60,000 images of 32×32×3 pixels: 45,000 train, 5,000 validate, 10,000 test; normalized."""
    train, test = _keras_arrays("cifar10")
    data = from_arrays(train, test, name="cifar10", classes=10)
    mean, std = _moments(np.asarray(train[0]))
    for x, _ in (data.train, data.validation, data.test):
        x -= mean
        x /= std
    return data


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, summed in float64 without a copy in it."""
    rows = x.reshape(-1, x.shape[-1])
    unit = 255.0 if x.dtype == np.uint8 else 1.0
    mean = rows.mean(axis=0, dtype=np.float64)
    square = np.einsum("nc,nc->c", rows, rows, dtype=np.float64, casting="same_kind") / len(rows)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    std[std == 0] = unit  # a constant channel becomes zeros, not NaN
    return (mean / unit).astype(np.float32), (std / unit).astype(np.float32)


def _keras_arrays(name: str) -> tuple[Split, Split]:
    directory = os.environ.get(DATA_DIR)
    if directory:
        path = Path(directory) / f"{name}.npz"
        return _read(
            path,
            f"{DATA_DIR} is {directory!r}, but {path} cannot be read as Keras's {name}.npz",
            f"Put the file there, or unset {DATA_DIR} to let Keras download it.",
        )
    import keras

    try:
        return getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises a bare Exception where a download fails
        raise WorkError(
            f"Keras cannot load {name}: {error}. Put Keras's {name}.npz ({', '.join(_ARRAYS)}) in "
            f"a directory and set {DATA_DIR} to that directory."
        ) from error


def _read(path: Path, trouble: str, cure: str) -> tuple[Split, Split]:
    """The training and test arrays of a file; InputError of both texts if it has none."""
    trouble = f"{trouble} ({', '.join(_ARRAYS)})"
    arrays = read_arrays(path, trouble, cure)
    if any(key not in arrays for key in _ARRAYS):
        raise InputError(f"{trouble}: it holds {', '.join(sorted(arrays)) or 'nothing'}. {cure}")
    x, y, x_test, y_test = (arrays[key] for key in _ARRAYS)
    return (x, y), (x_test, y_test)


def _file(path: Path, name: str) -> Dataset:
    train, test = _read(
        path,
        f"`dataset` {name!r}: {path} cannot be read as an .npz file of arrays",
        "Write one with numpy.savez(path, x_train=…, y_train=…, x_test=…, y_test=…).",
    )
    return from_arrays(train, test, name=name)


def _tensorflow_dataset(name: str) -> Dataset:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise MissingPackage(
            f"Data set {name!r}", "tensorflow-datasets", "'tfinit[datasets]'"
        ) from error
    try:
        splits = tfds.load(name.removeprefix(_TFDS), split=["train", "test"], as_supervised=True)
        # One by one, so that images of several sizes are NumPy's ValueError, not a crash.
        train, test = (
            tuple(map(np.stack, zip(*tfds.as_numpy(split), strict=True))) for split in splits
        )
    except (ValueError, TypeError) as error:
        raise InputError(
            f"`dataset` {name!r} cannot be loaded as images of one size with labels, in splits "
            f"train and test: {first_line(error)} Data sets: "
            "https://www.tensorflow.org/datasets/catalog. Or load the arrays yourself and pass "
            "them to tfinit.datasets.from_arrays."
        ) from error
    return from_arrays(train, test, name=name)


_LOADERS: dict[str, Callable[[], Dataset]] = {
    "digits": _digits,
    "mnist": _mnist,
    "fashion_mnist": _fashion_mnist,
    "cifar10": _cifar10,
}
NAMES = (*_LOADERS, *points.NAMES)


def load(name: str) -> Dataset:
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
    x_test and y_test, and becomes a data set by the rules of `from_arrays`; so do the others but
    ``digits``: validation is held out of the training examples, 5000 of MNIST and CIFAR.

    Raises:
        InputError: the name is unknown, or the file cannot be read or has unfit arrays.
        WorkError: Keras cannot download the data set.
        MissingPackage: ``tfds:`` without the package tensorflow-datasets.

    Example:
        >>> load("digits").train[0].shape
        (1097, 8, 8, 1)
    """
    text("dataset", name)
    if name in _LOADERS:
        return _LOADERS[name]()
    if name in points.NAMES:
        splits = points.make(name)
        classes = int(splits["train"][1].max()) + 1
        return Dataset(name, splits["train"], splits["validation"], splits["test"], classes)
    if name.startswith(_TFDS):
        return _tensorflow_dataset(name)
    if name.endswith(".npz"):
        return _file(Path(name), name)
    directory = os.environ.get(DATA_DIR)
    if directory and os.path.isfile(path := Path(directory) / f"{name}.npz"):
        return _file(path, name)
    raise InputError(
        f"`dataset` must be one of {', '.join(NAMES)}, the name of an .npz file in {DATA_DIR} "
        f"({directory or 'which is not set'}), the path of an .npz file, or "
        f"{_TFDS}NAME, received {name!r}."
    )
