import inspect
import math

import keras
import numpy as np
import pytest

from tfinit.errors import InputError
from tfinit.gains import gain
from tfinit.initializers import He, LeCun, Xavier

SHAPE = (3, 3, 40, 60)
FAN_IN, FAN_OUT = 360, 540
COUNT = math.prod(SHAPE)
# E[x⁴]/E[x²]² of the three shapes: how far a sample variance may be from the true one.
KURTOSIS = {"normal": 3.0, "truncated_normal": 3.0, "uniform": 1.8}


@pytest.mark.parametrize("distribution", ["normal", "truncated_normal", "uniform"])
@pytest.mark.parametrize(
    ("initializer", "expected"),
    [
        (Xavier, 2 / (FAN_IN + FAN_OUT)),
        (He, 2 / FAN_IN),
        (LeCun, 1 / FAN_IN),
    ],
)
def test_the_variance_is_the_formulas(initializer, expected, distribution):
    w = np.asarray(initializer(distribution=distribution, seed=0)(SHAPE))
    bound = 4.5 * math.sqrt((KURTOSIS[distribution] - 1) / COUNT)
    assert w.var() / expected == pytest.approx(1, abs=bound)
    assert w.mean() == pytest.approx(0, abs=4.5 * math.sqrt(expected / COUNT))


def test_the_distributions_have_their_shapes():
    std = math.sqrt(2 / FAN_IN)
    normal, cut, uniform = (
        np.abs(np.asarray(He(distribution=d, seed=0)(SHAPE))) / std
        for d in ("normal", "truncated_normal", "uniform")
    )
    assert normal.max() > 3.5
    # 0.8796 is the standard deviation of a normal cut at ±2.
    assert 2.2 < cut.max() <= 2 / 0.8796 + 1e-3
    assert 1.7 < uniform.max() <= math.sqrt(3) + 1e-6


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
def test_modes_and_gains_enter_the_variance(mode):
    forward, backward = gain("tanh"), gain("tanh", "backward")
    expected = {
        "fan_in": forward**2 / FAN_IN,
        "fan_out": backward**2 / FAN_OUT,
        "fan_avg": 2 / (FAN_IN / forward**2 + FAN_OUT / backward**2),
    }
    assert Xavier("tanh", mode=mode).variance(FAN_IN, FAN_OUT) == pytest.approx(expected[mode])


def test_negative_slope_of_every_leaky_activation():
    for name in ("relu", "leaky_relu", "prelu"):
        he = He(name, negative_slope=0.2)
        assert he.variance(10, 20) == pytest.approx(2 / 1.04 / 10, rel=1e-6)
    layer = He(keras.layers.LeakyReLU(0.2))
    assert layer.variance(10, 20) == pytest.approx(2 / 1.04 / 10, rel=1e-6)


@pytest.mark.skipif(
    "input_axes" not in inspect.signature(keras.initializers.VarianceScaling).parameters,
    reason="this Keras does not tell an initializer which axes are summed",
)
def test_keras_tells_attention_which_axes_are_summed():
    layer = keras.layers.MultiHeadAttention(8, 16, kernel_initializer=He(seed=0))
    layer.build((None, 5, 64), (None, 5, 64))
    kernels = [sublayer.kernel.numpy() for sublayer in (layer.query_dense, layer.output_dense)]
    assert [k.shape for k in kernels] == [(64, 8, 16), (8, 16, 64)]
    for kernel, fan_in in zip(kernels, (64, 128), strict=True):
        assert kernel.var() == pytest.approx(2 / fan_in, rel=4.5 * math.sqrt(2 / kernel.size))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "fan"}, r"`mode` must be one of fan_in, fan_out, fan_avg, received"),
        ({"distribution": "gauss"}, "`distribution` must be one of"),
        ({"activation": "rleu"}, "'rleu' is unknown"),
        ({"activation": "tanh", "negative_slope": 0.1}, "negative_slope"),
        ({"seed": 1.5}, "`seed` must be a whole number, or None, received 1.5"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        He(**arguments)


def test_what_is_no_shape_is_refused():
    with pytest.raises(InputError, match="`shape` must be whole numbers of at least 0"):
        He()((2, -1))


def test_an_integer_dtype_is_refused():
    with pytest.raises(InputError, match="`dtype` must be one of"):
        He()((2, 2), dtype="int32")
