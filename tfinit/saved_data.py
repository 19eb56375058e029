"""The data that a command or a function is given: by name, by place, as a file, or in memory."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfinit import datasets
from tfinit.array_files import read_arrays
from tfinit.array_trees import each, flat
from tfinit.arrays_by_name import all_of_part, has_part, part_of
from tfinit.batch_streams import stream_of
from tfinit.datasets import Dataset
from tfinit.errors import InputError
from tfinit.named_arrays import arranged, check_shapes, ends
from tfinit.named_functions import call_named, is_named

# One array, or several by name.
Arrays = np.ndarray | dict[str, np.ndarray]
# Inputs and targets as the model takes them, and how much each example counts, or None.
Examples = tuple[Any, Any, Any]


def read_data(data: Any, argument: str = "data") -> Dataset:
    """A data set of whatever tfinit takes for one.

    ============================== ===============================================================
    given                          is
    ============================== ===============================================================
    a `Dataset`                    itself
    ``"digits"``                   that of this name, ``"tfds:NAME"`` too: `tfinit.datasets.load`
    ``"path/to/it.npz"``           arrays by name in a file: `tfinit.datasets.load`
    ``"file.py:load"``             what ``load()`` returns: any of the others; so is
                                   ``"package.module:load"``
    ``((x, y), (x_test, y_test))`` a pair of splits; those of validation may come third:
                                   `tfinit.datasets.from_arrays`. A split is (x, y), (x, y, sample
                                   weights), or a stream: `tfinit.batch_streams.stream_of`
    ============================== ===============================================================

    Args:
        data: The data.
        argument: What the caller calls it, for errors.

    Raises:
        InputError: it is none of these, or those say that it is not fit.

    Example:
        >>> read_data("digits").rows
        1097
        >>> x, y = np.zeros((20, 4)), np.zeros((20, 2))
        >>> read_data(((x, y), (x, y))).rows
        18
    """
    return _read(data, argument, "arrays")


def _read(data: Any, argument: str, name: str) -> Dataset:
    if isinstance(data, Dataset):
        return data
    if isinstance(data, os.PathLike):
        data = os.fspath(data)
    if isinstance(data, str):
        if is_named(data):
            return _read(_of_place(data, argument), argument, data)
        return datasets.load(data, argument)
    if isinstance(data, tuple | list) and len(data) in (2, 3):
        return datasets.from_arrays(*data, name=name)
    if (stream := stream_of(data, argument)) is not None:
        raise InputError(
            f"`{argument}` is a {stream.kind}, and nothing to evaluate on. Pass splits: (train, "
            "(x_test, y_test), (x_validation, y_validation))."
        )
    raise InputError(
        f"`{argument}` must be a tfinit.datasets.Dataset, the name of one, an .npz file, "
        f"file.py:load, or pairs ((x, y), (x_test, y_test)), received {_told(data)}. "
        "tfinit.datasets.from_arrays(train=(x, y), test=(x, y)) makes one."
    )


def _of_place(place: str, argument: str) -> Any:
    found = call_named(place, argument)
    if isinstance(found, str) and is_named(found):
        raise InputError(f"`{argument}` {place!r} returned {found!r}: name that one.")
    return found


def _told(data: Any) -> str:
    kind = f"the class {data.__name__}" if isinstance(data, type) else type(data).__name__
    return f"{kind} of {len(data)}" if isinstance(data, tuple | list) else kind


def read_examples(
    name: str, model: Any, optional: tuple[str, ...] = (), need_targets: bool = True
) -> tuple[Examples, Examples | None]:
    """Inputs, targets and sample weights in the structure of a model: of training, and of the test
    or None.

    Args:
        name: As in `read_splits`.
        model: The model.
        optional: Outputs that need no targets.
        need_targets: False: there may be none at all, and y is None then.

    Raises:
        InputError: as these two, or names or shapes are others than the model's.
    """
    train, test = _splits(name, need_targets)
    assert train is not None
    return (
        _of_model(train, "train", name, model, optional, need_targets),
        None if test is None else _of_model(test, "test", name, model, optional, need_targets),
    )


def read_test(name: str, model: Any, optional: tuple[str, ...] = ()) -> Examples | None:
    """The test examples of `read_examples`, or None: a file needs none for training."""
    _, test = _splits(name, need_train=False)
    return None if test is None else _of_model(test, "test", name, model, optional, True)


def _of_model(
    split: Examples,
    which: str,
    name: str,
    model: Any,
    optional: tuple[str, ...],
    need_targets: bool,
) -> Examples:
    """The arrays of a split in the structure of a model."""
    inputs, outputs = ends(model, "inputs"), ends(model, "outputs")
    x = arranged(split[0], inputs, f"x_{which}", name)
    check_shapes(inputs, x, name)
    y = split[1]
    if y is not None or need_targets:
        y = arranged(y, outputs, f"y_{which}", name, optional)
    weight = split[2]
    if isinstance(weight, dict):  # all count as much where nothing is said
        ones = {output: np.ones(len(flat(x)[0])) for output in outputs.names}
        weight = arranged(ones | weight, outputs, f"sample_weight_{which}", name)
    return x, y, weight


def load_batch(data: str | os.PathLike[str], model: Any, examples: int) -> Examples:
    """Some training examples, as the model takes them: (x, y, weights), None for what there is
    none of. Of a file they are drawn, as those of a class may stand together; else the first.

    Args:
        data: An .npy file of inputs, or an .npz file with ``x`` and maybe ``y``; or with
            ``x_train`` and ``y_train``, which may be several by name, as in `read_splits`; or, for
            a model with several inputs, with an array by the name of each; or what else
            `read_data` reads.
        model: The model.
        examples: How many to read.

    Raises:
        InputError: there is no such data, it holds something else, or lacks an array.
    """
    name = os.fspath(data)
    if _by_reader(name):
        x, y, weights = _three(*read_data(name).first(examples))
        return (
            arranged(x, ends(model, "inputs"), "x_train", name),
            arranged(y, ends(model, "outputs"), "y_train", name),
            weights,
        )
    path = Path(name)
    arrays = read_arrays(
        path,
        f"`data` must be {', '.join(datasets.NAMES)}, file.py:load, or an .npz or .npy file; "
        f"{name!r} cannot be read as arrays",
    )

    def given(short: str, what: str) -> Any:
        key = f"{short}_train"
        for name in (short, key):
            if name in arrays:
                return arrays[name]
        if not has_part(arrays, key):
            return None
        return arranged(part_of(arrays, key), ends(model, what), key, name)

    inputs = [tensor.name for tensor in getattr(model, "inputs", None) or ()]
    if inputs and all(name in arrays for name in inputs) and not {"x", "x_train"} & {*arrays}:
        x: Any = [arrays[name] for name in inputs]
    else:
        x = given("x", "inputs")
    if x is None:
        raise InputError(
            f"`data` {name!r} must hold an array 'x' or 'x_train'"
            + (f", or one for each of {inputs}" if inputs else "")
            + f"; received {sorted(arrays)}."
        )
    y = given("y", "outputs")
    weights = None
    if has_part(arrays, "sample_weight_train"):
        weights = part_of(arrays, "sample_weight_train")
    return few((x, y, weights), examples)


def few(arrays: Any, examples: int) -> Any:
    """So many of the examples, the same in all arrays: drawn, and in the order that they had.

    Example:
        >>> x, y = few((np.arange(9), None), 3)
        >>> x.shape, y
        ((3,), None)
    """
    import keras

    def chosen(array: Any) -> Any:
        rows = len(array) if np.ndim(array) else 0
        if rows <= examples:
            return array
        drawn = np.sort(np.random.default_rng(0).choice(rows, examples, replace=False))
        return (
            keras.ops.take(array, drawn, axis=0)
            if keras.ops.is_tensor(array)
            else np.asarray(array)[drawn]
        )

    return each(chosen, arrays)


def read_splits(
    name: str, need_targets: bool = True
) -> tuple[tuple[Arrays, Any], tuple[Arrays, Any] | None]:
    """Training examples (x, y), and test examples or None.

    Unlike those of `tfinit.datasets.load`, inputs and targets in a file may be anything that the
    model takes, and nothing is scaled or held out. Several inputs or targets of a model are told
    apart by their names, ``x_train_image`` and ``x_train_text``: x is a dictionary then, of
    ``"image"`` and ``"text"``.

    Args:
        name: What `read_data` reads, or an ``.npz`` file with ``x_train`` and ``y_train`` and maybe
            ``x_test`` and ``y_test``.
        need_targets: False: a file may lack ``y_train``, and y is None then.

    Raises:
        InputError: it is neither, lacks an array, inputs and targets differ in number, or inputs
            are NaN or infinite.
    """
    train, test = _splits(name, need_targets)
    assert train is not None
    return train[:2], None if test is None else test[:2]


def read_sample_weights(name: str) -> tuple[Arrays | None, Arrays | None]:
    """How much each example counts, in training and in the test: ``sample_weight_train`` and
    ``sample_weight_test`` of a file that `read_splits` reads, None where it has none.

    Raises:
        InputError: they are negative, NaN or infinite, not as many as the examples, or there are
            both those of all outputs and those of one.
    """
    train, test = _splits(name)
    assert train is not None
    return train[2], None if test is None else test[2]


def _splits(
    name: str, need_targets: bool = True, need_train: bool = True
) -> tuple[Examples | None, Examples | None]:
    if _by_reader(name):
        data = read_data(name)
        if data.rows is None:
            raise InputError(
                f"`data` {name!r} must be arrays for this, received a {data.train.kind}. Collect "
                "what it gives, as numpy.concatenate does."
            )
        return _three(*data.train), _three(*data.test)
    needed = "x_train and y_train" if need_targets else "x_train"
    allowed = (
        f"{', '.join(datasets.NAMES)}, file.py:load or an .npz file with {needed}, and maybe "
        "x_test and y_test"
    )
    arrays = read_arrays(Path(name), f"`data` must be {allowed}; {name!r} cannot be read as arrays")
    tested = has_part(arrays, "x_test")
    wanted = ["x_train", *["y_train"] * need_targets] if need_train else []
    wanted += ["y_test"] * tested
    if not all(has_part(arrays, key) for key in wanted):
        raise InputError(f"`data` must be {allowed}; {name!r} holds {', '.join(sorted(arrays))}.")

    def part(which: str) -> Examples:
        return (*_pair(name, arrays, which), _weights(name, arrays, which))

    return part("train") if need_train else None, part("test") if tested else None


def _three(x: Any, y: Any, weights: Any = None) -> Examples:
    return x, y, weights


def _by_reader(name: str) -> bool:
    """Whether it is a name or a place, and no file of arrays, which are taken as they are."""
    return datasets.is_known(name) or is_named(name)


def _weights(name: str, arrays: Mapping[str, np.ndarray], which: str) -> Arrays | None:
    key = f"sample_weight_{which}"
    if not has_part(arrays, key):
        return None
    found = all_of_part(arrays, key)
    named = [name for name in arrays if name.startswith(f"{key}_")]
    if key in arrays and named:
        raise InputError(
            f"`data` {name!r} has {key} and {', '.join(named)}. Give one for all outputs, or one "
            "for each."
        )
    examples = len(next(iter(all_of_part(arrays, f"x_{which}").values())))
    for part, weights in found.items():
        wrong = ~(np.isfinite(weights) & (weights >= 0))
        if weights.shape != (examples,) or wrong.any():
            held = f", with {weights[wrong][0]} in it" if wrong.any() else ""
            raise InputError(
                f"`data` {name!r} has {part} of shape {weights.shape}{held}. Give one "
                f"number, 0 or more, for each of the {examples} examples."
            )
    return part_of(arrays, key)


def _pair(name: str, arrays: Mapping[str, np.ndarray], which: str) -> tuple[Arrays, Any]:
    x, y = all_of_part(arrays, f"x_{which}"), all_of_part(arrays, f"y_{which}")
    parts = x | y
    rows = [part.shape[0] if part.ndim else 0 for part in parts.values()]
    if min(rows) == 0 or len(set(rows)) > 1:
        shapes = " and ".join(f"{key} of shape {part.shape}" for key, part in parts.items())
        raise InputError(f"`data` {name!r} has {shapes}. Give as many targets as inputs, not none.")
    for key, part in x.items():
        if np.issubdtype(part.dtype, np.floating) and not np.isfinite(part).all():
            raise InputError(
                f"`data` {name!r} has inputs in {key} that are NaN or infinite. "
                "Remove or replace them, as numpy.nan_to_num does."
            )
    return part_of(arrays, f"x_{which}"), part_of(arrays, f"y_{which}")
