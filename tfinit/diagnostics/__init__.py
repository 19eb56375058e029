"""Say before training whether a network will learn, and what to do.

`diagnose(model, x, y)` makes one forward and one backward pass and reads them: probes → signals →
findings → cures. `recommend(model)` says which initializer fits each layer. Nothing here prints.
"""

from tfinit.moved import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
