"""Training for a given number of steps, as fast as the machine allows, and the same every time.

`trainer(model, data)` gives a loop: one compiled program for many steps (`CompiledLoop`) where the
model and its backend allow, else Keras's own ``fit`` on the same batches (`FitLoop`). Which of the
two, and why, is in the loop's ``engine`` and ``why``.
"""

from tfinit.former_names import former_names
from tfinit.lazy import loading

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
    "warm_up": "compiled",
}
__all__ = [*_HOME]
# On demand: the compiled loop needs TensorFlow, the rest does not.
__getattr__ = former_names(__name__, {"wake_up": "warm_up"}, loading(__name__, _HOME))
