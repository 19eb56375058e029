"""The batch that `tfinit diagnose` reads, from a file that is not trusted."""

from pathlib import Path
from typing import Any

from tfinit.array_files import read_arrays
from tfinit.errors import InputError

# Names of the arrays in an .npz file, as Keras's data sets and most people call them.
_INPUTS, _TARGETS = ("x", "x_train"), ("y", "y_train")


def load_batch(path: Path, model: Any, examples: int) -> tuple[Any, Any]:
    """The first examples in a file, as the model takes them: (x, y), y None if there is none.

    Args:
        path: An .npy file of inputs, or an .npz file with ``x`` and maybe ``y`` (or ``x_train``,
            ``y_train``), or, for a model with several inputs, an array by the name of each.
        model: The model.
        examples: How many to read.

    Raises:
        InputError: there is no such file, it holds something else, or lacks an array.
    """
    arrays = read_arrays(
        path, f"`data` must be an .npz or .npy file; {str(path)!r} cannot be read as arrays"
    )
    inputs = [tensor.name for tensor in getattr(model, "inputs", None) or ()]
    x: Any
    found = next((name for name in _INPUTS if name in arrays), None)
    if found is not None:
        x = arrays[found][:examples]
    elif inputs and all(name in arrays for name in inputs):
        x = [arrays[name][:examples] for name in inputs]
    else:
        raise InputError(
            f"`data` {str(path)!r} must hold an array {' or '.join(map(repr, _INPUTS))}"
            + (f", or one for each of {inputs}" if inputs else "")
            + f"; received {sorted(arrays)}."
        )
    target = next((name for name in _TARGETS if name in arrays), None)
    return x, None if target is None else arrays[target][:examples]
