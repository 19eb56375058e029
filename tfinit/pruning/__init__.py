"""Pruning: exact zeros in any Keras 3 model, and TFMOT's names for them.

Zeros alone make neither the file smaller, unless it is compressed or stored sparse, nor the network
faster, unless its runtime skips them: `docs/shipping.md` has what was measured, `tfinit.export`
measures it for a model, ``block_size="litert"`` and `compact` are what pays.

`SparseOptimizer` wraps the optimizer, prunes on a schedule and holds the masks. TFMOT's functions
(`prune_low_magnitude`, `strip_pruning`, ...) mark a model for it, and hand tf_keras models to
TensorFlow Model Optimization itself.
"""

from tfinit.moved import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
