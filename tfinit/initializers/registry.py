"""Registration of the initializers with Keras 3, and with tf_keras as soon as that is loaded."""

import re
from types import ModuleType

import keras

_CLASSES: dict[str, type] = {}


def serializable(cls: type) -> type:
    """Class decorator: ``"tfinit>ClassName"`` and ``"tfinit>class_name"`` name ``cls`` in Keras."""
    keras.saving.register_keras_serializable(package="tfinit")(cls)
    for name in (cls.__name__, _snake_case(cls.__name__)):
        _CLASSES[f"tfinit>{name}"] = cls
    keras.saving.get_custom_objects().update(_CLASSES)
    return cls


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def register_with_tf_keras(tf_keras: ModuleType) -> None:
    """Make the registered classes known to tf_keras under the same names."""
    for cls in set(_CLASSES.values()):
        tf_keras.saving.register_keras_serializable(package="tfinit")(cls)
    tf_keras.saving.get_custom_objects().update(_CLASSES)
