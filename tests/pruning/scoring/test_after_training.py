import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfinit.errors import InputError
from tfinit.pruning.scoring import after_training
from tfinit.pruning.scoring.after_training import score_trained
from tfinit.pruning.scoring.masks import keep_globally, keep_layerwise, survivors
from tfinit.pruning.scoring.scores import AFTER, names

pytestmark = pytest.mark.backends

SCORES = sorted(names(AFTER))

# Few values, so that ties are common.
WEIGHTS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=5),
    elements=st.sampled_from([-2.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0]),
)


@st.composite
def tensors(draw):
    """(initial, final, mask) of one to three tensors."""
    initial, final, mask = {}, {}, {}
    for i in range(draw(st.integers(1, 3))):
        initial[f"w{i}"] = draw(WEIGHTS)
        shape = initial[f"w{i}"].shape
        final[f"w{i}"] = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([-2, 0, 1])))
        mask[f"w{i}"] = draw(hnp.arrays(bool, shape))
    return initial, final, mask


def one(name, initial, final, mask=None, seed=0):
    initial, final = np.array(initial, "f4"), np.array(final, "f4")
    mask = np.ones(initial.shape, bool) if mask is None else np.array(mask, bool)
    return score_trained(name, {"w": initial}, {"w": final}, {"w": mask}, seed)["w"]


INITIAL = [1.0, -2.0, 3.0, -4.0, 0.5]
FINAL = [4.0, 1.0, -5.0, -3.0, 0.0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("magnitude", [4, 1, 5, 3, 0]),
        ("small-final", [-4, -1, -5, -3, 0]),
        ("large-init", [1, 2, 3, 4, 0.5]),
        ("small-init", [-1, -2, -3, -4, -0.5]),
        # |w_f| at the quantiles of |w_i|: 4 -> 3, 1 -> 1, 5 -> 4, 3 -> 2, 0 -> 0.5
        ("large-init-large-final", [1, 1, 3, 2, 0.5]),
        ("small-init-small-final", [-3, -2, -4, -4, -0.5]),
        ("magnitude-increase", [3, -1, 2, -1, -0.5]),
        ("distance", [3, 3, 8, 1, 0.5]),
        ("large-final-same-sign", [4, 0, 0, 3, 0]),
        ("magnitude-increase-same-sign", [3, 0, 0, -1, 0]),
    ],
)
def test_table_of_scores(name, expected):
    np.testing.assert_allclose(one(name, INITIAL, FINAL), expected, rtol=0, atol=1e-40)


def test_every_score_is_in_the_table_but_random():
    table = test_table_of_scores.pytestmark[0].args[1]
    assert {name for name, _ in table} | {"random"} == set(SCORES)


@given(tensors(), st.sampled_from(SCORES))
def test_scores_are_minus_infinity_exactly_where_pruned(drawn, name):
    initial, final, mask = drawn
    scores = score_trained(name, initial, final, mask)
    for key, m in mask.items():
        np.testing.assert_array_equal(np.isfinite(scores[key]), m)
        np.testing.assert_array_equal(scores[key] == -np.inf, ~m)


@given(tensors(), st.sampled_from(SCORES))
def test_pruned_weights_do_not_count(drawn, name):
    """Neither in the percentiles nor anywhere else."""
    initial, final, mask = drawn
    noise = {key: np.where(m, final[key], 7) for key, m in mask.items()}
    others = {key: np.where(m, initial[key], np.nan) for key, m in mask.items()}
    ours, theirs = (
        score_trained(name, initial, final, mask),
        score_trained(name, others, noise, mask),
    )
    for key in mask:
        np.testing.assert_array_equal(ours[key], theirs[key])


@given(tensors(), st.floats(0, 1))
def test_magnitude_keeps_what_a_stable_sort_of_the_survivors_has_first(drawn, fraction):
    """In NumPy: survivors by falling |w|, of equal ones the earlier first."""
    initial, final, mask = drawn
    scores = score_trained("magnitude", initial, final, mask)
    counts = {key: survivors(int(m.sum()), fraction) for key, m in mask.items()}
    ours = keep_layerwise(scores, mask, counts)
    for key, m in mask.items():
        alive = np.flatnonzero(m)
        order = alive[np.argsort(-np.abs(final[key].ravel()[alive]), kind="stable")]
        expected = np.isin(np.arange(m.size), order[: counts[key]]).reshape(m.shape)
        np.testing.assert_array_equal(ours[key], expected)
    pool = np.concatenate([m.ravel() for m in mask.values()])
    values = np.concatenate([final[key].ravel() for key in mask])
    alive = np.flatnonzero(pool)
    count = survivors(alive.size, fraction)
    order = alive[np.argsort(-np.abs(values[alive]), kind="stable")]
    together = keep_globally(scores, mask, count)
    np.testing.assert_array_equal(
        np.concatenate([together[key].ravel() for key in mask]),
        np.isin(np.arange(pool.size), order[:count]),
    )
    assert all(together[key].shape == m.shape for key, m in mask.items())


@given(tensors(), st.sampled_from(SCORES), st.data())
def test_masks_lie_inside_with_exact_counts(drawn, name, data):
    initial, final, mask = drawn
    scores = score_trained(name, initial, final, mask)
    counts = {key: data.draw(st.integers(0, int(m.sum()))) for key, m in mask.items()}
    layerwise = keep_layerwise(scores, mask, counts)
    together = keep_globally(scores, mask, sum(counts.values()))
    for key, m in mask.items():
        assert not (layerwise[key] & ~m).any()
        assert not (together[key] & ~m).any()
        assert layerwise[key].sum() == counts[key]
    assert sum(m.sum() for m in together.values()) == sum(counts.values())


