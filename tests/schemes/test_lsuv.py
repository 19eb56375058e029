"""Unit variance at every pre-activation after one pass; acceptance item 4."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tests.graph.test_tracing import Transformer
from tfinit.errors import InputError
from tfinit.graph.kernels import find_kernels
from tfinit.graph.tracing import trace
from tfinit.schemes import initialize
from tfinit.variables import read_weights, walk_layers

LINEAR = (
    L.Dense,
    L.EinsumDense,
    L.Embedding,
    L.Conv1D,
    L.Conv2D,
    L.Conv2DTranspose,
    L.DepthwiseConv2D,
    L.SeparableConv2D,
)


def normal(*shape):
    return np.random.default_rng(5).normal(size=shape).astype("float32")


def pre_activations(model, x):
    """The std of each linear layer's output before its activation, in a plain pass of its own."""
    found, patched = {}, []
    for key, layer in walk_layers(model):
        if isinstance(layer, LINEAR):

            def call(*args, key=key, layer=layer, plain=layer.call, **kwargs):
                activation = getattr(layer, "activation", None)
                layer.activation = None
                z = plain(*args, **kwargs)
                layer.activation = activation
                found.setdefault(key, float(np.std(keras.ops.convert_to_numpy(z), dtype="float64")))
                return z if activation is None else activation(z)

            layer.call = call
            patched.append(layer)
    model(x, training=False)
    for layer in patched:
        del layer.call
    return found


def mlp():
    return keras.Sequential([keras.Input((64,)), *[L.Dense(64, "relu") for _ in range(50)]])


def conv_net():
    inputs = keras.Input((16, 16, 3))
    x = L.Conv2D(16, 3, activation="tanh", bias_initializer="random_normal")(inputs)
    x = L.BatchNormalization()(L.DepthwiseConv2D(3)(x))
    x = L.SeparableConv2D(8, 3)(L.ReLU(6)(x))
    x = L.Conv2DTranspose(8, 2, strides=2, activation="elu")(x)
    return keras.Model(inputs, L.Dense(5, "softmax")(L.GlobalAveragePooling2D()(x)))


def transformer():
    model = Transformer(depth=2)
    model(np.zeros((2, 5), "int32"))
    return model


@pytest.mark.parametrize(
    ("make", "x"),
    [
        pytest.param(mlp, normal(256, 64), marks=pytest.mark.backends),
        (conv_net, normal(16, 16, 16, 3)),
        (
            lambda: keras.applications.MobileNetV2((64, 64, 3), 0.35, weights=None),
            normal(8, 64, 64, 3),
        ),
        (
            lambda: keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3)),
            normal(4, 64, 64, 3),
        ),
        (transformer, np.random.default_rng(0).integers(0, 11, (32, 5))),
    ],
    ids=["mlp", "conv", "mobilenet", "resnet", "transformer"],
)
def test_every_pre_activation_has_unit_std_after_one_pass(make, x):
    model = make()
    # A start that is cheap to draw: what the pass reaches does not depend on it.
    report = initialize(model, "lsuv", x, seed=1, start="he")
    assert not report.notes  # units' means are not worth a word, 50 layers deep
    stds = pre_activations(model, x)
    assert len(stds) > 4
    assert max(abs(std - 1) for std in stds.values()) <= 0.01
    assert {r.action for r in report if "depthwise_kernel" not in r.key} == {"scaled"}


def test_the_pass_calls_each_layer_once():
    model = mlp()
    calls = []
    for layer in model.layers:

        def call(*args, plain=layer.call, **kwargs):
            calls.append(1)
            return plain(*args, **kwargs)

        layer.call = call
    initialize(model, "lsuv", normal(32, 64), seed=1)
    assert len(calls) == 50
    model(normal(2, 64))
    assert len(calls) == 100  # what others patched is still there


def test_a_constant_bias_counts():
    model = keras.Sequential([keras.Input((16,)), L.Dense(64, bias_initializer="random_normal")])
    model.layers[0].bias.assign(np.linspace(-0.9, 0.9, 64))
    x = normal(512, 16)
    initialize(model, "lsuv", x, seed=1)
    assert float(np.std(model(x))) == pytest.approx(1, abs=1e-4)


def test_bias_that_varies_more_than_the_target_is_refused_and_nothing_changes():
    model = keras.Sequential([keras.Input((16,)), L.Dense(16, name="a"), L.Dense(64, name="b")])
    model.layers[1].bias.assign(np.linspace(-4, 4, 64))
    before = [w.numpy() for w in model.weights]
    with pytest.raises(InputError, match=r"'b/kernel'.*biases"):
        initialize(model, "lsuv", normal(64, 16), seed=1)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.weights, strict=True))


