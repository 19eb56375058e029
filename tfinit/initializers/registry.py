"""Which initializers there are: known to Keras 3, and to tf_keras as soon as that is loaded."""

import importlib
import inspect
import pkgutil
import re
from types import ModuleType
from typing import TypeVar

import keras
import wrapt

from tfinit.errors import InputError
from tfinit.graph.keras_internals import legacy_initializers

CLASSES: dict[str, type] = {}
_SNAKE_CASE = {"LeCun": "lecun"}  # as in Keras's "lecun_normal"


_Class = TypeVar("_Class", bound=type)


def serializable(cls: _Class) -> _Class:
    """Class decorator: ``"tfinit>ClassName"`` and ``"tfinit>class_name"`` name ``cls`` in Keras."""
    name = cls.__name__
    if hasattr(keras.initializers, name):
        # tf_keras reads HDF5 files by the bare class name and would take its own class. What is
        # shown and pickled is the qualified name, which stays.
        cls.__name__ = f"Tfinit{name}"
    keras.saving.register_keras_serializable("tfinit", name)(cls)
    CLASSES[name] = cls
    keras.saving.get_custom_objects().update({f"tfinit>{_snake_case(name)}": cls})
    return cls


def _snake_case(name: str) -> str:
    return _SNAKE_CASE.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def register_with_tf_keras(tf_keras: ModuleType) -> None:
    """Make the registered classes known to tf_keras under the same names."""
    # Its list of initializers has no public door. A class outside of it draws a warning at every
    # `get_config` of a layer, and is not found when an HDF5 file is read.
    known = legacy_initializers()
    for name, cls in CLASSES.items():
        tf_keras.saving.register_keras_serializable("tfinit", name)(cls)
        tf_keras.saving.get_custom_objects()[f"tfinit>{_snake_case(name)}"] = cls
        known[cls.__name__] = cls


def import_all() -> None:
    """Import the files of the package, each of which declares its classes."""
    package = importlib.import_module("tfinit.initializers")
    for module in pkgutil.iter_modules(package.__path__, "tfinit.initializers."):
        importlib.import_module(module.name)
    # All classes are there: this runs at once if tf_keras is already loaded.
    wrapt.register_post_import_hook(register_with_tf_keras, "tf_keras")


def of_any_kernel() -> list[str]:
    """The classes that need no arguments and take a matrix, as the kernel of a Dense layer is."""
    return [name for name, cls in sorted(CLASSES.items()) if _takes_a_matrix(cls)]


def _takes_a_matrix(cls: type) -> bool:
    parameters = inspect.signature(cls).parameters
    if any(p.default is p.empty for p in parameters.values()):
        return False
    # With a seed: without one it would take a number from Python's generator.
    made = cls(**({"seed": 0} if "seed" in parameters else {}))
    try:
        made.check((3, 2))
    except InputError:
        return False
    return True
