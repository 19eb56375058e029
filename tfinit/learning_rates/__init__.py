"""A learning rate for each weight: the multipliers that a scheme gives, around any optimizer."""

import keras  # noqa: F401  first: tfinit's hook on Keras may import this package in the middle

from tfinit.moved import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
