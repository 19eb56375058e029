"""Pruning: exact zeros in any Keras 3 model, and TFMOT's names for them.

Zeros alone make neither the file smaller, unless it is compressed or stored sparse, nor the network
faster, unless its runtime skips them: `docs/shipping.md` has what was measured, `tfinit.export`
measures it for a model, ``block_size="litert"`` and `compact` are what pays.

`SparseOptimizer` wraps the optimizer, prunes on a schedule and holds the masks. TFMOT's functions
(`prune_low_magnitude`, `strip_pruning`, ...) mark a model for it, and hand tf_keras models to
TensorFlow Model Optimization itself.
"""

import importlib
from typing import Any

import keras  # noqa: F401  (first: it lets tfinit register with Keras before what follows)

from tfinit.pruning.compaction import Compaction, compact
from tfinit.pruning.counting.report import LayerSparsity, SparsityReport, sparsity_report
from tfinit.pruning.in_training.lora import mask_lora, merge_lora
from tfinit.pruning.in_training.model_masks import get_masks, hold_zeros, set_masks
from tfinit.pruning.in_training.rules import PruningRule
from tfinit.pruning.in_training.schedules import ConstantSparsity, PolynomialDecay, PruningSchedule
from tfinit.pruning.in_training.sparse_optimizer import SparseOptimizer
from tfinit.pruning.scoring.at_initialization import AtInitialization, prune_at_initialization
from tfinit.pruning.scoring.masks import (
    check_mask,
    density,
    magnitude_scores,
    prune_globally,
    prune_layerwise,
    survivors,
    top_mask,
)
from tfinit.pruning.tfmot_api.callbacks import PruningSummaries, UpdatePruningStep
from tfinit.pruning.tfmot_api.low_magnitude import prune_low_magnitude, prune_scope, strip_pruning
from tfinit.pruning.tfmot_api.policy import PruneForLatencyOnXNNPack, PruningPolicy
from tfinit.pruning.tfmot_api.prunable_layer import PrunableLayer

__all__ = [
    "AtInitialization",
    "Compaction",
    "ConstantSparsity",
    "LayerSparsity",
    "PolynomialDecay",
    "PrunableLayer",
    "PruneForLatencyOnXNNPack",
    "PruningPolicy",
    "PruningRule",
    "PruningSchedule",
    "PruningSummaries",
    "SparseOptimizer",
    "SparsityReport",
    "TfmotPruner",
    "UpdatePruningStep",
    "check_mask",
    "compact",
    "density",
    "get_masks",
    "hold_zeros",
    "magnitude_scores",
    "mask_lora",
    "merge_lora",
    "prune_at_initialization",
    "prune_globally",
    "prune_layerwise",
    "prune_low_magnitude",
    "prune_scope",
    "set_masks",
    "sparsity_report",
    "strip_pruning",
    "survivors",
    "top_mask",
]


def __getattr__(name: str) -> Any:
    if name == "TfmotPruner":  # needs TensorFlow, which the rest does not
        return importlib.import_module("tfinit.pruning.tfmot_api.tfmot").TfmotPruner
    raise AttributeError(f"module 'tfinit.pruning' has no attribute {name!r}")
