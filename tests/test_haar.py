"""Both ways of making Q. The distribution entry by entry is tested with Orthogonal."""

import keras
import numpy as np
import pytest

from tfinit import haar
from tfinit.initializers import Orthogonal

pytestmark = pytest.mark.backends

SHAPES = [(257, 256), (600, 1100), (1024, 1024)]


def array(tensor):
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float64"))


def error(q):
    q = q if q.shape[0] >= q.shape[1] else q.T
    return np.abs(q.T @ q - np.eye(q.shape[1])).max()


def reflections(x):
    """∏ Hᵢ D by its definition: one reflection after the other, in float64."""
    n, p = x.shape
    q = np.eye(n, p)
    for i in reversed(range(p)):
        u = x[i:, i] / np.linalg.norm(x[i:, i])
        sign = -1 if u[0] < 0 else 1
        v = u.copy()
        v[0] += sign
        q[i:, i:] -= np.outer(2 * v / (v @ v), v @ q[i:, i:])
        q[:, i] *= -sign
    return q


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_shorter_side_is_orthonormal(shape, dtype):
    q = haar.haar(*shape, 3, dtype)
    # JAX has no float64 by default.
    dtype = keras.backend.standardize_dtype(q.dtype)
    assert error(array(q)) < {"float32": 1e-5, "float64": 1e-12}[dtype]


def test_a_large_one_is_the_product_of_reflections():
    tall = (700, 530)
    expected = reflections(array(keras.random.normal(tall, dtype="float32", seed=5)))
    for rows, columns in (tall, tall[::-1]):
        q = array(haar.haar(rows, columns, 5, "float32", -2.0)) / -2
        assert np.abs((q if rows > columns else q.T) - expected).max() < 1e-5


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="jax.jit")
def test_a_trace_gives_what_a_call_gives():
    import jax

    def make():
        return Orthogonal(seed=1)((600, 520))

    assert np.abs(array(jax.jit(make)()) - array(make())).max() < 1e-6
    assert jax.eval_shape(make).shape == (600, 520)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.function")
def test_a_graph_gives_what_a_call_gives():
    import tensorflow as tf

    make = Orthogonal(seed=1)
    traced = tf.function(lambda: make((600, 520)))()
    assert np.abs(array(traced) - array(make((600, 520)))).max() < 1e-6


def test_a_stateless_scope_defers_the_same_values():
    def layer():
        return keras.layers.Dense(520, kernel_initializer=Orthogonal(seed=1), name="fc")

    ready, later = layer(), layer()
    ready.build((None, 600))
    with keras.StatelessScope():
        later.build((None, 600))
    assert np.array_equal(array(later.kernel), array(ready.kernel))


def test_columns_of_zeros_do_no_harm():
    ops = keras.ops
    assert error(array(haar._reflected(ops.zeros((520, 515)), -ops.ones(515)))) < 1e-6


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the way of TensorFlow only")
def test_in_float64_the_product_is_exact_to_float32():
    # As beside a GPU, where TF32 would spoil products of float32.
    normal = keras.random.normal((600, 600), dtype="float64", seed=1)
    q = haar._product(keras.ops.tril(normal))
    # Rounding of the result alone, where float32 products leave several times as much.
    assert error(array(keras.ops.cast(q, "float32"))) < 2e-7


@pytest.mark.parametrize(("n", "count"), [(4, 100), (512, 9)])
def test_signs_are_even(n, count):
    # The trace has mean 0 and variance 1. Reflections without D would have a negative diagonal.
    traces = [np.trace(array(haar.haar(n, n, seed, "float32"))) for seed in range(count)]
    assert abs(np.mean(traces)) < 4.5 / np.sqrt(count)
