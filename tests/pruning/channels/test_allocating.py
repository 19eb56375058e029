"""How many channels of each group go, by tables made by hand."""

import doctest

import numpy as np
import pytest

from tfinit.errors import InputError
from tfinit.pruning.channels import allocating
from tfinit.pruning.channels.allocating import Limits, Ranking, meet
from tfinit.pruning.channels.groups import Group


def group(name, size, kind="dense", width=1):
    return Group(name, size, np.arange(size), (name,), (name,), (kind,), width, ())


SCORES = {
    "a": np.array([4.0, 1.0, 3.0, 2.0]),  # of their mean: 1.6, 0.4, 1.2, 0.8
    "b": np.array([10.0, 30.0]),  # 0.5, 1.5
    "c": np.array([0.1, 0.2, 0.3, 0.6]),  # 0.33, 0.67, 1, 2
}
GROUPS = [group("a", 4), group("b", 2, "conv"), group("c", 4)]


def ranking(allocation, round_to=1, protect=0.0, groups=GROUPS, scores=SCORES):
    return Ranking(groups, scores, allocation, Limits(round_to, protect))


@pytest.mark.parametrize(
    "size, width, round_to, protect, allowed",
    [
        (4, 1, 1, 0.0, [1, 2, 3, 4]),  # never the last
        (4, 1, 1, 0.3, [2, 3, 4]),  # 1.2 of 4 stay at least
        (4, 1, 1, 0.5, [2, 3, 4]),
        (32, 1, 8, 0.1, [8, 16, 24, 32]),
        (32, 1, 8, 0.3, [16, 24, 32]),  # 9.6 is protected: the next multiple
        (20, 1, 8, 0.1, [8, 16, 20]),  # all stay, or a multiple
        (20, 1, 8, 0.9, [20]),
        (8, 1, 8, 0.5, [4, 5, 6, 7, 8]),  # not larger than what it would be rounded to
        (12, 64, 8, 0.1, [*range(2, 13)]),  # heads of 64
        (12, 4, 8, 0.1, [2, 4, 6, 8, 10, 12]),  # heads of 4: two of them
        (7, 1, 1, 1.0, [7]),
        (1, 1, 8, 0.1, [1]),
    ],
)
def test_what_a_group_may_be_left_with(size, width, round_to, protect, allowed):
    assert Limits(round_to, protect).allowed(size, width) == allowed


@pytest.mark.parametrize(
    "allocation, share, left",
    [
        ("global", 0.0, {"a": 4, "b": 2, "c": 4}),
        ("global", 0.1, {"a": 4, "b": 2, "c": 3}),
        ("global", 0.2, {"a": 3, "b": 2, "c": 3}),
        ("global", 0.5, {"a": 2, "b": 1, "c": 2}),
        ("global", 0.6, {"a": 2, "b": 1, "c": 1}),
        ("global", 1.0, {"a": 1, "b": 1, "c": 1}),
        ("uniform", 0.49, {"a": 3, "b": 2, "c": 3}),
        ("uniform", 0.5, {"a": 2, "b": 1, "c": 2}),
        # a and c are alike: 8 channels, of which c's go first.
        ("isomorphic", 0.25, {"a": 3, "b": 2, "c": 3}),
        ("isomorphic", 0.5, {"a": 2, "b": 1, "c": 2}),
        ("isomorphic", 0.625, {"a": 2, "b": 1, "c": 1}),
    ],
)
def test_what_is_left_as_a_share_of_each_scope_goes(allocation, share, left):
    assert ranking(allocation).left(share) == left


def test_the_nearest_number_that_is_allowed_is_left():
    groups, scores = [group("a", 32)], {"a": np.arange(32.0)}
    found = ranking("uniform", 8, 0.1, groups, scores)
    lefts = [found.left(gone / 32)["a"] for gone in (3, 4, 5, 11, 12, 13, 31, 32)]
    assert lefts == [32, 32, 24, 24, 24, 16, 8, 8]


def test_the_order_is_by_score_and_among_equals_by_number():
    found = ranking("global", scores={**SCORES, "a": np.array([1.0, 0.0, 1.0, 0.0])})
    assert found.order["a"].tolist() == [1, 3, 0, 2]
    assert found.order["b"].tolist() == [0, 1]


def test_scores_that_are_all_zero_go_first():
    found = ranking("global", scores={**SCORES, "b": np.zeros(2)})
    assert found.left(0.2) == {"a": 4, "b": 1, "c": 4}  # one is kept


def channels(left):
    return sum(left.values()) / 10


@pytest.mark.parametrize("target", [0.3, 0.4, 0.5, 0.7, 0.9])
def test_a_target_is_met(target):
    assert channels(meet(ranking("global"), target, channels, "channels")) == target


def test_groups_that_would_lose_a_multiple_at_once_lose_it_one_by_one():
    groups = [group(name, 16) for name in "abcd"]
    scores = dict.fromkeys("abcd", np.arange(16.0))
    found = meet(
        ranking("uniform", 8, 0.1, groups, scores),
        0.75,
        lambda left: sum(left.values()) / 64,
        "channels",
    )
    assert sorted(found.values()) == [8, 8, 16, 16]


def test_channels_are_given_back_where_a_large_group_would_leave_too_little():
    groups = [group("wide", 16), group("b", 4), group("c", 4)]
    scores = {"wide": np.arange(16.0), "b": 9 + np.arange(4.0), "c": 9 + np.arange(4.0)}
    cost = {"wide": 0.8 / 16, "b": 0.1 / 4, "c": 0.1 / 4}
    found = meet(
        ranking("global", 8, 0.1, groups, scores),
        0.58,  # with 8 of `wide` 0.6 is left
        lambda left: sum(cost[name] * n for name, n in left.items()),
        "parameters",
    )
    assert found["wide"] == 8 and found["b"] + found["c"] == 7


def test_where_one_goes_whole_others_make_room():
    # Of b alone 8 or 16 may stay: 0.68 or 1; a alone is left 0.9 at the least.
    groups = [group("a", 8), group("b", 16)]
    scores = {"a": np.array([9.0] * 8), "b": np.arange(16.0)}
    found = meet(
        ranking("global", 8, 0.1, groups, scores),
        0.93,
        lambda left: 0.36 + 0.16 * left["a"] / 8 + 0.48 * left["b"] / 16,
        "parameters",
    )
    assert found["b"] == 16 and found["a"] < 8


def test_what_cannot_be_met_is_refused_with_what_can():
    with pytest.raises(InputError, match=r"0\.2 of the channels cannot be reached.* is 0\.3\."):
        meet(ranking("global"), 0.2, channels, "channels")
    found = ranking("global", 8, 0.1, [group("a", 16)], {"a": np.arange(16.0)})
    with pytest.raises(InputError, match=r"within 0\.95 to 1 of it: near it are 0\.5 and 1\."):
        meet(found, 0.7, lambda left: left["a"] / 16, "channels")


def test_what_is_named_can_be_asked_for():
    found = ranking("global", groups=[group("a", 7)], scores={"a": np.arange(7.0)})

    def share(left):
        return left["a"] / 7  # 0.42857, told as 0.4286, and 0.57143

    with pytest.raises(InputError, match=r"near it are 0\.4286 and 0\.5715\."):
        meet(found, 0.5, share, "channels")
    assert meet(found, 0.4286, share, "channels") == {"a": 3}
    assert meet(found, 0.5715, share, "channels") == {"a": 4}


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(allocating).failed == 0
