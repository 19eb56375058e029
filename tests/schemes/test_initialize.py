"""What holds for every scheme: seeds, frozen layers, errors that change nothing, the report."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfinit.errors import InputError
from tfinit.schemes import SCHEMES, initialize
from tfinit.schemes.engine.registry import REGISTRY
from tfinit.streams import stream
from tfinit.variables import all_weights, read_weights

WITH_DATA = {name for name, scheme in REGISTRY.items() if scheme.needs_data}
# Of those for other networks than this file's: tests/schemes/test_transformers.py and others.
ELSEWHERE = {
    name
    for name, scheme in REGISTRY.items()
    if scheme.fits not in ("", "convolutions", "residual networks")
}
OF_OTHER_WEIGHTS = {"pretrained", "weight_selection"}  # which they need
DATA_FREE = sorted(
    SCHEMES.keys() - WITH_DATA - ELSEWHERE - OF_OTHER_WEIGHTS - {"mup", "output_bias"}
)


def residual_net():
    inputs = keras.Input((6,))
    x = L.Dense(6, "relu", name="up")(inputs)
    x = L.BatchNormalization(name="norm")(x)
    x = L.Add()([inputs, L.Dense(6, name="down")(x)])
    return keras.Model(inputs, L.Dense(3, name="head")(x))


def data():
    return np.random.default_rng(0).normal(size=(32, 6)).astype("float32")


def options(scheme):
    given = {"metainit": {"steps": 2}, "grad_init": {"steps": 2}, "completep": {"depth": 1}}.get(
        scheme, {}
    )
    return {"x": data(), **given} if scheme in WITH_DATA else given


def weights(model):
    return read_weights(all_weights(model))


def same(a, b):
    return all(np.array_equal(a[key], b[key], equal_nan=True) for key in a | b)


ALL = sorted(DATA_FREE + list(WITH_DATA))


@pytest.mark.backends
@pytest.mark.filterwarnings('ignore:"(metainit|grad_init)". the steps did not help')  # two of them
@pytest.mark.parametrize("scheme", ALL)
def test_same_seed_same_bits_other_seed_other_bits(scheme):
    first, again, other = residual_net(), residual_net(), residual_net()
    initialize(first, scheme, seed=7, **options(scheme))
    initialize(again, scheme, seed=7, **options(scheme))
    initialize(other, scheme, seed=8, **options(scheme))
    assert same(weights(first), weights(again))
    assert not np.array_equal(weights(first)["up/kernel"], weights(other)["up/kernel"])


@pytest.mark.filterwarnings('ignore:"(metainit|grad_init)". the steps did not help')  # two of them
@pytest.mark.parametrize("scheme", ALL)
def test_frozen_layers_and_normalization_are_left(scheme):
    model = residual_net()
    model.get_layer("down").trainable = False
    for weight in model.get_layer("norm").weights:
        weight.assign(np.full(6, 1.5))
    before = weights(model)
    report = initialize(model, scheme, seed=1, **options(scheme))
    after = weights(model)
    assert np.array_equal(before["down/kernel"], after["down/kernel"])
    assert report["down/kernel"].action == "kept"
    assert report["down/kernel"].note == "frozen"
    if scheme != "reinitialize":
        assert same(
            {k: v for k, v in before.items() if k.startswith("norm/")},
            {k: v for k, v in after.items() if k.startswith("norm/")},
        )
    biased = {"alexnet", "reinitialize", "krahenbuhl", "weightnorm_data"}
    if scheme not in biased:
        assert all(np.array_equal(before[k], after[k]) for k in before if k.endswith("bias"))


def test_twins_have_streams_of_their_own():
    shared = keras.initializers.GlorotUniform(seed=1)
    model = keras.Sequential(
        [keras.Input((8,)), *[L.Dense(8, kernel_initializer=shared) for _ in range(3)]]
    )
    assert np.array_equal(model.layers[0].kernel, model.layers[1].kernel)  # Keras repeats itself
    for scheme in ("he", "orthogonal", "reinitialize"):
        initialize(model, scheme, seed=1)
        a, b, c = (layer.kernel.numpy() for layer in model.layers)
        assert not (np.array_equal(a, b) or np.array_equal(b, c) or np.array_equal(a, c))


def test_streams_are_known_bits():
    # They are part of the promise: these change only if the promise is broken.
    assert stream(7, "fc/kernel").integers(2**63, size=2).tolist() == [
        2332224900568623980,
        3585091831531141333,
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scheme": "kaiming"}, r"`scheme` must be one of xavier, he"),
        ({"scheme": "he", "gian": 1}, r"options \['gain', .*received \['gian'\]"),
        ({"scheme": "he", "seed": "one"}, "`seed` must be a whole number"),
        ({"scheme": "lsuv"}, "needs `x`"),
        ({"scheme": "he", "x": np.zeros((4, 6))}, "uses no data"),
        ({"scheme": "lsuv", "x": np.full((4, 6), np.nan)}, "NaN"),
        ({"scheme": "lsuv", "x": np.zeros((4, 5))}, r"\(4, 5\).*\(None, 6\)"),
        ({"scheme": "lsuv", "x": [data(), data()]}, "has 2 arrays"),
        ({"scheme": "lsuv", "x": {"x": object()}}, "must be arrays"),
        ({"scheme": "lsuv", "x": data(), "start": "zeros"}, "`start` must be one of"),
        ({"scheme": "lsuv", "x": data(), "std": 0}, "`std` must be a positive"),
        (
            {"scheme": "krahenbuhl", "x": data(), "damping": 2},
            r"`damping` must be a number above 0 and at most 1",
        ),
        ({"scheme": "pretrained", "source": "nowhere.keras"}, "does not exist"),
        (
            {"scheme": "metainit", "x": data(), "momentum": 1},
            r"`momentum` must be a number of at least 0 and below 1",
        ),
        ({"scheme": "pretrained"}, r"needs \['source'\]"),
        ({"scheme": "mup", "base": 3}, "must be a Keras layer or model"),
        ({"scheme": "pretrained", "source": 3}, "must be a built model"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(arguments, message):
    model = residual_net()
    before = weights(model)
    with pytest.raises(InputError, match=message):
        initialize(model, **{"seed": 1, **arguments})
    assert same(before, weights(model))


def test_model_that_is_not_built_is_refused():
    with pytest.raises(InputError, match="not built"):
        initialize(keras.Sequential([L.Dense(2)]), "he", seed=1)


def test_schemes_for_residual_networks_refuse_others():
    model = keras.Sequential([keras.Input((4,)), L.Dense(4), L.Dense(4)])
    for scheme in ("fixup", "depth_scaled"):
        with pytest.raises(InputError, match="residual"):
            initialize(model, scheme, seed=1)


def test_report_is_a_list_and_prints_as_a_table():
    model = residual_net()
    report = initialize(model, "he", seed=1)
    assert [record.key for record in report] == ["up/kernel", "down/kernel", "head/kernel"]
    assert (len(report), report[0].fan_in, report[-1].fan_out) == (3, 6, 3)
    assert str(report).splitlines()[:3] == [
        "he: 3 of 3 weights initialized",
        "key          layer  shape  action  activation  fan_in  fan_out  std",
        "up/kernel    Dense  6×6    set     relu        6       6        0.5774",
    ]
    with pytest.raises(KeyError):
        report["no/such"]


def test_tf_keras_models_take_the_schemes_without_data():
    import tf_keras

    layers = tf_keras.layers
    inputs = tf_keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    x = layers.LeakyReLU(0.2)(layers.BatchNormalization()(x))
    x = layers.Add()([layers.Conv2D(4, 3, padding="same", name="end")(x), x])
    x = layers.LSTM(4, name="lstm")(layers.Reshape((64, 4))(x))
    model = tf_keras.Model(inputs, layers.Dense(2, name="head")(x))
    report = initialize(model, "he", seed=1)
    assert report["conv/kernel"].activation == "leaky_relu"
    assert report["conv/kernel"].std == pytest.approx((2 / (1 + 0.2**2) / 27) ** 0.5)
    for scheme in ("xavier", "orthogonal", "delta_orthogonal", "alexnet", "reinitialize"):
        initialize(model, scheme, seed=1)
    assert float(np.std(initialize(model, "depth_scaled", seed=1)["end/kernel"].std)) == 0
    with pytest.raises(InputError, match="tf_keras"):
        initialize(model, "lsuv", np.zeros((2, 8, 8, 3)), seed=1)


class Scaled(L.Layer):
    """Has a kernel that is a number, or one without entries."""

    def build(self, input_shape):
        self.kernel = self.add_weight(name="kernel", shape=())
        self.nothing = L.Dense(2, name="nothing")
        self.nothing.build((None, 0))

    def call(self, x):
        return keras.ops.concatenate([x * self.kernel, self.nothing(x[:, :0])], axis=1)


def unusual():
    """A head's prior, an LSTM's forget gate at 1, constants; a number and nothing as kernels."""
    constants = [keras.initializers.Constant(value) for value in (0.1, 0.5, -4.6)]
    inputs = keras.Input((3, 6))
    x = L.LSTM(5, name="lstm")(inputs)
    x = L.Dense(5, "relu", name="pushed", bias_initializer=constants[0])(x)
    x = Scaled(name="scaled")(x)
    y = L.LayerNormalization(name="norm", gamma_initializer=constants[1])(L.Dense(7, name="fc")(x))
    head = L.Dense(3, "sigmoid", name="head", bias_initializer=constants[2])
    return keras.Model(inputs, head(L.Add()([x, y])))


# The branch of this network ends in a normalization, which completep refuses.
@pytest.mark.parametrize("scheme", [*sorted({*ALL} - {"completep"}), "mup"])
def test_unusual_kernels_are_taken_and_what_was_set_on_purpose_stays(scheme):
    model = unusual()
    before = weights(model)
    given = {"base": unusual()} if scheme == "mup" else options(scheme)
    if "x" in given:
        given["x"] = np.stack([given["x"]] * 3, axis=1)
    report = initialize(model, scheme, seed=1, **given)
    if scheme != "reinitialize":
        nothing, number = report["scaled/nothing/kernel"], report["scaled/kernel"]
        assert (nothing.action, nothing.note) == ("kept", "no entries")
        assert (number.fan_in, number.fan_out) == (1, 1)
        assert number.action in ("set", "scaled")
    after = weights(model)
    assert all(np.isfinite(value).all() for value in after.values())
    # Biases are what these are about.
    about = {"alexnet", "krahenbuhl", "weightnorm_data"}
    for key in before:
        if not key.endswith("kernel") and not (scheme in about and key.endswith("bias")):
            assert np.array_equal(before[key], after[key]), key
    assert np.array_equal(before["lstm/lstm_cell/bias"], after["lstm/lstm_cell/bias"])


def test_the_batch_under_its_former_name_gives_the_same_bits_and_a_warning_here():
    one, two = residual_net(), residual_net()
    initialize(one, "lsuv", data(), seed=1)
    with pytest.warns(DeprecationWarning, match="initialize: `data` is now `x`") as seen:
        initialize(two, "lsuv", data=data(), seed=1)
    former = [warning for warning in seen if "is now `x`" in str(warning.message)]
    assert [warning.filename for warning in former] == [__file__]
    assert same(weights(one), weights(two))
