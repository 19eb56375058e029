"""What scales the ends of residual branches: found by what it computes, set to nothing."""

import keras
import numpy as np
import pytest
from keras import layers as L
from small_transformers import encoder

from tfinit.errors import InputError
from tfinit.schemes import initialize
from tfinit.variables import all_weights, read_weights


class Scale(L.Layer):
    """x · w, with one weight or one for each channel."""

    def __init__(self, channels=False, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels

    def build(self, shape):
        self.w = self.add_weight(shape=shape[-1:] if self.channels else (), initializer="ones")

    def call(self, x):
        return x * self.w


class Shift(Scale):
    """x + w: no scale, though it looks like one."""

    def call(self, x):
        return x + self.w


def residual(*ends, blocks=2):
    """Branches of two layers that end in what the functions make."""
    x = inputs = keras.Input((8,))
    for n in range(blocks):
        y = L.Dense(8, "relu", name=f"up{n}")(L.BatchNormalization(name=f"before{n}")(x))
        y = L.Dense(8, name=f"down{n}")(y)
        for end in ends:
            y = end(n)(y)
        x = L.Add()([x, y])
    return keras.Model(inputs, L.Dense(3, name="head")(x))


def norm(n):
    return L.BatchNormalization(name=f"last{n}")


ENDS = {
    "zero_gamma": norm,
    "skipinit": lambda n: Scale(name=f"last{n}"),
    "rezero": lambda n: Scale(name=f"last{n}"),
    "layer_scale": lambda n: Scale(True, name=f"last{n}"),
}


@pytest.mark.backends
@pytest.mark.parametrize("scheme", ENDS)
def test_branches_start_at_nothing_or_nearly(scheme):
    shift, drop = (lambda n: Shift(name=f"shift{n}")), lambda n: L.Dropout(0.1)
    model = residual(ENDS[scheme], shift, drop)
    for n in range(2):
        model.get_layer(f"shift{n}").w.assign(0)
    report = initialize(model, scheme, seed=1)
    assert report.notes == ["2 of 2 residual branches"]
    x = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")
    head = model.get_layer("head")
    plain = x @ keras.ops.convert_to_numpy(head.kernel)
    made = keras.ops.convert_to_numpy(model(x))
    if scheme == "layer_scale":
        assert 0 < abs(made - plain).max() < 0.5
        again = initialize(model, scheme, seed=1, value=1e-6)
        assert "1e-06" in again[-1].note
        made = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(made, plain, atol=1e-4)
    values = read_weights(all_weights(model))
    assert (values["before0/gamma"] == 1).all()
    assert values["up0/kernel"].std() == pytest.approx(
        {"zero_gamma": 0.5, "skipinit": 0.5}.get(scheme, 8**-0.5), rel=4 / 128**0.5
    )


def test_frozen_ends_stay_and_start_none_leaves_kernels():
    model = residual(norm)
    model.get_layer("last1").trainable = False
    before = read_weights(all_weights(model))
    report = initialize(model, "zero_gamma", start=None)
    after = read_weights(all_weights(model))
    assert report["last1/gamma"].note == "frozen"
    assert not after["last0/gamma"].any()
    assert {k for k in before if not np.array_equal(before[k], after[k])} == {"last0/gamma"}


def test_layer_scale_takes_the_value_of_the_depth():
    x = inputs = keras.Input((8,))
    end = L.Dense(8)
    for n in range(38):
        x = L.Add()([x, Scale(True, name=f"last{n}")(end(x))])
    report = initialize(keras.Model(inputs, x), "layer_scale", seed=1, start=None)
    assert {r.note for r in report if "last" in r.key} == {"1e-05: ends a residual branch"}


@pytest.mark.parametrize("scheme", ENDS)
def test_a_branch_without_a_scale_is_refused(scheme):
    model = residual(lambda n: Shift(name=f"shift{n}"))
    before = model.get_weights()
    with pytest.raises(InputError, match=r"none of the model's 2 residual branches has it"):
        initialize(model, scheme, seed=1)
    assert all(map(np.array_equal, model.get_weights(), before))
    with pytest.raises(InputError, match="residual"):
        initialize(keras.Sequential([keras.Input((3,)), L.Dense(2)]), scheme)


def test_normalizations_before_the_branch_or_behind_the_sum_are_no_ends():
    for where in ("pre", "post"):
        with pytest.raises(InputError, match="none of the model's 4"):
            initialize(encoder(2, where), "zero_gamma", seed=1)
