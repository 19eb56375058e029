"""Which format a path names. Nothing heavy: the configuration of the command line asks here."""

from pathlib import Path

from tfinit.arguments import one_of
from tfinit.errors import InputError

# Of each format; empty for a directory.
SUFFIXES = {"litert": ".tflite", "onnx": ".onnx", "keras": ".keras", "saved_model": ""}


def format_of(name: str, path: Path, format: str | None) -> str:
    """The format that was named, or else the one that the path names.

    Args:
        name: Of the argument that holds the path, for errors.
        path: Ends in .tflite, .onnx or .keras; a name without a suffix is that of a directory.
        format: A word of `SUFFIXES`, or None.

    Raises:
        InputError: the word or the suffix is none of these.

    Example:
        >>> format_of("path", Path("model.onnx"), None), format_of("path", Path("saved"), None)
        ('onnx', 'saved_model')
    """
    if format is not None:
        return one_of("format", format, SUFFIXES)
    known = [word for word in SUFFIXES if SUFFIXES[word] and fits(path, word)]
    if known:
        return known[0]
    if not path.suffix or path.is_dir():
        return "saved_model"
    told = ", ".join(filter(None, SUFFIXES.values()))
    cure = "Choose one of them, or name the `format` of a directory: saved_model."
    if path.suffix == ".h5":
        cure = "Keras 3's own files are .keras; model.save_weights writes .weights.h5."
    raise InputError(
        f"`{name}` must end in {told}, or have no suffix for a SavedModel; received "
        f"{str(path)!r}. {cure}"
    )


def fits(path: Path, format: str) -> bool:
    """Whether a path ends as a format of files wants it, in small letters or capitals."""
    return path.name.lower().endswith(SUFFIXES[format])
