"""Whether activations hang on the width: μP's do not, those of the standard scheme do."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfinit.diagnostics import coordinate_check
from tfinit.errors import InputError
from tfinit.learning_rates import scaled_learning_rates
from tfinit.schemes import initialize

WIDTHS = [64, 256, 1024]
X = np.random.default_rng(0).normal(size=(16, 12)).astype("f4")
Y = np.random.default_rng(1).normal(size=(16, 1)).astype("f4")


def layers(width):
    names = [L.Dense(width, "relu", name=name) for name in ("first", "second", "third")]
    return keras.Sequential([keras.Input((12,)), *names, L.Dense(1, name="head")])


def network(scheme, rate):
    def build(width):
        model = layers(width)
        optimizer = keras.optimizers.Adam(rate)
        if scheme == "mup":
            report = initialize(model, "mup", seed=1, base=layers(8), gain=2**0.5)
            optimizer = scaled_learning_rates(optimizer, model, report)
        else:
            initialize(model, "he", seed=1)
        model.compile(optimizer, "mse", run_eagerly=True)
        return model

    return build


def test_mup_is_flat_and_the_standard_scheme_is_not_from_64_to_1024():
    flat = coordinate_check(network("mup", 0.03), WIDTHS, X, Y)
    assert flat.is_flat, flat
    assert [record.key for record in flat] == ["first", "second", "third", "head"]
    # At the start all is flat but the output, which is zero in the limit.
    assert [abs(r.start_slope) < 0.1 for r in flat] == [True, True, True, False]
    standard = coordinate_check(network("he", 0.003), WIDTHS, X, Y)
    assert not standard.is_flat
    # Adam moves each weight alike: what n inputs of a layer add up to grows as n does.
    assert standard["second"].change_slope > 0.4 and "head" in standard.steep
    told = str(standard)
    assert told.startswith("mean |activation| after 4 steps by width: not flat: ")
    assert [axes.get_xscale() for axes in standard.plot().axes] == ["log"] * 8


def plain(width):
    model = keras.Sequential([keras.Input((12,)), L.Dense(width, name="fc"), L.Dense(1)])
    model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    return model


def test_sizes_are_means_of_absolute_values():
    made = []

    def build(width):
        made.append(plain(width))
        return made[-1]

    check = coordinate_check(build, [2, 6], X, Y, steps=1, repeats=2)
    sizes = [
        np.mean([np.abs(X @ m.layers[0].kernel).mean() for m in made[n : n + 2]]) for n in (0, 2)
    ]
    np.testing.assert_allclose(check["fc"].sizes, [sizes] * 2, rtol=1e-5)  # a rate of 0
    assert check["fc"].changes == ((0, 0), (0, 0)) and np.isnan(check["fc"].change_slope)
    expected = np.log(sizes[1] / sizes[0]) / np.log(3)
    assert check["fc"].slope == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("build", "widths", "told"),
    [
        (plain, [8], "two or more whole numbers, ascending"),
        (plain, [8, 4], "two or more whole numbers, ascending"),
        (layers, [4, 8], "must return a compiled model"),
        (lambda width: 3, [4, 8], "must be a Keras layer or model"),
        (lambda w: plain(w) if w < 8 else layers(w), [4, 8], "must return a compiled model"),
    ],
)
def test_errors(build, widths, told):
    with pytest.raises(InputError, match=told):
        coordinate_check(build, widths, X, Y)
