"""Schemes that initialize a whole model in place."""

from tfinit.moved import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
