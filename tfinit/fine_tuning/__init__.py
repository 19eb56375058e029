"""Fine-tune a saved model while pruning it: what `tfinit prune` runs.

Reading a configuration loads no Keras; `fine_tune` does.
"""

import importlib
from typing import Any

from tfinit.fine_tuning.config import PruneConfig

__all__ = ["FineTuned", "PruneConfig", "fine_tune"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("tfinit.fine_tuning.run"), name)
    raise AttributeError(f"module 'tfinit.fine_tuning' has no attribute {name!r}")
