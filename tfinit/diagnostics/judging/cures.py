"""What to do about a finding, in words and as a line of code."""

from collections.abc import Callable
from typing import NamedTuple

from tfinit.diagnostics.judging.findings import Change, in_order
from tfinit.diagnostics.measuring.measurement import Measurement
from tfinit.graph.structure import Structure

# σ·√fan_in of a kernel up to which it is not the kernel that makes its output large.
_USUAL = 2.0
_RECTIFIERS = {"relu", "relu6", "leaky_relu", "prelu", "elu", "gelu", "silu", "swish", "mish"}


class Cure(NamedTuple):
    """What to do.

    Attributes:
        words: A sentence.
        code: Python about ``model``; "" where no line does it.
        changes: What the program must say otherwise, where the cure is that: as
            ``(Change("head", "activation", "sigmoid"),)``.
    """

    words: str
    code: str
    changes: tuple[Change, ...] = ()


# What is tried where a finding's own line does not do.
EVERY_LAYER = (
    Cure("Use the initializers that fit each layer:", "tfinit.recommend(model).apply()"),
    Cure(
        "Set each layer's scale by what the data become there:",
        'tfinit.initialize(model, "lsuv", x)',
    ),
)
ChooseCure = Callable[[Measurement, str], Cure]


def choose_cure(kind: str, found: Measurement, layer: str) -> Cure:
    """The cure for a kind of finding in this network, at this layer."""
    structure = found.structure
    own = [k for k in structure.kernels if k.key in _keys(structure, layer)]
    if own and not any(k.trainable for k in own):
        words = "It is frozen, so no scheme sets it: load its weights, or make it trainable first."
        return Cure(words, "")
    declared = in_order().get(kind)
    cure = by_scheme if declared is None or declared.cure is None else declared.cure
    return cure(found, layer)


def by_scheme(found: Measurement, layer: str) -> Cure:
    """Initialize the whole network anew."""
    return Cure(f"Use {_name(found.structure)}:", scheme(found.structure))


def saying(words: str, code: Callable[[Structure], str] | None = None) -> ChooseCure:
    """The same in other words, or with another line of code than the scheme's."""
    return lambda found, layer: Cure(words, (code or scheme)(found.structure))


def redraw_layer(found: Measurement, layer: str) -> Cure:
    """Draw the weights of one layer anew."""
    return _one_layer(found.structure, layer)


def redraw_if_not_meant(found: Measurement, layer: str) -> Cure:
    """The same, for what may be on purpose."""
    return Cure("Redraw it if you did not mean that:", _one_layer(found.structure, layer).code)


def revive(found: Measurement, layer: str) -> Cure:
    """What lets dead units live."""
    if before := found.structure.normalization_before(layer):
        words = f"{before!r} puts them there: set its gamma to 1 and its beta to 0."
        return Cure(words, "")
    if _has_gain_of_relu(found, layer):
        words = (
            "Its weights have He's scale already: depth makes the examples alike. Shortcuts, "
            "normalization or leaky ReLUs lessen that."
        )
        return Cure(words, "")
    return by_scheme(found, layer)


def _has_gain_of_relu(found: Measurement, layer: str) -> bool:
    """True if the kernel before it has the standard deviation √(2 / fan_in), to an eighth."""
    row = next((r for r in found.layers if r.key == layer and r.weights), None)
    weights = row.weights[-1] if row else None
    return bool(weights and abs(weights.std * (weights.fan_in / 2) ** 0.5 - 1) < 1 / 8)


def unbounded(found: Measurement, layer: str) -> Cure:
    """An output whose activation passes nothing: the same without it."""
    losses = [o.loss.name for o in found.outputs for a in o.applied if a.key == layer and o.loss]
    if any("crossentropy" in name for name in losses):
        some = "softmax" if any("categorical" in name for name in losses) else "sigmoid"
        words = (
            f'{layer!r} makes the output: write activation="{some}" there, which suits the loss.'
        )
        return Cure(words, "", (Change(layer, "activation", some),))
    words = f"{layer!r} makes the output: leave its activation out, so that it holds all targets."
    if not _keys(found.structure, layer) or "/" in layer:
        return Cure(words, "")  # a layer that is the activation, or one inside another
    code = f"model.get_layer({layer!r}).activation = None"
    return Cure(words, code, (Change(layer, "activation", None),))


def steady(found: Measurement, layer: str) -> Cure:
    """What keeps signals from vanishing and exploding."""
    if found.structure.is_normalized_throughout:
        words = (
            "The weights are not at fault: normalization undoes their scale. In deep plain "
            "networks it makes gradients grow itself (Yang et al. 2019): add shortcuts, or warm "
            "the learning rate up."
        )
        return Cure(words, "")
    return by_scheme(found, layer)


def _name(structure: Structure) -> str:
    if _needs_advice(structure):
        return "the initializers that fit each layer"
    return {"he": "He", "lecun": "LeCun"}[_variance(structure)]


def scheme(structure: Structure) -> str:
    """The line of the scheme that fits."""
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


def with_biases(structure: Structure) -> str:
    """The line of a scheme that sets the biases too."""
    code = scheme(structure)
    return code.removesuffix(")") + (", " if "initialize" in code else "") + "bias=0.0)"


def _keys(structure: Structure, layer: str) -> list[str]:
    """The kernels of a layer that is named by its key."""
    return [k.key for k in structure.kernels if k.key.rsplit("/", 1)[0] == layer.split("#")[0]]


def less_confident(found: Measurement, layer: str) -> Cure:
    """Smaller weights, unless it is their input that is large."""
    if has_usual_scale(found, layer):
        words = "What it reads is too large: set each layer's scale by what the data become there:"
        return Cure(words, 'tfinit.initialize(model, "lsuv", x)')
    return Cure("Start the last layer smaller:", _one_layer(found.structure, layer).code)


def has_usual_scale(found: Measurement, layer: str) -> bool:
    """True if it is not the weights of a layer that make its output large."""
    head = next((r for r in found.layers if r.key == layer and r.weights), None)
    weights = head.weights[-1] if head else None
    return bool(weights and weights.std * weights.fan_in**0.5 < _USUAL)


def _one_layer(structure: Structure, layer: str) -> Cure:
    keys = _keys(structure, layer)
    if not keys:
        return Cure(f"Use {_name(structure)}:", scheme(structure))
    return Cure("Redraw that layer:", f"tfinit.recommend(model).apply(only={keys!r})")


def finite(found: Measurement, layer: str) -> Cure:
    """What makes all numbers finite."""
    if found.broken:
        kernels = [k.key for k in found.structure.kernels]
        biases = [f"{k.rsplit('/', 1)[0]}/bias" for k in kernels]
        code = with_biases(found.structure) if {*found.broken} <= {*kernels, *biases} else ""
        return Cure(f"Build the model anew{', or redraw its weights:' if code else '.'}", code)
    if found.half:
        words = "The scale is too large for float16; bfloat16 has float32's range. Keep it small:"
        return Cure(words, scheme(found.structure))
    return Cure(
        "Look for log(0), x / 0 or overflow there; redraw the weights:", scheme(found.structure)
    )


def in_vain(kind: str, layer: str) -> Cure:
    """What is left to say where the finding stays after every line of code that was tried."""
    if kind == "not finite":
        words = "Look for log(0), √0 or its slope, 0 / 0, exp or overflow there"
    elif layer:
        words = f"Look at what {layer!r} reads, and at what is behind it"
    else:
        words = "Look at the inputs, and at how the layers are put together"
    return Cure(f"{words}: other initial weights do not mend it (tried on a copy).", "")
