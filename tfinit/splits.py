"""What a data set is: training, validation and test examples in memory, made of arrays."""

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfinit import arguments
from tfinit.arguments import text, whole
from tfinit.array_trees import Arrays, each, flat, with_places
from tfinit.batch_streams import Stream, stream_of
from tfinit.errors import InputError, reason
from tfinit.given_arrays import (
    Split,
    in_training_form,
    number_classes,
    pixels_of,
    read_split,
)
from tfinit.results import Result
from tfinit.text_table import of_shape

__all__ = ["SPLIT_SEED", "Dataset", "Split", "digest", "from_arrays"]

SPLIT_SEED = 0  # which examples are held out is part of the data set, not of an experiment
_MOST_HELD_OUT = 5000
_LOOKED_AT = 32  # examples of a stream, to see what it gives


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Result):
    """Training, validation and test examples.

    A split is (x, y), or (x, y, sample weights): each of these an array with a row for each
    example, or a dictionary, list or tuple of arrays where a model has several inputs or outputs.
    For training it may be a `tfinit.batch_streams.Stream` of batches; what can be one becomes one.

    Attributes:
        name: What `tfinit.datasets.load` calls it.
        train: The training examples. Of the data sets by name float32 inputs, int32 class numbers.
            Pixels are scaled to [0, 1]; those of ``cifar10`` are then normalized: see
            `tfinit.datasets.load`.
        validation: The same, held out of the training examples: decides when to stop.
        test: The same, never used to decide anything.
        classes: Number of classes, where targets are class numbers; None where they are not.
    """

    name: str
    train: Any
    validation: Any
    test: Any
    classes: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.train, tuple | list):
            stream = stream_of(self.train, "data.train")
            object.__setattr__(self, "train", stream or self.train)

    def __str__(self) -> str:
        train, *rest = self._rows()
        counts = [
            f"{row['examples']:,} {row['split']}" for row in (train, *rest) if row["examples"]
        ]
        told = f"{self.name}: {', '.join(counts)} examples; inputs {train['inputs']}"
        if train["targets"]:
            told += f"; targets {train['targets']}"
        return told if self.classes is None else f"{told}, {self.classes} classes"

    def to_dict(self) -> dict[str, Any]:
        """What the splits are made of, without the examples."""
        return {"name": self.name, "classes": self.classes, "splits": self._rows()}

    def _rows(self) -> list[dict[str, Any]]:
        splits = {"training": self.train, "validation": self.validation, "test": self.test}
        return [{"split": name, **_described(split)} for name, split in splits.items() if split]

    @property
    def rows(self) -> int | None:
        """How many training examples there are; None for a stream of batches."""
        return len(flat(self.train[0])[0]) if isinstance(self.train, tuple) else None

    def first(self, rows: int) -> Split:
        """The first training examples, ``rows`` or as many as there are, as arrays.

        Example:
            >>> tfinit.datasets.load("digits").first(32)[0].shape
            (32, 8, 8, 1)
        """
        rows = whole("rows", rows, 1)
        if isinstance(self.train, Stream):
            return _looked(self.name, "train", lambda: self.train.first(rows))
        return tuple(each(lambda one: one[:rows], part) for part in self.train)

    def class_count(self, needed_by: str) -> int:
        """The number of classes.

        Args:
            needed_by: What needs it, for the error.

        Raises:
            InputError: targets are not class numbers.

        Example:
            >>> tfinit.datasets.load("digits").class_count("it")
            10
        """
        text("needed_by", needed_by)
        if self.classes is None:
            raise InputError(
                f"{needed_by} needs one class number for each example, 0, 1, …, and the targets of "
                f"data set {self.name!r} are {_told(self.train)}. Pass class numbers, or a model "
                "of your own."
            )
        return self.classes

    def example_shape(self, needed_by: str) -> tuple[int, ...]:
        """The shape of one training example, where a network takes one array.

        Args:
            needed_by: What needs it, for the error.

        Raises:
            InputError: inputs are several arrays.

        Example:
            >>> tfinit.datasets.load("digits").example_shape("it")
            (8, 8, 1)
        """
        text("needed_by", needed_by)
        x = self.first(1)[0]
        if not hasattr(x, "shape"):
            places = ", ".join(place for place, _ in with_places(x, "x"))
            raise InputError(
                f"{needed_by} needs one array of inputs, and data set {self.name!r} has several: "
                f"{places}. Pass one, or a model of your own."
            )
        return tuple(x.shape[1:])

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
        if self.rows is None:
            raise InputError(
                f"`train` of data set {self.name!r} is a {self.train.kind}, of which nothing can "
                "be drawn. Make a shorter one, as take() of tf.data does."
            )
        cure = f"{self.name!r} has so many training examples."
        train_rows = whole("train_rows", train_rows, 1, self.rows, cure=cure)
        seed = arguments.seed("seed", seed, 0)
        rows = np.random.default_rng(seed).permutation(self.rows)[:train_rows]
        return dataclasses.replace(self, train=_rows_of(self.train, rows))

    def digest(self) -> str:
        """The `digest` of all its examples; not of its name.

        Of a stream of batches it knows only what can be told without going through it.
        """
        train = (str(self.train),) if isinstance(self.train, Stream) else self.train
        splits = (train, self.validation, self.test)
        return digest(*(part for split in splits for part in split or (None,)))


