"""Registration of the initializers with Keras 3, and with tf_keras as soon as that is loaded."""

import re
from types import ModuleType

import keras

from tfinit.graph.keras_internals import legacy_initializers

_CLASSES: dict[str, type] = {}
_SNAKE_CASE = {"LeCun": "lecun"}  # as in Keras's "lecun_normal"


def serializable(cls: type) -> type:
    """Class decorator: ``"tfinit>ClassName"`` and ``"tfinit>class_name"`` name ``cls`` in Keras."""
    name = cls.__name__
    if hasattr(keras.initializers, name):
        # tf_keras reads HDF5 files by the bare class name and would take its own class. What is
        # shown and pickled is the qualified name, which stays.
        cls.__name__ = f"Tfinit{name}"
    keras.saving.register_keras_serializable("tfinit", name)(cls)
    _CLASSES[name] = cls
    keras.saving.get_custom_objects().update({f"tfinit>{_snake_case(name)}": cls})
    return cls


def _snake_case(name: str) -> str:
    return _SNAKE_CASE.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def register_with_tf_keras(tf_keras: ModuleType) -> None:
    """Make the registered classes known to tf_keras under the same names."""
    # Its list of initializers has no public door. A class outside of it draws a warning at every
    # `get_config` of a layer, and is not found when an HDF5 file is read.
    known = legacy_initializers()
    for name, cls in _CLASSES.items():
        tf_keras.saving.register_keras_serializable("tfinit", name)(cls)
        tf_keras.saving.get_custom_objects()[f"tfinit>{_snake_case(name)}"] = cls
        known[cls.__name__] = cls
