"""The per-tensor classes on every backend: this file also runs with KERAS_BACKEND=jax and torch."""

import keras
import numpy as np
import pytest

import tfinit.initializers as it

pytestmark = pytest.mark.backends
BACKEND = keras.backend.backend()
# Half a unit in the last place, relative to the largest entry. float64 has a stream of its own.
DTYPES = {"float16": 2**-11, "bfloat16": 2**-8, "float32": 0, "float64": None}
KERNEL = (3, 24, 24)
RANDOM = [
    it.Xavier("tanh", seed=1),
    it.He("leaky_relu", negative_slope=0.1, distribution="truncated_normal", seed=1),
    it.LeCun("selu", distribution="uniform", seed=1),
    it.Orthogonal(seed=1),
    it.DeltaOrthogonal(seed=1),
    it.ConvolutionOrthogonal(seed=1),
    it.Sparse(5, seed=1),
    it.SparseScaling(0.2, seed=1),
    it.SparseOrthogonal(0.2, seed=1),
    it.EdgeOfChaos("tanh", 0.05, seed=1),
]
ALL = [*RANDOM, it.Dirac(), it.ZerO()]


def name_of(initializer):
    return type(initializer).__name__


def array(tensor):
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))


@pytest.mark.parametrize("initializer", ALL, ids=name_of)
def test_dtypes(initializer):
    exact = array(initializer(KERNEL, dtype="float32"))
    # All dtypes for a few, since JAX compiles every operation anew for each.
    few = name_of(initializer) in ("He", "Orthogonal")
    for dtype in DTYPES if few else ("float32", "bfloat16"):
        tensor = initializer(KERNEL, dtype=dtype)
        if not (dtype == "float64" and BACKEND == "jax"):  # no x64 by default
            assert keras.backend.standardize_dtype(tensor.dtype) == dtype
        assert tuple(tensor.shape) == KERNEL
        again = array(initializer(KERNEL, dtype=dtype))
        assert np.array_equal(again, array(tensor))
        assert np.isfinite(again).all() and again.any()
        # The narrow ones are float32 rounded.
        if DTYPES[dtype] is not None:
            assert np.abs(again - exact).max() <= DTYPES[dtype] * np.abs(exact).max()


def test_numbers():
    assert np.array_equal(array(it.Identity()((3, 3))), np.eye(3))
    q = array(it.Orthogonal(seed=1)((40, 30)))
    assert np.abs(q.T @ q - np.eye(30)).max() < 2e-6
    for initializer in RANDOM[:3]:
        w = array(initializer((400, 300)))
        variance = initializer.variance(400, 300)
        assert abs(w.var() / variance - 1) < 4.5 * np.sqrt(2 / w.size)


class Net(keras.Model):
    def __init__(self, initializer):
        super().__init__(name="net")
        self.a = keras.layers.Dense(8, kernel_initializer=initializer, name="a")
        self.b = keras.layers.Dense(8, kernel_initializer=initializer, name="b")

    def call(self, x):
        return self.b(self.a(x))


@pytest.mark.parametrize("initializer", [RANDOM[0], RANDOM[6]], ids=name_of)
def test_layers_differ_and_models_agree(initializer):
    pairs = []
    for _ in range(2):
        net = Net(initializer.__class__.from_config(initializer.get_config()))
        net(np.ones((2, 8), "float32"))
        pairs.append([array(net.a.kernel), array(net.b.kernel)])
    assert not np.array_equal(*pairs[0])
    assert np.array_equal(pairs[0], pairs[1])
