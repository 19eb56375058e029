"""Rules whose fault, cured as the finding says, leaves a network that trains."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from diagnosed import losses_of, rebuilt

import tfinit
from tfinit.diagnostics import diagnose

L = keras.layers
Constant = keras.initializers.Constant
X = np.random.default_rng(7).normal(size=(96, 4)).astype("float32")
QUARTERS = (X[:, 0] * X[:, 1] > 0).astype("int32")  # XOR: no line parts them
NUMBERS = (6 + X[:, :1] - X[:, 1:2] ** 2).astype("float32")
IMAGES = np.random.default_rng(8).normal(size=(96, 4, 4, 2)).astype("float32")
UPPER = (IMAGES[:, :2].mean((1, 2, 3)) > IMAGES[:, 2:].mean((1, 2, 3))).astype("int32")
SEQUENCES = np.random.default_rng(3).normal(size=(96, 8, 2)).astype("float32")
FIRST = (SEQUENCES[:, 0, 0] > 0).astype("int32")  # what was at the first of eight steps


class Case(NamedTuple):
    """A network with a fault, and what it is trained on.

    Attributes:
        make: (mended by hand?) → the network; asked for the mended one where the cure is words.
        x: Inputs.
        y: Targets.
        learns: True where it learns all the same: more slowly, or not as it was meant.
    """

    make: Callable[[bool], Any]
    x: np.ndarray = X
    y: np.ndarray = QUARTERS
    learns: bool = False


def network(*layers, head=("softmax", 2), loss="sparse_categorical_crossentropy", x=X):
    keras.utils.set_random_seed(1)
    activation, units = head
    last = [L.Dense(units, activation)] if units else []
    model = keras.Sequential([keras.Input(x.shape[1:]), *layers, *last])
    model.compile(keras.optimizers.Adam(0.03), loss, jit_compile=False)
    return model


def relu(units=16, **said):
    return L.Dense(units, "relu", kernel_initializer="he_normal", **said)


def root_of_zeros(mended):
    least = 0.01 if mended else 0.0
    return network(relu(), L.Lambda(lambda x: keras.ops.sqrt(x + least)))


def broken_weights(mended):
    model = network(relu())
    model.layers[-1].bias.assign([np.nan, 0.0])  # behind it no ReLU, of which some kernels make 0
    return model


def one_large_layer(mended):
    large = keras.initializers.RandomNormal(stddev=500.0, seed=1)
    return network(relu(), L.Dense(16, "relu", kernel_initializer=large), relu(), relu())


class Stop(L.Layer):
    def call(self, x):
        return keras.ops.stop_gradient(x)


def cut_off(mended):
    return network(relu(), L.Identity() if mended else Stop())


def random_features(mended):
    return network(relu(16, trainable=mended), relu(4, trainable=mended), relu())


def on_a_base(mended):
    """A base whose kernels are frozen, and whose normalizations are only where it is mended."""
    base = keras.Sequential([keras.Input(IMAGES.shape[1:])])
    for seed in range(3):
        kernel = keras.initializers.HeNormal(seed)
        base.add(L.Conv2D(8, 3, padding="same", kernel_initializer=kernel, use_bias=False))
        base.add(L.BatchNormalization(momentum=0.1))
        base.add(L.ReLU())
    base.add(L.Flatten())
    for _ in range(8):
        base(IMAGES, training=True)  # the means and variances that go with the kernels
    for layer in base.layers:
        layer.trainable = isinstance(layer, L.BatchNormalization) and not mended
    return network(base, x=IMAGES)


def along_rows(mended):
    norm = L.BatchNormalization(axis=1, name="norm")
    return network(L.Conv2D(8, 3), norm, L.ReLU(), L.Flatten(), x=IMAGES)


def normalized_output(mended):
    last = [L.BatchNormalization(), L.Dense(1)]
    return network(relu(), *(last if mended else last[::-1]), head=("", 0), loss="mse")


def recurrent(kind, **said):
    return network(getattr(L, kind)(12, name="rnn", **said), x=SEQUENCES)


CASES = {
    "TFI001 not finite": Case(root_of_zeros),
    "TFI001 not finite: weights": Case(broken_weights),
    "TFI003 bias off": Case(lambda mended: network(relu(bias_initializer=Constant(-10)))),
    "TFI004 scale jump": Case(one_large_layer),
    "TFI100 vanishing": Case(cut_off),
    "TFI122 untrained base": Case(random_features),
    "TFI123 base in training mode": Case(on_a_base, IMAGES, UPPER, learns=True),
    "TFI126 missing activation": Case(
        lambda mended: network(relu(), L.Dense(16, name="a")), learns=True
    ),
    "TFI128 hidden softmax": Case(
        lambda mended: network(L.Dense(16, "softmax", name="a"), relu()), learns=True
    ),
    "TFI131 wrong axis": Case(along_rows, IMAGES, UPPER, learns=True),
    "TFI132 hidden sigmoids": Case(
        lambda mended: network(*(L.Dense(16, "sigmoid", name=name) for name in "ab"))
    ),
    "TFI133 normalized output": Case(normalized_output, y=NUMBERS),
    "TFI141 forgetful: activation": Case(
        lambda mended: recurrent("SimpleRNN", activation="sigmoid"), SEQUENCES, FIRST
    ),
    "TFI141 forgetful: forget gate": Case(
        lambda mended: recurrent("LSTM", unit_forget_bias=False, bias_initializer=Constant(-2)),
        SEQUENCES,
        FIRST,
    ),
    "TFI141 forgetful: bias": Case(
        lambda mended: recurrent("GRU", bias_initializer=Constant(-1)), SEQUENCES, FIRST
    ),
}


def found(model, case, name):
    """What the rule finds of the kind that the case is called by."""
    rule, kind = name.partition(":")[0].split(" ", 1)
    findings = diagnose(model, case.x, case.y).findings
    return [f for f in findings if (f.rule, f.kind) == (rule, kind)]


def cured(case, finding):
    """The network after the cure that is named: its changes, its code, or by hand as it says."""
    if finding.changes:
        return rebuilt(case.make(False), finding.changes)
    if not finding.code:
        return case.make(True)
    model = case.make(False)
    exec(finding.code, {"model": model, "tfinit": tfinit})
    return model


def trains(model, case, steps=40):
    """Whether it does far better in the end than who guesses."""
    last = losses_of(model, case.x, case.y, steps)[-1]
    return last < 0.6 * (case.y.var() if case.y is NUMBERS else np.log(2))


@pytest.mark.parametrize("name", CASES)
def test_a_network_trains_after_the_cure_that_is_named(name):
    case = CASES[name]
    faulty = case.make(False)
    (finding,) = found(faulty, case, name)
    assert case.learns or not trains(faulty, case)
    model = cured(case, finding)
    assert found(model, case, name) == []
    assert trains(model, case)
