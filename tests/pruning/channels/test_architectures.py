"""Architectures of users at half their multiply-adds: exact, met, nothing left out that could go.

All models of keras.applications and the rest of these by ``scripts/prune_channels.py``.
"""

import keras
import numpy as np
import pytest
from architectures import ARCHITECTURES
from masked_outputs import batch_for, greatest_difference, masked_outputs, outputs_of

from tfinit.graph.multiply_adds import count_uses
from tfinit.pruning import prune_channels
from tfinit.pruning.channels.costs import multiply_adds
from tfinit.variables import walk_layers

# Which groups lose channels of what: those of the vision transformer are its width, the heads of
# each attention and what is between the two Dense layers of each block.
GROUPS = {
    "vit": (64, 4, 256, 4, 256),
    "gpt": (64, 4, 256, 4, 256),
    "unet": (16, 16, 32, 32, 64, 64, 32, 32, 32, 16, 16, 16),
    "seq2seq": (64, 64, 64),
}


def moved(model):
    """The model with other scales and statistics of its normalizations than ones and zeros."""
    rng = np.random.default_rng(0)
    for _, layer in walk_layers(model):
        if "Normalization" in type(layer).__name__:
            for weight in layer.weights:
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


@pytest.mark.parametrize("name", GROUPS)
def test_half_of_an_architecture_is_exact(name):
    keras.utils.set_random_seed(0)
    model = moved(ARCHITECTURES[name]())
    result = prune_channels(model, target={"macs": 0.5}, score="random")
    assert sorted(g.channels for g in result.plan.groups) == sorted(GROUPS[name])
    assert {one.reason for one in result.skipped} <= {"the model returns them"}
    counted = multiply_adds(result.model, count_uses(result.model))
    assert counted == result.multiply_adds
    assert 0.475 <= counted / result.multiply_adds_before <= 0.5
    given = batch_for(model)
    masked = masked_outputs(model, result.plan.masks(model), given)
    assert all(np.ptp(array, axis=0).max() > 1e-2 * np.abs(array).max() for array in masked)
    assert greatest_difference(masked, outputs_of(result.model, given)) <= 1e-5
    # What Keras alone can load.
    kinds = [type(part) for _, part in walk_layers(result.model)]
    assert all(kind.__module__.startswith("keras.") for kind in kinds)
