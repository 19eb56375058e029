"""Recurrent layers in time: saturated gates, states that grow, layers that forget at once."""

import keras
import numpy as np
import pytest
from diagnosed import losses_of

from tfinit.diagnostics import diagnose

L = keras.layers
KINDS = ("gates saturated", "exploding in time", "forgetful")
ORTHOGONAL = keras.initializers.Orthogonal
STEPS = 12
X = np.random.default_rng(3).normal(size=(64, STEPS, 4)).astype("float32")
Y = X[:, :, 0].mean(1, keepdims=True)


def network(layer, rate=0.01, steps=STEPS):
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((steps, 4)), layer, L.Dense(1)])
    model.compile(keras.optimizers.Adam(rate), "mse")
    return model


def found(model, x=X, y=Y):
    findings = diagnose(model, x, y).findings
    return [(f.kind, f.severity, f.fault) for f in findings if f.kind in KINDS]


def loss_after(model, x=X, y=Y, steps=40):
    return losses_of(model, x, y, steps)[-1] / Y.var()


@pytest.mark.backends
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_recurrent_layers_as_keras_starts_them_are_not_accused(kind):
    layer = getattr(L, kind)(12, name="rnn")
    model = network(layer)
    assert found(model) == []
    seen = diagnose(model, X, Y).measurement.recurrent[0]
    assert (seen.key, seen.layer, seen.steps, seen.bounded) == ("rnn", kind, STEPS, True)
    assert 0.4 < seen.factor < 1
    assert seen.saturated < 0.05
    # The gates that are measured are those of the layer.
    assert sorted(seen.gates) == {"LSTM": ["f", "i", "o"], "GRU": ["r", "z"], "SimpleRNN": []}[kind]


def states_of(layer, x):
    """What Keras's own cell makes, step by step."""
    states = layer.cell.get_initial_state(batch_size=len(x))
    for t in range(x.shape[1]):
        _, states = layer.cell(x[:, t], states)
    return [keras.ops.convert_to_numpy(state) for state in states]


@pytest.mark.parametrize(
    "layer",
    [
        L.LSTM(5, bias_initializer="random_normal"),
        L.GRU(5, bias_initializer="random_normal"),
        L.GRU(5, reset_after=False, bias_initializer="random_normal"),
        L.SimpleRNN(5, use_bias=False, activation="elu"),
    ],
)
def test_the_recurrence_is_keras_s(layer):
    """A change of the state grows as Keras's own cell says."""
    from tfinit.diagnostics.measuring.through_time import _Run

    keras.utils.set_random_seed(4)
    layer.build((None, STEPS, 4))
    cell = layer.cell
    weights = [keras.ops.convert_to_numpy(w) for w in (cell.kernel, cell.recurrent_kernel)]
    run = _Run(cell, *weights)
    states = np.zeros((8, 10))
    for t in range(STEPS):
        fed = X[:8, t] @ weights[0].astype("float64") + run.bias
        states = run.step(fed, states, 8)
    wanted = states_of(layer, X[:8])
    made = [states[:, :5], states[:, 5:]][: len(wanted)]
    np.testing.assert_allclose(np.stack(made), np.stack(wanted), atol=1e-5)


def test_inputs_that_are_not_scaled_saturate_gates():
    for kind in (L.LSTM, L.GRU):
        diagnosis = diagnose(network(kind(12, name="rnn")), 300 * X, Y)
        [finding] = [f for f in diagnosis.findings if f.kind == "gates saturated"]
        assert (finding.layer, finding.fault) == ("rnn", "inputs")
        assert {f.fault for f in diagnosis.severe} == {"inputs"}
    assert loss_after(network(L.LSTM(12)), 300 * X) > 0.1
    assert loss_after(network(L.LSTM(12))) < 0.1


def test_a_relu_recurrence_that_explodes():
    wild = {"activation": "relu", "recurrent_initializer": ORTHOGONAL(6.0)}
    model = network(L.SimpleRNN(12, **wild))
    assert found(model) == [("exploding in time", "severe", "initial")]
    assert loss_after(model) > 1
    # As it is drawn it does not grow; it will with the third step.
    bold = network(L.LSTM(24, activation="relu", name="rnn"), rate=0.3)
    [finding] = [f for f in diagnose(bold, X, Y).findings if f.kind == "exploding in time"]
    assert (finding.layer, finding.changes[0].value) == ("rnn", "tanh")
    assert not loss_after(bold) < 1
    assert found(network(L.LSTM(24, activation="relu"), rate=1e-3)) == []
    assert found(network(L.LSTM(50, activation="relu"), rate=0.03)) == [
        ("exploding in time", "warning", "activation")
    ]
    tanh = network(L.SimpleRNN(12))
    assert loss_after(tanh) < 0.5


def test_gradients_of_a_tanh_recurrence_that_grow():
    model = network(L.SimpleRNN(32, recurrent_initializer=ORTHOGONAL(3.0)), steps=40)
    x = np.random.default_rng(6).normal(size=(8, 40, 4)).astype("float32")
    assert ("exploding in time", "warning", "initial") in found(model, x, Y[:8])
    assert found(network(L.SimpleRNN(12, recurrent_initializer=ORTHOGONAL(1.0)))) == []


def test_a_forget_gate_that_forgets():
    layer = L.LSTM(12)
    model = network(layer)
    layer.cell.bias.assign(np.repeat([0.0, -8.0, 0.0, 0.0], 12))
    [finding] = [f for f in diagnose(model, X, Y).findings if f.kind == "forgetful"]
    assert (finding.severity, finding.fault) == ("warning", "initial")
    assert finding.changes[0][1:] == ("unit_forget_bias", True)
    assert found(network(L.LSTM(12, unit_forget_bias=False))) == []
    assert found(network(L.SimpleRNN(12, activation="sigmoid"))) == [
        ("forgetful", "warning", "activation")
    ]


def test_a_long_sequence_gets_a_note():
    model = network(L.GRU(6), steps=80)
    x = np.random.default_rng(4).normal(size=(4, 80, 4)).astype("float32")
    assert found(model, x, Y[:4]) == [("forgetful", "note", "initial")]
    unbounded = network(L.GRU(6, activation="relu"), rate=1e-4, steps=80)
    assert ("exploding in time", "warning", "activation") in found(unbounded, x, Y[:4])


def test_layers_that_cannot_be_run_again_are_left_out():
    cells = L.RNN([L.LSTMCell(4), L.LSTMCell(4)])
    images = L.ConvLSTM1D(2, 3)
    for layer, shape in ((cells, (6, 4)), (images, (6, 5, 2))):
        model = keras.Sequential([keras.Input(shape), layer, L.Flatten(), L.Dense(1)])
        x = np.random.default_rng(5).normal(size=(8, *shape)).astype("float32")
        assert diagnose(model, x).measurement.recurrent == ()
    both = keras.Sequential([keras.Input((STEPS, 4)), L.Bidirectional(L.GRU(4)), L.Dense(1)])
    keys = [seen.key for seen in diagnose(both, X).measurement.recurrent]
    assert [key.split("/")[-1] for key in keys] == ["forward_gru", "backward_gru"]
