from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfinit.errors import InputError
from tfinit.pruning.scoring.masks import (
    check_mask,
    density,
    magnitude_scores,
    prune_globally,
    prune_layerwise,
    survivors,
    top_mask,
)

pytestmark = pytest.mark.backends

SCORES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=1, max_dims=4, max_side=6),
    # Few values, so that ties are common.
    elements=st.sampled_from([-np.inf, 0.0, 0.25, 0.5, 1.0, 3.0]),
)


def by_sorting(scores, keep):
    """The tie rule, by a stable sort: the definition, in O(n log n)."""
    order = np.argsort(-np.ravel(scores), kind="stable")
    mask = np.zeros(np.size(scores), bool)
    mask[order[:keep]] = True
    return mask.reshape(np.shape(scores))


@pytest.mark.parametrize(
    ("scores", "keep", "expected"),
    [
        ([1, 2, 3, 4], 2, [0, 0, 1, 1]),
        ([5, 5, 5, 5], 3, [1, 1, 1, 0]),  # all equal: the first ones, exactly three
        ([1, 3, 3, 3], 2, [0, 1, 1, 0]),
        ([3, 1, 3, 1], 3, [1, 1, 1, 0]),
        ([[1, 2], [2, 0]], 2, [[0, 1], [1, 0]]),
        ([7], 0, [0]),
        ([7], 1, [1]),
        ([0, 0], 1, [1, 0]),
        ([-np.inf, 0], 1, [0, 1]),
    ],
)
def test_top_mask_table(scores, keep, expected):
    np.testing.assert_array_equal(top_mask(np.array(scores, float), keep), np.array(expected, bool))


@given(SCORES, st.data())
def test_top_mask_is_the_stable_sort(scores, data):
    keep = data.draw(st.integers(0, scores.size))
    mask = top_mask(scores, keep)
    assert np.count_nonzero(mask) == keep
    np.testing.assert_array_equal(mask, by_sorting(scores, keep))


@given(SCORES)
def test_a_smaller_count_lies_inside_a_larger_one(scores):
    masks = [top_mask(scores, keep) for keep in range(scores.size + 1)]
    for smaller, larger in pairwise(masks):
        assert (larger | ~smaller).all()


@pytest.mark.parametrize("size", [1, 2, 10])
@pytest.mark.parametrize("sparsity", [0.0, 0.99, 1.0])
def test_acceptance_17_small_tensors_and_equal_weights_have_the_exact_count(size, sparsity):
    keep = round(size * (1 - sparsity))
    assert np.count_nonzero(top_mask(np.ones(size), keep)) == keep


@pytest.mark.parametrize("keep", [-1, 5])
def test_top_mask_refuses_a_count_out_of_range(keep):
    with pytest.raises(
        InputError, match=rf"`keep` must be a whole number from 0 to 4, received {keep}"
    ):
        top_mask(np.ones(4), keep)


def test_top_mask_refuses_nan():
    with pytest.raises(InputError, match="NaN"):
        top_mask(np.array([1.0, np.nan]), 1)


@pytest.mark.parametrize(
    ("alive", "fraction", "expected"),
    [
        (266200, 0.2, 212960),  # LeNet-300-100 on MNIST
        (1000, 0.1, 900),
        (10, 0.25, 8),  # 2.5 rounds to the even 2
        (6, 0.25, 4),  # 1.5 rounds to the even 2
        (2, 0.2, 2),  # too few to lose one
        (5, 0.0, 5),
        (5, 1.0, 0),
        (0, 0.5, 0),
    ],
)
def test_survivors_table(alive, fraction, expected):
    assert survivors(alive, fraction) == expected


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_survivors_refuses_what_is_no_fraction(fraction):
    with pytest.raises(InputError, match="`fraction` must be a number from 0 to 1"):
        survivors(10, fraction)


def test_negative_weights_survive_by_magnitude():
    scores = magnitude_scores(np.array([-3.0, 1.0, -2.0, 0.5]), np.ones(4, bool))
    np.testing.assert_array_equal(top_mask(scores, 2), [True, False, True, False])


def test_what_was_pruned_stays_pruned_even_if_its_weight_grew():
    weights = {"a": np.array([100.0, 1.0, 2.0, 3.0])}
    masks = {"a": np.array([False, True, True, True])}
    pruned = prune_layerwise(weights, masks, {"a": 0.34})
    np.testing.assert_array_equal(pruned["a"], [False, False, True, True])


def test_layerwise_prunes_each_tensor_by_its_own_fraction():
    rng = np.random.default_rng(0)
    weights = {"a": rng.normal(size=(10, 10)), "b": rng.normal(size=(20,)) * 100}
    masks = {k: np.ones(w.shape, bool) for k, w in weights.items()}
    pruned = prune_layerwise(weights, masks, {"a": 0.2, "b": 0.5})
    assert {k: int(m.sum()) for k, m in pruned.items()} == {"a": 80, "b": 10}


def test_globally_prunes_the_smallest_of_all_tensors():
    weights = {"a": np.array([[0.1, 5.0]]), "b": np.array([0.2, 0.3, 4.0, -6.0])}
    masks = {k: np.ones(w.shape, bool) for k, w in weights.items()}
    pruned = prune_globally(weights, masks, 0.5)
    np.testing.assert_array_equal(pruned["a"], [[False, True]])
    np.testing.assert_array_equal(pruned["b"], [False, False, True, True])


def test_globally_breaks_ties_by_the_order_of_the_tensors():
    weights = {"a": np.ones(2), "b": np.ones(4)}
    masks = {k: np.ones(w.shape, bool) for k, w in weights.items()}
    pruned = prune_globally(weights, masks, 0.5)
    np.testing.assert_array_equal(pruned["a"], [True, True])
    np.testing.assert_array_equal(pruned["b"], [True, False, False, False])


def test_density_counts_all_tensors_together():
    assert density({"a": np.array([True] * 3 + [False]), "b": np.zeros(4, bool)}) == 3 / 8


def test_check_mask():
    np.testing.assert_array_equal(check_mask("w", [[1, 0]], (1, 2)), [[True, False]])
    with pytest.raises(InputError, match=r"shape \(2,\), the weight has \(1, 2\)"):
        check_mask("w", [1, 0], (1, 2))
    with pytest.raises(InputError, match="other than 0 and 1"):
        check_mask("w", [0.5, 1.0], (2,))
