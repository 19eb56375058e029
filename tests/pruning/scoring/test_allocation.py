"""Allocation on every backend: this file also runs with KERAS_BACKEND=jax and torch."""

import json

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from tfinit.errors import InputError
from tfinit.pruning.scoring.allocation import (
    check_allocation,
    is_global,
)
from tfinit.pruning.scoring.configured import allocation_config, allocation_from_config
from tfinit.pruning.scoring.sparsities import sparsities

pytestmark = pytest.mark.backends

LENET = {"fc1/kernel": (784, 300), "fc2/kernel": (300, 100), "out/kernel": (100, 10)}
CONV = {"c1": (3, 3, 1, 16), "c2": (3, 3, 16, 32), "d1": (800, 64), "d2": (64, 10)}


def numbers(found):
    assert all(keras.backend.standardize_dtype(s.dtype) == "float32" for s in found.values())
    return {key: float(ops.convert_to_numpy(s)) for key, s in found.items()}


def kept(found, shapes):
    return {key: int(np.prod(shapes[key])) * (1 - s) for key, s in numbers(found).items()}


def erk_by_rounds(sparsity, shapes):
    """What Evci et al. do: solve for ε, make dense whoever passes 1, solve again. Densities."""
    dense = set()
    while True:
        left = (1 - sparsity) * sum(np.prod(s, dtype=float) for s in shapes.values())
        left -= sum(np.prod(shapes[key], dtype=float) for key in dense)
        others = {key: shape for key, shape in shapes.items() if key not in dense}
        if not others:
            return dict.fromkeys(shapes, 1.0)
        epsilon = left / sum(map(sum, others.values()))
        found = {k: epsilon * sum(s) / np.prod(s, dtype=float) for k, s in others.items()}
        over = {key for key, density in found.items() if density > 1 + 1e-12}
        if not over:
            return {key: found.get(key, 1.0) for key in shapes}
        dense |= over


# By hand for LeNet-300-100 at 90 %: 26,620 of 266,200 survive. The last layer has raw 0.11, and
# ε = 26620 / 1594 = 16.7 would give it 1.8, so it is dense; then ε = 25620 / 1484 = 17.264.
@pytest.mark.parametrize(
    ("shapes", "sparsity", "expected"),
    [
        (LENET, 0.9, [18714.3, 6905.7, 1000]),
        (LENET, 0.99, [1810.3, 668.0, 183.7]),
        (LENET, 0.5, [102100, 30000, 1000]),
        (LENET, 0.0, [235200, 30000, 1000]),
        (LENET, 1.0, [0, 0, 0]),
        (CONV, 0.8, [144, 619.7, 9914.7, 640]),
        (CONV, 0.98, [25.6, 60.2, 963.4, 82.5]),
    ],
)
def test_erk_table(shapes, sparsity, expected):
    found = list(kept(sparsities("erk", sparsity, shapes), shapes).values())
    np.testing.assert_allclose(found, expected, atol=0.06)


SHAPES = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3),
    st.lists(st.integers(1, 300), min_size=1, max_size=3).map(tuple)
    | st.sampled_from([(3, 3, 64, 64), (3, 3, 64, 128), (5, 5, 1, 6), (25088, 4096), (10, 10)]),
    min_size=1,
    max_size=8,
)


