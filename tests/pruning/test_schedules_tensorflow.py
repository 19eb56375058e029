"""Schedules beside TFMOT's own, bit for bit, on TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfinit.errors import InputError
from tfinit.pruning.in_training.schedule_checks import check_schedule
from tfinit.pruning.in_training.schedules import ConstantSparsity, PolynomialDecay
from tfinit.pruning.tfmot_api.tfmot import load_tfmot

TFMOT = load_tfmot().sparsity.keras
FRACTION = st.floats(0, 0.999)


def check_same(ours, theirs, steps):
    for dtype in (tf.int32, tf.int64):
        for step in (*map(int, steps), steps):  # alone, and as a vector
            step = tf.constant(step, dtype)
            for mine, right in zip(ours(step), theirs(step), strict=True):
                assert mine.dtype == right.dtype
                assert mine.numpy().tobytes() == right.numpy().tobytes()


def steps_around(begin, end, frequency):
    points = {0, begin, begin + frequency, end, end - end % frequency, (begin + end) // 2}
    return np.array(sorted({max(p + d, 0) for p in points for d in (-1, 0, 1)}))


@settings(max_examples=40)
@given(
    FRACTION,
    FRACTION,
    st.integers(0, 1000),
    st.one_of(st.integers(1, 50), st.integers(1, 10**6)),
    st.one_of(st.sampled_from([1, 2, 3, 0.5]), st.floats(0.1, 8)),
    st.integers(1, 200),
)
def test_polynomial_decay_is_tfmots(initial, final, begin, length, power, frequency):
    arguments = initial, final, begin, begin + length, power, frequency
    ours, theirs = PolynomialDecay(*arguments), TFMOT.PolynomialDecay(*arguments)
    check_same(ours, theirs, steps_around(begin, begin + length, frequency))


def test_no_decay_at_all():
    """TFMOT's sparsity is 0 / 0 at the only step that updates; ours is the final one."""
    arguments = 0.2, 0.8, 5, 5, 3, 1
    ours, theirs = PolynomialDecay(*arguments), TFMOT.PolynomialDecay(*arguments)
    check_same(ours, theirs, np.array([0, 1, 4, 6, 7]))
    assert np.isnan(theirs(tf.constant(5))[1])
    update, sparsity = ours(tf.constant(5))
    assert (bool(update), float(sparsity)) == (True, pytest.approx(0.8))


@settings(max_examples=20)
@given(FRACTION, st.integers(0, 1000), st.integers(-1, 1000), st.integers(1, 200))
def test_constant_sparsity_is_tfmots(target, begin, length, frequency):
    end = -1 if length < 0 else begin + length
    arguments = target, begin, end, frequency
    ours, theirs = ConstantSparsity(*arguments), TFMOT.ConstantSparsity(*arguments)
    check_same(ours, theirs, steps_around(begin, max(end, begin), frequency))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled(jit_compile):
    arguments = 0.1, 0.9, 3, 90, 2.5, 7
    ours, theirs = (
        tf.function(schedule(*arguments).__call__, jit_compile=jit_compile)
        for schedule in (PolynomialDecay, TFMOT.PolynomialDecay)
    )
    for step in range(0, 100, 3):
        for mine, right in zip(ours(tf.constant(step)), theirs(tf.constant(step)), strict=True):
            assert mine.numpy().tobytes() == right.numpy().tobytes()


def test_tfmots_schedules_are_converted():
    constant = TFMOT.ConstantSparsity(0.5, 3, 30, 9)
    assert check_schedule(constant) == ConstantSparsity(0.5, 3, 30, 9)
    decay = TFMOT.PolynomialDecay(0.1, 0.9, 3, 30, 2, 9)
    assert check_schedule(decay) == PolynomialDecay(0.1, 0.9, 3, 30, 2, 9)

    class Mine(TFMOT.ConstantSparsity):
        pass

    with pytest.raises(InputError, match=r"received Mine.*Derive it from tfinit\.pruning\.Pruning"):
        check_schedule(Mine(0.5, 0))
