"""Zeros that are there before the training: kept, or a warning that they train."""

import numpy as np
import pytest
from keras import ops
from marked_networks import HALF, compiled, fit, network, zeros

from tfinit.errors import InputError
from tfinit.pruning import (
    ConstantSparsity,
    SparseOptimizer,
    compact,
    hold_zeros,
    prune_low_magnitude,
    strip_pruning,
)

pytestmark = pytest.mark.backends


def pruned_and_stripped():
    model = compiled(prune_low_magnitude(network(), HALF))
    fit(model, 4)
    return strip_pruning(model)


def test_zeros_train_until_the_first_update_and_the_warning_gives_both_numbers():
    """sparseml#145. TFMOT does so without a word."""
    model = pruned_and_stripped()
    late = ConstantSparsity(0.25, 3, frequency=1)
    with pytest.warns(UserWarning, match=r"50\.0% of .* until step 3, which prunes 25\.0%"):
        fit(compiled(model, SparseOptimizer("sgd", late, scope=model)), 1)
    assert sum(zeros(model)) < 8


@pytest.mark.parametrize(("target", "expected"), [(0.25, [24, 8]), (0.75, [36, 12])])
def test_keep_zeros(target, expected):
    model = pruned_and_stripped()
    before = ops.convert_to_numpy(model.layers[0].kernel) == 0
    late = ConstantSparsity(target, 3, frequency=1)
    compiled(model, SparseOptimizer("sgd", late, scope=model, keep_zeros=True))
    fit(model, 1)
    assert zeros(model) == [24, 8]
    fit(model, 4)
    assert zeros(model) == expected
    assert np.all(ops.convert_to_numpy(model.layers[0].kernel)[before] == 0)


def test_hold_zeros_of_a_stripped_and_of_a_compacted_model():
    stripped = pruned_and_stripped()
    for model in (stripped, compact(stripped).model):
        before = zeros(model)
        fit(compiled(model, hold_zeros(model, "adam")), 4)
        assert zeros(model) == before
        assert min(before) > 0
    with pytest.raises(InputError, match="no zeros to hold"):
        hold_zeros(network())


@pytest.mark.parametrize("by", ["hold_zeros", "keep_zeros"])
def test_zeros_of_a_layer_that_is_frozen_while_its_head_trains(by):
    model = pruned_and_stripped()
    model.layers[0].trainable = False
    if by == "hold_zeros":
        optimizer = hold_zeros(model, "sgd")
    else:
        late = ConstantSparsity(0.25, 3, frequency=1)  # less than the zeros that are there
        optimizer = SparseOptimizer("sgd", late, scope=model, keep_zeros=True)
    fit(compiled(model, optimizer), 4)
    model.layers[0].trainable = True
    fit(compiled(model), 2)
    assert zeros(model) == [24, 8]
