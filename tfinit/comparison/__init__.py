"""The race of initializations: the same training from each of them, and who wins by how much.

`compare` runs it, `Comparison` is what comes out. Reading a configuration loads no Keras.
"""

from tfinit.moved import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