@pytest.mark.backends
def test_other_target():
    model = keras.Sequential([keras.Input((16,)), L.Dense(64, "relu"), L.Dense(3)])
    x = normal(512, 16)
    initialize(model, "lsuv", x, seed=1, std=0.5)
    assert all(std == pytest.approx(0.5, rel=1e-4) for std in pre_activations(model, x).values())


@pytest.mark.parametrize(
    "make", [L.LSTM, pytest.param(L.GRU, marks=pytest.mark.backends), L.SimpleRNN]
)
def test_recurrent_input_shares_have_unit_std_per_gate(make):
    model = keras.Sequential(
        [keras.Input((7, 12)), L.Bidirectional(make(6, return_sequences=True))]
    )
    x = normal(64, 7, 12)
    report = initialize(model, "lsuv", x, seed=1)
    for cell in (model.layers[0].forward_layer.cell, model.layers[0].backward_layer.cell):
        made = x @ cell.kernel.numpy()
        parts = made.reshape(*made.shape[:-1], -1, 6)
        assert np.allclose(np.std(parts, axis=(0, 1, 3)), 1, atol=1e-4)
    assert sum(record.action == "scaled" for record in report) == 2


@pytest.mark.backends
def test_dead_layer_is_named_and_left_as_it_was():
    model = keras.Sequential(
        [keras.Input((8,)), L.Dense(8, "relu", name="off"), L.Dense(8, name="after")]
    )
    model.layers[0].bias.assign(np.full(8, -1000.0))
    after = model.layers[1].kernel.numpy()
    with pytest.warns(UserWarning, match="'after/kernel' makes of `x` is constant"):
        report = initialize(model, "lsuv", normal(32, 8), seed=1)
    assert report["off/kernel"].action == "scaled"
    assert report["after/kernel"].action == "kept"
    assert "dead" in report["after/kernel"].note
    assert np.array_equal(model.layers[1].kernel.numpy(), after)


def test_start_none_keeps_directions():
    model = keras.Sequential([keras.Input((8,)), L.Dense(8, name="fc")])
    before = model.layers[0].kernel.numpy()
    report = initialize(model, "lsuv", normal(32, 8), seed=1, start=None)
    assert np.allclose(model.layers[0].kernel, before * report["fc/kernel"].scale, rtol=1e-6)


def test_normalization_and_patches_are_left_as_they_were():
    model = conv_net()
    norm = next(x for x in model.layers if isinstance(x, L.BatchNormalization))
    before = [w.numpy() for w in norm.weights]
    initialize(model, "lsuv", normal(4, 16, 16, 3), seed=1)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, norm.weights, strict=True))
    assert not any("call" in vars(layer) for _, layer in walk_layers(model))
    assert model.layers[1].activation is keras.activations.tanh


@pytest.mark.backends
def test_failure_in_the_middle_restores_weights_and_patches():
    class Fails(L.Layer):
        def call(self, x):
            if not isinstance(x, keras.KerasTensor) and x.shape[0] == 32:
                raise RuntimeError("in the middle")
            return x

    model = keras.Sequential([keras.Input((8,)), L.Dense(8, "relu"), Fails(), L.Dense(2)])
    weights = {k.key: k.variable for k in find_kernels(model, trace(model))}
    before = read_weights(weights)
    with pytest.raises(InputError, match="in the middle"):
        initialize(model, "lsuv", normal(32, 8), seed=1)
    assert all(np.array_equal(before[key], weights[key].numpy()) for key in before)
    assert not any("call" in vars(layer) for layer in model.layers)
    assert model.layers[0].activation is keras.activations.relu


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_dtypes(dtype):
    model = keras.Sequential(
        [keras.Input((32,), dtype=dtype), *[L.Dense(32, "relu", dtype=dtype) for _ in range(4)]]
    )
    x = normal(128, 32).astype(dtype) if dtype != "bfloat16" else normal(128, 32)
    initialize(model, "lsuv", x, seed=1)
    assert all(std == pytest.approx(1, abs=0.01) for std in pre_activations(model, x).values())


def offset(mean):
    """Inputs with a mean that hides their standard deviation of 10 where it is large."""
    return mean + 10 * normal(256, 8)


def small(*before, layer=None):
    first = L.Dense(16, "relu", name="first") if layer is None else layer
    return keras.Sequential([keras.Input((8,)), *before, first, L.Dense(2, name="head")])


