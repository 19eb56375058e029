"""The names of all that a training changes do not depend on what the process did before."""

import doctest

import keras
import numpy as np
from small_networks import L, compiled

from tfinit.training import state
from tfinit.training.state import fits, state_of
from tfinit.variables import all_weights


def network():
    inner = keras.Sequential([L.Dense(4), L.Dropout(0.5), L.Dense(4)])
    hidden = [L.Dense(4), inner, L.Dropout(0.1, seed=3), L.BatchNormalization()]
    model = compiled(keras.optimizers.Adam(0.01, use_ema=True), hidden=hidden)
    model.optimizer.build(model.trainable_variables)
    return model


def test_every_variable_has_a_name_of_its_own_in_every_model_the_same():
    one, other = network(), network()
    assert [layer.name for layer in one.layers] != [layer.name for layer in other.layers]
    first, second = state_of(one), state_of(other)
    assert list(first) == list(second)
    assert {id(v) for v in first.values()} == {
        id(v) for v in (*one.variables, *one.optimizer.variables)
    }
    assert all_weights(one).keys() <= first.keys()
    for key, variable in all_weights(one).items():
        assert first[key] is variable
    noise = [name for name in first if name.endswith("seed_generator_state")]
    assert noise == ["sequential/dropout/seed_generator_state", "dropout/seed_generator_state"]
    # Of each weight the optimizer has two moments and an average, by the name of the weight.
    of_one = [name for name in first if "sequential_dense_1_kernel" in name]
    assert len(of_one) == 3 and all(name.startswith("optimizer/") for name in of_one)


def test_optimizers_besides_the_model_s_own_have_the_names_of_their_attributes():
    model = compiled(keras.optimizers.SGD(0.1))
    model.second = keras.optimizers.Adam(0.1)
    model.second.build(model.layers[0].trainable_variables)
    assert [name for name in state_of(model) if name.startswith("second/")] == [
        "second/iteration",
        "second/learning_rate",
        "second/a_kernel_momentum",
        "second/a_kernel_velocity",
        "second/a_bias_momentum",
        "second/a_bias_velocity",
    ]


def test_a_state_fits_by_names_and_shapes_in_any_order():
    variables = state_of(network())
    arrays = {name: np.array(v) for name, v in variables.items()}
    assert fits(dict(reversed(arrays.items())), variables)
    name = "dense/kernel"
    for altered in (
        {k: a for k, a in arrays.items() if k != name},
        arrays | {"another": np.zeros(3)},
        arrays | {name: arrays[name].T[:1]},
        {str(n): a for n, a in enumerate(arrays.values())},
    ):
        assert not fits(altered, variables)


def test_examples():
    failed, tried = doctest.testmod(state, extraglobs={"keras": keras})
    assert (failed, tried > 3) == (0, True)
