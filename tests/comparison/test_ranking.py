"""Ranks by hand and by SciPy's tests."""

import numpy as np
import pytest
from scipy.stats import kendalltau, ttest_rel

from tfinit.comparison.ranking import foretold, holm, rank
from tfinit.errors import InputError
from tfinit.training.judged import ACCURACY, JudgedMetric

INF = float("inf")

# Final losses of four seeds. By SciPy below: b ties with a (p = 0.8), c and d are behind both and
# apart from each other, e diverged with one seed, f with all.
LOSSES = {
    "d": [2.0, 2.1, 1.9, 2.05],
    "f": [INF] * 4,
    "b": [0.100, 0.102, 0.118, 0.101],
    "a": [0.100, 0.105, 0.110, 0.104],
    "c": [0.50, 0.52, 0.55, 0.51],
    "e": [0.01, 0.01, INF, 0.01],
}


def p(one, other):
    return ttest_rel(np.log(LOSSES[one]), np.log(LOSSES[other])).pvalue


def test_the_table():
    assert p("b", "a") > 0.5
    # Three comparisons with a: Holm multiplies the smallest p with 3, the next with 2.
    assert max(3 * p("c", "a"), 3 * p("d", "a")) < 0.05
    assert p("d", "c") < 0.05
    ranking = rank(LOSSES)
    assert list(ranking.ranks.items()) == [
        ("a", 1),
        ("b", 1),
        ("c", 3),
        ("d", 4),
        ("f", 5),
        ("e", 5),
    ]
    assert ranking.tested


def test_holm_counts_all_comparisons_with_the_best():
    best = np.array([1.0, 1.0, 1.0])
    near = best * np.exp([0.05, 0.09, 0.11])
    alone = ttest_rel(np.log(near), np.log(best)).pvalue
    assert 0.025 < alone < 0.05
    assert rank({"best": best, "near": near}).ranks == {"best": 1, "near": 2}
    # As one of two comparisons, with the other as weak, it is not told apart.
    other = best * np.exp([0.06, 0.10, 0.125])
    assert rank({"best": best, "near": near, "other": other}).ranks == {
        "best": 1,
        "near": 1,
        "other": 1,
    }


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_pairing_is_by_seed():
    # The seeds differ by far more than the schemes, which always differ the same way.
    slow = [0.1, 0.4, 1.6]
    quick = [0.09, 0.37, 1.45]
    assert rank({"slow": slow, "quick": quick}).ranks == {"quick": 1, "slow": 2}


def test_less_than_one_percent_is_a_tie_whatever_the_seeds_say():
    assert rank({"zeros": [2.303, 2.304, 2.305], "small": [2.302, 2.303, 2.304]}).ranks == {
        "small": 1,
        "zeros": 1,
    }
    # A difference without any deviation is no chance.
    assert rank({"a": [1.0, 2.0], "b": [1.5, 3.0]}).ranks == {"a": 1, "b": 2}
    assert rank({"a": [1.0, 2.0], "b": [1.0, 2.0]}).ranks == {"a": 1, "b": 1}


def test_one_seed_is_ranked_by_its_value_and_says_so():
    ranking = rank({"a": [0.3], "b": [0.1], "c": [0.3], "d": [INF], "e": [0.301]})
    assert ranking.ranks == {"b": 1, "a": 2, "c": 2, "e": 4, "d": 5}
    assert not ranking.tested


def test_all_diverged_and_a_loss_of_zero():
    assert rank({"a": [INF, 1.0], "b": [INF, INF]}).ranks == {"a": 1, "b": 1}
    assert rank({"a": [0.0, 0.0], "b": [0.5, 0.6]}).ranks == {"a": 1, "b": 2}


def test_foretold_is_kendalls_tau_b():
    losses = {"a": [0.1, 0.2], "b": [0.5, 0.4], "c": [2.3, 2.3], "d": [INF, 1.0]}
    assert foretold({"a": 0.1, "b": 1.0, "c": 8.0, "d": INF}, losses) == pytest.approx(1)
    assert foretold({"a": 9.0, "b": 1.0, "c": 0.5, "d": 0.0}, losses) == pytest.approx(-1)
    # c and d have the same risk: of 6 pairs 4 agree, 1 does not, 1 is tied in one.
    assert foretold({"a": 2.0, "b": 1.0, "c": 8.0, "d": 8.0}, losses) == pytest.approx(
        (4 - 1) / np.sqrt(5 * 6)
    )
    expected = kendalltau([3, 1, 2, 4], [1, 2, 3, 4]).statistic
    assert foretold({"a": 3.0, "b": 1.0, "c": 2.0, "d": INF}, losses) == pytest.approx(expected)


def test_nothing_to_foretell():
    assert np.isnan(foretold({"a": 1.0}, {"a": [0.1]}))
    assert np.isnan(foretold({"a": 1.0, "b": 1.0}, {"a": [0.1], "b": [0.2]}))


def test_examples():
    import doctest

    from tfinit.comparison import ranking

    failed, tried = doctest.testmod(ranking)
    assert (failed, tried > 0) == (0, True)


def test_of_a_metric_of_which_more_is_better_the_largest_wins():
    accuracies = {
        "low": [0.90, 0.91, 0.92],
        "high": [0.97, 0.98, 0.99],
        "near": [0.966, 0.976, 0.986],  # always 0.4 points behind
        "lost": [0.99, 0.99, float("nan")],
    }
    expected = {"high": 1, "near": 1, "low": 3, "lost": 4}
    assert rank(accuracies, ACCURACY).ranks == expected
    assert list(rank(accuracies, ACCURACY).ranks) == list(expected)
    single = rank({"low": [0.1], "high": [0.2]}, JudgedMetric("r2", "max"))
    assert (single.ranks, single.tested) == ({"high": 1, "low": 2}, False)
    risks = {"low": 3.0, "high": 1.0, "near": 2.0, "lost": 4.0}
    assert foretold(risks, accuracies, ACCURACY) == 1


def test_negative_losses_are_ranked_by_their_values():
    losses = {"a": [-2.0, -2.1, -2.3], "b": [-1.0, -1.2, -1.1], "c": [0.5, 0.7, 0.6]}
    assert ttest_rel(losses["b"], losses["a"]).pvalue < 0.025
    assert rank(losses).ranks == {"a": 1, "b": 2, "c": 3}
    assert foretold({"a": 0, "b": 1, "c": 2}, losses) == 1


def test_a_wrong_metric_is_refused():
    with pytest.raises(InputError, match="`metric` must be a JudgedMetric or None, received 'mae'"):
        rank({"a": [1.0]}, "mae")