def _described(split: Split | Stream) -> dict[str, Any]:
    """How many examples a split has, and of what shape and type; of a stream what is known."""
    if isinstance(split, Stream):
        return {"examples": None, "inputs": str(split), "targets": "", "weights": ""}
    x, y, *weights = split

    def told(part: Arrays) -> str:
        ones = with_places(part)
        return ", ".join(f"{at} {of_shape(one.shape[1:])} {one.dtype}".strip() for at, one in ones)

    parts = {"inputs": x, "targets": y, "weights": weights[0] if weights else None}
    found = {name: told(part) for name, part in parts.items()}
    return {"examples": len(flat(x)[0]), **found}


def digest(*arrays: Arrays | None) -> str:
    """SHA-256, in hexadecimal, of arrays: of their types, shapes and bytes, in this order.

    It tells whether the data of a run are still those it began with. MNIST takes 0.2 s.

    Args:
        *arrays: The arrays, or structures of arrays; None for one that could be there and is not.

    Example:
        >>> x = np.arange(3)
        >>> digest(x) == digest(x.copy()), digest(x) == digest(x[:, None]), digest(None)[:8]
        (True, False, 'eba11f86')
        >>> digest({"a": x, "b": x}) == digest({"b": x, "a": x}) != digest([x, x])
        True
    """
    told = hashlib.sha256()
    for part in arrays:
        if part is None:
            told.update(b"none;")
        for place, one in with_places(part):
            told.update(place.encode())
            array = np.asarray(one)
            if array.dtype.kind in "OT":  # of Python's text, whose bytes are elsewhere
                array = array.astype("U")
            told.update(f"{array.dtype.str}{array.shape};".encode())
            told.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return told.hexdigest()


def from_arrays(
    train: Any,
    test: Any,
    validation: Any = None,
    name: str = "arrays",
    classes: int | None = None,
) -> Dataset:
    """A data set of arrays. Without ``validation``, a tenth of ``train`` is held out for it.

    A split is (x, y), or (x, y, sample weights) with weights of at least 0. Each of these is an
    array with a row for each example, or a dictionary, list or tuple of arrays where a model has
    several inputs or outputs. What is held out, at random but always the same and at most 5000
    examples, is no longer in ``train``. Arrays that have the right form already are not copied.

    ====================== =======================================================================
    given                  becomes
    ====================== =======================================================================
    inputs of uint8        pixels: x / 255 in float32; of shape (n, height, width) with a channel
                           axis at the end
    inputs of floats       float32; of shape (n, height, width), where targets are class numbers
                           and there is one input, with a channel axis
    other inputs           what they are: token ids, booleans, text
    class numbers          int32; of shape (n, 1) without the second axis
    targets that are the   what the inputs become: (x, x) is what an autoencoder takes
    inputs
    other targets, weights floats in float32, all else what it is: masks of uint8, tags (n, length)
    ====================== =======================================================================

    Class numbers are targets of one array of whole numbers, one for each example, at least 0.

    For what does not fit in memory, a split may be what `tfinit.batch_streams.stream_of` takes: a
    ``tf.data.Dataset`` of batches, a ``PyDataset``, a ``DataLoader``, a generator function. That of
    training stays one: its pipeline decides the batches and their order. Those of validation and
    test are read whole. Nothing is held out of it, and beside one pixels stay what they are.

    Args:
        train: The training examples: (x, y) or (x, y, sample weights), or a stream of batches.
        test: The same.
        validation: The same, or None.
        name: What errors and results call the data set.
        classes: Number of classes, of class numbers. None: the largest label + 1; of a stream, not
            known.

    Raises:
        InputError: a split is something else, is empty or has arrays of different lengths, splits
            differ in structure or in the shape of examples, an array is of objects or has numbers
            that are NaN or infinite, targets are text, weights negative, or labels not within
            ``classes``.

    Example:
        >>> x, y = np.zeros((20, 6, 6), "uint8"), np.arange(20) % 4
        >>> data = from_arrays((x, y), (x, y))
        >>> data.train[0].shape, len(data.validation[0]), data.classes
        ((18, 6, 6, 1), 2, 4)
        >>> tokens = {"text": np.ones((20, 5), int), "age": np.ones((20, 1))}
        >>> from_arrays((tokens, x[:, 0] / 1), (tokens, x[:, 0] / 1)).train[0]["text"].shape
        (18, 5)
    """
    text("name", name)
    classes = whole("classes", classes, 1, none=True)
    given = {"train": train, "test": test}
    if validation is not None:
        given["validation"] = validation
    streams = {which: stream_of(split, which) for which, split in given.items()}
    train_stream = streams["train"]
    streamed = any(streams.values())
    splits = {
        which: read_split(name, which, given[which] if not stream else _arrays(name, which, stream))
        for which, stream in streams.items()
    }
    labels = all(number_classes(y) for _, y, *_ in splits.values())
    images = labels and isinstance(splits["train"][0], np.ndarray) and not streamed
    if train_stream is None:
        _check_alike(name, splits, images, labels)
    classes = _classes(name, splits, classes, labels, known=train_stream is None)
    if train_stream is not None and validation is None:
        raise InputError(
            f"`train` of data set {name!r} is a {train_stream.kind}, of which nothing can be held "
            "out. Pass `validation`, as (x, y)."
        )
    if labels:
        splits = {which: (x, y.reshape(-1), *w) for which, (x, y, *w) in splits.items()}
    if validation is None:
        splits["train"], splits["validation"] = _held_out(name, splits["train"])
    ready = {
        which: in_training_form(
            name,
            which if which in given else "train",
            split,
            pixels=not streamed,
            images=images,
            labels=labels,
        )
        for which, split in sorted(splits.items(), reverse=True)  # train first: it is named first
    }
    own = train_stream or ready["train"]
    return Dataset(name, own, ready["validation"], ready["test"], classes)


