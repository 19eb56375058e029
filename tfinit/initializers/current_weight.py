"""Which weight a Keras is filling while it calls an initializer."""

import sys
from typing import Any

import keras

from tfinit.graph.layer_kinds import keras_of


def target_of_call() -> tuple[str, Any]:
    """Path and variable of the weight that is being filled; ``("", None)`` outside of any.

    The callers are asked, not Keras's name scope: a Keras 3 variable that is made during a symbolic
    call (every subclassed model without a ``build``) is filled later, after its scope has closed.
    A Keras 3 variable knows its own path. A tf_keras weight is known to the ``add_weight`` of its
    layer, and its variable does not exist yet.
    """
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if "self" in code.co_varnames or "self" in code.co_freevars:
            owner = frame.f_locals.get("self")
            if isinstance(owner, keras.Variable):
                return owner.path, owner
            if code.co_name == "add_weight" and keras_of(owner) == "tf_keras":
                return _tf_keras_path(owner, frame.f_locals["name"]), None
        frame = frame.f_back
    return "", None


def _tf_keras_path(layer: Any, name: str | None) -> str:
    import tensorflow as tf

    # An eager variable has opened a scope of its own name, one that a tf.function lifts has not,
    # and a layer whose `build` is called by hand has opened none.
    scope = [part for part in tf.get_current_name_scope().split("/") if part]
    if scope and scope[-1] == name:
        scope.pop()
    return "/".join([*(scope or [layer.name]), str(name)])
