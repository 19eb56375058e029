"""What a data set is: training, validation and test examples in memory, made of arrays."""

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfinit import arguments
from tfinit.arguments import array, text, whole
from tfinit.errors import InputError

Split = tuple[np.ndarray, np.ndarray]

SPLIT_SEED = 0  # which examples are held out is part of the data set, not of an experiment
_MOST_HELD_OUT = 5000
_LAST_LABEL = 2**31 - 1  # they become int32


@dataclass(frozen=True)
class Dataset:
    """Training, validation and test examples.

    Attributes:
        name: What `tfinit.datasets.load` calls it.
        train: (x, y): float32 inputs, int32 class numbers. Pixels are scaled to [0, 1]; those of
            ``cifar10`` are then normalized: see `tfinit.datasets.load`.
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
            >>> tfinit.datasets.load("digits").subset(100).train[0].shape
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
        told.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
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
    order = np.random.default_rng(SPLIT_SEED).permutation(len(x))
    held = min(_MOST_HELD_OUT, max(1, len(x) // 10))
    return (x[order[held:]], y[order[held:]]), (x[order[:held]], y[order[:held]])


def _inputs(x: np.ndarray) -> np.ndarray:
    if x.dtype == np.uint8:
        # The same 256 numbers as float32(x / 255.0), without float64 in between.
        return np.divide(x, np.float32(255), dtype=np.float32)
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which is refused
        return x.astype(np.float32, copy=False)
