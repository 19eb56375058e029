"""From a Keras 3 model to a file for a device: written, run, compared, measured, told as it is.

`export` writes one file, `side_by_side` measures several variants of a model. Both run what they
wrote in a process of its own and compare it with Keras before they let it stand.
"""

from tfinit.moved import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
