"""What may be called a scheme, and what each of them does to a model."""

import functools

import keras
import numpy as np
import pytest

import tfinit
from tfinit.comparison.initializations import read_schemes
from tfinit.errors import InputError
from tfinit.variables import all_weights, read_weights

X = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")


def model():
    built = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(400, "relu", name="a"),
            keras.layers.Dense(400, "relu", name="b"),
            keras.layers.Dense(3, name="output"),
        ]
    )
    built.get_layer("b").bias.assign(np.full(400, 0.5, "float32"))
    return built


def kernels(entry, seed=1):
    (initialization,) = read_schemes([entry])
    built = model()
    initialization.initialize(built, X, seed)
    values = read_weights(all_weights(built))
    assert (values["b/bias"] == 0.5).all()
    return values


@pytest.mark.parametrize(
    ("entry", "deviation"),
    [
        ("zeros", 0.0),
        ("small", 0.01),
        ("large", 1.0),
        ("he", np.sqrt(2 / 400)),
        ("lecun_normal", np.sqrt(1 / 400)),
        ("Xavier", np.sqrt(2 / 800)),
        (keras.initializers.RandomNormal(stddev=0.3, seed=5), 0.3),
        (keras.initializers.HeNormal, np.sqrt(2 / 400)),
        (tfinit.initializers.LeCun(), np.sqrt(1 / 400)),
        ((tfinit.initializers.LeCun(), "tanh"), np.sqrt(1 / 400)),
    ],
)
def test_deviations(entry, deviation):
    values = kernels(entry)
    # Of 160,000 squares of normal numbers: √(2/n) of their mean, four of those, half of it here.
    assert values["b/kernel"].std() == pytest.approx(deviation, rel=0.01)
    again, other = kernels(entry), kernels(entry, seed=2)
    assert all(np.array_equal(values[key], again[key]) for key in values)
    assert np.array_equal(values["b/kernel"], other["b/kernel"]) == (entry == "zeros")


def test_kernels_of_one_shape_differ_though_the_instance_has_a_seed():
    square = keras.Sequential([keras.Input((6,)), *(keras.layers.Dense(6) for _ in range(2))])
    (initialization,) = read_schemes([keras.initializers.RandomNormal(seed=5)])
    initialization.initialize(square, X, 1)
    a, b = (layer.kernel.numpy() for layer in square.layers)
    assert not np.array_equal(a, b)


def test_data_dependent_ones_see_the_batch():
    (initialization,) = read_schemes(["lsuv"])
    built = model()
    initialization.initialize(built, X, 1)
    assert float(np.std(built(X))) == pytest.approx(1, abs=0.01)


def test_a_function_gets_model_batch_and_seed():
    seen = []

    def mine(built, x, seed):
        seen.append((built.name, x.shape, seed))

    (initialization,) = read_schemes([mine])
    assert initialization.label == "mine"
    initialization.initialize(model(), X, 7)
    assert [s[1:] for s in seen] == [((64, 6), 7)]


def test_labels():
    given = [
        "he",
        tfinit.initializers.He(),
        keras.initializers.HeNormal,
        (keras.initializers.Zeros(), "tanh"),
        ("he", keras.activations.silu),
        functools.partial(print),
    ]
    assert [e.label for e in read_schemes(given)] == [
        "he",
        "He",
        "HeNormal",
        "Zeros, tanh",
        "he, silu",
        "partial",
    ]
    named = read_schemes({"one": "he", "two": ("he", "tanh")})
    assert [(e.label, e.activation) for e in named] == [("one", None), ("two", "tanh")]


@pytest.mark.parametrize(
    ("schemes", "message"),
    [
        ("he", "`schemes` must be a list of one or more initializations, .* received 'he'"),
        ([], "one or more"),
        (["hee"], "`schemes` must be among xavier, .*small, large, received 'hee'"),
        (["he", "he"], "has 'he' more than once. Give a dictionary"),
        (["mup"], r"'mup' needs options \(base.*lambda model, x, seed: tfinit.initialize"),
        ([3], "takes names, initializers .*received 3"),
        ([("he", "rellu")], "must be an activation of Keras's by its name.*'rellu'"),
        ([lambda model: None], r"function\(model, x, seed\), which it does not take"),
        ([tfinit.initializers.Pretrained], "Pretrained needs arguments .* Pass an instance"),
    ],
)
def test_errors(schemes, message):
    with pytest.raises(InputError, match=message):
        read_schemes(schemes)
