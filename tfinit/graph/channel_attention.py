"""Channels through attention, einsums and embeddings."""

from dataclasses import replace
from typing import Any

import numpy as np

from tfinit.graph.channel_values import (
    Call,
    Channels,
    Rule,
    Untouchable,
    Value,
    side_by_side,
)
from tfinit.graph.einsum import places, read
from tfinit.graph.elementwise import activated
from tfinit.variables import all_weights, walk_layers


def _check_inside(layer: Any) -> None:
    for _, part in walk_layers(layer):
        if getattr(part, "lora_enabled", False) or getattr(part, "quantization_mode", None):
            raise Untouchable("it is quantized or has LoRA weights")


def _inputs(channels: Channels, call: Call) -> dict[str, Value]:
    """What queries, keys, values, and a gate are made of."""
    _check_inside(call.layer)
    given = channels.given(call, "query", "value", "key")
    given.setdefault("key", given["value"])
    found = {name: channels.along(-1, call, given[name]) for name in ("query", "key", "value")}
    return found | {"gate": found["query"]}


def _heads(channels: Channels, call: Call) -> Value:
    """MultiHeadAttention: heads go as a whole; their sizes stay."""
    shape = call.layer.get_config()["output_shape"]
    if shape and len(shape) > 1:
        raise Untouchable(f"its output_shape is {shape}")
    inputs = _inputs(channels, call)
    heads = channels.fresh(call.layer.num_heads, len(call.shapes[0]) - 1)
    made = _attended(channels, call, inputs, heads)
    _weigh_attention(
        channels,
        call,
        inputs,
        (dict.fromkeys(inputs, heads), heads, made),
        {"num_heads": heads, "output_shape": made},
    )
    return made


