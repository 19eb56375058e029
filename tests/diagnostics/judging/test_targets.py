"""Rules about regression targets: the fault, what looks like it and is none, and the cure."""

import keras
import numpy as np
import pytest
from diagnosed import LAYERS, cured, data, found, net, trains

from tfinit.diagnostics import diagnose


def regression(optimizer, loss="mse", activation=None, units=1, width=32):
    keras.utils.set_random_seed(1)
    layers = [LAYERS.Dense(width, "relu"), LAYERS.Dense(units, activation, name="head")]
    model = keras.Sequential([keras.Input((6,)), *layers])
    model.compile(optimizer, loss)
    return model


def adam(rate=0.001):
    return keras.optimizers.Adam(rate)


def sgd(rate=0.01, **settings):
    return keras.optimizers.SGD(rate, **settings)


@pytest.mark.backends
def test_targets_that_adam_does_not_reach():
    x, _ = data()
    y = 1e6 * (x[:, :1] + 0.3 * x[:, 1:2])
    model = regression(adam(0.005))
    (finding,) = diagnose(model, x, y).severe
    assert (finding.kind, finding.rule, finding.fault) == ("far targets", "TFI045", "targets")
    assert "a step of Adam moves them by about 0.0" in finding.evidence
    x, y = cured(finding, x, y)
    assert diagnose(model, x, y).findings == []
    assert trains(model, x, y)


def test_a_mean_far_beyond_what_varies():
    x, _ = data()
    y = 2000 + x[:, :1]
    assert found(diagnose(regression(adam()), x, y), "far targets") == ["severe"]
    # Prices of houses in thousands of dollars train as they are.
    near = 22 + 9 * x[:, :1]
    assert found(diagnose(regression(adam()), x, near), "far targets") in (["note"], ["warning"])
    assert found(diagnose(regression(adam()), x, x[:, :1]), "far targets") == []
    # Few steps, but a hundred times those that it takes to learn the same around 0.
    y = 100 + x[:, :1]
    (finding,) = diagnose(regression(adam(0.003)), x, y).severe
    assert "times those to targets of size 1" in finding.evidence
    x, y = cured(finding, x, y)
    model = regression(adam(0.02))
    assert diagnose(model, x, y).findings == []
    assert trains(model, x, y)


def test_steps_of_sgd_that_grow_with_the_targets():
    x, _ = data()
    y = 3000 * x[:, :1]
    diagnosis = diagnose(regression(sgd()), x, y)
    assert [f.kind for f in diagnosis.severe] == ["far targets"]
    assert "steps of SGD grow with that, and the loss goes from" in diagnosis.severe[0].evidence
    x, y = cured(diagnosis.severe[0], x, y)
    model = regression(sgd())
    assert diagnose(model, x, y).findings == []
    assert trains(model, x, y)
    # A rate that is absurd for any targets is no fault of theirs.
    far = diagnose(regression(sgd(100.0)), x, 30 * y)
    assert "severe" not in found(far, "far targets")


def test_targets_that_vary_by_next_to_nothing():
    x, _ = data()
    y = x[:, :1] / 2000
    (finding,) = diagnose(regression(sgd()), x, y).severe
    assert (finding.kind, finding.fault) == ("far targets", "targets")
    assert "training only takes back the" in finding.evidence
    assert found(diagnose(regression(adam(1e-4)), x, y), "far targets") == ["warning"]
    (leaps,) = diagnose(regression(adam(0.003)), x, y).severe
    assert "times what the targets vary by" in leaps.evidence
    x, y = cured(finding, x, y)
    model = regression(sgd())
    assert diagnose(model, x, y).findings == []
    assert trains(model, x, y)
    # An output that begins at 0 has nothing to take back.
    for weight in model.layers[-1].weights:
        weight.assign(0 * weight)
    assert found(diagnose(model, x, y / 2000), "far targets") == []


