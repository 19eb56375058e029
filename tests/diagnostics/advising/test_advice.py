"""What is recommended for which surroundings, by hand; what `apply` and pasted code do."""

import doctest
import functools
import importlib
import json
import random

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

import tfinit
from tests.graph.test_tracing import transformer
from tfinit.diagnostics.advising.advice import recommend
from tfinit.errors import InputError
from tfinit.schemes import initialize
from tfinit.variables import all_weights, read_weights

Z = np.linspace(-10, 10, 200_001)
NORMAL = np.exp(-(Z**2) / 2) / np.sqrt(2 * np.pi)


def mean_square(values):
    """E[values²] over a normal z, by a sum on a fine grid."""
    return np.sum(values**2 * NORMAL) * (Z[1] - Z[0])


def network(layer, *after, shape, head=True):
    """The layer, what follows it, and an output layer."""
    inputs = keras.Input(shape)
    x = layer(inputs)
    for step in after:
        x = step(x)
    if head:
        x = L.Dense(3, name="head")(L.Flatten()(x))
    return keras.Model(inputs, x)


def chain(*steps, shape=(16,)):
    return keras.Sequential([keras.Input(shape), *steps])


TANH = np.tanh(Z)
XAVIER_TANH = 2 / (20 * mean_square(TANH) + 50 * mean_square(1 - TANH**2))
SILU = Z / (1 + np.exp(-Z))
ELU = np.where(Z > 0, Z, np.expm1(np.minimum(Z, 0)))
CONV, FLAT = (8, 8, 12), (20,)

