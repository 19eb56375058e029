"""What to do about a finding, in words and as a line of code."""

from typing import NamedTuple

from tfinit.diagnostics.measuring.measurement import Measurement
from tfinit.graph.structure import Structure

# σ·√fan_in of a kernel up to which it is not the kernel that makes its output large.
_USUAL = 2.0
_RECTIFIERS = {"relu", "relu6", "leaky_relu", "prelu", "elu", "gelu", "silu", "swish", "mish"}


class Cure(NamedTuple):
    """What to do: a sentence, and Python about ``model``; "" where no line does it."""

    words: str
    code: str


def choose_cure(kind: str, found: Measurement, layer: str) -> Cure:
    """The cure for a kind of finding in this network, at this layer."""
    structure = found.structure
    own = [k for k in structure.kernels if k.key in _keys(structure, layer)]
    if own and not any(k.trainable for k in own):
        words = "It is frozen, so no scheme sets it: load its weights, or make it trainable first."
        return Cure(words, "")
    if kind == "not finite":
        return _not_finite(found, layer)
    if kind == "scale jump":
        return _one_layer(structure, layer)
    if kind == "wrong fans":
        words = "Initialize with the scheme, which knows the layer's fans:"
        return Cure(words, _scheme(structure))
    if kind == "normalization hides it":
        return Cure("Redraw it if you did not mean that:", _one_layer(structure, layer).code)
    if kind == "confident start":
        return _confident(found, layer)
    if kind == "dead units" and (before := structure.normalization_before(layer)):
        words = f"{before!r} puts them there: set its gamma to 1 and its beta to 0."
        return Cure(words, "")
    if kind == "bias off":
        return Cure("Set the biases to zero:", _with_biases(structure))
    if kind in ("vanishing", "exploding") and structure.is_normalized_throughout:
        words = (
            "The weights are not at fault: normalization undoes their scale. In deep plain "
            "networks it makes gradients grow itself (Yang et al. 2019): add shortcuts, or warm "
            "the learning rate up."
        )
        return Cure(words, "")
    if kind == "twins":
        return Cure("Draw the weights at random:", _scheme(structure))
    return Cure(f"Use {_name(structure)}:", _scheme(structure))


def _name(structure: Structure) -> str:
    if _needs_advice(structure):
        return "the initializers that fit each layer"
    return {"he": "He", "lecun": "LeCun"}[_variance(structure)]


def _scheme(structure: Structure) -> str:
    if _needs_advice(structure):
        return "tfinit.recommend(model).apply()"
    return f'tfinit.initialize(model, "{_variance(structure)}")'


def _variance(structure: Structure) -> str:
    hidden = structure.hidden_activations
    return "lecun" if not hidden or set(hidden) == {"selu"} else "he"


def _needs_advice(structure: Structure) -> bool:
    """True where one scheme for all layers will not do: bounded units, residual branches."""
    hidden = set(structure.hidden_activations)
    return bool(hidden - _RECTIFIERS - {"selu"}) or structure.has_branches


def _with_biases(structure: Structure) -> str:
    """`_scheme`, the biases included."""
    code = _scheme(structure)
    return code.removesuffix(")") + (", " if "initialize" in code else "") + "bias=0.0)"


def _keys(structure: Structure, layer: str) -> list[str]:
    """The kernels of a layer that is named by its key."""
    return [k.key for k in structure.kernels if k.key.rsplit("/", 1)[0] == layer.split("#")[0]]


def _confident(found: Measurement, layer: str) -> Cure:
    """Smaller weights, unless it is their input that is large."""
    head = next((r for r in found.layers if r.key == layer and r.weights), None)
    weights = head and head.weights[-1]
    if weights and weights.std * weights.fan_in**0.5 < _USUAL:
        words = "What it reads is too large: set each layer's scale by what the data become there:"
        return Cure(words, 'tfinit.initialize(model, "lsuv", x)')
    return Cure("Start the last layer smaller:", _one_layer(found.structure, layer).code)


def _one_layer(structure: Structure, layer: str) -> Cure:
    keys = _keys(structure, layer)
    if not keys:
        return Cure(f"Use {_name(structure)}:", _scheme(structure))
    return Cure("Redraw that layer:", f"tfinit.recommend(model).apply(only={keys!r})")


def _not_finite(found: Measurement, layer: str) -> Cure:
    if found.broken:
        kernels = [k.key for k in found.structure.kernels]
        biases = [f"{k.rsplit('/', 1)[0]}/bias" for k in kernels]
        code = _with_biases(found.structure) if {*found.broken} <= {*kernels, *biases} else ""
        return Cure(f"Build the model anew{', or redraw its weights:' if code else '.'}", code)
    if found.half:
        words = "The scale is too large for float16; bfloat16 has float32's range. Keep it small:"
        return Cure(words, _scheme(found.structure))
    return Cure(
        "Look for log(0), x / 0 or overflow there; redraw the weights:", _scheme(found.structure)
    )
