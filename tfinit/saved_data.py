"""The data that `tfinit prune` and `tfinit export` are given: a data set, or any arrays."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tfinit import datasets
from tfinit.array_files import read_arrays
from tfinit.errors import InputError


def read_splits(
    name: str, need_targets: bool = True
) -> tuple[tuple[np.ndarray, np.ndarray | None], tuple[np.ndarray, np.ndarray] | None]:
    """Training examples (x, y), and test examples or None.

    Unlike those of `tfinit.datasets.load`, inputs and targets in a file may be anything that the
    model takes, and nothing is scaled or held out.

    Args:
        name: A data set of `tfinit.datasets`, or an ``.npz`` file with ``x_train`` and ``y_train``
            and maybe ``x_test`` and ``y_test``.
        need_targets: False: a file may lack ``y_train``, and y is None then.

    Raises:
        InputError: it is neither, lacks an array, inputs and targets differ in number, or inputs
            are NaN or infinite.
    """
    if name in datasets.NAMES:
        dataset = datasets.load(name)
        return dataset.train, dataset.test
    needed = "x_train and y_train" if need_targets else "x_train"
    allowed = (
        f"{', '.join(datasets.NAMES)} or an .npz file with {needed}, and maybe x_test and y_test"
    )
    arrays = read_arrays(Path(name), f"`data` must be {allowed}; {name!r} cannot be read as arrays")
    wanted = ["x_train", *["y_train"] * need_targets, *["y_test"] * ("x_test" in arrays)]
    if any(key not in arrays for key in wanted):
        raise InputError(f"`data` must be {allowed}; {name!r} holds {', '.join(sorted(arrays))}.")
    train = _pair(name, arrays, "train")
    return train, _pair(name, arrays, "test") if "x_test" in arrays else None


def _pair(name: str, arrays: Mapping[str, np.ndarray], which: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = arrays[f"x_{which}"], arrays.get(f"y_{which}")
    rows = [part.shape[0] if part.ndim else 0 for part in (x, y) if part is not None]
    if min(rows) == 0 or len(set(rows)) > 1:
        shapes = " and ".join(
            f"{axis}_{which} of shape {part.shape}"
            for axis, part in (("x", x), ("y", y))
            if part is not None
        )
        raise InputError(f"`data` {name!r} has {shapes}. Give as many targets as inputs, not none.")
    if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
        raise InputError(
            f"`data` {name!r} has inputs in x_{which} that are NaN or infinite. "
            "Remove or replace them, as numpy.nan_to_num does."
        )
    return x, y