def test_near_misses_of_far_targets():
    x, _ = data()
    y = 1e4 * x[:, :1]
    # What is compared by ratio, or by a loss of one's own, may have any size.
    for loss in ("mean_absolute_percentage_error", lambda y, outputs: (y / 1e4 - outputs) ** 2):
        assert found(diagnose(regression(adam(), loss), x, abs(y)), "far targets") == []
    # A bounded head is another fault: this is only told.
    bounded = diagnose(regression(adam(), activation="sigmoid"), x, y)
    assert found(bounded, "far targets") == ["warning"]
    # A bias that is the mean of the targets begins where they are.
    model = regression(adam())
    model.layers[-1].bias.assign([2000.0])
    assert found(diagnose(model, x, 2000 + x[:, :1]), "far targets") == []
    # Adam at a rate that is too small is not what targets are blamed for.
    slow = diagnose(regression(adam(1e-7)), x, 12 * x[:, :1])
    assert "severe" not in found(slow, "far targets")
    assert found(diagnose(regression(adam(), "mae"), x, y), "far targets") != []


@pytest.mark.backends
def test_a_loss_that_compares_all_with_all():
    class Squares(keras.losses.Loss):
        def call(self, y, outputs):
            return keras.ops.mean((y - outputs) ** 2)

    x, _ = data()
    y = x[:, 0]
    (finding,) = diagnose(regression(adam(0.02), Squares()), x, y).severe
    assert (finding.kind, finding.rule, finding.fault) == ("broadcast targets", "TFI046", "labels")
    assert "have shape (96,) and the outputs (96, 1)" in finding.evidence
    x, column = cured(finding, x, y)
    assert column.shape == (96, 1)
    model = regression(adam(0.02), Squares())
    assert diagnose(model, x, column).healthy
    assert trains(model, x, column)

    # Keras adds the axis for its own losses, and for functions; so may a loss of one's own.
    class Shaped(keras.losses.Loss):
        def call(self, y, outputs):
            return (keras.ops.reshape(y, (-1, 1)) - outputs) ** 2

    for loss in ("mse", lambda y, outputs: (y - outputs) ** 2, Shaped()):
        assert diagnose(regression(adam(), loss), x, y).healthy


def test_one_target_for_all_steps_of_a_sequence():
    keras.utils.set_random_seed(1)
    x = np.random.default_rng(0).normal(size=(32, 5, 2)).astype("float32")
    y = x[:, -1, :1]

    def recurrent(sequences):
        layers = [LAYERS.LSTM(8, return_sequences=sequences), LAYERS.Dense(1, name="head")]
        model = keras.Sequential([keras.Input((5, 2)), *layers])
        model.compile(adam(0.02), "mse")
        return model

    told = diagnose(recurrent(True), x, y)
    # What it follows from is another rule's.
    assert [f.kind for f in told.severe] == ["missing flatten"]
    assert found(told, "broadcast targets") == ["warning"]
    model = recurrent(False)
    assert found(diagnose(model, x, y), "broadcast targets") == []
    assert trains(model, x, y)
    assert found(diagnose(recurrent(True), x, x[..., :1]), "broadcast targets") == []
    assert found(diagnose(recurrent(True), x, x[..., 0]), "broadcast targets") == []


def test_pixels_for_a_sigmoid():
    images = np.random.default_rng(0).integers(0, 256, (64, 36)).astype("float32")
    images *= np.linspace(0, 1, 36).astype("float32")

    def autoencoder(activation, loss):
        keras.utils.set_random_seed(1)
        layers = [LAYERS.Dense(36, "relu"), LAYERS.Dense(36, activation, name="head")]
        model = keras.Sequential([keras.Input((36,)), *layers])
        model.compile(adam(0.02), loss)
        return model

    for loss in ("binary_crossentropy", "mse"):
        model = autoencoder("sigmoid", loss)
        finding = next(f for f in diagnose(model, images / 255, images).severe if "pix" in f.kind)
        assert (finding.rule, finding.fault) == ("TFI047", "targets")
        x, y = cured(finding, images / 255, images)
        assert diagnose(model, x, y).healthy
        assert trains(model, x, y, share=0.9)
    assert found(diagnose(autoencoder(None, "mse"), x, images), "pixels as targets") == []
    assert found(diagnose(net(36, "sigmoid", "mse", 36), x, y), "pixels as targets") == []
