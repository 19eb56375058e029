import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tfinit.lottery.controls as controls
from tfinit.errors import InputError
from tfinit.lottery.controls import shuffled, signed_constant, with_signs_of

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=4, max_side=6))


@given(st.lists(MASKS, max_size=3), st.integers(0, 9))
def test_a_shuffled_mask_has_the_same_count_in_each_tensor(masks, seed):
    mask = {f"w{i}": m for i, m in enumerate(masks)}
    before = {key: m.copy() for key, m in mask.items()}
    new = shuffled(mask, seed)
    assert list(new) == list(mask)
    for key, m in mask.items():
        assert new[key].shape == m.shape
        assert new[key].dtype == bool
        assert new[key].sum() == m.sum()
        np.testing.assert_array_equal(m, before[key])


def test_a_shuffle_is_a_function_of_seed_and_key():
    half = np.arange(400).reshape(20, 20) < 200
    mask = {"a": half, "b": half}
    one, again, other = shuffled(mask, 0), shuffled(mask, 0), shuffled(mask, 1)
    np.testing.assert_array_equal(one["a"], again["a"])
    np.testing.assert_array_equal(one["a"], shuffled({"a": half}, 0)["a"])
    assert (one["a"] != other["a"]).any()
    assert (one["a"] != one["b"]).any()
    assert (one["a"] != half).any()


@given(MASKS, st.data())
def test_masks_inside_each_other_are_so_when_shuffled(outer, data):
    inner = outer & data.draw(hnp.arrays(bool, outer.shape))
    assert not (shuffled({"w": inner}, 3)["w"] & ~shuffled({"w": outer}, 3)["w"]).any()


def test_signs_table():
    weights = {"k": np.array([1, -2, 3, -4], "f4"), "b": np.array([-1.0], "f4")}
    signs = {"k": np.array([-9, 9, 0, -0.5], "f4"), "b": np.array([1.0], "f4")}
    new = with_signs_of(weights, signs, ["k"])
    np.testing.assert_array_equal(new["k"], [-1, 2, 0, -4])
    assert new["k"].dtype == np.float32
    np.testing.assert_array_equal(new["b"], [-1])
    np.testing.assert_array_equal(weights["k"], [1, -2, 3, -4])
    assert list(new) == ["k", "b"]


def test_signs_and_magnitudes_come_from_one_each():
    rng = np.random.default_rng(0)
    weights, signs = ({"k": rng.normal(size=(50, 20)).astype("f4")} for _ in range(2))
    new = with_signs_of(weights, signs, weights)["k"]
    np.testing.assert_array_equal(np.abs(new), np.abs(weights["k"]))
    np.testing.assert_array_equal(np.sign(new), np.sign(signs["k"]))


def test_constant_table():
    weights = {"k": np.array([3, -1, 1, -3, 0], "f4"), "b": np.array([0.5], "f4")}
    new = signed_constant(weights, {"k": None})
    np.testing.assert_array_equal(new["k"], [2, -2, 2, -2, 0])  # √(20/5)
    assert new["k"].dtype == np.float32
    assert new["b"] is weights["b"]


def test_what_the_controls_refuse():
    weights = {"k": np.ones(3)}
    with pytest.raises(InputError, match=r"`keys` names \['v'\], which `weights` lacks; .*'k'"):
        signed_constant(weights, ["k", "v"])
    with pytest.raises(InputError, match="which `weights` lacks"):
        with_signs_of(weights, {"v": np.ones(3)}, ["v"])
    with pytest.raises(InputError, match="which `signs` lacks"):
        with_signs_of(weights, {}, ["k"])
    with pytest.raises(InputError, match=r"`signs\['k'\]` has shape \(1,\).*\(3,\)"):
        with_signs_of(weights, {"k": np.ones(1)}, ["k"])


def test_examples():
    failed, tried = doctest.testmod(controls, extraglobs={"np": np})
    assert tried > 0
    assert failed == 0
