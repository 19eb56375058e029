"""Recurrent networks: what the schemes set, what they leave, and where they have no place."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfinit.errors import InputError
from tfinit.schemes import initialize
from tfinit.variables import all_weights, read_weights


def network():
    stack = [
        L.LSTM(6, return_sequences=True, name="lstm"),
        L.Bidirectional(L.GRU(6, return_sequences=True, name="gru"), name="both"),
        L.SimpleRNN(6, "relu", return_sequences=True, name="relu"),
        L.SimpleRNN(6, name="tanh"),
        L.Dense(2, name="head"),
    ]
    return keras.Sequential([keras.Input((None, 3)), *stack])


def changed(scheme, **options):
    model = network()
    before = read_weights(all_weights(model))
    report = initialize(model, scheme, seed=1, **options)
    after = read_weights(all_weights(model))
    keys = [key for key in before if not np.array_equal(before[key], after[key])]
    assert set(keys) <= {record.key for record in report if record.action == "set"}
    again = network()
    initialize(again, scheme, seed=1, **options)
    assert all(
        np.array_equal(after[k], v.numpy()) for k, v in all_weights(again).items() if k in keys
    )
    return after, keys, report


def test_chrono_sets_gates_alone():
    after, keys, report = changed("chrono", longest=40)
    assert len(keys) == 3 and all(key.endswith("bias") for key in keys)
    i, f, c, o = after["lstm/lstm_cell/bias"].reshape(4, 6)
    assert np.array_equal(i, -f) and (f > 0).any() and not c.any() and not o.any()
    assert np.exp(f).max() <= 39.001
    forward, backward = (after[key][0].reshape(3, 6) for key in keys if "both" in key)
    assert not np.array_equal(forward[0], backward[0]) and not forward[1:].any()
    assert [r.note for r in report if "tanh" in r.key] == ["no gate that keeps the state"]


def test_forget_bias_sets_one_gate():
    after, keys, _ = changed("forget_bias", value=3)
    assert after["lstm/lstm_cell/bias"].tolist() == [0] * 6 + [3] * 6 + [0] * 12
    assert all(after[key].sum() == 18 for key in keys)


def test_irnn_is_for_rectified_units():
    after, keys, _ = changed("irnn", gain=0.5)
    assert {key.split("/")[0] for key in keys} == {"relu"}
    assert np.array_equal(after["relu/simple_rnn_cell/recurrent_kernel"], 0.5 * np.eye(6))
    kernel = after["relu/simple_rnn_cell/kernel"]
    assert 0 < np.abs(kernel).max() < 0.005


@pytest.mark.parametrize(
    ("scheme", "options"),
    [("chrono", {"longest": 9}), ("forget_bias", {"value": 1}), ("irnn", {})],
)
def test_a_model_without_a_place_for_it_is_refused(scheme, options):
    model = keras.Sequential([keras.Input((None, 3)), L.SimpleRNN(2), L.Dense(2)])
    before = model.get_weights()
    with pytest.raises(InputError, match=f"Scheme '{scheme}' is for"):
        initialize(model, scheme, **options)
    frozen = network()
    frozen.trainable = False
    with pytest.raises(InputError, match=f"Scheme '{scheme}' is for"):
        initialize(frozen, scheme, **options)
    assert all(np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True))
