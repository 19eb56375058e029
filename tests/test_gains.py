import math

import keras
import numpy as np
import pytest
import tf_keras

from tfinit.errors import InputError
from tfinit.gains import gain, sinusoid

SAMPLES = 4_000_000


@pytest.mark.parametrize("mode", ["forward", "backward"])
def test_closed_forms(mode):
    assert gain("relu", mode) == pytest.approx(math.sqrt(2), abs=1e-6)
    assert gain("linear", mode) == pytest.approx(1, abs=1e-6)
    assert gain(None, mode) == pytest.approx(1, abs=1e-6)
    assert gain(np.abs, mode) == pytest.approx(1, abs=1e-6)
    for slope in (0.01, 0.2, 0.9):
        expected = math.sqrt(2 / (1 + slope**2))
        for name in ("relu", "leaky_relu", "prelu"):
            assert gain(name, mode, negative_slope=slope) == pytest.approx(expected, abs=1e-6)


def test_closed_forms_of_one_direction():
    assert gain("selu") == pytest.approx(1, abs=1e-6)
    assert gain(np.sin) == pytest.approx(math.sqrt(2 / (1 - math.exp(-2))), abs=1e-6)
    assert gain(np.exp) == pytest.approx(math.exp(-1), abs=1e-6)
    assert gain(np.sign) == pytest.approx(1, abs=1e-6)
    # P(|z| < 1) = erf(1/√2) is where the slope of hard tanh is 1.
    assert gain("hard_tanh", "backward") == pytest.approx(
        1 / math.sqrt(math.erf(1 / math.sqrt(2))), abs=1e-6
    )


@pytest.mark.parametrize(
    "name", ["tanh", "sigmoid", "gelu", "silu", "softplus", "elu", "mish", "hard_silu"]
)
def test_gains_agree_with_monte_carlo(name):
    z = np.random.default_rng(0).standard_normal(SAMPLES)
    squares = keras.ops.convert_to_numpy(keras.activations.get(name)(z)) ** 2
    error = squares.std() / math.sqrt(SAMPLES)
    assert gain(name) ** -2 == pytest.approx(squares.mean(), abs=4.5 * error)


def test_backward_gains_agree_with_known_derivatives():
    z = np.random.default_rng(1).standard_normal(SAMPLES)
    sigmoid = 1 / (1 + np.exp(-z))
    slopes = {
        "tanh": 1 - np.tanh(z) ** 2,
        "sigmoid": sigmoid * (1 - sigmoid),
        "softplus": sigmoid,
        "silu": sigmoid * (1 + z * (1 - sigmoid)),
        "elu": np.where(z > 0, 1, np.exp(z)),
    }
    for name, slope in slopes.items():
        error = (slope**2).std() / math.sqrt(SAMPLES)
        assert gain(name, "backward") ** -2 == pytest.approx((slope**2).mean(), abs=4.5 * error)


@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_activation_layers_of_both_kerases(library):
    layers, quarter = library.layers, library.initializers.Constant(0.25)
    leaky = math.sqrt(2 / (1 + 0.25**2))
    assert gain(layers.ReLU()) == pytest.approx(math.sqrt(2), abs=1e-6)
    assert gain(layers.LeakyReLU(0.25)) == pytest.approx(leaky, abs=1e-6)
    assert gain(layers.Activation("tanh")) == pytest.approx(gain("tanh"), abs=1e-6)
    prelu = layers.PReLU(alpha_initializer=quarter)
    assert gain(prelu) == pytest.approx(leaky, abs=1e-6)
    prelu.build((None, 2))
    prelu.alpha.assign([0.0, 1.0])
    assert gain(prelu) == pytest.approx(math.sqrt(2 / 1.5), abs=1e-6)


def test_asking_for_a_gain_does_not_build_the_layer():
    layer = keras.layers.PReLU()
    gain(layer)
    assert not layer.built


def test_known_gains_are_taken_as_they_are():
    assert gain({"forward": 1.5}) == 1.5
    with pytest.raises(InputError, match="positive 'backward'"):
        gain({"forward": 1.5}, "backward")


@pytest.mark.parametrize(
    ("activation", "params", "message"),
    [
        ("rleu", {}, "'rleu' is unknown"),
        ("softmax", {}, "not elementwise"),
        (lambda x: x.sum(), {}, "not elementwise"),
        (lambda x: x.nothing, {}, "no attribute 'nothing'"),
        (lambda x: 0 * x, {}, r"E\[φ\(z\)²\] is 0"),
        ("tanh", {"negative_slope": 0.1}, "negative_slope"),
        (3, {}, "received 3"),
    ],
)
def test_activations_without_a_gain_are_refused(activation, params, message):
    with pytest.raises(InputError, match=message):
        gain(activation, **params)


def test_a_flat_function_has_no_backward_gain():
    with pytest.raises(InputError, match="no backward gain"):
        gain(np.sign, "backward")
    with pytest.raises(InputError, match="`mode` must be one of"):
        gain("relu", "sideways")


@pytest.mark.parametrize("omega", [0.3, 1, 2 * math.pi, 30, 250])
def test_sinusoids_are_told_by_their_values(omega):
    for phase in (0, 1, math.pi / 2):
        found = sinusoid(lambda z, p=phase: np.float32(2) * np.sin(omega * z + p, dtype="float32"))
        assert found == pytest.approx((omega, 2), rel=1e-3)


@pytest.mark.parametrize(
    "other",
    [
        *("tanh", None, np.tanh, np.exp, np.abs, np.sinc, keras.ops.softmax),
        *(
            lambda z: z,
            lambda z: 3 * z + 1,
            lambda z: z * z,
            lambda z: 0 * z,
            lambda z: np.sin(z) + 1,
        ),
        *(lambda z: np.clip(z, -1, 1), lambda z: z + np.sin(z) ** 2, lambda z: np.exp(-z * z)),
        lambda z: np.sin(z) + np.sin(3 * z),
    ],
)
def test_what_is_no_sinusoid(other):
    assert sinusoid(other) is None


def test_a_sum_of_what_came_before_is_not_elementwise():
    with pytest.raises(InputError, match="not elementwise"):
        gain(np.cumsum)
