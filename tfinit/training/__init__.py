"""Training for a given number of steps, as fast as the machine allows, and the same every time.

`trainer(model, data)` gives a loop: one compiled program for many steps (`CompiledLoop`) where the
model and its backend allow, else Keras's own ``fit`` on the same batches (`FitLoop`). Which of the
two, and why, is in the loop's ``engine`` and ``why``.
"""

from tfinit.moved import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__, {"wake_up": "warm_up"})
