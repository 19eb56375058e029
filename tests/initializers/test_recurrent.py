"""Biases of gates by their formula, and recurrent kernels against the matrices that they claim."""

import keras
import numpy as np
import pytest
import tf_keras
from keras import layers as L

from tfinit.errors import InputError
from tfinit.initializers import Chrono, ForgetBias, RecurrentOrthogonal

KERASES = pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])


def gates(bias, count):
    return np.reshape(bias, (-1, count, bias.shape[-1] // count))


def test_chrono_draws_lifetimes_evenly_and_mirrors_them_in_the_input_gate():
    i, f, c, o = gates(np.array(Chrono(100, seed=1)((4 * 5000,))), 4)[0]
    assert np.array_equal(i, -f) and not c.any() and not o.any()
    steps = np.exp(f)
    assert steps.min() >= 1 and steps.max() <= 99.001
    # U(1, 99): mean 50, deviation 98 / √12; four standard errors.
    assert steps.mean() == pytest.approx(50, abs=4 * 98 / np.sqrt(12 * 5000))
    assert steps.std() == pytest.approx(98 / np.sqrt(12), rel=0.03)


@KERASES
def test_gates_of_layers(library):
    lstm = library.layers.LSTM(6, bias_initializer=Chrono(50, seed=1), unit_forget_bias=False)
    lstm.build((None, None, 3))
    [rows] = gates(np.array(lstm.cell.bias), 4)
    assert (rows[1] >= 0).all() and np.array_equal(rows[0], -rows[1]) and not rows[2:].any()
    gru = library.layers.GRU(6, bias_initializer=Chrono(50, "gru", seed=1))
    gru.build((None, None, 3))
    given, state = gates(np.array(gru.cell.bias), 3)
    assert (given[0] > 0).any() and not given[1:].any() and not state.any()
    # A gate that keeps: with b_z large, what comes in leaves the state as it is.
    gru.cell.bias.assign(30.0 * (np.array(gru.cell.bias) > 0))
    start = np.full((1, 6), 0.5, "float32")
    moved = gru(np.ones((1, 4, 3), "float32"), initial_state=keras.ops.convert_to_tensor(start))
    assert np.abs(np.array(moved) - 0.5).max() < 1e-6


@KERASES
def test_a_layer_that_sets_the_forget_gate_itself_is_refused(library):
    layer = library.layers.LSTM(8, bias_initializer=Chrono(50))
    with pytest.raises(InputError, match=r"\(8,\), a part of the bias \(32,\).*unit_forget_bias="):
        layer.build((None, None, 3))


def test_forget_bias():
    assert np.array(ForgetBias(2)((8,))).tolist() == [0, 0, 2, 2, 0, 0, 0, 0]
    assert np.array(ForgetBias(3, "gru")((2, 3))).tolist() == [[3, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Chrono(1), "`longest`"),
        (lambda: Chrono(9, "rnn"), "`cell` must be one of lstm, gru"),
        (lambda: Chrono(9)((7, 8)), r"\(4 · units,\), received \(7, 8\)"),
        (lambda: ForgetBias(1.0, "gru")((3, 6)), r"or \(2, 3 · units\), received \(3, 6\)"),
        (lambda: RecurrentOrthogonal(gain=0), "`gain`"),
        (lambda: RecurrentOrthogonal()((4, 6)), r"\(units, gates · units\), received \(4, 6\)"),
    ],
)
def test_errors(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("unitary", [False, True])
@pytest.mark.parametrize("units", [6, 7])
def test_every_gate_is_orthogonal(unitary, units):
    kernel = np.array(RecurrentOrthogonal(1.5, unitary, seed=1)((units, 4 * units)))
    for gate in np.split(kernel, 4, axis=1):
        assert np.abs(gate.T @ gate - 1.5**2 * np.eye(units)).max() < 1e-5
    assert np.abs(kernel[:, :units] - kernel[:, units : 2 * units]).max() > 0.1


def test_unitary_is_a_complex_matrix_in_real_numbers():
    a = np.array(RecurrentOrthogonal(unitary=True, seed=2)((8, 8)), np.float64)
    u = a[:4, :4] + 1j * a[:4, 4:]
    assert np.abs(u.conj().T @ u - np.eye(4)).max() < 1e-6
    z = np.array([1, 2j, -1, 0.5 + 1j])
    turned = np.concatenate([z.real, z.imag]) @ a
    assert np.allclose(turned[:4] + 1j * turned[4:], z @ u, atol=1e-6)


def test_they_make_a_network_of_every_kind():
    kernel = RecurrentOrthogonal(seed=1)
    stack = [
        L.LSTM(4, recurrent_initializer=kernel, return_sequences=True),
        L.GRU(4, recurrent_initializer=kernel, return_sequences=True),
        L.SimpleRNN(4, recurrent_initializer=kernel),
    ]
    model = keras.Sequential([keras.Input((None, 2)), *stack])
    assert bool(keras.ops.all(keras.ops.isfinite(model(np.ones((1, 3, 2), "float32")))))
    assert [layer.cell.recurrent_kernel.shape[1] // 4 for layer in stack] == [4, 3, 1]
