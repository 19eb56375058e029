"""Arrays in files of NumPy that are not trusted."""

from pathlib import Path

import numpy as np

from tfinit.errors import InputError, reason
from tfinit.files import open_regular


def read_arrays(path: Path, trouble: str, cure: str = "") -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file by their names; that of an ``.npy`` file is called ``x``.

    Args:
        path: The file.
        trouble: What an error begins with, such as which argument named the file.
        cure: What it ends with.

    Raises:
        InputError: there is no such file, it holds something else, is cut short or altered, or
            holds objects, whose loading would run code.
    """
    try:
        with open_regular(path) as file:
            loaded = np.load(file)  # refuses pickled objects
            if isinstance(loaded, np.ndarray):
                return {"x": loaded}
            with loaded:
                return {name: loaded[name] for name in loaded.files}
    except Exception as error:
        # An altered file raises anything: BadZipFile, zlib.error, EOFError, a MemoryError for a
        # size that never was, NotImplementedError for a compression that does not exist.
        raise InputError(f"{trouble}: {reason(error)} {cure}".rstrip()) from error
