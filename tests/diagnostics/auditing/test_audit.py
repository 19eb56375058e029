"""Which weights are as their initializers would have them, and how often that is wrong."""

import keras
import numpy as np
import pytest
from keras import layers as L

import tfinit
from tfinit import initialization_report, initializers
from tfinit.diagnostics.auditing.laws import law_of
from tfinit.errors import InputError
from tfinit.schemes import initialize

INIT = keras.initializers


def network():
    inputs = keras.Input((6, 32))
    x = L.Dense(64, "relu", name="fc")(inputs)
    x = L.MultiHeadAttention(4, 16, name="mha")(x, x)
    x = L.LSTM(24, name="lstm")(L.LayerNormalization(name="norm")(x))
    return keras.Model(inputs, L.Dense(10, name="head")(x))


@pytest.mark.backends
def test_untouched_then_drawn_again_then_trained():
    model = network()
    report = initialization_report(model)
    assert report.all_initialized and {r.state for r in report} == {"untouched"}, report
    initialize(model, "reinitialize", seed=1)
    report = initialization_report(model)
    assert report.all_initialized, report
    # Constants are the same again, random kernels others.
    assert all(
        (r.state == "untouched") == (r.expected_std in (0, pytest.approx(0.433, abs=1e-3)))
        for r in report
    )
    layers = [L.Dense(32, "tanh", name="fc"), L.Dense(10, name="head")]
    model = keras.Sequential([keras.Input((32,)), *layers])
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    model.train_on_batch(np.ones((4, 32)), np.ones((4, 10)))
    report = initialization_report(model)
    assert report["fc/kernel"].state == report["head/bias"].state == "trained"
    assert report.fresh == ()


# Of each distribution: what bounds a probability is not below it more often than it says.
@pytest.mark.parametrize("shape", [(40,), (6, 5), (30, 40)])
@pytest.mark.parametrize(
    "make",
    [
        lambda seed: INIT.RandomNormal(0.3, 2.0, seed=seed),
        lambda seed: INIT.TruncatedNormal(stddev=0.02, seed=seed),
        lambda seed: INIT.RandomUniform(-1, 3, seed=seed),
        lambda seed: INIT.HeNormal(seed=seed),
        lambda seed: INIT.VarianceScaling(3, "fan_out", "untruncated_normal", seed=seed),
        lambda seed: INIT.GlorotUniform(seed=seed),
    ],
)
def test_bounds_hold(make, shape):
    law = law_of(make(0), shape, "float32")
    draws = [keras.ops.convert_to_numpy(make(n)(shape)).astype(float) for n in range(100)]
    found = np.array([law.probability(draw, 1e-7) for draw in draws])
    assert np.sum(found < 0.1) <= 10 + 3 * 3 and found.min() > 1e-5
    assert np.std(draws) == pytest.approx(law.std, rel=0.15)
    # And they see what they should: another scale, a mean, another shape of the distribution.
    if len(shape) > 1 and shape[0] == 30:
        flat = np.sign(draws[0] - law.mean) * law.std + law.mean
        for wrong in (law.mean + 1.3 * (draws[0] - law.mean), draws[0] + law.std / 4, flat):
            assert law.probability(wrong, 1e-7) < 1e-6


def test_expected_deviations_are_those_of_keras():
    inputs = keras.Input((8, 8, 12))
    x = L.SeparableConv2D(32, 3, name="separable")(L.Conv2D(48, 3, name="conv")(inputs))
    x = L.EinsumDense("abc,cde->abde", (None, 16, 20), name="einsum")(L.Reshape((16, 32))(x))
    model = keras.Model(inputs, x)
    report = initialization_report(model)
    kernels = [r for r in report if "kernel" in r.key]
    assert len(kernels) == 4
    for record in kernels:
        assert record.std == pytest.approx(record.expected_std, rel=0.15), record
    initialize(model, "reinitialize", seed=2)  # attention's kernels, too, are drawn as when built
    assert initialization_report(model).all_initialized


