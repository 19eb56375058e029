"""What an exporter or a runtime lacks: which operation, of which layer, and what to do instead."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from tfinit.exporting.formats import FORMATS
from tfinit.graph.keras_internals import layer_and_all_in_it, layers_in
from tfinit.graph.layer_kinds import kind_of

# How many operations a message names.
_NAMED = 3
_LONGEST = 160  # characters of what a converter says
# Operations that call Python; files hold none.
_PYTHON = {"EagerPyFunc", "PyFunc", "PyFuncStateless"}


@dataclass(frozen=True)
class Lack:
    """An operation of TensorFlow that a format has not.

    Attributes:
        op: As TensorFlow calls its kind.
        node: As TensorFlow calls it in the graph: names of layers, joined by slashes.
    """

    op: str
    node: str = ""


def lacking_in_litert(path: Path) -> list[Lack]:
    """The operations in a .tflite file that LiteRT runs by its Flex delegate only, which is
    TensorFlow and is not there."""
    from ai_edge_litert import schema_py_generated as schema

    try:
        model = schema.Model.GetRootAs(path.read_bytes(), 0)
        codes = [model.OperatorCodes(n) for n in range(model.OperatorCodesLength())]
        kinds = [(code.CustomCode() or b"").decode(errors="replace") for code in codes]
        graphs = [model.Subgraphs(g) for g in range(model.SubgraphsLength())]
        found = []
        for graph in graphs:
            for operator in map(graph.Operators, range(graph.OperatorsLength())):
                kind = kinds[operator.OpcodeIndex()]
                if kind.startswith("Flex") and operator.OutputsLength():
                    name = graph.Tensors(operator.Outputs(0)).Name() or b""
                    found.append(Lack(kind.removeprefix("Flex"), name.decode(errors="replace")))
    # A reader of a damaged file may raise anything, and its runtime says it better.
    except Exception:
        return []
    return found


def lacking_in_onnx(messages: Sequence[str]) -> list[Lack]:
    """The operations that tf2onnx did not know, of what it logged."""
    pattern = (
        r"Tensorflow op \[(\S+): (\w+)\] is not|Failed to convert node '(\S+)' \(fct=.*? (\w+)\."
    )
    found = (re.search(pattern, message) for message in messages)
    return [Lack(match[2] or match[4], match[1] or match[3]) for match in found if match]


def said_by_converter(text: str) -> tuple[list[Lack], str]:
    """The operation at which LiteRT's converter failed, and what it said of it, out of MLIR."""
    places = re.findall(r'fused\["(\w+):", "([^"@]+)', text)
    said = re.findall(r"error: (?:loc\(.*?\): )?(.*)", re.sub(r"loc\(.*\)+:", "", text))
    words = next((line.strip() for line in said if line.strip()), "")
    return [Lack(*place) for place in places[:1]], re.sub(r"<unknown>:\S*", "", words)[:_LONGEST]


def layers_of(model: Any, lacks: Sequence[Lack]) -> list[Any]:
    """The layers that nodes of the graph belong to, each once; the innermost that has a name."""
    named = {layer.name: layer for layer in layers_in(model, recursive=True)}
    found: dict[int, Any] = {}
    for lack in lacks:
        for part in reversed(re.split(r"[/;]", lack.node)):
            # TensorFlow numbers the scope of a layer's second call, and the first was Keras's own.
            name = next((n for n in (re.sub(r"_\d+$", "", part), part) if n in named), None)
            if name is not None:
                found.setdefault(id(named[name]), named[name])
                break
    return list(found.values())


def told(model: Any, format: str, lacks: Sequence[Lack], said: str = "") -> str:
    """One line: what is lacking, which layer needs it, and the cure."""
    kinds = list(dict.fromkeys(lack.op for lack in lacks))
    ops = ", ".join(kinds[:_NAMED])
    if len(kinds) > _NAMED:
        ops += f" and {len(kinds) - _NAMED} more"
    layers = layers_of(model, lacks)
    where = f"layer {layers[0].name!r} ({type(layers[0]).__name__})" if layers else "it"
    what = "its exporter fails"
    if kinds:
        what = f"{FORMATS[format].runtime} has no {ops} as {where} computes it"
    said = f" ({said.rstrip('.')})" if said else ""
    return f"the model {model.name!r} cannot become a file of {format}: {what}{said}"


def cure_of(model: Any, format: str, lacks: Sequence[Lack] = ()) -> str:
    """What makes a model fit for a format that has no file of it as it is."""
    known, front = FORMATS[format], _lookups(model)
    layers = layers_of(model, lacks)
    if front and (_takes_text(model) or any(layer in front for layer in layers)):
        return _without(model, front)
    if any(getattr(layer, "quantization_mode", None) for layer in layer_and_all_in_it(model)):
        return (
            "Export the model as it was before `model.quantize`; with quantize='int8' its file is "
            "in int8 too."
        )
    for spec in getattr(model, "inputs", None) or []:
        if fit := known.missing_types.get(spec.dtype):
            return (
                f"Make the input {spec.name!r} of type {fit} in place of {spec.dtype}, with "
                f"keras.Input(…, dtype={fit!r})."
            )
    odd = sorted(
        {layer.compute_dtype for layer in layer_and_all_in_it(model)}
        & {"float16", "bfloat16", "float64"}
    )
    if odd and known.float32_only:
        return (
            f"Build it in float32 in place of {' and '.join(odd)}, with the same weights: made = "
            "keras.models.clone_model(model, clone_function=lambda layer: type(layer).from_config("
            "{**layer.get_config(), 'dtype': 'float32'})); made.set_weights(model.get_weights())."
        )
    if any(lack.op in _PYTHON for lack in lacks):
        return "It calls Python, which no file holds: compute it by keras.ops."
    return known.cure


def _lookups(model: Any) -> list[Any]:
    """The layers that turn words and the like into numbers before the network."""
    layers = getattr(model, "layers", [])
    return [layer for layer in layers if kind_of(layer).preprocessing == "lookup"]


def _takes_text(model: Any) -> bool:
    return any(spec.dtype == "string" for spec in getattr(model, "inputs", None) or [])


def _without(model: Any, front: Sequence[Any]) -> str:
    """How to leave lookups outside of the file."""
    names = ", ".join(repr(layer.name) for layer in front)
    told = f"Leave {names} outside, and give the file what it makes of the inputs"
    if not kind_of(model, exactly=True).model and not isinstance(model, keras.Sequential):
        return f"{told}: call it before the model."
    replaced = {id(one) for layer in front for one in keras.tree.flatten(layer.input)}
    kept = [one.name for one in model.inputs if id(one) not in replaced and one.dtype != "string"]
    parts = [f"model.get_layer({name!r}).output" for name in (*(e.name for e in front), *kept)]
    start = parts[0] if len(parts) == 1 else f"[{', '.join(parts)}]"
    return f"{told}: export keras.Model({start}, model.outputs)."
