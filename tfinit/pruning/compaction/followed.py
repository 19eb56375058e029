"""Which models can be made again with fewer channels."""

from typing import Any

import keras

from tfinit.errors import InputError
from tfinit.graph.keras_internals import has_graph
from tfinit.graph.tracing import own_graph
from tfinit.variables import keras_of


def check_model(model: Any) -> None:
    """Refuse what cannot be made again with fewer channels.

    Raises:
        InputError: it is no built Sequential or functional model of Keras 3.
    """
    if keras_of(model) != "keras" or not isinstance(model, keras.Model):
        raise InputError(
            "`model` must be a Sequential or functional model of Keras 3, received "
            f"{type(model).__module__}.{type(model).__name__}."
        )
    if own_graph(model) is not None:
        return
    if isinstance(model, keras.Sequential) and not has_graph(model):
        raise InputError(
            f"`model` {model.name!r} is a Sequential that is not built, or has no fixed "
            "inputs, so its layers cannot be followed. Begin it with keras.Input(shape), or "
            "call model.build(input_shape)."
        )
    raise InputError(
        f"`model` {model.name!r} is a {type(model).__name__}, a class of its own: how its layers "
        "are called is in its code, so nothing of it can be removed. Allowed are keras.Sequential "
        "and functional models, keras.Model(inputs, outputs), and classes of them that have no "
        "`call` of their own."
    )
