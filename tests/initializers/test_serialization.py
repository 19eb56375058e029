"""Every class, there and back: config, string, .keras, .h5, clone; Keras 3 and tf_keras."""

import inspect
import pickle
import warnings

import keras
import numpy as np
import pytest
import tf_keras

import tfinit.initializers as initializers

# Arguments other than the defaults, in every class.
MADE = {
    "Chrono": {"longest": 9, "cell": "gru", "seed": 11},
    "ConvolutionOrthogonal": {"gain": 1.5, "seed": 1},
    "DeltaOrthogonal": {"activation": "leaky_relu", "negative_slope": 0.3, "seed": 2},
    "Dirac": {"groups": 3},
    "EdgeOfChaos": {"activation": "tanh", "bias_variance": 0.05, "seed": 3},
    "ForgetBias": {"value": 2.0, "cell": "gru"},
    "He": {"activation": "leaky_relu", "negative_slope": 0.2, "mode": "fan_out", "seed": 4},
    "Identity": {"gain": 2.0},
    "LeCun": {"activation": "selu", "distribution": "truncated_normal", "seed": 5},
    "Orthogonal": {"activation": "tanh", "seed": 6},
    "RecurrentOrthogonal": {"gain": 0.5, "unitary": True, "seed": 12},
    "Siren": {"first": True, "omega": 20.0, "seed": 11},
    "Sparse": {"connections": 2, "std": None, "seed": 7},
    "SparseOrthogonal": {"density": 0.7, "gain": 0.5, "seed": 8},
    "SparseScaling": {"density": 0.5, "mode": "fan_avg", "seed": 9},
    "Xavier": {"activation": "gelu", "distribution": "normal", "seed": 10},
    "ZerO": {},
}
BIASES = ("Chrono", "ForgetBias")  # of gates
CLASSES = {name: getattr(initializers, name) for name in initializers.__all__}
CLASSES = {name: cls for name, cls in CLASSES.items() if hasattr(cls, "get_config")}
KERASES = pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])


def made(name, tmp_path):
    if name == "Pretrained":
        np.savez(tmp_path / "kernel.npz", kernel=np.arange(9.0).reshape(3, 3))
        return initializers.Pretrained(tmp_path / "kernel.npz", "kernel")
    return CLASSES[name](**MADE[name])


@pytest.mark.parametrize("name", MADE)
def test_it_prints_as_it_is_called(name):
    one = CLASSES[name](**MADE[name])
    assert eval(repr(one), dict(CLASSES)).get_config() == one.get_config()
    assert repr(initializers.He("relu", seed=1)) == "He(seed=1)"


def model_with(library, initializer):
    convolution = "Conv" in type(initializer).__name__ or type(initializer).__name__ in (
        "DeltaOrthogonal",
        "Dirac",
    )
    layers = library.layers
    if type(initializer).__name__ in BIASES:
        layer = layers.GRU(3, bias_initializer=initializer, name="it")
        return library.Sequential([layers.InputLayer((5, 3)), layer])
    if convolution:
        shape, layer = (5, 3), layers.Conv1D(3, 3, kernel_initializer=initializer, name="it")
    else:
        shape, layer = (3,), layers.Dense(3, kernel_initializer=initializer, name="it")
    return library.Sequential([layers.InputLayer(shape), layer])


def test_the_table_of_this_test_has_every_class():
    assert {*MADE, "Pretrained"} == {name for name in initializers.__all__ if name in CLASSES}


@pytest.mark.parametrize("name", [*MADE, "Pretrained"])
def test_the_config_has_every_argument_and_makes_the_same(name, tmp_path):
    initializer = made(name, tmp_path)
    config = initializer.get_config()
    assert list(config) == list(inspect.signature(CLASSES[name]).parameters)
    for argument, value in MADE.get(name, {}).items():
        assert config[argument] == value
    copy = keras.initializers.deserialize(keras.initializers.serialize(initializer))
    assert type(copy) is CLASSES[name]
    shape = (3, 3) if "Conv" not in name and name not in ("DeltaOrthogonal", "Dirac") else (3, 3, 3)
    shape = (9,) if name in BIASES else shape
    assert np.array_equal(copy(shape), initializer(shape))


@KERASES
@pytest.mark.parametrize(
    ("name", "how"),
    # How Keras writes it does not depend on the class: a kernel's, a bias's, one with arrays.
    [(name, ".keras") for name in [*MADE, "Pretrained"]]
    + [(name, how) for name in ("He", "Chrono", "Pretrained") for how in (".h5", "clone")],
)
def test_a_model_keeps_its_initializer(library, how, name, tmp_path):
    initializer = made(name, tmp_path)
    model = model_with(library, initializer)
    with warnings.catch_warnings():
        # That the object is of no class that tf_keras knows; HDF5 is announced as legacy.
        warnings.filterwarnings("error", message=".*should only be used for objects")
        if how == "clone":
            copy = library.models.clone_model(model)
        else:
            model.save(tmp_path / f"model{how}")
            copy = library.models.load_model(tmp_path / f"model{how}")
    of = "bias" if name in BIASES else "kernel"
    found = getattr(copy.get_layer("it"), f"{of}_initializer")
    assert type(found) is type(initializer)
    assert found.get_config() == initializer.get_config()
    filled = [m.get_layer("it") for m in (copy, model)]
    filled = [getattr(layer.cell if name in BIASES else layer, of) for layer in filled]
    assert np.array_equal(*[weight.numpy() for weight in filled])


@pytest.mark.parametrize("name", [*MADE, "Pretrained"])
def test_a_pickle_makes_the_same(name, tmp_path):
    initializer = made(name, tmp_path)
    copy = pickle.loads(pickle.dumps(initializer))
    assert type(copy) is CLASSES[name]
    assert copy.get_config() == initializer.get_config()


@KERASES
def test_a_function_or_layer_is_kept_as_its_gain(library, tmp_path):
    activation = library.layers.LeakyReLU(0.3)
    for initializer in (
        initializers.He(activation, seed=1),
        initializers.Orthogonal(activation=lambda x: 0.1 * x, seed=1),
    ):
        model = model_with(library, initializer)
        model.save(tmp_path / "model.keras")
        copy = library.models.load_model(tmp_path / "model.keras").get_layer("it")
        assert np.array_equal(copy.kernel_initializer((3, 3)), initializer((3, 3)))


@KERASES
@pytest.mark.parametrize(
    ("string", "cls"),
    [
        ("tfinit>he", "He"),
        ("tfinit>He", "He"),
        ("tfinit>lecun", "LeCun"),
        ("tfinit>delta_orthogonal", "DeltaOrthogonal"),
        ("tfinit>edge_of_chaos", "EdgeOfChaos"),
        ("tfinit>orthogonal", "Orthogonal"),
    ],
)
def test_strings_name_the_classes(library, string, cls):
    layer = library.layers.Conv1D(3, 3, kernel_initializer=string)
    assert type(layer.kernel_initializer) is CLASSES[cls]


@KERASES
def test_the_names_of_keras_still_mean_its_own(library):
    for name in ("orthogonal", "Orthogonal", "identity", "Identity"):
        assert type(library.initializers.get(name)) not in CLASSES.values()
