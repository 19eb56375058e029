"""A Keras model into a file, quietly, with errors in one line. The file is not yet checked."""

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tfinit.errors import InputError, WorkError, of_system, reason
from tfinit.exporting.blocks import Encoding
from tfinit.exporting.formats import FORMATS, Options
from tfinit.exporting.lacks import (
    Lack,
    cure_of,
    said_by_converter,
    told,
)
from tfinit.graph.overlay import overlaid
from tfinit.native_output import stderr_held
from tfinit.variables import walk_layers

_PLAIN = Options()


def write(model: Any, path: Path, format: str, options: Options = _PLAIN) -> list[Encoding]:
    """Write ``path``, whose name ends as the format wants it.

    Args:
        model: A built Keras model; it is left as it was.
        path: Must not exist.
        format: A word of `tfinit.exporting.formats.FORMATS`.
        options: How.

    Returns:
        How the Dense layers were encoded; empty where nothing is stored sparse.

    Raises:
        WorkError: the exporter cannot write this model.
    """
    known = FORMATS[format]
    logged: list[str] = []
    try:
        with _quiet(logged):
            encodings = known.write(model, path, options)
    except OSError as error:
        raise WorkError(f"cannot write {path}: {of_system(error)}.") from error
    except (InputError, WorkError):
        raise
    # An exporter may raise anything: ConverterError, ValueError, KeyError, RuntimeError, ...
    except Exception as error:
        lacks, said = said_by_converter(str(error))
        lacks = lacks or known.lacks(None, logged)
        # Where LiteRT's converter says it in MLIR, that is all there is to its traceback.
        shown = said if lacks else reason(error) or type(error).__name__
        raise _failure(model, format, lacks, shown) from (None if said else error)
    if lacks := known.lacks(path, logged):
        raise _failure(model, format, lacks)
    return encodings


def _failure(model: Any, format: str, lacks: list[Lack], said: str = "") -> WorkError:
    cure = cure_of(model, format, lacks)
    return WorkError(f"{told(model, format, lacks, said)}. Nothing was written. {cure}")


@contextlib.contextmanager
def at_inference(model: Any) -> Iterator[None]:
    """While this is open, layers that train unless they are told not to are told, in this thread.

    Keras exports to ONNX and SavedModel what it calls without ``training``, and by default the
    layers that augment images do so: their files would turn and move what they are given.
    """
    with overlaid() as put:
        for _, layer in walk_layers(model):
            training = inspect.signature(layer.call).parameters.get("training")
            if training is not None and training.default is True:
                put(layer, "call", _without_training(layer.call))
        yield


def _without_training(call: Callable[..., Any]) -> Callable[..., Any]:
    def at_inference(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **{**kwargs, "training": False})

    return at_inference


@contextlib.contextmanager
def _quiet(logged: list[str]) -> Iterator[None]:
    """Without the exporters' notes to their own developers; tf2onnx's errors go to ``logged``."""
    loud = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow", "absl")]
    before = [(logger, logger.level, logger.propagate) for logger in loud]
    root = logging.getLogger()
    root_level = root.level
    kept = _Kept(logged)
    try:
        for logger in loud:
            logger.setLevel(logging.ERROR)
        loud[0].propagate = False
        loud[0].addHandler(kept)
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            stderr_held((Exception,)),
        ):
            warnings.simplefilter("ignore")
            root.setLevel(max(root_level, logging.ERROR))  # onnxruntime.quantization logs here
            yield
    finally:
        root.setLevel(root_level)
        loud[0].removeHandler(kept)
        for logger, level, propagate in before:
            logger.setLevel(level)
            logger.propagate = propagate


class _Kept(logging.Handler):
    """A log in a list."""

    def __init__(self, into: list[str]) -> None:
        super().__init__(logging.ERROR)
        self.into = into

    def emit(self, record: logging.LogRecord) -> None:
        self.into.append(record.getMessage())
