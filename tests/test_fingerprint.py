"""What identifies a network is the same after any others were made, and tells what differs."""

import dataclasses
import json

import keras
import pytest

from tfinit.fingerprint import Fingerprint, fingerprint

try:
    import tf_keras
except ModuleNotFoundError:  # on other backends
    tf_keras = None


def branched(k, units=4, rate=0.1, loss="mse", **compiled):
    x = inputs = k.Input((8,))
    x = k.layers.Add()([k.layers.Dense(4, "relu")(x), k.layers.Dense(4)(x)])
    x = k.layers.Bidirectional(k.layers.LSTM(3))(k.layers.Reshape((2, 2))(x))
    x = k.layers.Dense(units, name="wide")(k.layers.Dropout(rate, seed=3)(x))
    inner = k.Sequential([k.layers.Dense(2, input_shape=(units,))])
    model = k.Model(inputs, inner(x))
    falling = k.optimizers.schedules.CosineDecay(0.1, 10)
    model.compile(k.optimizers.Adam(falling), loss, **compiled)
    return model


@pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`")
@pytest.mark.parametrize("k", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_other_layers_of_the_process_change_nothing(k):
    if k is None:
        pytest.skip("tf_keras is not installed")
    one = fingerprint(branched(k))
    for _ in range(3):  # names that Keras makes up count on
        branched(k)
        k.layers.Dense(1)
    two = fingerprint(branched(k))
    assert one == two and one.difference(two) == "" and one.digest() == two.digest()
    again = Fingerprint.of(json.loads(json.dumps(one.to_dict())))
    assert again.difference(two) == "" and again.digest() == two.digest()


@pytest.mark.backends
@pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"units": 5},
            "wide/kernel: float32 (6, 4) there, float32 (6, 5) now; wide/bias: float32 (4,) there, "
            "float32 (5,) now; sequential/dense/kernel: float32 (4, 2) there, float32 (5, 2) now",
        ),
        ({"rate": 0.5}, "dropout rate: 0.1 there, 0.5 now"),
        ({"loss": "mae"}, "loss: mse there, mae now"),
        ({"metrics": ["mae"]}, "metrics 0: nothing there, mae now"),
    ],
)
def test_what_differs_is_told(changes, said):
    one, two = fingerprint(branched(keras)), fingerprint(branched(keras, **changes))
    assert one.difference(two) == said
    assert one.digest() != two.digest()


@pytest.mark.backends
def test_connections_count_and_seeds_do_not():
    def net(swapped, seed):
        inputs = keras.Input((4,))
        one, two = keras.layers.Dense(4, name="one"), keras.layers.Dense(4, name="two")
        first, second = (two, one) if swapped else (one, two)
        noise = keras.layers.GaussianNoise(0.1, seed=seed)
        return fingerprint(keras.Model(inputs, noise(second(first(inputs)))))

    assert net(False, 1) == net(False, 2)
    assert net(False, 1) != net(True, 1)


@pytest.mark.backends
def test_of_another_keras_only_the_weights_are_compared():
    one = fingerprint(branched(keras))
    older = dataclasses.replace(fingerprint(branched(keras, rate=0.5)), keras="keras 3.0.0")
    assert one.difference(older) == ""
    wider = dataclasses.replace(fingerprint(branched(keras, units=5)), keras="keras 3.0.0")
    assert "wide/kernel" in one.difference(wider)


@pytest.mark.parametrize("values", [[], {}, {"keras": 1, "weights": {}, "layers": {}}, "text"])
def test_a_file_that_is_none_is_refused(values):
    with pytest.raises(ValueError, match="not the fingerprint of a network"):
        Fingerprint.of(values)