def adapted(x):
    layer = L.Normalization()
    layer.adapt(x)
    return layer


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (small, offset(2000)),
        (lambda: small(layer=L.Dense(16, use_bias=False, name="first")), offset(300)),
        # One column of years among numbers of size 1.
        (small, np.where(np.arange(8) == 3, offset(2000), normal(256, 8))),
        (
            lambda: keras.Sequential([keras.Input((4, 2)), L.LSTM(4, name="first")]),
            offset(2000).reshape(-1, 4, 2),
        ),
    ],
    ids=["dense", "no bias", "one column", "lstm"],
)
def test_inputs_whose_mean_hides_what_varies_are_refused(model, x):
    """Nearly all of the variance would be that of the units' means, the same for all examples."""
    model = model()
    before = [w.numpy() for w in model.weights]
    with pytest.raises(InputError, match=r"^`x` has a mean that hides the rest: .*'first.*Norm"):
        initialize(model, "lsuv", x, seed=1)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.weights, strict=True))


@pytest.mark.filterwarnings("ignore:.*the mean of `x` hides the rest")
def test_standardized_inputs_learn_what_the_raw_ones_cannot():
    """Whether the product of two inputs is positive."""
    x = offset(2000)
    y = (normal(256, 8)[:, :2].prod(axis=1) > 0).astype("int32")
    accuracy = {}
    # The raw ones get what centres their units: even so the first steps move the means again.
    for scheme, before in (("weightnorm_data", []), ("lsuv", [adapted(x)])):
        model = small(*before, layer=L.Dense(64, "relu", name="first"))
        initialize(model, scheme, x, seed=1)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.02), loss, run_eagerly=True)
        for _ in range(30):
            model.train_on_batch(x, y)
        accuracy[scheme] = float(np.mean(np.argmax(model(x), axis=1) == y))
    assert accuracy["lsuv"] > 0.9
    assert accuracy["weightnorm_data"] < 0.7


@pytest.mark.parametrize(
    ("before", "layer", "x"),
    [
        (lambda x: [adapted(x)], None, offset(2000)),
        (lambda x: [L.Rescaling(0.1, -200.0)], None, offset(2000)),
        (lambda x: [], L.Dense(16, use_bias=False), np.abs(offset(0)) * 10),  # pixels: 80 ± 60
    ],
    ids=["normalization", "rescaling", "pixels"],
)
def test_inputs_that_vary_enough_are_not_refused(before, layer, x):
    model = small(*before(x), layer=layer)
    assert not initialize(model, "lsuv", x, seed=1).notes


def test_batch_normalization_takes_the_units_means_out():
    model = small(layer=keras.Sequential([L.Dense(16, name="first"), L.BatchNormalization()]))
    with pytest.warns(UserWarning, match="'head/kernel'.*almost constant"):  # in inference it is
        report = initialize(model, "lsuv", offset(2000), seed=1)
    assert [record.action for record in report] == ["scaled", "scaled"]


def test_units_means_deep_inside_are_told_and_the_biases_stay():
    """Sigmoids put out 0.5 and little else: the paper's rule takes the sums of that for signal."""
    model = keras.Sequential([keras.Input((16,)), *[L.Dense(16, "sigmoid") for _ in range(8)]])
    x = normal(64, 16)
    with pytest.warns(UserWarning, match=r'^"lsuv": what .* more kernels.*almost constant') as seen:
        report = initialize(model, "lsuv", x, seed=1)
    told = {str(w.message).removeprefix('"lsuv": '): w.filename for w in seen}
    assert [told.get(note) for note in report.notes] == [__file__]
    assert "of its size depends on the example" in report[-1].note
    assert report[0].note == report[1].note == ""
    assert max(abs(std - 1) for std in pre_activations(model, x).values()) < 0.01
    assert not any(np.any(layer.bias.numpy()) for layer in model.layers)


def test_a_constant_batch_has_no_signal_whatever_its_units_make_of_it():
    model = small()
    before = [w.numpy() for w in model.weights]
    with pytest.warns(UserWarning, match="'first/kernel' and 1 more kernels.*constant"):
        report = initialize(model, "lsuv", np.full((32, 8), 5.0), seed=1)
    assert [record.action for record in report] == ["kept", "kept"]
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.weights, strict=True))


def test_a_lookup_has_no_means_to_take_for_signal():
    """One token for all: its row has variance 1 as any other."""
    model = keras.Sequential([keras.Input((3,)), L.Embedding(4, 64, name="table")])
    x = np.zeros((16, 3), "int32")
    assert initialize(model, "lsuv", x, seed=1)["table/embeddings"].action == "scaled"
    assert float(np.std(model(x))) == pytest.approx(1, abs=1e-3)


def test_a_pass_leaves_the_states_of_stateful_layers():
    inputs = keras.Input((4, 8), batch_size=2)
    model = keras.Model(inputs, L.GRU(4, stateful=True)(inputs))
    (state,) = model.layers[1].states
    state.assign(np.full((2, 4), 0.25))
    initialize(model, "lsuv", normal(2, 4, 8), seed=1)
    initialize(model, "autoinit", seed=1)
    assert np.all(state.numpy() == 0.25)
