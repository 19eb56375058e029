"""The per-tensor classes on the other backends, where installed: one process for each."""

import importlib.util
import os
import subprocess
import sys

import pytest

# Half a unit in the last place, relative to the largest entry.
DTYPES = {"float16": 2**-11, "bfloat16": 2**-8, "float32": 0, "float64": None}


def check():
    """Run in a process of its own, under KERAS_BACKEND."""
    import keras
    import numpy as np

    import tfinit.initializers as it

    assert keras.backend.backend() == os.environ["KERAS_BACKEND"]

    def array(tensor):
        return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))

    kernel = (3, 24, 24)
    random = [
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
    for i, initializer in enumerate([*random, it.Dirac(), it.ZerO()]):
        # All dtypes for a few, since JAX compiles every operation anew for each.
        for dtype in DTYPES if i in (1, 3) else ("float32", "bfloat16"):
            bound = DTYPES[dtype]
            tensor = initializer(kernel, dtype=dtype)
            if not (dtype == "float64" and keras.backend.backend() == "jax"):  # no x64 by default
                assert keras.backend.standardize_dtype(tensor.dtype) == dtype
            assert tuple(tensor.shape) == kernel
            again = array(initializer(kernel, dtype=dtype))
            assert np.array_equal(again, array(tensor))
            assert np.isfinite(again).all() and again.any()
            # float64 has a stream of its own, the narrow ones are float32 rounded.
            if bound is not None:
                exact = array(initializer(kernel, dtype="float32"))
                assert np.abs(again - exact).max() <= bound * np.abs(exact).max()
    assert np.array_equal(array(it.Identity()((3, 3))), np.eye(3))

    q = array(it.Orthogonal(seed=1)((40, 30)))
    assert np.abs(q.T @ q - np.eye(30)).max() < 2e-6
    for initializer in random[:3]:
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

    for initializer in (random[0], random[6]):
        pairs = []
        for _ in range(2):
            net = Net(initializer.__class__.from_config(initializer.get_config()))
            net(np.ones((2, 8), "float32"))
            pairs.append([array(net.a.kernel), array(net.b.kernel)])
        assert not np.array_equal(*pairs[0])
        assert np.array_equal(pairs[0], pairs[1])
    print("checked")


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_backend(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, "-c", "import test_backends; test_backends.check()"],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path]),
        },
    )
    assert done.stdout.splitlines()[-1:] == ["checked"], done.stderr[-2000:]