@given(SHAPES, st.floats(0, 1, width=32))
def test_erk_is_the_solution_by_rounds_and_adds_up(shapes, sparsity):
    found = kept(sparsities("erk", sparsity, shapes), shapes)
    total = sum(int(np.prod(s)) for s in shapes.values())
    for key, density in erk_by_rounds(float(sparsity), shapes).items():
        size = int(np.prod(shapes[key]))
        # A float32 sparsity cannot tell apart more, which matters from 1e7 weights on.
        assert abs(found[key] - size * density) <= 0.001 + 3e-7 * size
    assert abs(sum(found.values()) - (1 - sparsity) * total) <= len(shapes) * 0.001 + 3e-7 * total


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0])
def test_the_survivors_of_erk_are_within_one_weight_a_tensor(sparsity):
    shapes = {f"conv{i}": (3, 3, 64 * 2 ** (i // 3), 64 * 2 ** ((i + 1) // 3)) for i in range(9)}
    shapes |= LENET
    found = sparsities("erk", sparsity, shapes)
    size = {key: int(np.prod(shape)) for key, shape in shapes.items()}
    counts = sum(round(size[key] * (1 - s)) for key, s in numbers(found).items())
    assert abs(counts - (1 - sparsity) * sum(size.values())) <= len(shapes)


@given(SHAPES)
def test_erk_at_the_ends_is_exact(shapes):
    assert set(numbers(sparsities("erk", 0.0, shapes)).values()) == {0.0}
    assert set(numbers(sparsities("erk", 1.0, shapes)).values()) == {1.0}


def test_erk_of_equal_tensors_is_uniform():
    shapes = {"a": (50, 50), "b": (50, 50), "c": (50, 50)}
    assert numbers(sparsities("erk", 0.75, shapes)) == pytest.approx(dict.fromkeys("abc", 0.75))


def test_uniform():
    assert numbers(sparsities("uniform", 0.75, LENET)) == dict.fromkeys(LENET, 0.75)


@pytest.mark.parametrize(
    ("sparsity", "final", "expected"),
    [
        (0.9, None, [0.5, 1.0, 0.0]),
        (0.9, 0.9, [0.5, 1.0, 0.0]),
        (0.45, 0.9, [0.25, 0.5, 0.0]),
        (0.0, 0.9, [0.0, 0.0, 0.0]),
        (0.95, 0.9, [0.5, 1.0, 0.0]),  # beyond the end
        (0.0, 0.0, [0.5, 1.0, 0.0]),
    ],
)
def test_a_mapping_is_reached_in_proportion(sparsity, final, expected):
    allocation = {"fc1/kernel": 0.5, "fc2/kernel": 1.0}
    found = numbers(sparsities(allocation, sparsity, LENET, final))
    assert list(found) == list(LENET)
    assert list(found.values()) == pytest.approx(expected, abs=1e-7)
    if sparsity == final:
        assert list(found.values()) == expected


def first_layer_denser(key, shape, sparsity):
    return sparsity / 2 if key == "fc1/kernel" else len(shape) * sparsity - 0.5


def test_a_callable_gets_key_shape_and_sparsity_and_is_cut():
    found = numbers(sparsities(first_layer_denser, 0.8, LENET))
    assert list(found.values()) == pytest.approx([0.4, 1.0, 1.0])
    assert numbers(sparsities(lambda k, shape, s: 0.25, 0.8, LENET))["out/kernel"] == 0.25


def in_a_compiled_step(function, sparsity):
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)(tf.constant(sparsity, tf.float32))
    if backend == "jax":
        import jax

        return jax.jit(function)(np.float32(sparsity))
    return function(ops.convert_to_tensor(np.float32(sparsity)))


@pytest.mark.parametrize(
    "allocation", ["uniform", "erk", {"c1": 0.5, "d1": 0.95}, first_layer_denser]
)
@pytest.mark.parametrize("sparsity", [0.0, 0.25, 0.9, 0.99])
def test_a_compiled_step_gives_what_a_number_gives(allocation, sparsity):
    eager = numbers(sparsities(allocation, sparsity, CONV, 0.99))
    traced = in_a_compiled_step(lambda s: sparsities(allocation, s, CONV, 0.99), sparsity)
    assert numbers(traced) == pytest.approx(eager, abs=2e-7)


def test_global_has_no_sparsity_a_tensor():
    assert is_global("global")
    assert not is_global("erk") and not is_global({}) and not is_global(first_layer_denser)
    with pytest.raises(InputError, match="Select from all tensors together"):
        sparsities("global", 0.5, LENET)


@pytest.mark.parametrize(
    ("allocation", "message"),
    [
        ("ERK", "`allocation` must be one of uniform, erk, global.*received 'ERK'"),
        (0.5, "received 0.5"),
        (None, "received None"),
        ({"fc1/kernel": 1.5}, r"`allocation\['fc1/kernel'\]` must be a number from 0 to 1"),
        ({"fc1/kernel": float("nan")}, "received nan"),
        ({"fc1/kernel": "half"}, "received 'half'"),
        ({"fc1/kernel": True}, "received True"),
        ({0: 0.5}, "received the key 0"),
        ({"fc9/kernel": 0.5}, r"names \['fc9/kernel'\]. The keys are \['fc1/kernel', 'fc2"),
        (lambda key, shape, s: None, "received None"),
        (lambda key, shape, s: -0.5, "received -0.5"),
        (lambda key, shape, s: np.ones(2), r"a tensor of shape \(2,\)"),
    ],
)
def test_errors(allocation, message):
    with pytest.raises(InputError, match=message):
        sparsities(allocation, 0.5, LENET)


@pytest.mark.parametrize("sparsity", [-0.1, 1.1, float("nan")])
def test_a_sparsity_out_of_range(sparsity):
    with pytest.raises(InputError, match=r"`sparsity` must be a number from 0 to 1"):
        sparsities("erk", sparsity, LENET)


def test_check_copies_a_mapping():
    given_ = {"fc1/kernel": 0}
    checked = check_allocation(given_)
    given_["fc1/kernel"] = 1
    assert checked == {"fc1/kernel": 0.0}


@keras.saving.register_keras_serializable("tests")
def registered(key, shape, sparsity):
    return 0.5


@keras.saving.register_keras_serializable("tests")
class Half:
    def __call__(self, key, shape, sparsity):
        return 0.5

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@pytest.mark.parametrize("allocation", ["erk", "global", {"fc1/kernel": 0.5}, registered, Half()])
def test_configs_come_back_from_json(allocation):
    config = json.loads(json.dumps(allocation_config(allocation)))
    back = allocation_from_config(config)
    assert back is allocation or back == allocation or isinstance(back, Half)


@pytest.mark.parametrize("allocation", [lambda key, shape, s: 0.5, first_layer_denser])
def test_a_function_that_keras_does_not_know_is_not_saved(allocation):
    with pytest.raises(InputError, match="register_keras_serializable"):
        allocation_config(allocation)
