"""Many pieces of work that do not wait for each other: here one by one, or by Ray's workers."""

from tfinit.moved import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__, {})
