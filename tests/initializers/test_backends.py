"""The per-tensor classes on every backend: this file also runs with KERAS_BACKEND=jax and torch."""

import inspect

import keras
import numpy as np
import pytest

import tfinit.initializers as it
from tfinit.errors import InputError

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


# All classes of the package, a new one too; what they cannot do without.
CLASSES = {
    name: found
    for name in it.__all__
    if hasattr(found := getattr(it, name), "get_config") and name != "Pretrained"
}
NEEDED = {"density": 0.5, "longest": 9}
# A shape that a class is for, where it is not (3, 4, 4).
SHAPES = {"Chrono": (8,), "ForgetBias": (8,), "Identity": (4, 4), "RecurrentOrthogonal": (4, 8)}
# The ranks that a class is not for, if not 0 and 1.
REFUSED = {
    **dict.fromkeys(["EdgeOfChaos", "He", "LeCun", "SparseScaling", "Xavier"], ()),
    **dict.fromkeys(["ConvolutionOrthogonal", "DeltaOrthogonal", "Dirac"], (0, 1, 2)),
    **dict.fromkeys(["Identity", "RecurrentOrthogonal"], (0, 1, 3)),
    **dict.fromkeys(["Chrono", "ForgetBias"], (0, 2, 3)),
}
EVERY_CLASS = pytest.mark.parametrize("name", CLASSES)
SEEDED = pytest.mark.parametrize(
    "name", [name for name in CLASSES if "seed" in inspect.signature(CLASSES[name]).parameters]
)


def made(name, **arguments):
    parameters = inspect.signature(CLASSES[name]).parameters
    needed = {key: value for key, value in NEEDED.items() if key in parameters}
    return CLASSES[name](**needed, **arguments)


def generator(seed=3):
    return keras.random.SeedGenerator(seed)


@SEEDED
def test_a_seed_generator_is_taken_as_keras_takes_it(name):
    ours, theirs = generator(), generator()
    initializer, shape = made(name, seed=ours), SHAPES.get(name, (3, 4, 4))
    drawn = [array(initializer(shape)) for _ in range(2)]
    assert not np.array_equal(*drawn)
    of_keras = keras.initializers.RandomNormal(seed=theirs)
    of_keras((3, 4, 4)), of_keras((3, 4, 4))
    assert np.array_equal(array(ours.state), array(theirs.state))
    config = initializer.get_config()["seed"]
    assert config["class_name"] == of_keras.get_config()["seed"]["class_name"] == "SeedGenerator"
    assert config["config"]["seed"] == 3
    # From the start again: of the same seed, and a copy by config.
    copied = keras.initializers.deserialize(keras.initializers.serialize(initializer))
    for other in (made(name, seed=generator()), copied):
        assert np.array_equal([array(other(shape)) for _ in range(2)], drawn)
    assert not np.array_equal(array(made(name, seed=generator(4))(shape)), drawn[0])


@pytest.mark.parametrize(
    ("name", "build"),
    [("He", "call"), ("He", "symbol"), ("He", "fit"), ("Sparse", "symbol"), ("Sparse", "function")],
)
def test_every_way_to_build_draws_once_a_weight_from_a_seed_generator(name, build):
    if build == "function" and BACKEND != "tensorflow":
        pytest.skip("a function of TensorFlow")
    x, shared = np.ones((2, 8), "float32"), generator()
    net = Net(made(name, seed=shared))
    if build == "call":
        net(x)
    elif build == "symbol":
        net(keras.Input((8,)))
    elif build == "fit":
        net.compile(keras.optimizers.SGD(0.0), "mse")
        net.fit(x, x, verbose=0)
    else:
        import tensorflow as tf

        tf.function(net)(x)
    assert array(shared.state).tolist() == [3, 2]
    pair = [array(net.a.kernel), array(net.b.kernel)]
    assert not np.array_equal(*pair)
    again = Net(made(name, seed=generator()))
    again(x)
    assert np.array_equal(pair, [array(again.a.kernel), array(again.b.kernel)])


def test_a_seed_generator_that_cannot_be_read_says_so():
    with pytest.raises(InputError, match=r"`seed` must be a whole number.*SeedGenerator"):
        it.He(seed=1.5)
    with pytest.raises(
        InputError, match=r"`seed` must be a whole number, a keras\.random\.SeedGen"
    ):
        it.He(seed={"class_name": "HeNormal", "module": "keras.initializers", "config": {}})
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with pytest.raises(InputError, match="while a function is traced"):
            tf.function(it.Orthogonal(seed=generator()), autograph=False)((2, 2))


@EVERY_CLASS
def test_shapes_without_axes_or_entries(name):
    initializer, refused = made(name), []
    for shape in [(), (0,), (0, 3), (3, 0), (0, 0), (3, 0, 4), (0, 3, 4), (3, 2, 0)]:
        try:
            values = array(initializer(shape))
        except InputError as error:
            assert name in str(error) and str(shape) in str(error)
            refused.append(len(shape))
        else:
            assert values.shape == shape and np.isfinite(values).all()
    # Keras's Orthogonal and Identity refuse the like of these.
    assert set(refused) == set(REFUSED.get(name, (0, 1)))
    with pytest.raises(InputError, match="`shape` must be whole numbers of at least 0"):
        initializer((2, -1))


def test_the_fans_of_a_scalar_are_1_as_in_keras():
    drawn = np.array([array(it.He(None, distribution="uniform", seed=s)(())) for s in range(40)])
    assert 1.2 < np.abs(drawn).max() <= np.sqrt(3)
    keras_own = keras.initializers.VarianceScaling(1.0, "fan_in", "uniform", seed=1)(())
    assert abs(float(array(keras_own))) <= np.sqrt(3)


@EVERY_CLASS
def test_a_layout_spreads_the_same_values(name):
    initializer, shape = (
        made(name, **({"seed": 1} if "seed" in made(name).get_config() else {})),
        SHAPES.get(name, (3, 4, 4)),
    )
    plain = array(initializer(shape))
    library, axes = keras.distribution, [None] * (len(shape) - 1) + ["model"]
    assert np.array_equal(array(initializer(shape, layout=None)), plain)
    if BACKEND != "jax":
        with pytest.raises(InputError, match="`layout` must be None"):
            initializer(shape, layout=library.TensorLayout(axes))
        return
    mesh = library.DeviceMesh((1, 1), ("batch", "model"), library.list_devices()[:1])
    layout = library.TensorLayout(axes, mesh)
    assert np.array_equal(array(initializer(shape, layout=layout)), plain)
    layouts = library.LayoutMap(mesh)
    layouts[".*"] = layout
    with library.ModelParallel(layout_map=layouts).scope():
        filled = keras.Variable(initializer, shape, name="kernel")
    assert filled.value.sharding.is_equivalent_to(layout.backend_layout, len(shape))
    again = keras.Variable(initializer.clone(), shape, name="kernel")
    assert np.array_equal(array(filled), array(again))
