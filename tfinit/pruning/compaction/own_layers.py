"""`register_channel_rule`: how the channels of a user's own layer run."""

from collections.abc import Callable
from typing import Any

import keras

from tfinit.arguments import function, refused
from tfinit.graph.channel_rules import OWN
from tfinit.graph.layer_kinds import kind_of_class


def register_channel_rule(layer: Any, rule: Callable[[Any, Any], Any]) -> None:
    """Say how channels run through a layer of one's own, for `compact` and `prune_channels`.

    A layer of which this is not known stays whole, with all that goes into it and comes out of it.

    A channel is an index of one axis of a tensor. The rule is called with ``channels``, all that is
    known of the model, and ``call``, one call of the layer: ``call.layer``, ``call.taken`` (the
    channels of each input; ``len()`` is how many, ``axis`` where), ``call.shapes`` and
    ``call.made_shape``. It returns the channels of the output (a list of them, of several outputs):

    - those it is given, ``call.taken[0]`` (or ``channels.along(-1, call)``: those on its last axis,
      whatever axis they were on before), if the layer treats each channel by itself; the axis of
      channels may become another: ``dataclasses.replace(value, axis=1)``;
    - new ones, ``channels.fresh(n, axis)``, if it makes others. All that it is given counts as read
      by each of them.

    and says on the way, if it is so,

    - where channels are in the weights, and which arguments of its configuration count them:
      ``channels.weigh(call, {"kernel": (taken, made)}, {"units": made})``: for each axis of a
      weight its channels, or None. Weights of layers inside are called ``"inner/kernel"``;
    - ``channels.join(one, other)``: the channels of two inputs are met in pairs, as in a sum;
    - ``channels.hold(value, "why")``: these must stay;
    - ``channels.normalize(call, value)``: what the layer makes of one channel depends on all of
      them, as in LayerNormalization. `compact` keeps them then; `prune_channels` may remove some.

    Args:
        layer: The class, exactly: a subclass of it may compute something else. Its ``get_config``
            must have the arguments that count channels.
        rule: A function of ``channels`` and ``call``. It raises ValueError, with why, for a
            layer that it is not for, which then stays whole. It is for calls with tensors only.

    Raises:
        InputError: ``layer`` is no class of layers, is one that has a rule in tfinit, or ``rule``
            is no function. What a rule returns is checked where a model is followed.

    Example:
        >>> @keras.saving.register_keras_serializable("example")
        ... class Gated(keras.layers.Layer):
        ...     def __init__(self, units, **options):
        ...         super().__init__(**options)
        ...         self.units = units
        ...     def build(self, shape):
        ...         self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        ...         self.gate = self.add_weight(shape=(self.units,), name="gate")
        ...     def call(self, x):
        ...         return x @ self.kernel * keras.ops.sigmoid(self.gate)
        ...     def get_config(self):
        ...         return super().get_config() | {"units": self.units}
        >>> def through_gated(channels, call):
        ...     taken = channels.along(-1, call)
        ...     made = channels.fresh(call.layer.units, taken.axis)
        ...     weights = {"kernel": (taken, made), "gate": (made,)}
        ...     channels.weigh(call, weights, {"units": made})
        ...     return made
        >>> register_channel_rule(Gated, through_gated)
        >>> layers = [Gated(8), keras.layers.Dense(6), Gated(4), keras.layers.ReLU()]
        >>> model = keras.Sequential([keras.Input((2,)), *layers, keras.layers.Dense(1)])
        >>> half = {"target": {"channels": 0.5}, "allocation": "uniform", "round_to": 1}
        >>> smaller = prune_channels(model, **half).model
        >>> [layer.units for layer in smaller.layers[:3]]
        [4, 3, 2]
    """
    if not (isinstance(layer, type) and issubclass(layer, keras.layers.Layer)):
        raise refused("layer", "a class of Keras layers", layer)
    if kind_of_class(layer, exactly=True).channels:
        raise refused("layer", "a class of your own", layer, "Its channels are followed already.")
    OWN[layer] = function("rule", rule, "channels and call")