# The layer, what follows, the input's shape → what is said, the variance.
TABLE = {
    "relu": (L.Dense(50, "relu"), [], FLAT, "He, relu", 2 / 20),
    "relu-layer": (L.Dense(50), [L.Dropout(0.1), L.ReLU()], FLAT, "He, relu", 2 / 20),
    "leaky": (
        *(L.Dense(50), [L.LeakyReLU(negative_slope=0.2)], FLAT),
        *("He, leaky_relu 0.2", 2 / (1 + 0.2**2) / 20),
    ),
    "prelu": (
        *(L.Dense(50), [L.PReLU(alpha_initializer=keras.initializers.Constant(0.5))], FLAT),
        *("He, prelu 0.5", 2 / (1 + 0.5**2) / 20),
    ),
    "silu": (L.Dense(50, "silu"), [], FLAT, "He, silu", 1 / mean_square(SILU) / 20),
    "elu": (L.Dense(50), [L.ELU()], FLAT, "He, elu", 1 / mean_square(ELU) / 20),
    "a function": (
        *(L.Dense(50), [L.Activation(lambda z: 3 * keras.ops.relu(z))], FLAT),
        *("He, <lambda>", 2 / 9 / 20),
    ),
    "selu": (L.Dense(50, "selu"), [], FLAT, "LeCun", 1 / 20),
    "linear": (L.Dense(50), [], FLAT, "LeCun", 1 / 20),
    "tanh": (L.Dense(50, "tanh"), [], FLAT, "Xavier, tanh", XAVIER_TANH),
    "sigmoid": (L.Dense(50, "sigmoid"), [], FLAT, "critical, sigmoid", 16 / 20),
    "hard_sigmoid": (L.Dense(50, "hard_sigmoid"), [], FLAT, "critical, hard_sigmoid", 36 / 20),
    "normalized": (
        *(L.Dense(50), [L.BatchNormalization(), L.Activation("sigmoid")], FLAT),
        *("LeCun", 1 / 20),
    ),
    "conv": (L.Conv2D(32, 3, activation="relu"), [], CONV, "He, relu", 2 / (9 * 12)),
    "groups": (L.Conv2D(32, 3, groups=4, activation="relu"), [], CONV, "He, relu", 2 / (9 * 3)),
    "depthwise": (
        *(L.DepthwiseConv2D(3, depth_multiplier=4, activation="relu"), [], CONV),
        *("He, relu", 2 / 9),
    ),
    "transposed": (
        *(L.Conv2DTranspose(8, 4, strides=2, activation="relu"), [], CONV),
        *("He, relu", 2 / (16 * 12 / 4)),
    ),
    "experts": (
        *(L.EinsumDense("bed,edf->bef", (4, 40), activation="relu"), [], (4, 20)),
        *("He, relu", 2 / 20),
    ),
    "experts, tanh": (
        *(L.EinsumDense("bed,edf->bef", (4, 50), activation="tanh"), [], (4, 20)),
        *("Xavier, tanh", XAVIER_TANH),
    ),
    "heads": (L.EinsumDense("bd,dhk->bhk", (4, 10)), [], FLAT, "LeCun", 1 / 20),
    "embedding": (L.Embedding(60, 25), [], (5,), "N(0, 1/25)", 1 / 25),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_table_by_hand_is_what_apply_sets_and_what_pasted_code_gives(name):
    layer, after, shape, text, variance = TABLE[name]
    model = network(layer, *after, shape=shape)
    advice = recommend(model)[0]
    assert advice.initializer == text
    assert advice.std == pytest.approx(variance**0.5, rel=1e-4)

    kernel = layer.weights[0]
    error = 5 * advice.std / (2 * np.prod(kernel.shape)) ** 0.5
    recommend(model).apply(seed=1)
    assert np.std(kernel) == pytest.approx(advice.std, abs=error)

    keras.utils.set_random_seed(1)
    argument, expression = advice.code.split("=", 1)
    given = eval(expression, {"keras": keras, "tfinit": tfinit})
    pasted = type(layer).from_config({**layer.get_config(), argument: given})
    pasted.build(layer.get_build_config()["input_shape"])
    assert np.std(pasted.weights[0]) == pytest.approx(advice.std, abs=error)


def test_the_last_layer_is_the_output_unless_something_scales_it():
    def last(*steps):
        return recommend(chain(L.Dense(8, "relu"), *steps))[-1]

    for steps in ([L.Dense(4, "softmax")], [L.Dense(4, "sigmoid")], [L.Dense(4)]):
        assert "the output layer" in last(*steps).why
        assert (last(*steps).std, last(*steps).bias) == (8**-0.5, 0.0)
    features = last(L.Dense(4, use_bias=False), L.BatchNormalization(), L.ReLU())
    assert (features.initializer, features.bias) == ("He, relu", None)
    assert "normalization behind it" in features.why


@pytest.mark.parametrize(("kind", "gates"), [(L.LSTM, 4), (L.GRU, 3), (L.SimpleRNN, 1)])
def test_recurrent_kernels_are_told_gate_by_gate_and_the_bias_stays(kind, gates):
    layer = kind(30, name="rnn")
    model = chain(layer, L.Dense(2), shape=(5, 20))
    before = layer.cell.bias.numpy()
    found = recommend(model)
    assert [a.std for a in found[:2]] == pytest.approx([(2 / 50) ** 0.5, (gates * 30) ** -0.5])
    found.apply(seed=1)
    state = layer.cell.recurrent_kernel.numpy()
    assert np.allclose(state @ state.T, np.eye(30), atol=1e-5)
    assert np.array_equal(layer.cell.bias, before)
    scope = {}
    exec(found.code, scope)
    pasted = kind(30, **scope["arguments"]["rnn"])
    pasted.build((None, 5, 20))
    for ours, theirs in zip(layer.weights[:2], pasted.weights[:2], strict=True):
        assert np.std(theirs) == pytest.approx(np.std(ours), rel=0.1)


def residual(blocks, norm_in=False, norm_out=False, norm_sum=False):
    inputs = keras.Input((16,))
    x = L.Dense(16, "relu", name="stem")(inputs)
    for i in range(blocks):
        y = L.LayerNormalization()(x) if norm_in else x
        y = L.Dense(16, name=f"last{i}")(L.Dense(16, "relu", name=f"first{i}")(y))
        y = L.BatchNormalization()(y) if norm_out else y
        x = L.Add()([x, y])
        x = L.LayerNormalization()(x) if norm_sum else x
    return keras.Model(inputs, L.Dense(4, name="head")(x))


@pytest.mark.parametrize("norm_in", [False, True])
def test_ends_of_branches_shrink_with_the_number_of_additions(norm_in):
    found = recommend(residual(9, norm_in=norm_in))
    he, lecun = (2 / 16) ** 0.5, 16**-0.5
    assert [found[f"{k}/kernel"].std for k in ("stem", "first3", "last3", "head")] == pytest.approx(
        [he, he, lecun / 3, lecun]
    )
    assert found["last3/kernel"].initializer == "LeCun / √9"


def test_ends_of_branches_that_are_normalized_stay_and_gamma_is_named():
    found = recommend(residual(9, norm_out=True))["last3/kernel"]
    assert found.std == 16**-0.5
    assert "gamma = 0" in found.why
    found = recommend(residual(9, norm_sum=True))["last3/kernel"]
    assert found.std == 16**-0.5
    assert "sum is normalized" in found.why


def test_a_residual_network_without_normalization_keeps_its_signal():
    model = residual(24)
    recommend(model).apply(seed=1)
    x = np.random.default_rng(0).normal(size=(64, 16)).astype("float32")
    assert 0.3 < np.std(model(x)) < 6


def test_a_projection_on_a_shortcut_keeps_the_scale():
    inputs = keras.Input((16,))
    y = L.Dense(32, name="last")(L.Dense(32, "relu")(inputs))
    x = L.ReLU()(L.Add()([L.Dense(32, name="shortcut")(inputs), y]))
    found = recommend(keras.Model(inputs, L.Dense(4)(x)))["shortcut/kernel"]
    assert found.std == 16**-0.5
    assert "shortcut" in found.why


def test_deep_tanh_gets_its_critical_point_and_short_or_normalized_its_gain():
    def second(depth, *between):
        kinds = [lambda: L.Dense(16, "tanh"), *between] * depth
        return recommend(chain(*(kind() for kind in kinds), L.Dense(3)))[1]

    both = 16 * (mean_square(TANH) + mean_square(1 - TANH**2)) / 2
    assert second(9).std == pytest.approx(both**-0.5, rel=1e-4)
    assert second(10).std == pytest.approx(0.25, rel=1e-3)
    assert second(10).initializer == "orthogonal, critical tanh"
    wider = recommend(chain(*(L.Dense(16, "tanh") for _ in range(10)), shape=(8,)))[0]
    assert (wider.initializer, wider.std) == ("critical, tanh", pytest.approx(8**-0.5, rel=1e-3))
    assert second(10, L.LayerNormalization).initializer == "Xavier, tanh"


def rectified(depth, *between):
    """A chain of so many ReLU layers of 16 units that read 8 inputs."""
    kinds = [lambda: L.Dense(16, "relu"), *between] * depth
    return chain(*(kind() for kind in kinds), L.Dense(3), shape=(8,))


def test_square_kernels_of_deep_rectifiers_keep_lengths():
    model = rectified(8)
    found = recommend(model)
    kinds = [advice.initializer for advice in found]
    assert kinds == ["He, relu", *["orthogonal, relu"] * 7, "LeCun"]
    assert [advice.std for advice in found[1:8]] == pytest.approx([(2 / 16) ** 0.5] * 7, rel=1e-4)
    found.apply(seed=1)
    for layer in model.layers[1:8]:
        matrix = layer.kernel.numpy()
        assert np.allclose(matrix.T @ matrix, 2 * np.eye(16), atol=1e-4)
    given = eval(found[1].code.split("=", 1)[1], {"tfinit": tfinit})
    matrix = np.array(given((16, 16)))
    assert np.allclose(matrix.T @ matrix, 2 * np.eye(16), atol=1e-4)


def test_shallow_normalized_and_residual_rectifiers_stay_independent():
    for model in (rectified(7), rectified(12, L.LayerNormalization)):
        assert recommend(model)[1].initializer == "He, relu"
    inputs = x = keras.Input((16,))
    for _ in range(8):
        x = L.Add()([x, L.Dense(16)(L.Dense(16, "relu")(x))])
    assert not any("orthogonal" in a.initializer for a in recommend(keras.Model(inputs, x)))


@pytest.mark.parametrize(
    ("layer", "read"),
    [
        (lambda: L.Conv2D(8, 3, padding="same"), (4, 4, 3)),
        (lambda: L.Conv2D(8, 3, padding="same", strides=2), (5, 4, 3)),
        (lambda: L.Conv2D(8, (5, 1), padding="same", dilation_rate=(2, 1)), (7, 3, 3)),
        (lambda: L.Conv1D(8, 4, padding="causal"), (9, 3)),
        (lambda: L.DepthwiseConv2D(3, padding="same"), (6, 6, 3)),
    ],
)
def test_a_window_that_sees_padding_sums_what_is_inside(layer, read):
    made = layer()
    advice = recommend(chain(made, L.ReLU(), L.Flatten(), L.Dense(2), shape=read))[0]
    before, fan_in = made.get_weights(), np.prod(made.weights[0].shape[:-2])
    fan_in *= 1 if "Depthwise" in type(made).__name__ else read[-1]
    made.set_weights([np.ones_like(w) * (w.ndim > 1) for w in before])
    products = np.mean(made(np.ones((1, *read), "float32")))  # ones summed: counted
    assert products < 0.95 * fan_in
    assert advice.std == pytest.approx((2 / products) ** 0.5, rel=1e-4)
    assert f"the layer sums {products:g} products, not" in advice.why


def test_a_deep_network_of_small_padded_maps_keeps_its_signal():
    layers = [L.Conv2D(32, 3, padding="same", activation="relu") for _ in range(12)]
    model = chain(*layers, shape=(4, 4, 16))
    x = np.random.default_rng(0).normal(size=(64, 4, 4, 16)).astype("float32")
    initialize(model, "he", seed=1)
    assert np.mean(np.square(model(x))) < 0.2
    recommend(model).apply(seed=1)
    assert 0.3 < np.mean(np.square(model(x))) < 15
    for free in (L.Conv2D(8, 3, padding="valid"), L.Conv2D(8, 3, padding="same")):
        shape = (4, 4, 3) if free.padding == "valid" else (64, 64, 3)
        found = recommend(chain(free, L.ReLU(), L.Flatten(), L.Dense(2), shape=shape))[0]
        assert found.std == pytest.approx((2 / 27) ** 0.5)


def test_biases_behind_sigmoids_cancel_their_mean():
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(6, 3, activation="sigmoid", name="first")(inputs)
    x = L.Conv2D(8, 3, groups=2, activation="relu", name="second")(L.Dropout(0.5)(x))
    x = L.Dense(12, "sigmoid", name="third")(L.Flatten()(x))
    model = keras.Model(inputs, L.Dense(4, name="out")(x))
    found = recommend(model)
    assert [a.cancels for a in found] == [None, 0.5, None, 0.5]
    assert [a.bias for a in found] == [0.0, None, 0.0, None]
    found.apply(seed=1)
    for name, inputs_of in (("second", (1, 6, 6, 6)), ("out", (1, 12))):
        layer = model.get_layer(name)
        # All sigmoids at their mean.
        assert np.allclose(layer(np.full(inputs_of, 0.5, "float32")), 0, atol=1e-5)
        assert np.any(layer.bias)
    assert not np.any(model.get_layer("third").bias)
    assert "apply(only=['second/kernel', 'out/kernel'])" in found.code

    unbiased = chain(L.Dense(8, "sigmoid"), L.Dense(8, "relu", use_bias=False), L.Dense(2))
    assert "give it a bias" in recommend(unbiased)[1].why


def test_a_deep_sigmoid_network_tells_its_inputs_apart_as_it_did_not_before():
    model = chain(*(L.Dense(100, "sigmoid") for _ in range(20)), L.Dense(10), shape=(64,))
    x = np.random.default_rng(0).normal(size=(64, 64)).astype("float32")
    initialize(model, "xavier", seed=1)
    assert np.std(model(x), axis=0).max() < 1e-6
    recommend(model).apply(seed=1)
    assert np.std(model(x), axis=0).min() > 0.01


def test_a_sigmoid_that_gates_starts_half_open():
    inputs = keras.Input((16,))
    gate = L.Dense(16, "sigmoid", name="gate")(inputs)
    x = L.Dense(8, "relu", name="next")(L.Multiply()([inputs, gate]))
    found = recommend(keras.Model(inputs, L.Dense(2)(x)))
    assert (found["gate/kernel"].std, found["next/kernel"].cancels) == (0.25, None)


def test_post_norm_attention_is_told_of_mimetic_and_the_rest_is_not():
    def notes(post_norm):
        inputs = keras.Input((6, 16))
        norm, attention = L.LayerNormalization(), L.MultiHeadAttention(2, 8)
        if post_norm:
            x = norm(L.Add()([inputs, attention(inputs, inputs)]))
        else:
            y = norm(inputs)
            x = L.Add()([inputs, attention(y, y)])
        return recommend(keras.Model(inputs, L.Dense(2)(x))).notes

    assert '"mimetic"' in notes(True)[0]
    assert notes(False) == []


def test_attention_has_one_argument_for_all_its_kernels():
    model = transformer(depth=2)
    found = recommend(model)
    keys = [f"block/multi_head_attention/{part}/kernel" for part in ("query", "attention_output")]
    assert [found[key].std for key in keys] == pytest.approx([8**-0.5, 8**-0.5 / 2])
    assert found[keys[0]].code == "kernel_initializer=tfinit.initializers.LeCun()"
    assert found[keys[1]].code == f'tfinit.recommend(model).apply(only="{keys[1]}")'
    lines = found.code.splitlines()
    said = "dict(kernel_initializer=tfinit.initializers.LeCun())"
    assert f'    "block/multi_head_attention": {said},' in lines
    assert keys[1] in lines[-1]
    raw = recommend(transformer(depth=2, raw=True))
    assert any("could not be traced" in note for note in raw.notes)
    assert "could not be traced" in str(raw)


def guarded():
    """A frozen layer, a normalization, a bias that a user set, and a shared layer."""
    shared = L.Dense(8, "relu", name="shared")
    kept = L.Dense(8, "relu", name="kept", trainable=False)
    inner = keras.Sequential([keras.Input((8,)), L.Dense(8, name="inside")], name="nested")
    inputs = keras.Input((8,))
    x = L.BatchNormalization(name="norm")(shared(kept(shared(inputs))))
    return keras.Model(inputs, L.Dense(3, name="out", bias_initializer="ones")(inner(x)))


def test_apply_touches_what_it_says_and_nothing_else():
    model = guarded()
    before = read_weights(all_weights(model))
    report = recommend(model).apply(seed=3)
    after = read_weights(all_weights(model))
    changed = {key for key in before if not np.array_equal(before[key], after[key])}
    assert changed == {"shared/kernel", "nested/inside/kernel", "out/kernel"}
    assert report["kept/kernel"].action == "kept"
    assert recommend(model)["kept/kernel"].initializer == "kept"
    assert '"kept"' not in recommend(model).code
    assert "bias_initializer" not in recommend(model).code
    model.get_layer("out").bias.assign([0.0, 0.0, 0.0])  # of a configuration that says ones
    assert 'bias_initializer="zeros"' in recommend(model).code


def test_a_bias_that_somebody_chose_is_kept_and_said():
    constant = keras.initializers.Constant(-4.6)
    model = chain(
        L.Dense(8, "relu", name="zeros"),
        L.Dense(8, "relu", name="pushed", bias_initializer="ones"),
        L.Dense(6, "relu", name="assigned"),
        L.BatchNormalization(name="norm", gamma_initializer="zeros"),
        L.Dense(4, "sigmoid", name="head", bias_initializer=constant),
    )
    frequencies = np.log([0.2, 0.1, 0.05, 0.3, 0.3, 0.05]).astype("float32")
    model.get_layer("assigned").bias.assign(frequencies)
    found = recommend(model)
    assert [(a.keeps, a.bias) for a in found] == [
        (False, 0),
        (True, None),
        (True, None),
        (True, None),
    ]
    assert "its bias is not zero (-4.6), so it is kept" in found["head/kernel"].why
    assert "(-2.996 to -1.204)" in found["assigned/kernel"].why
    assert [line.split()[-2] for line in str(found).splitlines()[1:5]] == [
        "0",
        "kept",
        "kept",
        "kept",
    ]
    report = found.apply(seed=1)
    assert report["head/kernel"].note == "LeCun; bias kept"
    for name, expected in (("zeros", 0), ("pushed", 1), ("assigned", frequencies), ("head", -4.6)):
        assert np.allclose(model.get_layer(name).bias, expected, atol=1e-6)
    assert not np.any(model.get_layer("norm").gamma)
    with pytest.raises(InputError, match="`bias` must be a number"):
        found.apply(seed=2, bias="zeros")
    report = found.apply(seed=2, bias=0.0)
    assert not any(np.any(layer.bias) for layer in model.layers if hasattr(layer, "bias"))
    assert report["head/kernel"].note == "LeCun"


def test_a_bias_behind_sigmoids_is_computed_again_unless_it_is_a_prior():
    model = chain(L.Dense(6, "sigmoid"), L.Dense(4, name="head"))
    head = model.get_layer("head")
    for seed in (1, 2):  # what the first `apply` wrote was nobody's choice
        recommend(model).apply(seed=seed)
        assert np.allclose(head.bias, -np.sum(head.kernel, axis=0) / 2, atol=1e-6)
    head.bias.assign([-4.6] * 4)
    found = recommend(model)
    assert (found[-1].keeps, found[-1].cancels) == (True, 0.5)
    assert "although what it reads has mean 0.5" in found[-1].why
    assert "apply" not in found.code
    found.apply(seed=3)
    assert np.allclose(head.bias, -4.6)
    found.apply(seed=3, bias=-4.6)
    assert np.allclose(head.bias, -4.6 - np.sum(head.kernel, axis=0) / 2, atol=1e-6)
    head.bias.assign([np.nan] * 4)
    recommend(model).apply(seed=3)
    assert np.isfinite(head.bias).all()


class Sine(L.Layer):
    def call(self, x):
        self.add_loss(keras.ops.mean(x))
        return keras.ops.sin(30.0 * x)


def sine(z):
    return keras.ops.sin(30.0 * z)


def subclassed_siren():
    class Siren(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = L.Dense(50), L.Dense(50), L.Dense(1)

        def call(self, x):
            x = keras.ops.sin(30.0 * self.a(x))
            return self.c(keras.ops.sin(self.b(x) / (1 / 30)))

    model = Siren()
    model(np.zeros((1, 2)))
    return model


def siren(activation, *between):
    steps = [step for _ in range(2) for step in (L.Dense(50, activation), *between)]
    return chain(*steps, L.Dense(1), shape=(2,))


@pytest.mark.parametrize(
    ("model", "omega"),
    {
        "function": (lambda: siren(sine), 30),
        "lambda": (lambda: siren(lambda z: np.pi * keras.ops.cos(5 * z) / np.pi), 5),
        "partial": (lambda: siren(functools.partial(lambda z, w: keras.ops.sin(w * z), w=30)), 30),
        "keras.ops.sin": (lambda: siren(keras.ops.sin), 1),
        "tf.sin": (lambda: siren(tf.sin), 1),
        "twice as high": (lambda: siren(lambda z: 2 * keras.ops.sin(15 * z)), 30),
        "layers": (lambda: siren(None, L.Activation(sine)), 30),
        "Lambda": (lambda: siren(None, L.Lambda(sine)), 30),
        "own layer": (lambda: siren(None, Sine()), 30),
        "layer inside": (lambda: siren(Sine()), 30),
        "operations": (subclassed_siren, 30),
    }.values(),
)
def test_sine_networks_start_as_siren_whatever_says_that_they_are(model, omega):
    model = model()
    found = recommend(model)
    assert [a.initializer for a in found][::2] == ["SIREN, first", "LeCun"]
    assert [a.std for a in found] == pytest.approx(
        [1 / 2 / 3**0.5, (2 / 50) ** 0.5 / omega, 50**-0.5], rel=1e-3
    )
    assert "Sitzmann" in found[0].why and "Sitzmann" in found[1].why
    limit = 6**0.5 / 50**0.5 / omega
    given = eval(found[1].code.split("=", 1)[1], {"keras": keras})
    assert (given.minval, given.maxval) == pytest.approx((-limit, limit), rel=1e-3)
    found.apply(seed=1)
    kernel = np.asarray(model.weights[2])
    assert 0.99 * limit < np.abs(kernel).max() <= limit * 1.001
    assert not model.losses


def test_what_a_sine_layer_reads_keeps_its_scale_at_any_depth():
    model = chain(*(L.Dense(256, sine) for _ in range(8)), L.Dense(1), shape=(2,))
    recommend(model).apply(seed=1)
    x = np.random.default_rng(0).uniform(-1, 1, (512, 2)).astype("float32")
    for layer in model.layers[:-1]:
        read = 30 * (x @ layer.kernel.numpy())
        x = np.sin(read)
    # The fixed point of q = 2 E[sin²(z)], z ~ N(0, q), which is 1 - exp(-2q).
    assert np.var(read) == pytest.approx(0.7968, abs=0.1)


def test_normalized_sines_and_functions_that_are_lines():
    def first(activation, *steps):
        return recommend(chain(L.Dense(8), *steps, L.Activation(activation), L.Dense(2)))[0]

    assert first(sine, L.BatchNormalization()).initializer == "LeCun"
    assert first(lambda z: z).initializer == "LeCun"
    assert first(lambda z: z * z).initializer == "He, <lambda>"
    # As `relu` is homogeneous and what stops at 6 is not: whose scale does the normalization undo?
    scaled = [recommend(chain(L.Dense(8, a), L.BatchNormalization()))[0].why for a in RELUS]
    assert ["normalization behind it" in why for why in scaled] == [True, True, False]


RELUS = (keras.ops.relu, lambda z: 2 * keras.ops.relu(z), lambda z: keras.ops.minimum(z, 6.0))


def test_seeds_and_only():
    model = guarded()
    found = recommend(model)
    found.apply(seed=3)
    first = read_weights(all_weights(model))
    found.apply(seed=4)
    other = read_weights(all_weights(model))
    assert not np.array_equal(first["out/kernel"], other["out/kernel"])
    report = found.apply(seed=3, only=["out/kernel"])
    mixed = read_weights(all_weights(model))
    assert np.array_equal(mixed["out/kernel"], first["out/kernel"])
    assert np.array_equal(mixed["shared/kernel"], other["shared/kernel"])
    assert [r.action for r in report] == ["kept", "kept", "kept", "set"]
    with pytest.raises(InputError, match="'nothing/kernel'"):
        found.apply(seed=5, only=["out/kernel", "nothing/kernel"])
    with pytest.raises(InputError, match="seed"):
        found.apply(seed=1.5)
    after = read_weights(all_weights(model))
    assert all(np.array_equal(mixed[key], after[key]) for key in mixed)


def test_an_error_on_the_way_puts_everything_back():
    model = guarded()
    before = read_weights(all_weights(model))

    def full(value):
        raise MemoryError

    model.get_layer("out").bias.assign = full
    with pytest.raises(MemoryError):
        recommend(model).apply(seed=1, bias=0.0)
    after = read_weights(all_weights(model))
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_recommend_leaves_model_and_seeds_alone():
    for model in (guarded(), transformer()):
        before, paths = read_weights(all_weights(model)), [w.path for w in model.weights]
        random.seed(1), np.random.seed(1)
        states = random.getstate(), np.random.get_state()[1].tolist()
        recommend(model)
        assert states == (random.getstate(), np.random.get_state()[1].tolist())
        after = read_weights(all_weights(model))
        assert all(np.array_equal(before[key], after[key]) for key in before)
        assert paths == [w.path for w in model.weights]


def test_the_table_and_the_dictionary():
    found = recommend(chain(L.Dense(4, "relu", name="fc"), L.Dense(2, name="out")))
    lines = str(found).splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [
        ["key", "layer"],
        ["fc/kernel", "Dense"],
        ["out/kernel", "Dense"],
    ]
    assert len({line.index("[") for line in lines[1:3]}) == 1
    assert lines[3] == f"[1] {found[0].why}."
    told = json.loads(json.dumps(found.to_dict()))
    assert told["advice"][0]["std"] == pytest.approx((2 / 16) ** 0.5)
    assert found.code.splitlines()[0] == "import tfinit"


def test_models_that_cannot_be_advised():
    with pytest.raises(InputError, match="not built"):
        recommend(keras.Sequential([L.Dense(2)]))
    with pytest.raises(InputError, match="no kernels"):
        recommend(chain(L.BatchNormalization()))
    with pytest.raises(InputError, match="Keras layer or model"):
        recommend("model")
    tf_keras = pytest.importorskip("tf_keras")
    with pytest.raises(InputError, match="tf_keras"):
        recommend(tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))]))


@pytest.mark.parametrize(
    "module",
    ["diagnostics.advising.advice", "diagnostics.advising.recommendation", "graph.nonlinearity"],
)
def test_examples_of_the_docstrings(module):
    activations = importlib.import_module("tfinit.graph.activations")
    names = {"keras": keras, "recommend": recommend, "Activation": activations.Activation}
    module = importlib.import_module(f"tfinit.{module}")
    assert doctest.testmod(module, extraglobs=names).failed == 0
