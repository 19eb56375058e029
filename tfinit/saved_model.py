"""Loading a model that a user names, from a file that is not trusted."""

import functools
import json
import os
import threading
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from tfinit import arguments
from tfinit.arguments import flag, is_whole, text
from tfinit.errors import InputError, first_line, reason
from tfinit.file_bounds import check_bytes
from tfinit.files import open_regular

__all__ = ["load_model"]

_HDF5 = (".h5", ".hdf5")
_CONFIG = "config.json"  # what a saved model is, in a .keras file


def load_model(
    path: Path,
    name: str = "model",
    allow_lambda: bool = False,
    cure: str = "If you trust the file, load it in Python with safe_mode=False.",
    compile: bool = True,
) -> Any:
    """A saved model of Keras 3, with its loss and optimizer if it has them.

    A file can hold Python code (in a Lambda layer). It is refused unless ``allow_lambda``, which
    means: I know who made this file. No other file is opened, whatever this one names, and nothing
    is loaded that asks for more memory than there are bytes for it (`tfinit.file_bounds`).

    Args:
        path: The file.
        name: Of the argument, for errors.
        allow_lambda: Whether code in the file may run.
        cure: What to do where it may not.
        compile: False: without its loss and optimizer.

    Raises:
        InputError: there is no such file, it is not a model of Keras 3, it holds code, names other
            files, or claims sizes that it has no bytes for.
    """
    import keras

    text("name", name)
    path = arguments.path(name, path)
    allow_lambda = flag("allow_lambda", allow_lambda)
    compile = flag("compile", compile)
    text("cure", cure)
    # Not the path's own `exists`: of a name that is too long it makes an error of its own.
    if not os.path.exists(path):
        raise InputError(f"`{name}` {str(path)!r} does not exist. Pass a .keras file.")
    if not os.path.isfile(path) and not os.path.isdir(path):  # to open a pipe would wait for ever
        raise InputError(
            f"`{name}` {str(path)!r} is something else than a file. Pass a .keras file."
        )
    try:
        checked = _check(path)
    except Exception as error:  # an altered file raises anything
        raise InputError(
            f"`{name}` {str(path)!r} cannot be read: {reason(error)}. Pass a file that Keras 3 "
            "wrote."
        ) from error
    if checked.names_saved_model and not allow_lambda:
        raise InputError(
            f"`{name}` {str(path)!r} names a SavedModel elsewhere (a TFSMLayer), which is not "
            f"loaded. {cure}"
        )
    try:
        with _weights_within(checked.weights), warnings.catch_warnings():
            # Of an optimizer that has not trained yet, whose state is made at its first step.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            return keras.saving.load_model(path, compile=compile, safe_mode=not allow_lambda)
    except Exception as error:
        # Keras raises whatever a layer's own code does.
        if "safe_mode" in str(error) or "lambda" in str(error).lower():
            raise InputError(
                f"`{name}` {str(path)!r} holds Python code (a Lambda layer), which is not run. "
                f"{cure}"
            ) from error
        raise InputError(
            f"`{name}` {str(path)!r} cannot be loaded by Keras 3: {first_line(error)}"
        ) from error


def _read_weights(model: Any, path: Path) -> None:
    """Read the weights of a saved model, and its optimizer's state, into one of the same layers.

    Nothing else is made of the file, so the model may be of any class.

    Raises:
        Exception: of any kind, if the file is none, or of another model.
    """
    _check(path)
    model.load_weights(path)


@dataclass(frozen=True)
class _Checked:
    """A file that Keras may read.

    Attributes:
        weights: How many bytes of weights it has.
        names_saved_model: Whether it has a TFSMLayer: not all Kerases refuse to follow it.
    """

    weights: int
    names_saved_model: bool


def _check(path: Path) -> _Checked:
    """Check what Keras will read of a file before it does.

    Raises:
        Exception: of any kind, if it has something that Keras should not read.
    """
    from tfinit.hdf5_files import WEIGHTS, open_hdf5

    if path.is_dir():
        if not (path / _CONFIG).is_file():
            raise ValueError("it is a directory without a saved model")
        # Of the same parts as a .keras file.
        with open_hdf5(path / WEIGHTS) as weights, open_regular(path / _CONFIG) as config:
            weights.check()
            return _Checked(weights.size, _names_saved_model(config.read()))
    with open_regular(path) as file:
        if path.suffix not in (".keras", *_HDF5):
            return _Checked(0, False)  # Keras says what it thinks of it
        with open_hdf5(path) as weights:
            weights.check()
            if path.suffix in _HDF5:
                config = weights.attributes.get("model_config", "")
            else:
                with zipfile.ZipFile(file) as archive:
                    config = archive.read(_CONFIG)
            return _Checked(weights.size, _names_saved_model(config))


def _names_saved_model(config: str | bytes) -> bool:
    waiting = [json.loads(config)] if config else []
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if part.get("class_name") == "TFSMLayer":
                return True
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return False


# Held while `add_weight` is not Keras's own.
_one_at_a_time = threading.RLock()


@contextmanager
def _weights_within(stored: int) -> Iterator[None]:
    """While Keras builds a model from its configuration, in this thread, refuse more weights than
    a file with ``stored`` bytes of them can be of: a configuration of a line can ask for any."""
    import keras

    me, asked, add_weight = threading.get_ident(), 0, keras.layers.Layer.add_weight

    @functools.wraps(add_weight)
    def checked(self: Any, shape: Any = None, *args: Any, **kwargs: Any) -> Any:
        nonlocal asked
        if threading.get_ident() == me and isinstance(shape, Iterable):
            asked += 4 * prod(
                int(n) for n in shape if is_whole(n)
            )  # bytes in float32, the usual type
            check_bytes("it", asked, stored)
        return add_weight(self, shape, *args, **kwargs)

    with _one_at_a_time:
        keras.layers.Layer.add_weight = checked  # ty: ignore[invalid-assignment]
        try:
            yield
        finally:
            keras.layers.Layer.add_weight = add_weight
