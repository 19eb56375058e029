"""What each kind of layer does to the channels that it is given.

A rule makes the channels of the layer's output, or raises `Untouchable`. Which a layer has is in
the table of `layer_kinds`; a subclass has none, as it may compute anything. The rules themselves
are in the files beside this one, by what they are about.
"""

from dataclasses import replace
from typing import Any

import keras
import numpy as np

from tfinit.arguments import shown
from tfinit.errors import InputError
from tfinit.graph import (
    channel_attention,
    channel_feed_forward,
    channel_merging,
    channel_mixing,
    channel_normalizing,
    channel_recurrence,
    channel_shapes,
)
from tfinit.graph.channel_values import (
    Call,
    Channels,
    Rule,
    Untouchable,
    Value,
    side_by_side,
)
from tfinit.graph.elementwise import activated
from tfinit.graph.keras_internals import is_symbolic
from tfinit.graph.layer_kinds import kind_of


def rule_of(layer: Any) -> Rule:
    """The rule for a layer or operation.

    Raises:
        Untouchable: There is none, or the layer is set up in a way that it is not for.
    """
    if type(layer) in OWN:
        return _alone(_of_tensors(_checked(OWN[type(layer)])))
    rule = kind_of(layer, exactly=True).channels
    if not rule:
        what = (
            "a model inside the model" if isinstance(layer, keras.Model) else type(layer).__name__
        )
        raise Untouchable(f"what it does to channels is not known ({what})")
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        raise Untouchable("it is quantized or has LoRA weights")
    found = RULES[rule] if rule in OWN_ARGUMENTS else _of_tensors(RULES[rule])
    return found if rule in CARRYING else _alone(found)


def _alone(rule: Rule) -> Rule:
    """A rule for layers that look for channels on one axis: those on others must stay."""

    def checked(channels: Channels, call: Call) -> Value | list[Value]:
        for value in call.taken:
            channels.hold_beside(value, f"{call.name} takes them along with others")
        return rule(channels, replace(call, taken=[value.alone() for value in call.taken]))

    return checked


def _of_tensors(rule: Rule) -> Rule:
    """A rule for layers that are called with tensors of channels and nothing else."""

    def checked(channels: Channels, call: Call) -> Value | list[Value]:
        check_arguments(call.args, call.kwargs, "it")
        if not all(map(len, call.taken)):
            raise Untouchable("the number of its input's channels is unknown")
        return rule(channels, call)

    return checked


def check_arguments(args: list[Any], kwargs: dict[str, Any], subject: str) -> None:
    """Refuse a call with more than tensors: with ``training=True``, BatchNormalization differs."""
    if kwargs:
        what = ", ".join(f"{name}={value!r}" for name, value in kwargs.items())
        raise Untouchable(f"{subject} is called with {what}")
    given = [part for part in keras.tree.flatten(args) if part is not None]
    if len(args) > 1 and not all(map(is_symbolic, given)):
        raise Untouchable(f"{subject} is called with more than tensors")


def _checked(rule: Rule) -> Rule:
    """A rule of the user's, which need not think of constants, nor say what reads what."""

    def checked(channels: Channels, call: Call) -> list[Value]:
        name = type(call.layer).__name__
        try:
            found = rule(channels, call)
        except ValueError as why:
            raise Untouchable(str(why)) from why
        made = found if isinstance(found, list) else [found]
        if len(made) != len(call.made_shapes) or not all(isinstance(v, Value) for v in made):
            raise InputError(
                f"The channel rule for {name} must return the channels of its output, or a list of "
                f"those of its {len(call.made_shapes)} outputs, received {shown(found)}."
            )
        for value, shape in zip(made, call.made_shapes, strict=True):
            if not 0 < value.axis < len(shape) or len(value) != shape[value.axis]:
                raise InputError(
                    f"The channel rule for {name} gives {len(value)} channels on axis {value.axis} "
                    f"of an output of shape {shape}. Return as many as there are."
                )
        taken = side_by_side(call.taken)
        mixes = any(layer == id(call.layer) for layer, _ in channels.mixings)
        for i, value in enumerate(made):
            if not mixes and not np.isin(value.classes, taken.classes).all():
                uses = np.ones((len(taken), len(value)), dtype=bool)
                channels.mix(call, taken, value, uses, np.zeros(len(taken), dtype=bool), str(i))
        return [value.unknown() for value in made]

    return checked


def _activation(channels: Channels, call: Call) -> Value:
    return activated(channels, call, call.taken[0], call.taken[0].constants, call.layer)


def _same(channels: Channels, call: Call) -> Value:
    """Dropout in inference, and other layers that return their input."""
    return call.taken[0]


OWN: dict[type, Rule] = {}
"""The rules of users for classes of theirs, see `tfinit.pruning.register_channel_rule`."""
# By the names that the table of layer kinds gives them.
RULES: dict[str, Rule] = {
    "activation": _activation,
    "same": _same,
    **channel_mixing.RULES,
    **channel_normalizing.RULES,
    **channel_shapes.RULES,
    **channel_merging.RULES,
    **channel_attention.RULES,
    **channel_recurrence.RULES,
    **channel_feed_forward.RULES,
    "each_step": channel_recurrence.each_step(rule_of),
}
# Those of layers that are called with other things, too.
OWN_ARGUMENTS = {
    *channel_merging.OWN_ARGUMENTS,
    *channel_shapes.OWN_ARGUMENTS,
    *channel_attention.OWN_ARGUMENTS,
    *channel_recurrence.OWN_ARGUMENTS,
    *channel_feed_forward.OWN_ARGUMENTS,
}
# Those of layers that leave channels on several axes where they are.
CARRYING = {
    *("activation", "same", "mixing", "moving", "over_axes", "batch_normalization", "layer_scale"),
    *("add", "subtract", "multiply", "divide", "power", "average", "maximum", "minimum"),
}
