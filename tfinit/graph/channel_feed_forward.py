"""The width between the two Dense layers of a transformer block that is one layer: KerasHub's."""

from typing import Any

import numpy as np

from tfinit.graph.channel_values import Call, Channels, Rule, Untouchable, Value
from tfinit.graph.layer_kinds import kind_of
from tfinit.variables import all_weights, walk_layers

# What the Dense layers are called, in the keys of their weights, that make the width, gates among
# them, and those that read it.
_MAKES = {
    *("feedforward_intermediate_dense", "feedforward_gate_dense", "mlp_intermediate_dense"),
    *("dense", "fc1"),
}
_READS = {"feedforward_output_dense", "mlp_output_dense", "dense_1", "fc2"}


def _feed_forward(channels: Channels, call: Call) -> list[Value]:
    """A block whose feed-forward width can be told; all else of it stays.

    Its heads are of the size (hidden width) / (heads), which it computes, so that neither can go:
    with fewer of them the others would be larger.
    """
    layer, argument = call.layer, kind_of(call.layer, exactly=True).width
    for _, part in walk_layers(layer):
        if getattr(part, "lora_enabled", False) or getattr(part, "quantization_mode", None):
            raise Untouchable("it is quantized or has LoRA weights")
    try:
        config = layer.get_config()
    except Exception as why:  # KerasHub's LlamaTransformerDecoder cannot say its own
        raise Untouchable(f"it cannot be made again from its get_config(): {why}") from why
    inside = channels.fresh(getattr(layer, argument), len(call.made_shape) - 1)
    weights, read = _weights(layer, inside)
    if not read:
        raise Untouchable(f"which of its layers are of its {argument} is not known")
    for value in call.taken:
        channels.hold(value, f"{call.name} reads them, of its hidden width")
    made = [channels.fresh(shape[-1] or 0, len(shape) - 1) for shape in call.made_shapes]
    for value in made:
        channels.hold(value, f"{call.name} makes them, of its hidden width")
    channels.values.append(inside)
    given = call.taken[0]
    every = np.ones((len(given), len(inside)), dtype=bool)
    channels.mix(call, given, inside, every, np.zeros(len(given), dtype=bool), part="width")
    used = np.any([channels.nonzero(kernel, 0) for kernel in read], axis=0)
    uses = np.repeat(used[:, None], len(made[0]), axis=1)
    channels.mix(call, inside, made[0], uses, np.zeros(len(inside), dtype=bool))
    sizes = {argument: inside}
    if "num_heads" in config:
        sizes["num_heads"] = channels.fresh(layer.num_heads, inside.axis)
        reason = f"{type(layer).__name__} computes how large a head is: hidden width / heads"
        channels.hold(sizes["num_heads"], reason)
    channels.weigh(call, weights, sizes)
    return made


def _weights(layer: Any, inside: Value) -> tuple[dict[str, tuple[Value | None, ...]], list[Any]]:
    """Where the width is in the weights of a block, and the kernels that read it."""
    weights: dict[str, tuple[Value | None, ...]] = {}
    read = []
    for key, weight in all_weights(layer).items():
        [of, name] = key.split("/")[-2:] if "/" in key else ("", key)
        shape = tuple(weight.shape)
        if of in _MAKES and shape[-1] == len(inside):
            weights[key] = (*[None] * (len(shape) - 1), inside)
        if of in _READS and name == "kernel" and shape[0] == len(inside):
            weights[key] = (inside, None)
            read.append(weight)
    return weights, read


RULES: dict[str, Rule] = {"feed_forward": _feed_forward}
OWN_ARGUMENTS = set(RULES)