@pytest.mark.parametrize(
    ("name", "sign"), [("large-init-large-final", 1), ("small-init-small-final", -1)]
)
@pytest.mark.parametrize("keep", [1, 10, 60, 199])
def test_two_sided_scores_keep_what_is_beyond_one_percentile_of_both(name, sign, keep):
    """The definition in the authors' code: the same number of each is cut off."""
    rng = np.random.default_rng(keep)
    initial, final = rng.normal(size=200), rng.normal(size=200) * 5
    kept = keep_layerwise({"w": one(name, initial, final)}, {"w": np.ones(200, bool)}, {"w": keep})
    rank_i = np.argsort(np.argsort(sign * np.abs(initial)))
    rank_f = np.argsort(np.argsort(sign * np.abs(final)))
    worst = np.minimum(rank_i, rank_f)
    assert worst[kept["w"]].min() >= worst[~kept["w"]].max()


@pytest.mark.parametrize("name", ["large-final-same-sign", "magnitude-increase-same-sign"])
def test_weights_that_changed_their_sign_survive_in_random_order(name):
    initial, final = np.ones(400), -np.ones(400)
    final[:4] = 3  # these kept it and grew
    masks = [
        keep_layerwise(
            {"w": one(name, initial, final, seed=s)}, {"w": np.ones(400, bool)}, {"w": 202}
        )["w"]
        for s in (0, 0, 1)
    ]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2]).any()
    assert masks[0][:4].all()
    assert 60 < masks[0][4:202].sum() < 138  # not the first ones: expected 99


def test_a_changed_sign_never_passes_the_smallest_score():
    scores = one("large-final-same-sign", [1, 1, 1, -1], [1e-45, -9, -9, 9])
    assert np.argmax(scores) == 0
    shrunk = one("magnitude-increase-same-sign", [1, 1, 1], [-9, 1 - 2**-24, 2])
    assert np.argsort(shrunk).tolist() == [1, 0, 2]


def test_random_scores_are_a_function_of_seed_and_key():
    w = {"a": np.zeros((5, 4), "f4"), "b": np.zeros((5, 4), "f4")}
    mask = {key: np.ones((5, 4), bool) for key in w}
    one, again, other = (score_trained("random", w, w, mask, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one["a"], again["a"])
    assert (one["a"] != other["a"]).all()
    assert (one["a"] != one["b"]).all()
    assert len(np.unique(one["a"])) == 20
    backwards = score_trained("random", w, w, dict(reversed(mask.items())), 0)
    np.testing.assert_array_equal(one["a"], backwards["a"])


def test_narrow_types_are_scored_in_float32():
    initial = {"w": np.array([1.0, 1.0], np.float16)}
    final = {"w": np.array([1.001, 2050.0], np.float16)}
    scores = score_trained("distance", initial, final, {"w": np.ones(2, bool)})["w"]
    assert scores.dtype == np.float32
    assert scores[1] == 2049  # no float16


def test_more_weights_than_masks_are_ignored():
    w = {"fc/kernel": np.ones((2, 2)), "fc/bias": np.full(2, np.nan)}
    assert list(score_trained("magnitude", w, w, {"fc/kernel": np.ones((2, 2))})) == ["fc/kernel"]


MASK = {"w": np.array([True, True, False])}
W = {"w": np.array([1.0, 2.0, np.inf])}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("large_final", W, W, MASK),
            "`score` must be one of magnitude, small-final, .*random, received 'large_final'",
        ),
        (("magnitude", {}, W, MASK), r"`initial` has no 'w', which `mask` has. It has \[\]"),
        (("magnitude", W, {"v": W["w"]}, MASK), r"`final` has no 'w'.*\['v'\]"),
        (("magnitude", W, {"w": np.ones(2)}, MASK), r"shape \(3,\), the weight has \(2,\)"),
        (("random", W, {"w": np.array([np.nan, 1, 1])}, MASK), r"`final\['w'\]` .* NaN or inf"),
        (("magnitude", {"w": np.array([1, np.inf, 1])}, W, MASK), r"`initial\['w'\]`"),
    ],
)
def test_score_says_what_is_wrong(arguments, message):
    with pytest.raises(InputError, match=message):
        score_trained(*arguments)


def test_keep_says_what_is_wrong():
    scores = {"w": np.array([1.0, np.nan, np.nan])}
    for count in (-1, 3):
        with pytest.raises(InputError, match=rf"`counts\['w'\]` must be in 0..2.*received {count}"):
            keep_layerwise(scores, MASK, {"w": count})
        with pytest.raises(InputError, match=rf"`count` must be in 0..2.*received {count}"):
            keep_globally(scores, MASK, count)
    with pytest.raises(InputError, match="received none"):
        keep_layerwise(scores, MASK, {})
    with pytest.raises(InputError, match="`scores` has no 'w'"):
        keep_globally({}, MASK, 1)
    with pytest.raises(InputError, match="shape"):
        keep_globally({"w": np.ones(2)}, MASK, 1)
    with pytest.raises(InputError, match="NaN"):
        keep_globally(scores, MASK, 1)


def test_examples():
    failed, tried = doctest.testmod(after_training)
    assert tried > 0
    assert failed == 0
