"""Fine-tune a saved model while pruning it: what `tfinit prune` runs.

Reading a configuration loads no Keras; `fine_tune` does.
"""

from tfinit.moved import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
