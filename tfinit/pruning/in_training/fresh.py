"""Whether weights are as their initializers drew them: asked before a random mask is put on."""

from typing import Any

import keras
import numpy as np
from keras import ops

from tfinit.pruning.in_training.binding import Group
from tfinit.variables import own_weights, walk_layers, weight_name

# Where the initializer of a weight is not called after the weight.
_ATTRIBUTES = {
    "recurrent_kernel": "recurrent_initializer",
    "pointwise_kernel": "pointwise_initializer",
    "reverse_embeddings": "embeddings_initializer",
}


def why_not_fresh(group: Group, variables: list[Any], steps: int) -> str | None:
    """What speaks against fresh weights, for a message; None if nothing does.

    A seeded or unseeded initializer of Keras returns the same values at each call, so weights that
    differ from them were trained, loaded or set.

    Args:
        group: A rule and which of the variables it prunes.
        variables: What the optimizer trains.
        steps: How many steps the optimizer has taken.
    """
    if steps > 0:
        return f"the optimizer has taken {steps} steps"
    known = _initializers(group.rule.scope)
    mine = [variables[i] for i in group.indices]
    differ = [v.path for v in mine if id(v) in known and not _is_drawn_by(known[id(v)], v)]
    if differ:
        return f"{differ} are not what their initializers drew"
    unknown = [v.path for v in mine if id(v) not in known]
    if unknown:
        return f"whether {unknown} are trained cannot be seen (with `scope=model` it can)"
    return None


def _initializers(scope: Any) -> dict[int, Any]:
    """id(variable) → its initializer, where a layer of the scope keeps one that draws again."""
    layers = [scope] if isinstance(scope, keras.layers.Layer) else scope
    if not isinstance(layers, list) or not all(isinstance(x, keras.layers.Layer) for x in layers):
        return {}
    found = {}
    for top in layers:
        for _, layer in walk_layers(top):
            for variable in own_weights(layer):
                name = weight_name(variable)
                initializer = getattr(layer, _ATTRIBUTES.get(name, f"{name}_initializer"), None)
                # A generator would draw something else, and not the same again for others.
                seeded = isinstance(getattr(initializer, "seed", None), keras.random.SeedGenerator)
                if callable(initializer) and not seeded:
                    found[id(variable)] = initializer
    return found


def _is_drawn_by(initializer: Any, variable: Any) -> bool:
    drawn = ops.convert_to_numpy(initializer(tuple(variable.shape), dtype=variable.dtype))
    value = ops.convert_to_numpy(variable)
    return bool(np.allclose(drawn, value, rtol=1e-5, atol=1e-7))