def _arrays(name: str, which: str, stream: Stream) -> Split:
    """All of a stream; of the training examples some, to look at."""
    if which == "train":
        return _looked(name, which, lambda: stream.first(_LOOKED_AT))
    return _looked(name, which, stream.collected)


def _looked(name: str, which: str, look: Callable[[], Split]) -> Split:
    try:
        return look()
    except InputError as error:
        raise InputError(f"`{which}` of data set {name!r}: {error}") from error
    except Exception as error:  # it is the user's code
        raise InputError(
            f"`{which}` of data set {name!r} fails where a batch is asked for: "
            f"{type(error).__name__}: {reason(error)} Go through it once to see."
        ) from error


def _classes(
    name: str, splits: dict[str, Split], classes: int | None, labels: bool, known: bool
) -> int | None:
    if not labels:
        if classes is not None:
            raise InputError(
                f"`classes` is {classes}, so the targets of {name!r} must be labels, 0 to "
                f"{classes - 1}, one for each example; received {_told(splits['train'])}. Leave "
                "`classes` out, or number the classes from 0, as numpy.unique(y, "
                "return_inverse=True)[1] does."
            )
        return None
    most = max(int(y.max()) for _, y, *_ in splits.values())
    if classes is not None and most >= classes:
        raise InputError(
            f"`classes` is {classes}, so the labels of {name!r} must be 0 to {classes - 1}, "
            f"received {most}. Labels count from 0; pass a larger number or leave it out."
        )
    return most + 1 if classes is None and known else classes


def _check_alike(name: str, splits: dict[str, Split], images: bool, labels: bool) -> None:
    """Raise InputError unless the examples of all splits have one structure and shape."""

    def shape(one: np.ndarray) -> Any:
        pixels = images or (one.dtype == np.uint8 and one.ndim > 1)
        return pixels_of(one.shape)[1:] if pixels else one.shape[1:]

    shapes = {which: _shapes("x", split[0], shape) for which, split in splits.items()}
    what, cure = "examples", "Resize, pad or reshape them to one."
    if _one(shapes) and not labels:
        shapes = {
            which: _shapes("y", split[1], lambda y: y.shape[1:]) for which, split in splits.items()
        }
        what, cure = "targets", "Give those of all splits the same form."
    if not _one(shapes):
        raise InputError(
            f"The {what} of data set {name!r} must have one shape, received {shapes}. {cure}"
        )


def _shapes(part: str, arrays: Arrays, shape: Callable[[np.ndarray], tuple[int, ...]]) -> Any:
    found = {place: shape(one) for place, one in with_places(arrays, part)}
    return found[part] if found.keys() == {part} else found


def _one(shapes: dict[str, Any]) -> bool:
    first, *others = shapes.values()
    return all(other == first for other in others)


def _held_out(name: str, split: Split) -> tuple[Split, Split]:
    """Training and validation examples: a tenth, of MNIST's 60,000 the usual 5000."""
    rows = len(flat(split[0])[0])
    if rows < 2:
        raise InputError(
            f"`train` of data set {name!r} has one example, so none can be held out for "
            "validation. Pass more, or pass `validation`."
        )
    order = np.random.default_rng(SPLIT_SEED).permutation(rows)
    held = min(_MOST_HELD_OUT, max(1, rows // 10))
    return _rows_of(split, order[held:]), _rows_of(split, order[:held])


def _rows_of(split: Split, rows: np.ndarray) -> Split:
    """Some examples. What stands there twice, as in (x, x), still does."""
    known: dict[int, np.ndarray] = {}

    def taken(one: np.ndarray) -> np.ndarray:
        if id(one) not in known:
            known[id(one)] = one[rows]
        return known[id(one)]

    return tuple(each(taken, part) for part in split)


def _told(train: Any) -> str:
    """What the targets of a split are, in an error."""
    if not isinstance(train, tuple):
        return f"those of a {train.kind}, for which from_arrays takes `classes`"
    found = [f"{one.dtype} of shape {one.shape}" for _, one in with_places(train[1])]
    return " and ".join(found) or "None"