def test_weights_that_an_init_function_forgot_and_a_head_that_was_not_loaded(tmp_path):
    def build():
        layers = [L.Dense(32, "relu", name=f"block_{n}") for n in range(3)]
        return keras.Sequential([keras.Input((32,)), *layers, L.Dense(32, name="head")])

    model = build()
    for layer in model.layers[:2]:  # the third is forgotten
        layer.kernel.assign(INIT.TruncatedNormal(stddev=0.02, seed=len(layer.name))((32, 32)))
    report = initialization_report(
        model, {"head/*": None, "*/kernel": INIT.TruncatedNormal(stddev=0.02)}
    )
    assert [r.state for r in report if r.key.endswith("kernel")] == ["initialized"] * 2 + ["other"]
    assert report["block_2/kernel"].note == "as glorot_uniform"
    # The first two hold the same numbers: one seed for both.
    assert report["block_1/kernel"].same_as == "block_0/kernel"
    assert report.wrong == ("block_1/kernel", "block_2/kernel")

    trained, rng = build(), np.random.default_rng(0)
    for layer in trained.layers:
        low_rank = rng.normal(size=(32, 2)) @ rng.normal(size=(2, 32))
        layer.kernel.assign(layer.kernel + low_rank)
    loaded = build()
    for layer, source in zip(loaded.layers[:-1], trained.layers[:-1], strict=True):
        layer.set_weights(source.get_weights())
    report = initialization_report(loaded)
    assert report.fresh == ("head/kernel",)
    assert [report[f"block_{n}/kernel"].state for n in range(3)] == ["trained"] * 3


@pytest.mark.parametrize(
    ("change", "state", "note"),
    [
        (lambda w: 0 * w, "zero", ""),
        (lambda w: w * np.where(w == w.max(), np.nan, 1), "not finite", "1 entries"),
        (lambda w: 0 * w + 3, "other", "all 3"),
        (lambda w: w * 1.1, "other", "1.1 times what was drawn"),
        (lambda w: w + 0.01 * np.outer(w[:, 0], w[0]), "trained", None),
        (lambda w: np.linalg.qr(w[::-1])[0], "other", "as orthogonal"),
    ],
)
def test_states_of_a_kernel(change, state, note):
    model = keras.Sequential([keras.Input((96,)), L.Dense(96, name="fc")])
    kernel = model.layers[0].kernel
    kernel.assign(change(kernel.numpy()))
    report = initialization_report(model)
    record = report["fc/kernel"]
    assert record.state == state and note in (None, record.note)
    assert not report.all_initialized and report.wrong == ("fc/kernel",)


def test_one_seed_in_layers_of_other_sizes_is_seen():
    shared = [L.Dense(n, kernel_initializer=INIT.HeNormal(seed=3)) for n in (64, 32)]
    report = initialization_report(keras.Sequential([keras.Input((64,)), *shared]))
    assert report["dense_1/kernel"].same_as == "dense/kernel"
    assert report.wrong == ("dense_1/kernel",)


def test_initializers_that_can_only_be_asked():
    made = [
        initializers.He(activation="relu", seed=1),
        initializers.Orthogonal(seed=2),
        initializers.SparseScaling(density=0.3, seed=3),
        lambda shape, dtype=None: np.random.default_rng().laplace(size=shape).astype("float32"),
    ]
    layers = [L.Dense(40, kernel_initializer=one, name=f"fc_{n}") for n, one in enumerate(made)]
    model = keras.Sequential([keras.Input((40,)), *layers])
    report = initialization_report(model)
    assert report.all_initialized, report
    for layer in layers:
        layer.kernel.assign(layer.kernel * 3)
    assert initialization_report(model).wrong == tuple(f"fc_{n}/kernel" for n in range(4))


def test_the_report_of_a_scheme_is_what_can_be_expected():
    model = network()
    done = initialize(model, "he", seed=1)
    assert not initialization_report(model).all_initialized
    assert initialization_report(model, done).all_initialized
    model.get_layer("head").kernel.assign(2 * model.get_layer("head").kernel)
    assert initialization_report(model, done).wrong == ("head/kernel",)


class Own(L.Layer):
    """Says nothing of how its weight was made."""

    def __init__(self, width):
        super().__init__(name="own")
        self.width = width

    def build(self, shape):
        start = np.ones((shape[-1], self.width), "float32")
        self.scale = keras.Variable(start, name="scale")

    def call(self, x):
        return x @ self.scale


def test_what_is_unknown_is_not_passed_but_can_be_left_out():
    model = keras.Sequential([keras.Input((4,)), Own(3)])
    assert initialization_report(model)["own/scale"].state == "unknown"
    assert not initialization_report(model).all_initialized
    assert initialization_report(model, {"own/*": "ones"}).all_initialized
    assert len(initialization_report(model, {"own/*": None})) == 0


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        ({"none/*": "zeros"}, "no weight is called 'none/\\*'; there are"),
        ({"*": "no_such"}, "must be an initializer of Keras, its name, or None"),
        ([1], "`expected` must be"),
    ],
)
def test_errors(expected, told):
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, name="fc")])
    with pytest.raises(InputError, match=told):
        initialization_report(model, expected)
    other = keras.Sequential([keras.Input((4,)), L.Dense(3, name="other")])
    with pytest.raises(InputError, match="another model: it has 'other/kernel'"):
        initialization_report(model, tfinit.initialize(other, "he", seed=1))
