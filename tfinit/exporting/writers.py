"""A Keras model into a file, one function a format. What is written is not yet checked."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfinit.errors import WorkError
from tfinit.exporting.blocks import Encoding, restore_zeros, steered_layers
from tfinit.exporting.inputs import each, names_of

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
    try:
        with _quiet():
            return _WRITERS[format](model, path, quantize, sparse, representative, blocks)
    except OSError as error:
        raise WorkError(f"cannot write {path}: {error.strerror or error}.") from error
    # An exporter may raise anything: ConverterError, ValueError, KeyError, RuntimeError, ...
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise WorkError(
            f"the exporter to {format} cannot write the model {model.name!r}: {reason[:400]}. "
            "Nothing was written. Try another format, or replace the layer that it names."
        ) from error


def _litert(
    model: Any,
    path: Path,
    quantize: str | None,
    sparse: bool,
    representative: list[np.ndarray] | None,
    blocks: bool,
) -> list[Encoding]:
    import tensorflow as tf

    settings: dict[str, Any] = {}
    if quantize:
        # Where LiteRT has no int8 kernel the operation stays in float32.
        settings = {
            "optimizations": [tf.lite.Optimize.DEFAULT],
            "representative_dataset": _calibration(model, representative or []),
        }
    if not sparse:
        model.export(path, format="litert", verbose=False, **settings)
        return []
    with steered_layers(model, blocks) as encodings:
        optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
        model.export(path, format="litert", verbose=False, optimizations=optimizations)
    path.write_bytes(restore_zeros(path.read_bytes()))
    return encodings


def _calibration(model: Any, arrays: list[np.ndarray]) -> Callable[[], Any]:
    names = names_of(model)
    examples = each(arrays, _CALIBRATION)
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
        model.export(path, format="onnx", verbose=False)
        return []
    from onnxruntime import InferenceSession
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    whole = path.with_name(f"{path.stem}.float.onnx")
    prepared = path.with_name(f"{path.stem}.prepared.onnx")
    try:
        model.export(whole, format="onnx", verbose=False)
        quant_pre_process(str(whole), str(prepared), skip_symbolic_shape=True)
        session = InferenceSession(str(prepared), providers=["CPUExecutionProvider"])
        names = [node.name for node in session.get_inputs()]
        known = names_of(model)
        ordered = known if known is not None and set(known) == set(names) else names

        class Examples(CalibrationDataReader):
            def __init__(self) -> None:
                self.rest = iter(each(representative or [], _CALIBRATION)())

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
    if type(model).__name__ == "Functional" and type(model).__module__.startswith("keras."):
        return keras.Model(model.input, model.output, name=model.name)
    return model


def _saved_model(model: Any, path: Path, *_: Any) -> list[Encoding]:
    model.export(path, format="tf_saved_model", verbose=False)
    return []


_WRITERS: dict[str, Callable[..., list[Encoding]]] = {
    "litert": _litert,
    "onnx": _onnx,
    "keras": _keras,
    "saved_model": _saved_model,
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' notes to their own developers."""
    loud = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow", "absl")]
    levels = [logger.level for logger in loud]
    root = logging.getLogger()
    root_level = root.level
    try:
        for logger in loud:
            logger.setLevel(logging.ERROR)
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            root.setLevel(max(root_level, logging.ERROR))  # onnxruntime.quantization logs here
            yield
    finally:
        root.setLevel(root_level)
        for logger, level in zip(loud, levels, strict=True):
            logger.setLevel(level)
