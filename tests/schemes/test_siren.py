"""Networks of sines: limits by place, what they keep of a signal, and the initializer."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfinit.errors import InputError
from tfinit.initializers import Siren
from tfinit.schemes import initialize
from tfinit.variables import all_weights, read_weights


def sines(omega, depth=4, width=128):
    layers = [L.Dense(width, lambda z: keras.ops.sin(omega * z)) for _ in range(depth)]
    return keras.Sequential([keras.Input((2,)), *layers, L.Dense(3, name="head")])


def uniform(values, limit):
    """Whether values fill ±limit: variance limit²/3 and kurtosis 9/5, by four standard errors."""
    assert abs(values).max() <= limit
    assert values.var() == pytest.approx(limit**2 / 3, rel=4 * (0.8 / values.size) ** 0.5)
    assert abs(values.mean()) < 4 * limit / (3 * values.size) ** 0.5


@pytest.mark.backends
@pytest.mark.parametrize("omega", [1, 30])
def test_limits_are_the_papers_by_place(omega):
    model = sines(omega)
    report = initialize(model, "siren", seed=1)
    first, *hidden = model.layers[:-1]
    places = [(first, 30 / omega / 2, 30 / omega / 2**0.5)]
    places += [(layer, (6 / 128) ** 0.5 / omega, 30 / omega / 128**0.5) for layer in hidden]
    places.append((model.layers[-1], (6 / 128) ** 0.5 / 30, None))
    for layer, limit, bias in places:
        uniform(np.asarray(layer.kernel), limit)
        if bias:
            uniform(np.asarray(layer.bias), bias)
    assert [record.note.split(",")[0] for record in report] == ["first", *["sine"] * 3, "the head"]


def test_the_function_does_not_depend_on_where_omega_is_written_and_keeps_its_variance():
    x = np.random.default_rng(0).uniform(-1, 1, (400, 2)).astype("float32")
    seen = []
    for omega in (1, 30):
        model = sines(omega, depth=6)
        initialize(model, "siren", seed=1)
        phases, y = [], x
        for layer in model.layers[:-1]:
            phases.append(omega * (y @ np.asarray(layer.kernel) + np.asarray(layer.bias)))
            y = np.sin(phases[-1])
        weighted = [omega * np.asarray(layer.kernel).std() for layer in model.layers[1:-1]]
        seen.append((np.concatenate(phases[1:]), weighted))
        for z, layer in zip(phases[1:], model.layers[1:-1], strict=True):
            assert (z - omega * np.asarray(layer.bias)).std() == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(seen[0][1], seen[1][1], rtol=1e-4)
    np.testing.assert_allclose(seen[0][0], seen[1][0], atol=0.02)


def test_it_is_no_odd_function_and_same_seed_gives_same_bits():
    x = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype("float32")

    def made(seed):
        model = sines(30)
        initialize(model, "siren", seed=seed)
        return model, list(read_weights(all_weights(model)).values())

    (model, first), (_, again), (_, other) = made(1), made(1), made(2)
    assert all(map(np.array_equal, first, again))
    assert not any(map(np.array_equal, first, other))
    y, mirrored = (np.asarray(model(s * x)) - np.asarray(model.layers[-1].bias) for s in (1, -1))
    assert abs(np.corrcoef(y.ravel(), mirrored.ravel())[0, 1]) < 0.5


def test_other_layers_and_frozen_ones_are_left():
    inputs = keras.Input((2,))
    x = L.Dense(8, keras.ops.sin, name="wave")(inputs)
    x = L.Dense(8, "relu", name="other")(x)
    frozen = L.Dense(8, keras.ops.sin, name="still", trainable=False)
    model = keras.Model(inputs, L.Dense(1, name="head")(frozen(x)))
    before = read_weights(all_weights(model))
    report = initialize(model, "siren", seed=1)
    after = read_weights(all_weights(model))
    assert report["other/kernel"].note == "no sine follows"
    for name in ("other", "still"):
        for key in (f"{name}/kernel", f"{name}/bias"):
            assert np.array_equal(before[key], after[key])


def test_a_model_without_sines_and_wrong_options_are_refused():
    model = keras.Sequential([keras.Input((2,)), L.Dense(4, "tanh")])
    with pytest.raises(InputError, match="a sine behind them"):
        initialize(model, "siren")
    with pytest.raises(InputError, match="`omega`"):
        initialize(sines(30), "siren", omega=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_initializer_has_the_limits_of_its_place(dtype):
    for first, limit in ((True, 1 / 50), (False, (6 / 50) ** 0.5 / 20)):
        made = Siren(first=first, omega=20, seed=1)((50, 200), dtype)
        assert keras.backend.standardize_dtype(made.dtype) == dtype
        values = keras.ops.convert_to_numpy(keras.ops.cast(made, "float64"))
        if dtype in ("float32", "float64"):
            uniform(values, limit * (1 + 1e-6))
        assert abs(values).max() <= limit * 1.01


def test_the_initializer_refuses_a_bias():
    with pytest.raises(InputError, match=r'\(5,\).*"siren" sets biases'):
        Siren()((5,))
    with pytest.raises(InputError, match="`first`"):
        Siren(first="yes")
