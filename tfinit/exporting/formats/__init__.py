"""The formats of exported files: one module each, and which of them a path names.

Nothing heavy: the command line's help and its configuration ask here.
"""

import importlib
import pkgutil
from pathlib import Path

from tfinit.arguments import one_of
from tfinit.errors import InputError
from tfinit.exporting.formats.base import FORMATS, Format, Options, Runtime, either, export_format

__all__ = [
    "FORMATS",
    "QUANTIZE",
    "Format",
    "Options",
    "Runtime",
    "either",
    "export_format",
    "fits",
    "format_of",
    "formats_help",
    "out_help",
    "sparse_help",
]

QUANTIZE = (None, "int8")

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)


def format_of(name: str, path: Path, format: str | None) -> str:
    """The format that was named, or else the one that the path names.

    Args:
        name: Of the argument that holds the path, for errors.
        path: Ends as a format's files do, such as .tflite; a name without a suffix is that of a
            directory.
        format: A word of `FORMATS`, or None.

    Raises:
        InputError: the word or the suffix is none of these.

    Example:
        >>> format_of("path", Path("model.onnx"), None), format_of("path", Path("saved"), None)
        ('onnx', 'saved_model')
    """
    if format is not None:
        return one_of("format", format, FORMATS)
    known = [word for word in FORMATS if FORMATS[word].suffix and fits(path, word)]
    if known:
        return known[0]
    if not path.suffix or path.is_dir():
        return "saved_model"
    cure = "Choose one of them, or name the `format` of a directory: saved_model."
    if path.suffix == ".h5":
        cure = "Keras 3's own files are .keras; model.save_weights writes .weights.h5."
    raise InputError(
        f"`{name}` must end in {', '.join(_suffixes())}, or have no suffix for a SavedModel; "
        f"received {str(path)!r}. {cure}"
    )


def fits(path: Path, format: str) -> bool:
    """Whether a path ends as a format of files wants it, in small letters or capitals."""
    return path.name.lower().endswith(FORMATS[format].suffix)


def _suffixes() -> list[str]:
    return [format.suffix for format in FORMATS.values() if format.suffix]


def formats_help() -> str:
    """The formats, in a sentence for ``--help``."""
    return f"{either(FORMATS)}. Default: what the suffix of OUT says."


def out_help() -> str:
    """The suffixes, in a sentence for ``--help``."""
    return f"Where it goes: {', '.join(_suffixes())}, or a directory for saved_model."


def sparse_help() -> str:
    """The formats that know zeros, in a sentence for ``--help``."""
    able = [name for name, format in FORMATS.items() if format.sparse]
    return f"Store zeros sparse: {either(able)} in float32 only."
