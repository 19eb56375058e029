"""A Keras model into a file, one function a format. What is written is not yet checked."""

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfinit.errors import InputError, WorkError, reason
from tfinit.exporting.blocks import Encoding, restore_zeros, steered_layers
from tfinit.exporting.inputs import batch_of, each, names_of, signature
from tfinit.exporting.lacks import (
    Lack,
    cure_of,
    lacking_in_litert,
    lacking_in_onnx,
    said_by_converter,
    told,
)
from tfinit.exporting.onnx_graph import as_tf2onnx_takes_it
from tfinit.graph.layer_kinds import kind_of
from tfinit.graph.overlay import overlaid
from tfinit.native_output import native_stderr_closed
from tfinit.variables import walk_layers

# Examples that the ranges of the activations are taken from.
_CALIBRATION = 200


def write(
    model: Any,
    path: Path,
    format: str,
    quantize: str | None = None,
    sparse: bool = False,
    representative: list[np.ndarray] | None = None,
    blocks: bool = True,
) -> list[Encoding]:
    """Write ``path``, whose name ends as the format wants it.

    Args:
        model: A built Keras model; it is left as it was.
        path: Must not exist.
        format: A word of `tfinit.exporting.formats.FORMATS`.
        quantize: None or ``"int8"``.
        sparse: Store zeros sparse (LiteRT).
        representative: An array for each input, for int8.
        blocks: Whether Dense layers may be stored in 1×4 blocks.

    Returns:
        How the Dense layers were encoded; empty where nothing is stored sparse.

    Raises:
        WorkError: the exporter cannot write this model.
    """
    logged: list[str] = []
    try:
        with _quiet(logged):
            encodings = _WRITERS[format](model, path, quantize, sparse, representative, blocks)
    except OSError as error:
        raise WorkError(f"cannot write {path}: {error.strerror or error}.") from error
    except (InputError, WorkError):
        raise
    # An exporter may raise anything: ConverterError, ValueError, KeyError, RuntimeError, ...
    except Exception as error:
        lacks, said = said_by_converter(str(error))
        lacks = lacks or lacking_in_onnx(logged)
        # Where LiteRT's converter says it in MLIR, that is all there is to its traceback.
        shown = said if lacks else _first_line(error)
        raise _failure(model, format, lacks, shown) from (None if said else error)
    if format in _LACKING and (lacks := _LACKING[format](path, logged)):
        raise _failure(model, format, lacks)
    return encodings


_LACKING: dict[str, Callable[[Path, list[str]], list[Lack]]] = {
    "litert": lambda path, _: lacking_in_litert(path),
    "onnx": lambda _, logged: lacking_in_onnx(logged),
}


def _failure(model: Any, format: str, lacks: list[Lack], said: str = "") -> WorkError:
    cure = cure_of(model, format, lacks)
    return WorkError(f"{told(model, format, lacks, said)}. Nothing was written. {cure}")


def _first_line(error: Exception) -> str:
    return reason(error) or type(error).__name__


def _litert(
    model: Any,
    path: Path,
    quantize: str | None,
    sparse: bool,
    representative: list[np.ndarray] | None,
    blocks: bool,
) -> list[Encoding]:
    import tensorflow as tf

    fed = signature(model)
    settings: dict[str, Any] = {}
    if quantize:
        # Where LiteRT has no int8 kernel the operation stays in float32.
        settings = {
            "optimizations": [tf.lite.Optimize.DEFAULT],
            "representative_dataset": _calibration(model, representative or []),
        }
    if not sparse:
        try:
            model.export(path, format="litert", verbose=False, input_signature=fed, **settings)
        except RuntimeError as error:
            if not (quantize and "Flex" in str(error)):
                raise
            # Calibration ran it, without what it lacks: in float32 the file tells what that is.
            model.export(path, format="litert", verbose=False, input_signature=fed)
        return []
    with steered_layers(model, blocks) as encodings:
        optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
        model.export(
            path,
            format="litert",
            verbose=False,
            input_signature=fed,
            optimizations=optimizations,
        )
    path.write_bytes(restore_zeros(path.read_bytes()))
    return encodings


def _calibration(model: Any, arrays: list[np.ndarray]) -> Callable[[], Any]:
    names = names_of(model)
    examples = each(arrays, _CALIBRATION, batch_of(model))
    if names is None or len(names) == 1:
        return examples
    # By name: the file has its inputs in an order of its own.
    return lambda: (dict(zip(names, example, strict=True)) for example in examples())


def _onnx(
    model: Any,
    path: Path,
    quantize: str | None,
    sparse: bool,
    representative: list[np.ndarray] | None,
    blocks: bool,
) -> list[Encoding]:
    if not quantize:
        _plain_onnx(model, path)
        return []
    from onnxruntime import InferenceSession
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    whole = path.with_name(f"{path.stem}.float.onnx")
    prepared = path.with_name(f"{path.stem}.prepared.onnx")
    try:
        _plain_onnx(model, whole)
        quant_pre_process(str(whole), str(prepared), skip_symbolic_shape=True)
        session = InferenceSession(str(prepared), providers=["CPUExecutionProvider"])
        names = [node.name for node in session.get_inputs()]
        known = names_of(model)
        ordered = known if known is not None and set(known) == set(names) else names

        class Examples(CalibrationDataReader):
            def __init__(self) -> None:
                self.rest = iter(each(representative or [], _CALIBRATION, batch_of(model))())

            def get_next(self) -> dict[str, np.ndarray] | None:
                example = next(self.rest, None)
                return None if example is None else dict(zip(ordered, example, strict=True))

        quantize_static(
            str(prepared),
            str(path),
            Examples(),
            per_channel=True,
            # Weights in 7 bits. With 8, ONNX Runtime's sums saturate on x86 without VNNI: outputs
            # were up to 0.7 of their size off here, without an error.
            reduce_range=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
    finally:
        whole.unlink(missing_ok=True)
        prepared.unlink(missing_ok=True)
    return []


def _plain_onnx(model: Any, path: Path) -> None:
    with as_tf2onnx_takes_it(model), _at_inference(model):
        model.export(path, format="onnx", verbose=False, input_signature=signature(model))


def _keras(model: Any, path: Path, *_: Any) -> list[Encoding]:
    without_optimizer(model).save(path)
    return []


def without_optimizer(model: Any) -> Any:
    """A model of the same layers that is not compiled; a subclassed model itself."""
    if not getattr(model, "compiled", False):
        return model
    if type(model) is keras.Sequential and model.inputs:
        inputs = [
            keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t.name) for t in model.inputs
        ]
        return keras.Sequential([*inputs, *model.layers], name=model.name)
    if kind_of(model, exactly=True).model == "functional":
        return keras.Model(model.input, model.output, name=model.name)
    return model


def _saved_model(model: Any, path: Path, *_: Any) -> list[Encoding]:
    with _at_inference(model):
        model.export(path, format="tf_saved_model", verbose=False, input_signature=signature(model))
    return []


@contextlib.contextmanager
def _at_inference(model: Any) -> Iterator[None]:
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


_WRITERS: dict[str, Callable[..., list[Encoding]]] = {
    "litert": _litert,
    "onnx": _onnx,
    "keras": _keras,
    "saved_model": _saved_model,
}


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
            native_stderr_closed(),
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
