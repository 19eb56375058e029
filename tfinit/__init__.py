"""tfinit: weight initialization, pruning and lottery tickets for Keras networks.

Importing this package loads nothing heavy. Its parts load when first used, and what Keras can
serialize is registered with Keras as soon as Keras itself is imported, before or after tfinit.
"""

import importlib
from types import ModuleType

import wrapt

from tfinit.moved import attach, install

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach(__name__, __file__)


def _register_with_keras(keras: ModuleType) -> None:
    """Import the modules whose classes Keras serializes: their decorators register them.

    This may run in the middle of a tfinit package's own `import keras`. So what is imported here,
    and what that imports in turn, takes names from modules, never from a tfinit package. Of these
    modules those that import Keras at their top are in packages that import it first
    (`initializers`, `learning_rates`, `pruning.in_training`, `pruning.tfmot_api`).
    """
    importlib.import_module("tfinit.initializers")
    importlib.import_module("tfinit.learning_rates.scaled")
    importlib.import_module("tfinit.pruning.in_training.sparse_optimizer")
    importlib.import_module("tfinit.pruning.tfmot_api.marks")


install()
# Runs at once if Keras is already loaded.
wrapt.register_post_import_hook(_register_with_keras, "keras")
