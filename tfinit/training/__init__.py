"""Training for a given number of steps, as fast as the machine allows, and the same every time.

`trainer(model, data)` gives a loop: one compiled program for many steps (`CompiledLoop`) where the
model and its backend allow, else Keras's own ``fit`` on the same batches (`FitLoop`). Which of the
two, and why, is in the loop's ``engine`` and ``why``.
"""

import importlib
from typing import Any

_HOME = {
    "Augment": "augment",
    "CompiledLoop": "compiled",
    "Diverged": "metrics",
    "FitLoop": "fit",
    "METRICS": "metrics",
    "Metrics": "metrics",
    "Partial": "metrics",
    "Progress": "metrics",
    "batch_indices": "order",
    "check_batch_size": "order",
    "evaluation_steps": "order",
    "trainer": "engine",
    "wake_up": "compiled",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    # On demand: the compiled loop needs TensorFlow, the rest does not. No module may have the name
    # of something in it: once imported it would take its place here.
    if name in _HOME:
        return getattr(importlib.import_module(f"tfinit.training.{_HOME[name]}"), name)
    raise AttributeError(f"module 'tfinit.training' has no attribute {name!r}")
