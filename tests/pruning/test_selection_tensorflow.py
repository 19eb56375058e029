"""Mask selection beside TFMOT's own `Pruning` object, and in TensorFlow's compiled functions."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfinit.pruning.in_training.patterns import block_mask, n_m_mask
from tfinit.pruning.in_training.schedules import ConstantSparsity
from tfinit.pruning.in_training.selection import keep_count, top_masks
from tfinit.pruning.scoring.masks import top_mask
from tfinit.pruning.tfmot_api.tfmot import load_tfmot

load_tfmot()
from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl  # noqa: E402


def tfmot_mask(weights, sparsity, block_size=(1, 1), pooling="AVG", m_by_n=None):
    """The mask that TFMOT assigns at step 1 of a schedule of this sparsity."""
    weight, mask = tf.Variable(weights), tf.Variable(tf.zeros_like(weights))
    pruning = pruning_impl.Pruning(
        lambda: tf.constant(1),
        [(weight, mask, tf.Variable(0.0, dtype=weights.dtype))],
        ConstantSparsity(sparsity, begin_step=0, frequency=1),
        block_size,
        pooling,
        m_by_n,
    )
    pruning.conditional_mask_update()
    assert np.isin(mask.numpy(), (0, 1)).all()
    return mask.numpy() != 0


def distinct(shape, seed):
    """Magnitudes that do not tie, of both signs."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    values = rng.permutation(np.geomspace(1e-3, 10, size)).astype("float32")
    return (values * rng.choice([-1, 1], size)).astype("float32").reshape(shape)


SPARSITY = st.one_of(st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.99, 1.0]), st.floats(0, 1, width=32))
SEED = st.integers(0, 2**31)
# Every size is compiled once, so they are few.
SHAPES = [(1,), (10,), (2, 5), (7, 13), (3, 60), (3, 5, 12), (3, 3, 4, 5), (1, 3, 3, 4, 5)]


@settings(max_examples=60)
@given(st.sampled_from(SHAPES), SPARSITY, SEED)
def test_magnitude_masks_are_tfmots(shape, sparsity, seed):
    weights = distinct(shape, seed)
    keep = keep_count(weights.size, sparsity)
    [mask] = top_masks([weights], keep, absolute=True)
    np.testing.assert_array_equal(mask.numpy(), tfmot_mask(weights, sparsity))


def test_where_tfmot_keeps_all_ties_the_count_is_exact():
    weights = np.ones((4, 5), "float32")
    [mask] = top_masks([weights], keep_count(20, 0.75))
    assert tfmot_mask(weights, 0.75).sum() == 20
    np.testing.assert_array_equal(mask.numpy(), top_mask(weights, 5))


@settings(max_examples=60)
@given(
    st.sampled_from([(4, 6), (7, 13), (13, 31)]),
    st.sampled_from([(1, 2), (3, 2), (4, 4), (2, 5)]),
    st.sampled_from(["AVG", "MAX"]),
    SPARSITY,
    SEED,
)
def test_blocks_are_tfmots(shape, block_size, pooling, sparsity, seed):
    rows, columns = (-(-n // size) for n, size in zip(shape, block_size, strict=True))
    if min(rows, columns) < 2:  # TFMOT squeezes the axis of one block, and fails
        return
    weights = distinct(shape, seed)
    mask = block_mask(np.abs(weights), sparsity, block_size, pooling)
    np.testing.assert_array_equal(mask.numpy(), tfmot_mask(weights, sparsity, block_size, pooling))


@settings(max_examples=60)
@given(
    st.sampled_from([(1, 3), (4, 2), (5, 3), (16, 2), (1, 1, 8, 3), (3, 3, 4, 2), (2, 3, 11, 4)]),
    st.integers(1, 8).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))),
    SEED,
    st.booleans(),
)
def test_m_by_n_is_tfmots(shape, m_by_n, seed, ties):
    weights = distinct(shape, seed)
    if ties:  # of which TFMOT keeps the first, too
        weights = np.round(weights)
    mask = n_m_mask(np.abs(weights), *m_by_n)
    np.testing.assert_array_equal(mask.numpy(), tfmot_mask(weights, 0.5, m_by_n=m_by_n))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_compiled_step(jit_compile, rng):
    weights = tf.constant(rng.standard_normal((30, 40)).astype("float32"))

    @tf.function(jit_compile=jit_compile)
    def step(i):
        update, sparsity = ConstantSparsity(0.75, 2, frequency=2)(i)
        return tf.cond(
            update,
            lambda: (
                top_masks([weights], keep_count(1200, sparsity), absolute=True)[0],
                block_mask(tf.abs(weights), sparsity, (3, 7)),
                n_m_mask(tf.abs(weights), 2, 4),
            ),
            lambda: (tf.ones((30, 40), tf.bool),) * 3,
        )

    assert all(tf.reduce_all(mask) for mask in step(tf.constant(1, tf.int64)))
    masks = step(tf.constant(2, tf.int64))
    np.testing.assert_array_equal(masks[0].numpy(), top_mask(np.abs(weights), 300))
    np.testing.assert_array_equal(masks[1], block_mask(tf.abs(weights), 0.75, (3, 7)))
    np.testing.assert_array_equal(masks[2], n_m_mask(tf.abs(weights), 2, 4))
