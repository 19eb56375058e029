"""Whether a model can be exported in a format with some options: what is known to be wrong."""

from typing import Any

from tfinit.arguments import flag, one_of
from tfinit.errors import InputError
from tfinit.exporting.formats import FORMATS, QUANTIZE, either
from tfinit.graph.keras_internals import layer_and_all_in_it
from tfinit.pruning.counting.effective_weights import is_coded
from tfinit.variables import keras_of, own_weights


def check_combination(
    format: str, quantize: str | None, sparse: bool, has_representative_data: bool
) -> None:
    """Raise unless this format can be written this way, with the right numbers in it.

    Raises:
        InputError: an unknown word, or a combination that gives wrong numbers or means nothing.
    """
    one_of("format", format, FORMATS)
    one_of("quantize", quantize, QUANTIZE)
    sparse = flag("sparse", sparse)
    FORMATS[format].check_options(quantize, sparse)
    if quantize and not has_representative_data:
        raise InputError(
            "`quantize='int8'` quantizes weights and activations, and needs "
            "`representative_data` to see how large the activations get: some 100 typical inputs, "
            "such as `x_train[:100]`."
        )


def check_model(model: Any, format: str, sparse: bool, name: str = "model") -> None:
    """Raise InputError unless ``model`` is a built Keras 3 model that the format can take."""
    import keras

    if keras_of(model) == "tf_keras":
        raise InputError(
            f"`{name}` must be a Keras 3 model, received one of tf_keras. Convert it with "
            "tf.lite.TFLiteConverter.from_keras_model."
        )
    if not isinstance(model, keras.Model):
        raise InputError(
            f"`{name}` must be a Keras model, received {type(model).__name__}. "
            "Wrap a layer: keras.Sequential([keras.Input(shape), layer])."
        )
    if not model.built:
        raise InputError(
            f"`{name}` {model.name!r} is not built. Call it on a batch, or give it an Input."
        )
    known = FORMATS[format]
    if known.needs_tensorflow and keras.backend.backend() != "tensorflow":
        raise InputError(
            f"`format` {format!r} needs Keras on the TensorFlow backend, which runs on "
            f"{keras.backend.backend()!r} here. Save the model as .keras, and load it under "
            "KERAS_BACKEND=tensorflow."
        )
    kept = [layer.name for layer in layer_and_all_in_it(model) if getattr(layer, "stateful", False)]
    if not known.keeps_state and kept:
        able = either(word for word, other in FORMATS.items() if other.keeps_state)
        raise InputError(
            f"`{name}` has a stateful layer, {kept[0]!r}, and an {known.suffix} file keeps nothing "
            "from one run to the next. Build it with stateful=False and the same weights, for "
            f"whole sequences; or export it to {able}."
        )
    if sparse:
        other = sorted({w.dtype for w in model.weights if w.dtype != "float32"} & _FLOATS)
        policies = sorted({_compute_dtype(layer) for layer in layer_and_all_in_it(model)} & _FLOATS)
        if other or policies:
            raise InputError(
                f"`sparse=True` is float32 only, and `model` has {', '.join(other + policies)}: "
                f"{known.runtime}'s sparse kernels would give wrong numbers. Build it in "
                "float32, with the same weights."
            )


def numbers_of(model: Any) -> str:
    """The kind of number that a model's kernels are stored as: ``"float32"``, or ``"int8"``."""
    kinds = {
        layer.quantization_mode if is_coded(layer) else weight.dtype
        for layer in layer_and_all_in_it(model)
        for weight in own_weights(layer)
        if len(weight.shape) >= 2
    }
    return "+".join(sorted(kinds)) or "float32"


_FLOATS = {"float16", "bfloat16", "float64", "int8", "int4"}


def _compute_dtype(layer: Any) -> str:
    # A layer that Keras quantized has a policy like "int8_from_float32".
    policy = getattr(layer, "dtype_policy", None)
    if quantized := getattr(policy, "quantization_mode", None):
        return quantized
    return str(getattr(layer, "compute_dtype", "float32"))