def _shared_heads(channels: Channels, call: Call) -> Value:
    """GroupQueryAttention: a head of keys and values goes with all the queries that it answers."""
    layer, inputs = call.layer, _inputs(channels, call)
    pairs = channels.fresh(layer.num_key_value_heads, len(call.shapes[0]) - 1)
    queries = pairs.at(np.repeat(np.arange(len(pairs)), layer.num_query_heads // len(pairs)))
    heads = {"query": queries, "key": pairs, "value": pairs, "gate": queries}
    made = _attended(channels, call, inputs, pairs)
    for value in (inputs["value"], inputs["key"], made):  # the layer wants and makes as many of all
        channels.join(inputs["query"], value)
    _weigh_attention(
        channels,
        call,
        inputs,
        (heads, queries, made),
        {"num_key_value_heads": pairs, "num_query_heads": queries},
    )
    return made


def _attended(
    channels: Channels,
    call: Call,
    inputs: dict[str, Value],
    heads: Value,
) -> Value:
    """What an attention layer makes; its heads are noted between.

    Args:
        channels: Of the model.
        call: The call.
        inputs: Part of the layer, ``"query"`` and so on → what it reads.
        heads: The heads, or groups of them that go together.
    """
    weights = all_weights(call.layer)
    parts = [part for part in inputs if f"{part}/kernel" in weights]

    def used(kernel: str, *axes: int) -> np.ndarray:
        """(channels, heads) of a kernel: is a weight not zero."""
        found = channels.nonzero(weights[kernel], *axes)
        return np.any(found.reshape(len(found), len(heads), -1), axis=-1)

    # A head whose values are all 0 makes nothing.
    some = channels.nonzero(weights["value/kernel"], 1)
    if "value/bias" in weights:
        some = some | channels.nonzero(weights["value/bias"], 0)
    heads = heads.having(np.where(some, np.nan, 0.0))
    channels.values.append(heads)
    read = side_by_side([inputs[part] for part in parts])
    uses = np.concatenate([used(f"{part}/kernel", 0, 1) for part in parts])
    channels.mix(call, read, heads, uses, part="heads")
    uses = used("attention_output/kernel", 2, 0).T
    constant = ~uses[some].any(axis=0)
    bias = weights.get("attention_output/bias")
    sums = np.zeros(len(constant)) if bias is None else channels.array(bias)
    made = channels.fresh(len(constant), len(call.made_shape) - 1)
    made = made.having(np.where(constant, sums, np.nan))
    channels.mix(call, heads, made, uses)
    return made


def _weigh_attention(
    channels: Channels,
    call: Call,
    inputs: dict[str, Value],
    found: tuple[dict[str, Value], Value, Value],
    sizes: dict[str, Value],
) -> None:
    """Note the weights of an attention layer: heads by part, those of its output, what it makes."""
    by_part, heads, made = found
    weights: dict[str, tuple[Value | None, ...]] = {}
    for part, value in inputs.items():
        weights[f"{part}/kernel"] = (value, by_part[part], None)
        weights[f"{part}/bias"] = (by_part[part], None)
    weights["attention_output/kernel"] = (heads, None, made)
    weights["attention_output/bias"] = (made,)
    own = all_weights(call.layer)
    channels.weigh(call, {key: axes for key, axes in weights.items() if key in own}, sizes)


def _attention(channels: Channels, call: Call) -> Value:
    """Attention and AdditiveAttention: queries and keys meet channel by channel."""
    layer = call.layer
    given = channels.given(call, "inputs")["inputs"]
    query, value, key = (channels.along(-1, call, tensor) for tensor in (*given, given[1])[:3])
    channels.join(query, key)
    read = side_by_side([query, key])
    made = replace(value.unknown(), axis=len(call.made_shape) - 1)
    channels.mix(call, read, made, np.ones((len(read), len(made)), dtype=bool))
    scales = {
        name: (query,)
        for name, weight in all_weights(layer).items()
        if tuple(weight.shape) == (len(query),)
    }
    channels.weigh(call, scales, {})
    return made


def _einsum(channels: Channels, call: Call) -> Value:
    """EinsumDense: channels are on one axis that is summed over and on the last that is new.

    On the other axes of a kernel, as those of heads, everything stays.
    """
    layer, value = call.layer, call.taken[0]
    equation, bias = read(layer.equation), layer.bias
    rank, made_rank = len(call.shapes[0]), len(call.made_shape)
    given, made_on = places(equation.inputs, rank), places(equation.output, made_rank)
    summed = [letter for letter in equation.kernel if letter in given and letter not in made_on]
    new = [letter for letter in equation.kernel if letter not in given and letter in made_on]
    if not summed or not new:
        raise Untouchable(f"its equation is {layer.equation}")
    reads = next((letter for letter in summed if given[letter] == value.axis), None)
    reads = reads or max(summed, key=given.__getitem__)
    makes = max(new, key=made_on.__getitem__)
    taken = channels.along(given[reads], call)
    axes = [equation.kernel.index(letter) for letter in (reads, makes)]
    uses = channels.nonzero(layer.kernel, *axes)
    made = channels.fresh(uses.shape[1], made_on[makes])
    behind = made.axis - made_rank  # from the end
    bias_axes: tuple[Value | None, ...] = ()
    sums = np.zeros(len(made))
    if bias is not None:
        on = range(-len(bias.shape), 0)
        own = behind in on and bias.shape[behind] == len(made)
        bias_axes = tuple(made if own and axis == behind else None for axis in on)
        array = channels.array(bias)
        parts = np.moveaxis(array, behind, -1) if own else array.reshape(*array.shape, 1)
        parts = parts.reshape(-1, parts.shape[-1])
        sums = np.where((parts == parts[:1]).all(axis=0), parts[0], np.nan) + sums
    constant = ~uses[taken.constants != 0].any(axis=0)
    made = activated(channels, call, made, np.where(constant, sums, np.nan), layer.activation)
    channels.mix(call, taken, made, uses)
    kernel = [None] * len(equation.kernel)
    kernel[axes[0]], kernel[axes[1]] = taken, made
    weights = {"kernel": tuple(kernel)} | ({"bias": bias_axes} if bias is not None else {})
    channels.weigh(call, weights, {f"output_shape.{_place(layer, behind)}": made})
    return made


def _place(layer: Any, behind: int) -> int:
    """Which entry of its output_shape an axis of EinsumDense's output is, counted from its end."""
    place = len(layer.partial_output_shape) + behind
    if place < 0:
        raise Untouchable(f"its equation is {layer.equation}")
    return place


def _embedding(channels: Channels, call: Call) -> Value:
    """Rows of a table; of a reversible one the way back, too, by the same table or another."""
    layer = call.layer
    given = channels.given(call, "inputs", "reverse")
    backwards = bool(given.get("reverse"))
    if backwards:
        width = channels.along(-1, call)
        table = layer.embeddings if layer.tie_weights else layer.reverse_embeddings
        uses = channels.nonzero(table, *((1, 0) if layer.tie_weights else (0, 1)))
        made = channels.fresh(uses.shape[1], width.axis)
        channels.hold(made, f"{call.name} makes them, of its vocabulary")
        channels.mix(call, width, made, uses)
    else:
        channels.hold(call.taken[0], f"{call.name} looks them up")
        made = width = channels.fresh(layer.output_dim, len(call.made_shape) - 1)
    weights: dict[str, tuple[Value | None, ...]] = {"embeddings": (None, width)}
    if not getattr(layer, "tie_weights", True):
        weights["reverse_embeddings"] = (width, None)
    channels.weigh(call, weights, {"output_dim": width})
    return made


def _places(channels: Channels, call: Call) -> Value:
    """A row of a table for each place, as wide as the input: KerasHub's PositionEmbedding."""
    taken = channels.along(-1, call)
    made = taken.unknown()
    channels.carry(call, taken, made)
    channels.weigh(call, dict.fromkeys(all_weights(call.layer), (None, taken)), {})
    return made


def _words_and_places(channels: Channels, call: Call) -> Value:
    """The sum of two tables' rows: KerasHub's TokenAndPositionEmbedding."""
    channels.given(call, "inputs")
    channels.hold(call.taken[0], f"{call.name} looks them up")
    made = channels.fresh(call.layer.embedding_dim, len(call.made_shape) - 1)
    weights: dict[str, tuple[Value | None, ...]] = {
        key: (made, None) if key.endswith("reverse_embeddings") else (None, made)
        for key in all_weights(call.layer)
    }
    channels.weigh(call, weights, {"embedding_dim": made})
    return made


RULES: dict[str, Rule] = {
    "heads": _heads,
    "shared_heads": _shared_heads,
    "attention": _attention,
    "einsum": _einsum,
    "embedding": _embedding,
    "places": _places,
    "words_and_places": _words_and_places,
}
OWN_ARGUMENTS = RULES.keys() - {"einsum", "places"}
